"""
The scheme `upto` is Permit2 for at most an amount, settled by a named facilitator (docs/protocol.md §3.2).

The wallet signs EIP-712 typed data, a `PermitWitnessTransferFrom` whose witness binds the payee and the
facilitator. The digest of an authorization identifies it: it is shown as `payment_hash`, and whoever has the
receipt can compute it again.

What was taken of it the chain says (docs/protocol.md §7). No log carries the permit's nonce. A settlement transaction
emits the token's `Transfer(owner, payTo, amount)` and the proxy's `Settled()`; the nonce is in its calldata, among the
other words that were signed. A used nonce alone proves nothing: its owner can use it up as well.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from og_integrations.errors import DiscoveryError, MalformedOfferError
from og_integrations.networks import PERMIT2_ADDRESS, UPTO_PROXY_ADDRESS
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain import _eip712 as eip712
from og_integrations.protocol.chain._abi import TRANSFER_TOPIC, address_word, selector, topic, uint_word
from og_integrations.protocol.payment._x402 import PaymentRequirements, checksum_address, parse_uint
from og_integrations.protocol.payment.schemes._settlement import Chain, Reading, Settlement, SettlementStatus
from og_integrations.receipt import ReceiptPayment

NAME = "upto"
VALID_BEFORE = 600
"""Seconds by which `validAfter` lies in the past, or a clock that is ahead would sign a permit of the future."""
_SETTLED_TOPICS = {topic("Settled()"), topic("SettledWithPermit()")}
_CANCELLED_TOPIC = topic("UnorderedNonceInvalidation(address,uint256,uint256)")
_BITMAP = selector("nonceBitmap(address,uint256)")

# The texts and their order are hashed into the signature (docs/protocol.md §3.2); Permit2 rebuilds the same text.
_TYPES = {
    "PermitWitnessTransferFrom": (
        "TokenPermissions permitted",
        "address spender",
        "uint256 nonce",
        "uint256 deadline",
        "Witness witness",
    ),
    "TokenPermissions": ("address token", "uint256 amount"),
    "Witness": ("address to", "address facilitator", "uint256 validAfter"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit2Authorization:
    """
    An authorization is a `PermitWitnessTransferFrom`: at most `amount` base units of `token` from `payer` to `pay_to`.

    Only `facilitator` may settle it, through the contract `spender`. `valid_after` and `deadline` are unix seconds,
    `nonce` is an unordered Permit2 nonce (uint256). Addresses are EIP-55.
    """

    chain_id: int
    payer: str
    token: str
    amount: int
    spender: str
    nonce: int
    deadline: int
    pay_to: str
    facilitator: str
    valid_after: int

    def typed_data(self) -> JsonObject:
        """Return the whole EIP-712 message, as wallets and `eth_account` take it."""
        return eip712.typed_data(
            _TYPES,
            # Permit2's domain has no version: a wallet that adds one signs another digest.
            {"name": "Permit2", "chainId": self.chain_id, "verifyingContract": PERMIT2_ADDRESS},
            {
                "permitted": {"token": self.token, "amount": self.amount},
                "spender": self.spender,
                "nonce": self.nonce,
                "deadline": self.deadline,
                "witness": {"to": self.pay_to, "facilitator": self.facilitator, "validAfter": self.valid_after},
            },
        )

    def digest(self) -> bytes:
        """Return the 32 bytes that are signed."""
        return eip712.digest(self.typed_data())

    def payload(self, signature: str) -> JsonObject:
        """Return the `payload` of a PAYMENT-SIGNATURE header: all numbers as decimal text."""
        return {
            "permit2Authorization": {
                "from": self.payer,
                "permitted": {"token": self.token, "amount": str(self.amount)},
                "spender": self.spender,
                "nonce": str(self.nonce),
                "deadline": str(self.deadline),
                "witness": {"to": self.pay_to, "facilitator": self.facilitator, "validAfter": str(self.valid_after)},
            },
            "signature": signature,
        }

    def to_json(self) -> JsonObject:
        """Return it as plain JSON, for a store; `schemes.decode_authorization` reads it."""
        return {"scheme": NAME} | asdict(self)

    def in_receipt(self) -> ReceiptPayment:
        """Return the members of a receipt's `payment` that were signed; with them anybody recomputes the digest."""
        return ReceiptPayment(
            asset=self.token,
            payer=self.payer,
            pay_to=self.pay_to,
            facilitator=self.facilitator,
            spender=self.spender,
            max_amount=str(self.amount),
            nonce=str(self.nonce),
            valid_after=self.valid_after,
            deadline=self.deadline,
        )

    def explain(self, chain: Chain, skew: int = 0) -> Reading[Settlement]:
        """
        Return what `chain` says became of it; pending ends `skew` seconds after the deadline.

        Raises `DiscoveryError` if the nonce is used and the node does not show what for.
        """
        # At that very block: of the nodes behind one name, some are late, and "unused" must be final.
        number, at = yield from chain.newest()
        if not nonce_is_used((yield from chain.view(PERMIT2_ADDRESS, encode_nonce_bitmap(self), number)), self):
            # The block's time, not ours, is what the contract judges by.
            over = at > self.deadline + skew
            return Settlement(status=SettlementStatus.UNUSED if over else SettlementStatus.PENDING)
        first = yield from chain.block_at(self.valid_after)
        last = yield from chain.block_at(self.deadline)
        found = yield from _settled(self, chain, first, last)
        if found is None:
            found = yield from _cancelled(self, chain, first, last)
        if found is None:
            raise DiscoveryError(
                f"The payment's nonce is used, but {chain.name} shows neither settlement nor cancellation in blocks "
                f"{first} to {last}, which is when it was valid. It was cancelled later, or the node keeps no old "
                "logs: try another one (--rpc-url)."
            )
        return found

    @classmethod
    def from_payload(cls, payload: JsonObject, chain_id: int) -> "Permit2Authorization":
        """Read it back from such a `payload`. Raises `MalformedOfferError` if it is not one."""
        try:
            permit = payload["permit2Authorization"]
            permitted, witness = permit["permitted"], permit["witness"]
            return cls(
                chain_id=chain_id,
                payer=checksum_address(permit["from"]),
                token=checksum_address(permitted["token"]),
                amount=parse_uint(permitted["amount"]),
                spender=checksum_address(permit["spender"]),
                nonce=parse_uint(permit["nonce"]),
                deadline=parse_uint(permit["deadline"]),
                pay_to=checksum_address(witness["to"]),
                facilitator=checksum_address(witness["facilitator"]),
                valid_after=parse_uint(witness["validAfter"]),
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise MalformedOfferError("The payment payload is not a permit2Authorization.") from exc


def authorize(requirements: PaymentRequirements, *, payer: str, now: int, nonce: int) -> Permit2Authorization:
    """
    Return what the wallet `payer` has to sign for `requirements`.

    `now` is in unix seconds, `nonce` a fresh random uint256. Raises `MalformedOfferError` for an offer without
    facilitator: anybody could settle it.
    """
    # The proxy lets only the named facilitator settle. Without
    # a name, whoever sees the permit could take the whole cap.
    if requirements.facilitator is None:
        raise MalformedOfferError("The `upto` offer names no facilitatorAddress; anybody could settle it.")
    return Permit2Authorization(
        chain_id=requirements.chain_id,
        payer=checksum_address(payer),
        token=requirements.asset,
        amount=requirements.amount,
        # The spender is our constant and not the offer's: another contract could ignore the witness.
        spender=UPTO_PROXY_ADDRESS,
        nonce=nonce,
        deadline=now + requirements.max_timeout_seconds,
        pay_to=requirements.pay_to,
        facilitator=requirements.facilitator,
        valid_after=now - VALID_BEFORE,
    )


def _settled(permit: Permit2Authorization, chain: Chain, first: int, last: int) -> Reading[Settlement | None]:
    logs = yield from chain.logs(transfer_filter(permit) | {"fromBlock": hex(first), "toBlock": hex(last)})
    for tx_hash in dict.fromkeys(str(log.get("transactionHash")) for log in logs):
        mined = yield from chain.mined(tx_hash)
        amount = settled_amount(permit, mined.calldata, mined.logs)
        # A reverted transaction has the same calldata and moved nothing; one of another time is not of this permit.
        if amount is not None and first <= mined.block <= last and mined.succeeded:
            return Settlement(
                status=SettlementStatus.SETTLED, amount=amount, transaction_hash=tx_hash, block_number=mined.block
            )
    return None


def _cancelled(permit: Permit2Authorization, chain: Chain, first: int, last: int) -> Reading[Settlement | None]:
    logs = yield from chain.logs(cancellation_filter(permit) | {"fromBlock": hex(first), "toBlock": hex(last)})
    for log in logs:
        if is_cancellation(log, permit):
            return Settlement(
                status=SettlementStatus.CANCELLED,
                transaction_hash=str(log.get("transactionHash")),
                block_number=chain.number(log.get("blockNumber")),
            )
    return None


def encode_nonce_bitmap(authorization: Permit2Authorization) -> str:
    """Return the eth_call data that asks Permit2 for the word in which the nonce's bit is."""
    return "0x" + (_BITMAP + address_word(authorization.payer) + uint_word(authorization.nonce >> 8)).hex()


def nonce_is_used(bitmap: bytes, authorization: Permit2Authorization) -> bool:
    """Read the nonce's bit from Permit2's answer. Raises `DiscoveryError` if it is none."""
    # A node answers with no bytes where there is no contract, which is not the same as an unused nonce.
    if len(bitmap) != 32:
        raise DiscoveryError("There is no Permit2 on this chain. Check the node's address.")
    # Permit2 keeps 256 nonces in one word; the upper 248 bits of a nonce name the word (docs/protocol.md §7.1).
    return bool(int.from_bytes(bitmap, "big") >> (authorization.nonce & 255) & 1)


def transfer_filter(authorization: Permit2Authorization) -> JsonObject:
    """Return the eth_getLogs filter, without blocks, of all transfers from payer to payee."""
    parties = ["0x" + address_word(address).hex() for address in (authorization.payer, authorization.pay_to)]
    # No event of a settlement carries the nonce, so the transfers
    # between the two parties are what can be searched for.
    return {"address": authorization.token, "topics": [TRANSFER_TOPIC, *parties]}


def cancellation_filter(authorization: Permit2Authorization) -> JsonObject:
    """Return the eth_getLogs filter, without blocks, of what the payer cancelled."""
    return {"address": PERMIT2_ADDRESS, "topics": [_CANCELLED_TOPIC, "0x" + address_word(authorization.payer).hex()]}


def settled_amount(authorization: Permit2Authorization, calldata: bytes, logs: Sequence[JsonObject]) -> int | None:
    """
    Return what a transaction with this `calldata` and these `logs` settled of `authorization`.

    None if it did not. The calldata must hold, one after the other as `settle` takes them, all words
    that were signed; the amount stands between them, is one that the contract takes, and a transfer of it
    must have happened.
    """
    # The words are joined in the order of `settle`, so that a chance match of a single number is not believed.
    head = address_word(authorization.token) + b"".join(
        map(uint_word, (authorization.amount, authorization.nonce, authorization.deadline))
    )
    tail = b"".join(map(address_word, (authorization.payer, authorization.pay_to, authorization.facilitator)))
    tail += uint_word(authorization.valid_after)
    # Calldata alone proves nothing: a failed call inside a successful transaction has the same bytes.
    if not any(_is_from(log, authorization.spender, _SETTLED_TOPICS) for log in logs):
        return None
    moved = {_data(log) for log in logs if _is_transfer(log, authorization)}
    at = calldata.find(head)
    while at >= 0:
        # A router may pass the call on, at any offset and several in one transaction.
        word = calldata[at + len(head) : at + len(head) + 32]
        amount = int.from_bytes(word, "big")
        if calldata.startswith(tail, at + len(head) + 32) and word in moved and 0 < amount <= authorization.amount:
            return amount
        at = calldata.find(head, at + 1)
    return None


def is_cancellation(log: JsonObject, authorization: Permit2Authorization) -> bool:
    """Return whether `log` says that the payer used up the nonce without paying."""
    # One event can use up 256 nonces of a word; without a look at this one's bit, a neighbour's would be taken for it.
    data = _data(log)
    return (
        _is_from(log, PERMIT2_ADDRESS, {_CANCELLED_TOPIC})
        and _topics(log)[1:] == ["0x" + address_word(authorization.payer).hex()]
        and len(data) == 64
        and int.from_bytes(data[:32], "big") == authorization.nonce >> 8
        and bool(int.from_bytes(data[32:], "big") >> (authorization.nonce & 255) & 1)
    )


def _is_transfer(log: JsonObject, authorization: Permit2Authorization) -> bool:
    parties = ["0x" + address_word(address).hex() for address in (authorization.payer, authorization.pay_to)]
    return _is_from(log, authorization.token, {TRANSFER_TOPIC}) and _topics(log)[1:] == parties


def _is_from(log: JsonObject, address: str, topics: set[str]) -> bool:
    found = _topics(log)
    return str(log.get("address")).lower() == address.lower() and bool(found) and found[0] in topics


def _topics(log: JsonObject) -> list[str]:
    topics = log.get("topics")
    return [str(topic).lower() for topic in topics] if isinstance(topics, list) else []


def _data(log: JsonObject) -> bytes:
    try:
        return bytes.fromhex(str(log.get("data")).removeprefix("0x"))
    except ValueError:
        # Bytes that fit nothing: one broken log must not hide the others, or the settlement would look undone.
        return b""

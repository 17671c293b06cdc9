"""
This module holds the x402 scheme `batch-settlement`: escrow, and vouchers that raise what may be claimed of it.

A deposit opens a channel between payer and receiver; each request then carries a voucher, which allows the receiver
to claim at most so much in all since the channel's birth. Nothing here is paid by yet: these are the bytes, as the
published contracts check them (x402BatchSettlement and its two collectors; the same addresses on every chain).

Amounts are ints of base units, and decimal text where they are sent. A channel's config is the JSON object that is
sent as `channelConfig`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from og_integrations.errors import MalformedOfferError, PaymentRefusedError
from og_integrations.networks import PERMIT2_ADDRESS
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain import _eip712 as eip712
from og_integrations.protocol.chain._abi import uint_word
from og_integrations.protocol.chain._ecrecover import recover_address
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.payment._x402 import PaymentRequirements, checksum_address, parse_uint, token_domain

SCHEME = "batch-settlement"
SETTLEMENT_ADDRESS = "0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003"
"""The contract that holds the escrow."""
EIP3009_COLLECTOR = "0x4020806089470a89826cB9fB1f4059150b550004"
PERMIT2_COLLECTOR = "0x4020425FAf3B746C082C2f942b4E5159887B0005"
MAX_AMOUNT = 2**128 - 1
WITHDRAW_DELAYS = range(900, 30 * 86400 + 1)
"""Seconds for which the escrow may stay locked after its owner asks for it back: what the contract accepts."""

Method = Literal["permit2", "eip3009"]
PayloadKind = Literal["voucher", "deposit", "refund"]

_ZERO_ADDRESS = "0x" + "00" * 20
_ADDRESSES = ("payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "token")
_BYTES32 = re.compile(r"0x[0-9a-fA-F]{64}")
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{130}")
# Names, order and widths of these members go into the type hash, so they are those of the published contracts.
_CHANNEL_TYPES = {
    "ChannelConfig": (*(f"address {name}" for name in _ADDRESSES), "uint40 withdrawDelay", "bytes32 salt"),
}
_VOUCHER_TYPES = {"Voucher": ("bytes32 channelId", "uint128 maxClaimableAmount")}
_PERMIT_TYPES = {
    "PermitWitnessTransferFrom": (
        "TokenPermissions permitted",
        "address spender",
        "uint256 nonce",
        "uint256 deadline",
        "DepositWitness witness",
    ),
    "TokenPermissions": ("address token", "uint256 amount"),
    "DepositWitness": ("bytes32 channelId",),
}
_RECEIVE_TYPES = {
    "ReceiveWithAuthorization": (
        "address from",
        "address to",
        "uint256 value",
        "uint256 validAfter",
        "uint256 validBefore",
        "bytes32 nonce",
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    Terms are what an offer says about channels, beside the price: to whom, under whose hand, and for how long.

    `withdraw_delay` is in seconds. `min_deposit` is the deposit that the gateway wishes for, None if it names none.
    """

    receiver: str
    receiver_authorizer: str
    token: str
    withdraw_delay: int
    method: Method
    token_name: str
    token_version: str
    min_deposit: int | None

    def config(self, *, payer: str, voucher_signer: str, salt: bytes) -> JsonObject:
        """Return the config of `payer`'s channel, whose vouchers `voucher_signer` signs; `salt` has 32 bytes."""
        return {
            "payer": checksum_address(payer),
            "payerAuthorizer": checksum_address(voucher_signer),
            "receiver": self.receiver,
            "receiverAuthorizer": self.receiver_authorizer,
            "token": self.token,
            "withdrawDelay": self.withdraw_delay,
            "salt": "0x" + salt.hex(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """
    A deposit moves exactly `amount` from the payer into the channel of `config`, until `deadline` (unix seconds).

    `nonce` is its random part: the nonce of Permit2 (uint256), or the salt of EIP-3009 (32 bytes), whose nonce also
    binds the channel. EIP-3009 signs the token's name and version as well.
    """

    config: JsonObject
    amount: int
    chain_id: int
    method: Method
    nonce: int | bytes
    deadline: int
    token_name: str = ""
    token_version: str = ""

    def typed_data(self) -> JsonObject:
        """Return the whole EIP-712 message, for the payer to sign. Raises `MalformedOfferError`."""
        config = _read_config(self.config)
        channel = channel_id(config, chain_id=self.chain_id)
        # The contract counts in uint128 and the permit in uint256;
        # a larger deposit would be signed and then revert.
        if self.amount > MAX_AMOUNT:
            raise MalformedOfferError(f"A deposit of {self.amount} is no uint128; nothing was signed.")
        if self.method == "permit2":
            return eip712.typed_data(
                _PERMIT_TYPES,
                {"name": "Permit2", "chainId": self.chain_id, "verifyingContract": PERMIT2_ADDRESS},
                {
                    "permitted": {"token": config["token"], "amount": self.amount},
                    "spender": PERMIT2_COLLECTOR,
                    "nonce": int.from_bytes(self._nonce_word(), "big"),
                    "deadline": self.deadline,
                    # Without the channel as witness, whoever sees the permit could pay it into a channel of his own.
                    "witness": {"channelId": _hex(channel)},
                },
            )
        if self.method != "eip3009":
            raise MalformedOfferError(f"The transfer method is {self.method!r:.40}, expected permit2 or eip3009.")
        return eip712.typed_data(
            _RECEIVE_TYPES,
            {
                "name": self.token_name,
                "version": self.token_version,
                "chainId": self.chain_id,
                "verifyingContract": config["token"],
            },
            {
                "from": config["payer"],
                "to": EIP3009_COLLECTOR,
                "value": self.amount,
                "validAfter": 0,
                "validBefore": self.deadline,
                # Without the channel in it, anybody could put the money into another channel of the same token.
                "nonce": _hex(keccak(channel + self._nonce_word())),
            },
        )

    def digest(self) -> bytes:
        """Return the 32 bytes that the payer signs."""
        return eip712.digest(self.typed_data())

    def payload(self, signature: str) -> JsonObject:
        """Return the `deposit` of a payment: all numbers as decimal text."""
        message = self.typed_data()["message"]
        if self.method == "permit2":
            permitted = message["permitted"] | {"amount": str(self.amount)}
            permit = {"from": self.config["payer"], **message, "permitted": permitted, "signature": signature}
            # JSON numbers beyond 2^53 are rounded by readers in JavaScript, so every number is sent as text.
            permit |= {"nonce": str(message["nonce"]), "deadline": str(self.deadline)}
            return {"amount": str(self.amount), "authorization": {"permit2Authorization": permit}}
        authorization = {
            "validAfter": "0",
            "validBefore": str(self.deadline),
            "salt": _hex(self._nonce_word()),
            "signature": signature,
        }
        return {"amount": str(self.amount), "authorization": {"erc3009Authorization": authorization}}

    def _nonce_word(self) -> bytes:
        number = int.from_bytes(self.nonce, "big") if isinstance(self.nonce, bytes) else self.nonce
        if not 0 <= number < 2**256:
            raise MalformedOfferError("A deposit's nonce is no uint256; nothing was signed.")
        return uint_word(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """A voucher allows the receiver to claim at most `max_claimable` of the channel, in all since its birth."""

    channel: bytes
    max_claimable: int
    chain_id: int

    def typed_data(self) -> JsonObject:
        """Return the whole EIP-712 message, for the channel's payerAuthorizer to sign."""
        message = {"channelId": _hex(self.channel), "maxClaimableAmount": self.max_claimable}
        return eip712.typed_data(_VOUCHER_TYPES, _domain(self.chain_id), message)

    def digest(self) -> bytes:
        """
        Return the 32 bytes that are signed.

        They do not name one request: after a charge of nothing the next voucher is the same.
        """
        return eip712.digest(self.typed_data())

    def payload(self, signature: str) -> JsonObject:
        """Return the `voucher` of a payment."""
        return {
            "channelId": _hex(self.channel),
            "maxClaimableAmount": str(self.max_claimable),
            "signature": signature,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """
    A correction is what a gateway has proven that it charged, in base units, by a voucher that we signed.

    The next ceiling counts from `charged`. A ceiling up to `signed_max` was signed before.
    """

    charged: int
    signed_max: int
    signature: str = field(repr=False)


def read_terms(requirement: PaymentRequirements) -> Terms:
    """
    Read what a `batch-settlement` offer says about channels.

    Raises `MalformedOfferError` if a member is missing or of another form: published clients guess then.
    """
    extra: JsonObject = requirement.raw.get("extra") or {}
    authorizer, delay, wished = (extra.get(name) for name in ("receiverAuthorizer", "withdrawDelay", "minDeposit"))
    method = extra.get("assetTransferMethod", "eip3009")
    # The server requires an authorizer that is not zero: without one nobody could sign the receiver's claims.
    if not isinstance(authorizer, str) or checksum_address(authorizer) == _ZERO_ADDRESS:
        raise MalformedOfferError("The offer names no receiverAuthorizer, who signs the receiver's claims.")
    # A delay outside of what the contract accepts makes the deposit revert; a long one locks the money up.
    if type(delay) is not int or delay not in WITHDRAW_DELAYS:
        raise MalformedOfferError(
            f"The offer's withdrawDelay is {delay!r:.40}, expected {WITHDRAW_DELAYS[0]} to {WITHDRAW_DELAYS[-1]} s."
        )
    if method not in ("permit2", "eip3009"):
        raise MalformedOfferError(f"The offer's assetTransferMethod is {method!r:.40}, expected permit2 or eip3009.")
    # Permit2 does not sign them, so there they may be missing.
    name, version = token_domain(extra) if method == "eip3009" else ("", "")
    return Terms(
        receiver=requirement.pay_to,
        receiver_authorizer=checksum_address(authorizer),
        token=requirement.asset,
        withdraw_delay=delay,
        method=method,
        token_name=name,
        token_version=version,
        min_deposit=None if wished is None else _amount(wished, "minDeposit"),
    )


def channel_salt(host: str, slot: int = 0) -> bytes:
    """
    Return the salt of our channel number `slot` with the gateway `host`.

    One salt for all would give two gateways of one receiver the same channel, and each would count for itself.
    """
    return keccak(b"og-integrations/1" + host.lower().encode() + uint_word(slot))


def channel_id(config: JsonObject, *, chain_id: int) -> bytes:
    """Return the 32-byte id of a channel, the EIP-712 digest of its config. Raises `MalformedOfferError`."""
    return eip712.digest(eip712.typed_data(_CHANNEL_TYPES, _domain(chain_id), _read_config(config)))


def voucher_digest(channel: bytes, max_claimable: int, *, chain_id: int) -> bytes:
    """Return the 32 bytes that are signed of a `Voucher`."""
    return Voucher(channel=channel, max_claimable=max_claimable, chain_id=chain_id).digest()


def deposit_digest(
    config: JsonObject,
    amount: int,
    *,
    chain_id: int,
    method: Method,
    nonce: int | bytes,
    deadline: int,
    token_name: str = "",
    token_version: str = "",
) -> bytes:
    """Return the 32 bytes that are signed of a `Deposit`."""
    return Deposit(
        config=config,
        amount=amount,
        chain_id=chain_id,
        method=method,
        nonce=nonce,
        deadline=deadline,
        token_name=token_name,
        token_version=token_version,
    ).digest()


def payment_payload(
    kind: PayloadKind,
    config: JsonObject,
    voucher: JsonObject,
    deposit: JsonObject | None = None,
    *,
    amount: int | None = None,
) -> JsonObject:
    """
    Return the `payload` of a PAYMENT-SIGNATURE header.

    `voucher` and `deposit` are payloads of a `Voucher` and a `Deposit`; a deposit never goes without a voucher. A
    refund asks for `amount` back, or for all that is free. Raises `MalformedOfferError` for parts that do not fit.
    """
    if kind not in ("voucher", "deposit", "refund") or (kind == "deposit") != (deposit is not None):
        raise MalformedOfferError(f"A payload of kind {kind!r:.40} does not fit its parts; nothing was sent.")
    if amount is not None and kind != "refund":
        raise MalformedOfferError("Only a refund names an amount of its own; nothing was sent.")
    payload: JsonObject = {"type": kind, "channelConfig": _read_config(config), "voucher": dict(voucher)}
    if deposit is not None:
        payload["deposit"] = dict(deposit)
    return payload if amount is None else payload | {"amount": str(amount)}


def read_correction(
    extra: JsonObject,
    *,
    config: JsonObject,
    chain_id: int,
    signer: str,
    highest_signed: int | None,
    claimed_on_chain: int | None,
) -> Correction:
    """
    Return the count that a corrective 402 proves; `extra` is that of its matching offer.

    Proven is a count up to a ceiling that `signer` (our key for vouchers) signed for this very channel, not above
    the `highest_signed` that we remember (None: no record) and not below `claimed_on_chain` (None: not read, which
    proves nothing). The channel id is computed, never read. Raises `PaymentRefusedError` for anything else.
    """
    state, proof = extra.get("channelState"), extra.get("voucherState")
    if not isinstance(state, Mapping) or not isinstance(proof, Mapping):
        raise _unproven("it shows no count and no voucher")
    try:
        charged = _amount(state.get("chargedCumulativeAmount"), "chargedCumulativeAmount")
        signed_max = _amount(proof.get("signedMaxClaimable"), "signedMaxClaimable")
    except MalformedOfferError as exc:
        raise _unproven(str(exc)) from exc
    signature = proof.get("signature")
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise _unproven("its voucher has no signature of 65 bytes")
    digest = voucher_digest(channel_id(config, chain_id=chain_id), signed_max, chain_id=chain_id)
    # The voucher must be one of ours: otherwise a gateway could claim that any amount was used up.
    if recover_address(digest, bytes.fromhex(signature[2:])) != signer.lower():
        raise _unproven(f"its voucher for {signed_max} is not signed by our key")
    # No channel can have charged more than was signed, so such a count is an invention.
    if charged > signed_max:
        raise _unproven(f"it charged {charged}, and we signed for {signed_max}")
    # A ceiling above our record was not signed here: another client shares the channel, or the record is damaged.
    if highest_signed is not None and signed_max > highest_signed:
        raise _unproven(f"its voucher is for {signed_max}, and we signed for {highest_signed} at most")
    # The chain never counts more claims than were charged, so a count below its own is false.
    if claimed_on_chain is None or charged < claimed_on_chain:
        read = "was not read" if claimed_on_chain is None else f"says {claimed_on_chain}"
        raise _unproven(f"it charged {charged}, and the chain, where claims are counted, {read}")
    return Correction(charged=charged, signed_max=signed_max, signature=signature)


def _domain(chain_id: int) -> JsonObject:
    return {
        "name": "x402 Batch Settlement",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": SETTLEMENT_ADDRESS,
    }


def _read_config(config: JsonObject) -> JsonObject:
    """Return the seven members of a channel's config, as they are signed and sent. Raises `MalformedOfferError`."""
    read: JsonObject = {}
    for name in _ADDRESSES:
        if not isinstance(address := config.get(name), str):
            raise MalformedOfferError(f"The channel's {name} is a {type(address).__name__}, expected an address.")
        checksum_address(address)
        read[name] = address
    delay, salt = config.get("withdrawDelay"), config.get("salt")
    # A bool is an int in Python: `True` would be signed as a delay of one second.
    if type(delay) is not int or not 0 <= delay < 2**40:
        raise MalformedOfferError(f"The channel's withdrawDelay is {delay!r:.40}, expected seconds as a number.")
    if not isinstance(salt, str) or not _BYTES32.fullmatch(salt):
        raise MalformedOfferError("The channel's salt is not 32 bytes as 0x-hex.")
    return read | {"withdrawDelay": delay, "salt": salt}


def _amount(text: object, name: str) -> int:
    amount = parse_uint(text)
    if amount > MAX_AMOUNT:
        raise MalformedOfferError(f"{name} is {amount}, which is no uint128.")
    return amount


def _unproven(problem: str) -> PaymentRefusedError:
    return PaymentRefusedError(
        f"The gateway refused the voucher and says that it counts otherwise, but {problem}. Its count is not taken "
        "over, and no other voucher is signed for it. It can claim no more than was signed before; to get the rest of "
        "the deposit back, ask for a refund or withdraw it."
    )


def _hex(data: bytes) -> str:
    return "0x" + data.hex()

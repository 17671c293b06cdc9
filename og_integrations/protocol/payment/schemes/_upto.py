"""
The scheme `upto` is Permit2 for at most an amount, settled by a named facilitator (docs/protocol.md §3.2).

The wallet signs EIP-712 typed data, a `PermitWitnessTransferFrom` whose witness binds the payee and the
facilitator. The digest of an authorization identifies it: it is shown as `payment_hash`, and whoever has the
receipt can compute it again.
"""

from dataclasses import dataclass

from og_integrations.errors import MalformedOfferError
from og_integrations.networks import PERMIT2_ADDRESS, UPTO_PROXY_ADDRESS
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain import _eip712 as eip712
from og_integrations.protocol.payment._x402 import PaymentRequirements, checksum_address, parse_uint

NAME = "upto"
VALID_BEFORE = 600
"""Seconds by which `validAfter` lies in the past, or a clock that is ahead would sign a permit of the future."""

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

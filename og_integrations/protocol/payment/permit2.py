"""
What the wallet signs: EIP-712 typed data and digests (PROTOCOL §3.2).

Two forms. *Permit2* `PermitWitnessTransferFrom`, whose witness binds the payee (scheme `exact`) and,
for `upto`, also the facilitator who may settle. *EIP-3009* `TransferWithAuthorization`, for tokens
that know it (scheme `exact` only). The digest of an authorization identifies it: we show it as
`payment_hash`, and whoever has the receipt can recompute it.
"""

import re
from dataclasses import dataclass

from og_integrations.errors import MalformedOfferError
from og_integrations.networks import PERMIT2_ADDRESS
from og_integrations.protocol.chain.abi import keccak, uint_word
from og_integrations.protocol.payment import eip712
from og_integrations.protocol.strict_json import JsonObject

MAX_AMOUNT = 2**160 - 1
"""Permit2 and the facilitators hold amounts as uint160."""
UPTO_VALID_BEFORE = 600
"""Seconds that `validAfter` of an `upto` authorization lies in the past, for clocks that are off."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_UINT = re.compile(r"0|[1-9][0-9]{0,77}")

_PERMIT_TYPES = {
    "PermitWitnessTransferFrom": (
        "TokenPermissions permitted",
        "address spender",
        "uint256 nonce",
        "uint256 deadline",
        "Witness witness",
    ),
    "TokenPermissions": ("address token", "uint256 amount"),
}
_UPTO_TYPES = _PERMIT_TYPES | {"Witness": ("address to", "address facilitator", "uint256 validAfter")}
_EXACT_TYPES = _PERMIT_TYPES | {"Witness": ("address to", "uint256 validAfter")}
_TRANSFER_TYPES = {
    "TransferWithAuthorization": (
        "address from",
        "address to",
        "uint256 value",
        "uint256 validAfter",
        "uint256 validBefore",
        "bytes32 nonce",
    )
}


def checksum_address(address: str) -> str:
    """Return `address` with the capitals of EIP-55. Raises `MalformedOfferError` if it is none."""
    if not _ADDRESS.fullmatch(address):
        raise MalformedOfferError(f"{address[:80]!r} is no address; expected 0x and 40 hex digits.")
    digits = address[2:].lower()
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(mark, 16) > 7 else c for c, mark in zip(digits, marks, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit2Authorization:
    """
    A `PermitWitnessTransferFrom`: at most `amount` base units of `token` from `payer` to `pay_to`.

    `facilitator` may settle it (`upto`); None means scheme `exact`, where anybody may. `valid_after`
    and `deadline` are unix seconds, `nonce` an unordered Permit2 nonce (uint256).
    """

    chain_id: int
    payer: str
    token: str
    amount: int
    spender: str
    nonce: int
    deadline: int
    pay_to: str
    facilitator: str | None
    valid_after: int

    def typed_data(self) -> JsonObject:
        """Return the whole EIP-712 message, as wallets and `eth_account` take it."""
        return eip712.typed_data(
            _EXACT_TYPES if self.facilitator is None else _UPTO_TYPES,
            {"name": "Permit2", "chainId": self.chain_id, "verifyingContract": PERMIT2_ADDRESS},
            {
                "permitted": {"token": self.token, "amount": self.amount},
                "spender": self.spender,
                "nonce": self.nonce,
                "deadline": self.deadline,
                "witness": self._witness() | {"validAfter": self.valid_after},
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
                "witness": self._witness() | {"validAfter": str(self.valid_after)},
            },
            "signature": signature,
        }

    def _witness(self) -> JsonObject:
        """Return the addresses of the witness, in the order in which they are signed and sent."""
        return {"to": self.pay_to} | ({} if self.facilitator is None else {"facilitator": self.facilitator})

    @classmethod
    def from_payload(cls, payload: JsonObject, chain_id: int) -> "Permit2Authorization":
        """Read it back from such a `payload`. Raises `MalformedOfferError` if it is not one."""
        try:
            permit = payload["permit2Authorization"]
            permitted, witness = permit["permitted"], permit["witness"]
            facilitator = witness.get("facilitator")
            return cls(
                chain_id=chain_id,
                payer=checksum_address(permit["from"]),
                token=checksum_address(permitted["token"]),
                amount=parse_uint(permitted["amount"]),
                spender=checksum_address(permit["spender"]),
                nonce=parse_uint(permit["nonce"]),
                deadline=parse_uint(permit["deadline"]),
                pay_to=checksum_address(witness["to"]),
                facilitator=None if facilitator is None else checksum_address(facilitator),
                valid_after=parse_uint(witness["validAfter"]),
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise MalformedOfferError("The payment payload is not a permit2Authorization.") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Eip3009Authorization:
    """A `TransferWithAuthorization` of exactly `amount` base units of `token` (scheme `exact`)."""

    chain_id: int
    payer: str
    token: str
    token_name: str
    token_version: str
    amount: int
    nonce: int
    deadline: int
    pay_to: str
    valid_after: int = 0

    spender = ""
    facilitator = None

    def typed_data(self) -> JsonObject:
        """Return the whole EIP-712 message."""
        return eip712.typed_data(
            _TRANSFER_TYPES,
            {
                "name": self.token_name,
                "version": self.token_version,
                "chainId": self.chain_id,
                "verifyingContract": self.token,
            },
            {
                "from": self.payer,
                "to": self.pay_to,
                "value": self.amount,
                "validAfter": self.valid_after,
                "validBefore": self.deadline,
                "nonce": uint_word(self.nonce),
            },
        )

    def digest(self) -> bytes:
        """Return the 32 bytes that are signed."""
        return eip712.digest(self.typed_data())

    def payload(self, signature: str) -> JsonObject:
        """Return the `payload` of a PAYMENT-SIGNATURE header."""
        return {
            "authorization": {
                "from": self.payer,
                "to": self.pay_to,
                "value": str(self.amount),
                "validAfter": str(self.valid_after),
                "validBefore": str(self.deadline),
                "nonce": "0x" + uint_word(self.nonce).hex(),
            },
            "signature": signature,
        }


Authorization = Permit2Authorization | Eip3009Authorization


def parse_uint(text: object) -> int:
    """Read a uint256 from plain decimal text: no sign, exponent, blank or leading zero."""
    if not isinstance(text, str) or not _UINT.fullmatch(text) or int(text) >= 2**256:
        raise MalformedOfferError(f"{str(text)[:80]!r} is no uint256; expected plain decimal digits as text.")
    return int(text)

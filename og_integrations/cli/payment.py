"""The check `payment-hash`: it recomputes from the receipt alone (`protocol.permit2`)."""

from og_integrations.errors import MalformedOfferError
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.checks import Check
from og_integrations.protocol.permit2 import checksum_address, parse_uint
from og_integrations.protocol.record import HASH_SOURCES, OWN_HASH, authorization_of

_ADDRESSES = ("payer", "asset", "spender", "pay_to")
_NUMBERS_AS_TEXT = ("max_amount", "nonce")
_TIMES = ("valid_after", "deadline")


def payment_check(receipt: JsonObject) -> Check:
    """
    Return whether the payment hash is the EIP-712 digest of the receipt's payment fields.

    A pass says which authorization is meant, not who signed it, or that it was settled: the chain knows that.
    """
    payment = receipt.get("payment")
    if payment is None:
        return Check("payment-hash", "skip", "the receipt names no payment")
    if not isinstance(payment, dict):
        return Check("payment-hash", "fail", "the receipt's payment is no object")
    if payment.get("payment_hash_source") not in HASH_SOURCES:
        return Check("payment-hash", "fail", f"payment_hash_source is none of {', '.join(HASH_SOURCES)}")
    if payment["payment_hash_source"] != OWN_HASH:
        return Check("payment-hash", "skip", "the gateway's own hash, which nobody can recompute")
    if payment.get("spender") == "":
        return Check("payment-hash", "skip", "an EIP-3009 transfer: the token's name is not in the receipt")
    try:
        digest = _digest(receipt)
    except (ArithmeticError, AttributeError, KeyError, MalformedOfferError, TypeError, ValueError) as exc:
        return Check("payment-hash", "fail", f"the payment is no Permit2 authorization ({type(exc).__name__}: {exc})")
    if payment.get("payment_hash") != digest:
        return Check("payment-hash", "fail", f"the payment's fields hash to {digest}, not to its payment_hash")
    return Check("payment-hash", "pass", "EIP-712 digest of the payment's fields, among which the payer is not")


def _digest(receipt: JsonObject) -> str:
    payment = receipt["payment"]
    # Stricter than reading needs: two spellings of one payment must not both be "the" payment.
    for name in _ADDRESSES if payment["facilitator"] is None else (*_ADDRESSES, "facilitator"):
        checksum_address(payment[name])
    if payment["scheme"] != ("exact" if payment["facilitator"] is None else "upto"):
        raise ValueError("scheme is not the one that its facilitator says")
    for name in _NUMBERS_AS_TEXT:
        parse_uint(payment[name])
    for name in _TIMES:
        if type(payment[name]) is not int:
            raise ValueError(f"{name} is not a whole number")
    return "0x" + authorization_of(receipt).digest().hex()

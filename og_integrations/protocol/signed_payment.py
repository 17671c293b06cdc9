"""
What was signed, read back out of a receipt that a stranger may have written.

The chain is then asked about exactly these words, so none of them may be one thing to us and another to
whoever reads the receipt: each is taken only in the one spelling that `receipt` gives it.
"""

from og_integrations.errors import ConfigurationError, MalformedOfferError
from og_integrations.networks import EXACT_PROXY_ADDRESS, UPTO_PROXY_ADDRESS
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.permit2 import Permit2Authorization, checksum_address, parse_uint
from og_integrations.protocol.receipt import OWN_HASH
from og_integrations.protocol.x402 import parse_chain_id


def rebuild_authorization(payment: JsonObject) -> Permit2Authorization:
    """
    Return the authorization that the member `payment` of a receipt is about; its `digest` is the payment hash.

    Raises `MalformedOfferError` if the fields are not those of a Permit2 payment.
    """
    try:
        facilitator = payment["facilitator"]
        return Permit2Authorization(
            chain_id=parse_chain_id(payment["network"]),
            payer=checksum_address(payment["payer"]),
            token=checksum_address(payment["asset"]),
            amount=parse_uint(payment["max_amount"]),
            spender=checksum_address(payment["spender"]),
            nonce=parse_uint(payment["nonce"]),
            deadline=_seconds(payment["deadline"]),
            pay_to=checksum_address(payment["pay_to"]),
            facilitator=None if facilitator is None else checksum_address(facilitator),
            valid_after=_seconds(payment["valid_after"]),
        )
    except (KeyError, TypeError) as exc:
        raise MalformedOfferError(f"The payment lacks a signed field, or holds another type in it ({exc}).") from exc


def read_authorization(payment: JsonObject) -> Permit2Authorization:
    """
    Return what the wallet signed, for asking the chain about it; `payment` is a receipt's member.

    Raises `ConfigurationError` if it was no Permit2 payment through a known proxy, or if it is not the one
    that `payment_hash` names.
    """
    try:
        found = rebuild_authorization(payment)
        named, source = payment["payment_hash"], payment["payment_hash_source"]
    except (KeyError, MalformedOfferError) as exc:
        raise ConfigurationError(
            "The receipt holds no Permit2 payment: expected `payment` with the signed fields, as Receipts.save "
            f"writes it ({str(exc).rstrip('.')})."
        ) from exc
    if found.spender != (EXACT_PROXY_ADDRESS if found.facilitator is None else UPTO_PROXY_ADDRESS):
        raise ConfigurationError(
            f"The receipt's payment goes through {found.spender}, expected {UPTO_PROXY_ADDRESS} with a facilitator or "
            f"{EXACT_PROXY_ADDRESS} without. What another contract takes is no payment to a gateway."
        )
    digest = "0x" + found.digest().hex()
    # Gateways may give a payment a name of their own, which nobody can recompute.
    if source == OWN_HASH and str(named).lower() != digest:
        raise ConfigurationError(
            f"The receipt's payment_hash is not that of the fields beside it, which is {digest}. One of them was "
            "changed: the chain cannot say anything about this receipt."
        )
    return found


def _seconds(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise MalformedOfferError("A time is a whole number of seconds.")
    return value

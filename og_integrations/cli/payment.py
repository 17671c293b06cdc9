"""The check `payment-hash`: it recomputes from the receipt alone (`protocol.receipt`)."""

from og_integrations.errors import MalformedOfferError
from og_integrations.protocol.proof.verification import Check
from og_integrations.protocol.receipt import HASH_SOURCES, OWN_HASH, rebuild_authorization
from og_integrations.protocol.strict_json import JsonObject


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
        signed = rebuild_authorization(payment)
    except MalformedOfferError as exc:
        return Check("payment-hash", "fail", f"the payment is no Permit2 authorization: {exc}")
    if payment.get("scheme") != "upto":
        return Check("payment-hash", "fail", "the payment's scheme is not the one that its facilitator says")
    digest = "0x" + signed.digest().hex()
    if payment.get("payment_hash") != digest:
        return Check("payment-hash", "fail", f"the payment's fields hash to {digest}, not to its payment_hash")
    return Check("payment-hash", "pass", "EIP-712 digest of the payment's fields, among which the payer is not")

"""
This module stands between the protocol's values and a receipt's members: kinds, enclaves, and what was signed.

`read_authorization` reads back what was signed out of a receipt that a stranger may have written.

The chain is then asked about exactly these words, so none of them may be one thing to us and another to whoever reads
the receipt: each is taken only in the one spelling that a receipt of ours has.
"""

import hashlib
from functools import lru_cache

from og_integrations.errors import ConfigurationError, MalformedOfferError
from og_integrations.networks import UPTO_PROXY_ADDRESS
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, SEARCH_PATH
from og_integrations.protocol.payment._x402 import checksum_address, parse_chain_id, parse_uint
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from og_integrations.protocol.proof._enclave import Enclave
from og_integrations.receipt import OWN_HASH, ReceiptEnclave, ReceiptPayment

KINDS = {CHAT_PATH: "chat", COMPLETION_PATH: "completion", SEARCH_PATH: "search"}
"""Endpoint -> what a receipt calls a request to it."""


@lru_cache(maxsize=64)
def described(enclave: Enclave) -> ReceiptEnclave:
    """Return `enclave` as it stands in a receipt."""
    # Cached: the key's hex and the certificate's hash are the same for every call.
    certificate = enclave.certificate
    return ReceiptEnclave(
        endpoint=str(enclave.endpoint),
        public_key=enclave.public_key.hex(),
        certificate_sha256=hashlib.sha256(certificate).hexdigest() if certificate else None,
        pcr_hash=enclave.pcr_hash or None,
        payment_address=enclave.payment_address,
        source=enclave.source,
    )


def rebuild_authorization(payment: ReceiptPayment) -> Permit2Authorization:
    """
    Return the authorization that `payment` is about; its `digest` is the payment hash.

    Raises `MalformedOfferError` if the fields are not those of a Permit2 payment.
    """
    # The digest covers every signed field, so a payment that lacks one cannot be tied to its hash.
    if payment.valid_after is None or payment.deadline is None:
        raise MalformedOfferError("The payment lacks a signed field (valid_after, deadline).")
    return Permit2Authorization(
        chain_id=parse_chain_id(_given(payment.network)),
        payer=checksum_address(_given(payment.payer)),
        token=checksum_address(_given(payment.asset)),
        amount=parse_uint(_given(payment.max_amount)),
        spender=checksum_address(_given(payment.spender)),
        nonce=parse_uint(_given(payment.nonce)),
        deadline=_seconds(payment.deadline),
        pay_to=checksum_address(_given(payment.pay_to)),
        facilitator=checksum_address(_given(payment.facilitator)),
        valid_after=_seconds(payment.valid_after),
    )


def read_authorization(payment: ReceiptPayment | None) -> Permit2Authorization:
    """
    Return what the wallet signed, for asking the chain about it; `payment` is a receipt's member.

    Raises `ConfigurationError` if it was no Permit2 payment through a known proxy, or if it is not the one
    that `payment_hash` names.
    """
    try:
        if payment is None or payment.payment_hash is None or payment.payment_hash_source is None:
            raise MalformedOfferError("No payment is named.")
        found = rebuild_authorization(payment)
    except MalformedOfferError as exc:
        raise ConfigurationError(
            "The receipt holds no Permit2 payment: expected `payment` with the signed fields, as Receipts.save "
            f"writes it ({str(exc).rstrip('.')})."
        ) from None
    # A permit for another contract can be settled by other rules, so its nonce would say nothing about a gateway.
    if found.spender != UPTO_PROXY_ADDRESS:
        raise ConfigurationError(
            f"The receipt's payment goes through {found.spender}, expected {UPTO_PROXY_ADDRESS}. What another contract "
            "takes is no payment to a gateway."
        )
    digest = "0x" + found.digest().hex()
    # Gateways may give a payment a name of their own, which nobody can recompute.
    if payment.payment_hash_source == OWN_HASH and payment.payment_hash.lower() != digest:
        raise ConfigurationError(
            f"The receipt's payment_hash is not that of the fields beside it, which is {digest}. One of them was "
            "changed: the chain cannot say anything about this receipt."
        )
    return found


def _given(text: str | None) -> str:
    if text is None:
        raise MalformedOfferError("The payment lacks a signed field.")
    return text


def _seconds(value: int) -> int:
    # A negative time would be encoded as a huge uint256, and an error of the ABI would hide which field is wrong.
    if not 0 <= value < 2**63:
        raise MalformedOfferError("A time is a whole number of seconds.")
    return value

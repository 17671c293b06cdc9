"""
The receipt: one plain-JSON dict about one call, verified or not (DESIGN "Receipt").

Only str, bool, None, int below 2^63, list and dict: it has to survive every serializer, checkpointer
and trace of both frameworks. Amounts in base units are text for that reason. A session id never
stands in it, only `session_ref`.

What was signed, read back out of a receipt that a stranger may have written.

The chain is then asked about exactly these words, so none of them may be one thing to us and another to
whoever reads the receipt: each is taken only in the one spelling that `receipt` gives it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from og_integrations.errors import ConfigurationError, MalformedOfferError, MalformedReplyError
from og_integrations.networks import UPTO_PROXY_ADDRESS
from og_integrations.protocol.chat.wire import Completion
from og_integrations.protocol.payment.schemes import Authorization
from og_integrations.protocol.payment.schemes.upto import Permit2Authorization
from og_integrations.protocol.payment.session import PaymentSession
from og_integrations.protocol.payment.x402 import (
    PAYMENT_RESPONSE,
    PROCESSING_HASH,
    ReplyHead,
    SettlementMode,
    blob_id,
    checksum_address,
    parse_chain_id,
    parse_settlement,
    parse_uint,
    session_ref,
    transaction_hash,
)
from og_integrations.protocol.proof.canonical import NEXT, has_attachments
from og_integrations.protocol.proof.enclave import Enclave
from og_integrations.protocol.proof.verification import Check, VerifiedExchange
from og_integrations.protocol.strict_json import JsonObject

RECEIPT_VERSION = 1
RECEIPT_KEY = "opengradient"
"""The key under which both adapters hand the receipt out."""

OWN_HASH = "eip712"
HASH_SOURCES = (OWN_HASH, PROCESSING_HASH, PAYMENT_RESPONSE)
"""Where a `payment_hash` comes from: our own digest, or one of the gateway's headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """
    Everything about one call that a receipt tells; members stay None as far as it did not get.

    `request_hash` (hex) says which request a call without proof was about.
    """

    model: str
    created: int
    settlement_mode: SettlementMode
    enclave: Enclave | None = None
    grant: PaymentSession | None = None
    head: ReplyHead | None = None
    presentation: JsonObject | None = None
    request_hash: str | None = None


def build_receipt(
    record: CallRecord, *, verified: VerifiedExchange | None = None, checks: Sequence[Check] = ()
) -> JsonObject:
    """Return the receipt of a call; its status is "verified" only with a `VerifiedExchange`."""
    proof = verified.proof if verified is not None else None
    payment = None
    if record.grant is not None:
        payment = _payment(record, record.grant, verified.exchange.completion if verified is not None else None)
    return {
        "version": RECEIPT_VERSION,
        "status": "verified" if verified is not None else "unverified",
        "model": record.model,
        "created": record.created,
        "presentation": record.presentation,
        "request_hash": proof.request_hash if proof else record.request_hash,
        "output_hash": proof.output_hash if proof else None,
        "tee_timestamp": proof.timestamp if proof else None,
        "tee_signature": proof.signature if proof else None,
        "tee_id": proof.tee_id if proof else (record.enclave.tee_id if record.enclave else None),
        "enclave": _enclave(record.enclave) if record.enclave else None,
        "payment": payment,
        "checks": [check.to_json() for check in (verified.checks if verified is not None else checks)],
        "unsigned": unsigned_fields(verified, payment) if verified is not None else [],
        "hashing": verified.hashing if verified is not None else None,
    }


def unsigned_fields(verified: VerifiedExchange, payment: JsonObject | None) -> list[str]:
    """Return what of a verified call the signature leaves out: parts of request, answer and `payment`."""
    completion, reported = verified.exchange.completion, payment or {}
    present = {
        # The newer gateways hash that there is an image or file, and not its bytes.
        "attachments": verified.hashing == NEXT and has_attachments(verified.request),
        "content": bool(completion.tool_calls and completion.text),
        "created": completion.created is not None,
        "finish_reason": True,
        "id": completion.id is not None,
        "images": bool(completion.images),
        "model": True,
        "reasoning_content": bool(completion.reasoning),
        "settlement": bool(completion.settlement)
        or any(reported.get(name) is not None for name in ("transaction_hash", "blob_id"))
        or reported.get("payment_hash_source", OWN_HASH) != OWN_HASH,
        "usage": completion.usage is not None,
    }
    return [name for name, there in present.items() if there]


def span_attributes(receipt: JsonObject) -> dict[str, str | bool | int]:
    """Return `receipt` as a span's attributes: flat, to search for, and as a whole, to verify."""
    found = {name: receipt.get(name) for name in ("status", "request_hash", "output_hash")} | flat_fields(receipt)
    found |= {"verified": receipt["status"] == "verified", "receipt": json.dumps(receipt)}
    return {f"{RECEIPT_KEY}.{name}": value for name, value in found.items() if value is not None}


def flat_fields(receipt: JsonObject) -> JsonObject:
    """Return the few members of `receipt` that users of the published adapter read at top level."""
    payment = receipt.get("payment") or {}
    flat = {name: payment.get(name) for name in ("payment_hash", "transaction_hash")}
    return flat | {name: receipt.get(name) for name in ("tee_signature", "tee_id", "tee_timestamp")}


def _enclave(enclave: Enclave) -> JsonObject:
    certificate = enclave.certificate
    return {
        "endpoint": enclave.endpoint,
        "public_key": enclave.public_key.hex(),
        "certificate_sha256": hashlib.sha256(certificate).hexdigest() if certificate else None,
        "pcr_hash": enclave.pcr_hash or None,
        "payment_address": enclave.payment_address,
        "source": enclave.source,
    }


def _payment(record: CallRecord, grant: PaymentSession, completion: Completion | None) -> JsonObject:
    authorization = grant.authorization
    settlement = _settlement(record.head)
    streamed = completion.settlement if completion else {}
    session = grant.session_id
    return {
        "payment_hash": settlement.get("payment_hash") or _digest(authorization),
        "payment_hash_source": settlement.get("payment_hash_source") or OWN_HASH,
        "scheme": grant.requirements.scheme,
        "network": grant.requirements.network,
        "asset": authorization.token,
        "payer": authorization.payer,
        "pay_to": authorization.pay_to,
        "facilitator": authorization.facilitator,
        "spender": authorization.spender,
        "max_amount": str(authorization.amount),
        "nonce": str(authorization.nonce),
        "valid_after": authorization.valid_after,
        "deadline": authorization.deadline,
        "session_ref": session_ref(session.reveal()) if session else None,
        "settlement_mode": record.settlement_mode.value,
        "transaction_hash": settlement.get("transaction_hash")
        or transaction_hash(streamed.get("data_settlement_transaction_hash")),
        "blob_id": settlement.get("blob_id") or blob_id(streamed.get("data_settlement_blob_id")),
    }


@lru_cache(maxsize=256)
def _digest(authorization: Authorization) -> str:
    # Ten hashes, and every call of a session asks for the same one.
    return "0x" + authorization.digest().hex()


def _settlement(head: ReplyHead | None) -> JsonObject:
    try:
        return parse_settlement(head) if head else {}
    except MalformedReplyError:
        # Nothing of it is signed, and a receipt is also made while another error is on its way.
        return {}


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
            facilitator=checksum_address(facilitator),
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
    if found.spender != UPTO_PROXY_ADDRESS:
        raise ConfigurationError(
            f"The receipt's payment goes through {found.spender}, expected {UPTO_PROXY_ADDRESS}. What another contract "
            "takes is no payment to a gateway."
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

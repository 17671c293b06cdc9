"""
The receipt: one plain-JSON dict about one call, verified or not (DESIGN "Receipt").

Only str, bool, None, int below 2^63, list and dict: it has to survive every serializer, checkpointer
and trace of both frameworks. Amounts in base units are text for that reason. A session id never
stands in it, only `session_ref`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from og_integrations.errors import MalformedReplyError
from og_integrations.protocol.canonical import NEXT, has_attachments
from og_integrations.protocol.chat import Completion, JsonObject
from og_integrations.protocol.checks import Check
from og_integrations.protocol.enclave import Enclave
from og_integrations.protocol.permit2 import Authorization
from og_integrations.protocol.sessions import Grant
from og_integrations.protocol.settlement_mode import SettlementMode
from og_integrations.protocol.verification import VerifiedReceipt
from og_integrations.protocol.x402 import (
    PAYMENT_RESPONSE,
    PROCESSING_HASH,
    ReplyHead,
    blob_id,
    parse_settlement,
    session_ref,
    transaction_hash,
)

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
    grant: Grant | None = None
    head: ReplyHead | None = None
    presentation: JsonObject | None = None
    request_hash: str | None = None


def build_receipt(
    record: CallRecord, *, verified: VerifiedReceipt | None = None, checks: Sequence[Check] = ()
) -> JsonObject:
    """Return the receipt of a call; its status is "verified" only with a `VerifiedReceipt`."""
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


def unsigned_fields(verified: VerifiedReceipt, payment: JsonObject | None) -> list[str]:
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


def _payment(record: CallRecord, grant: Grant, completion: Completion | None) -> JsonObject:
    authorization = grant.authorization
    settlement = _settlement(record.head)
    streamed = completion.settlement if completion else {}
    session = grant.session_id
    return {
        "payment_hash": settlement.get("payment_hash") or _digest(authorization),
        "payment_hash_source": settlement.get("payment_hash_source") or OWN_HASH,
        "scheme": grant.requirement.scheme,
        "network": grant.requirement.network,
        "asset": authorization.token,
        "payer": authorization.payer,
        "pay_to": authorization.pay_to,
        "facilitator": authorization.facilitator,
        "spender": authorization.spender,
        "max_amount": str(authorization.amount),
        "nonce": str(authorization.nonce),
        "valid_after": authorization.valid_after,
        "deadline": authorization.deadline,
        "session_ref": session_ref(session) if session else None,
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

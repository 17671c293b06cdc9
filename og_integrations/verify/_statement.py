"""
This module states what was verified: an in-toto Statement in DSSE, signed by a key of one's own (protocol §9.5).

The enclave's signature proves an answer; this one says who has checked it, in the form that policy engines and archives
read. It adds no proof, and nothing is signed that was not verified.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from og_integrations import __version__
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import TeeProof
from og_integrations.protocol.proof._attestation import measurements_in
from og_integrations.receipt import Receipt, ReceiptPayment
from og_integrations.verify._bundle import SavedExchange
from og_integrations.verify._verdict import Verdict

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:og-integrations:inference-receipt:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PLATFORM = "aws-nitro"

SigningKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


def statement_of(saved: SavedExchange, verdict: Verdict, *, name: str, file: bytes, now: int) -> JsonObject:
    """
    Return the in-toto Statement about a saved exchange and its `verdict`.

    Its subjects are the exact bodies of request and response. `file` is the evidence that was judged and `name` its
    name, `now` the time of the verdict in unix seconds. Raises `ConfigurationError` unless the verdict is "verified".
    """
    if not verdict.verified or verdict.proof is None:
        step = f" ({verdict.step})" if verdict.step else ""
        raise ConfigurationError(f"{name} is {verdict.status}{step}: only what is verified is signed.")
    receipt = Receipt(saved.receipt or {"status": "verified"})
    evidence = saved.evidence or {}
    answer = saved.response.encode("utf-8", "surrogatepass")
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": "request", "digest": {"sha256": _sha256(saved.wire)}},
            {"name": "response", "digest": {"sha256": _sha256(answer)}},
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "model": receipt.model,
            "enclave": _enclave(saved, verdict, verdict.proof),
            "tee": _tee(saved, verdict.proof, receipt),
            "nonce": receipt.nonce,
            "checks": [{"id": check.id, "result": check.result} for check in verdict.checks],
            "notSigned": list(verdict.not_covered.get("answer", ())),
            "payment": _payment(receipt.payment) if receipt.payment else None,
            "inclusion": evidence.get("inclusion"),
            "evidence": {"name": name, "digest": {"sha256": _sha256(file)}},
            "verifier": {
                "name": "og-integrations",
                "version": __version__,
                "verifiedAt": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}",
            },
        },
    }


def sealed(statement: JsonObject, key: SigningKey) -> JsonObject:
    """
    Return `statement` in a DSSE envelope, signed by `key`.

    The key's id is the SHA-256 of its SubjectPublicKeyInfo (DER) in hex.
    """
    payload = json.dumps(statement, ensure_ascii=False).encode("utf-8", "surrogatepass")
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    signature = _signed(key, _pre_authentication_encoding(payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": _sha256(public), "sig": base64.b64encode(signature).decode()}],
    }


def load_signing_key(data: bytes) -> SigningKey:
    """
    Return the Ed25519 or ECDSA P-256 key in `data`, which is PEM or DER.

    Raises `ConfigurationError`, which never quotes it.
    """
    load = serialization.load_pem_private_key if b"-----BEGIN" in data else serialization.load_der_private_key
    try:
        key = load(data, password=None)
    except TypeError:
        raise ConfigurationError("the key is encrypted; give one without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError("it holds no private key in PEM or DER") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ConfigurationError("the key is of another kind; give an Ed25519 or an ECDSA P-256 key")


def _signed(key: SigningKey, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _pre_authentication_encoding(payload: bytes) -> bytes:
    # With both lengths in front, no other pair of type and payload has these bytes (DSSE v1).
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _enclave(saved: SavedExchange, verdict: Verdict, proof: TeeProof) -> JsonObject:
    described: JsonObject = {"teeId": proof.tee_id, "platform": PLATFORM, "trust": verdict.trust}
    part = (saved.evidence or {}).get("attestation")
    # Measurements are named only where a document was judged, and passed.
    judged = any(check.id == "attestation" and check.result == "pass" for check in verdict.checks)
    if judged and isinstance(part, Mapping):
        found = measurements_in(base64.b64decode(part["document"]))
        described["measurements"] = dict(zip(("PCR0", "PCR1", "PCR2"), found, strict=True))
    return described


def _tee(saved: SavedExchange, proof: TeeProof, receipt: Receipt) -> JsonObject:
    return {
        "requestHash": proof.request_hash,
        "outputHash": proof.output_hash,
        "timestamp": proof.timestamp,
        "signature": proof.signature,
        "publicKey": base64.b64encode(saved.public_key).decode(),
        "hashRule": receipt.hash_rule,
    }


def _payment(payment: ReceiptPayment) -> JsonObject:
    return {
        "network": payment.network,
        "paymentHash": payment.payment_hash,
        "transaction": payment.transaction_hash,
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

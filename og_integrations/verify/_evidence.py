"""
This module judges the parts of an evidence file beside receipt and exchange: what AWS, the chain and the call add.

Nothing is asked of anybody. What a part needs and the file does not hold is named, and never a pass.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from og_integrations.errors import AttestationError, ConfigurationError, SealedChannelError, VerificationError
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.protocol.chat._wire import TeeProof
from og_integrations.protocol.proof._canonical import nonce_place, signed_digest
from og_integrations.protocol.proof._enclave import key_config_digest, normalize_hash, tee_id_of
from og_integrations.protocol.proof._inclusion import Inclusion, verify_inclusion
from og_integrations.protocol.proof._measurements import AttestationPolicy
from og_integrations.protocol.proof._verification import STEPS, StepError, TrustDecision, is_signed_by
from og_integrations.receipt import Check, Receipt, without_presentation
from og_integrations.verify._bundle import BODIES, EVIDENCE, SavedExchange, parse_bundle

PARTS = ("receipt", "nonce", "attestation", "hpke", "inclusion", "payment")
"""What evidence may hold beside its exchange, in the order in which it is judged."""
_INCLUSION = ("chain_id", "contract", "transaction", "block", "block_time", "root", "leaf", "proof")
_NOT_TODAY = "; judged at the time that the file names, which says nothing about how fresh it is today"


class MissingPartError(Exception):
    """A part of the evidence, or a member of it, is not in the file; the message names it."""


def document_of(saved: SavedExchange, policy: AttestationPolicy | None) -> TrustDecision:
    """
    Return how far the attestation document in `saved` lets its enclave be believed, with the verdict on it.

    `policy` has the pinned builds and roots; None: AWS's root, and no build. The level is None if the document is
    refused, missing, or can be judged in part only; a refusal alone is an answer.
    """
    # Loaded for this alone: certificates take a sixth of the time in which a verifier starts.
    from og_integrations.protocol.proof._attestation import trust_of, verify_document

    try:
        part = _object(saved.evidence or {}, "attestation")
        certificate = _bytes(part, "attestation.tls_certificate")
        _check_certificate(saved, certificate)
        received_at = part.get("received_at")
        if type(received_at) is not int:
            raise MissingPartError("attestation.received_at")
        found = verify_document(
            _bytes(part, "attestation.document"),
            policy=policy or AttestationPolicy(None),
            now=received_at,
            nonce=_hex(part, "attestation.nonce"),
            tls_certificate=certificate,
            signing_key=saved.public_key,
            pcr_hash=_listed_hash(saved),
        )
    except MissingPartError as exc:
        told = f"{exc} is not in the file"
        return TrustDecision(None, told, answered=False, document=Check("attestation", "skip", told))
    except (AttestationError, StepError) as exc:
        return TrustDecision(None, str(exc), document=Check("attestation", "fail", str(exc)))
    decision = trust_of(found)
    judged = decision.document
    if judged is None or decision.level is None:
        return decision
    return replace(decision, document=replace(judged, detail=judged.detail + _NOT_TODAY))


def part_checks(saved: SavedExchange, proof: TeeProof | None) -> list[Check]:
    """Return the verdicts on the other parts of evidence; those that are not there are named by one check."""
    evidence = saved.evidence
    if evidence is None:
        return []
    judges = {"nonce": _nonce, "hpke": _key_config, "inclusion": _inclusion, "payment": _payment}
    checks = [judge(saved, evidence, proof) for name, judge in judges.items() if evidence.get(name) is not None]
    missing = [name for name in PARTS if evidence.get(name) is None]
    missing += [f"exchange.{name}" for name in BODIES if saved.redacted]
    if missing:
        checks.append(Check("evidence", "skip", f"not in the file: {', '.join(missing)}"))
    return checks


def redacted_checks(saved: SavedExchange, decision: TrustDecision) -> tuple[TeeProof | None, list[Check]]:
    """Return what the enclave signed as the receipt says it, and the verdicts that need no request and no answer."""
    proof, verdicts = _claimed_proof(saved), dict.fromkeys(STEPS, "not in the file: it is redacted")
    checks = {name: Check(name, "skip", detail) for name, detail in verdicts.items()}
    if proof is None:
        return None, [*(checks | {"proof": Check("proof", "fail", "the receipt holds no whole proof")}).values()]
    checks["proof"] = Check("proof", "pass", "signature, hashes, time and id are in the receipt")
    checks["enclave"] = _checked("enclave", tee_id_of(saved.public_key) == normalize_hash(proof.tee_id), proof.tee_id)
    checks["signature"] = _checked(
        "signature", _is_signed(saved, proof), "RSA-PSS over keccak256(request ‖ output ‖ time), as hashes"
    )
    if decision.level is not None:
        checks["enclave-trusted"] = Check("enclave-trusted", "pass", decision.detail)
    elif decision.answered:
        checks["enclave-trusted"] = Check("enclave-trusted", "fail", decision.detail)
    else:
        checks["enclave-trusted"] = Check("enclave-trusted", "skip", decision.detail)
    if decision.document is not None:
        checks["attestation"] = decision.document
    return proof, list(checks.values())


def evidence_of(document: JsonObject, *, redact: bool = False) -> JsonObject:
    """
    Return saved evidence, or a saved receipt, as `og-evidence/1`; with `redact` without prompt and answer.

    The hashes stay, and the nonce that keeps them from being guessed.
    """
    exchange = document.get("exchange") or {}
    if redact:
        exchange = {name: value for name, value in exchange.items() if name not in BODIES}
    rest = {name: value for name, value in document.items() if name not in ("format", "exchange")}
    if redact and isinstance(receipt := rest.get("receipt"), dict):
        rest["receipt"] = without_presentation(receipt)
    return {"format": EVIDENCE, "exchange": exchange, **rest}


def inclusion_in(document: JsonObject, lines: bytes) -> JsonObject:
    """
    Return the part `inclusion` for a saved `document`, of what `settlement --inclusion --json` printed.

    Raises `ConfigurationError` if none of `lines` is about this receipt.
    """
    for found in _objects_in(lines, "the proofs of inclusion"):
        part = {name: found[name] for name in _INCLUSION if name in found}
        saved = parse_bundle(json.dumps({"format": EVIDENCE, **document, "inclusion": part}).encode())
        if part and _inclusion(saved, {"inclusion": part}, _claimed_proof(saved)).result == "pass":
            return part
    raise ConfigurationError("none of the proofs of inclusion is about this receipt")


def payment_in(document: JsonObject, lines: bytes) -> JsonObject:
    """
    Return the part `payment` for a saved `document`, of what `settlement --json` printed.

    Raises `ConfigurationError` if none of `lines` names a transaction that settled this receipt's payment.
    """
    receipt = document.get("receipt")
    paid = Receipt(receipt).payment if isinstance(receipt, dict) else None
    for found in _objects_in(lines, "the settlements"):
        transaction = found.get("transaction_hash")
        if paid is not None and found.get("payment") == paid.payment_hash and isinstance(transaction, str):
            return {"network": paid.network, "transaction": transaction}
    raise ConfigurationError("none of the settlements is of this receipt's payment")


def _objects_in(lines: bytes, what: str) -> Iterator[JsonObject]:
    """Yield the objects of JSON Lines; `what` begins the `ConfigurationError` for a line that is no JSON."""
    for line in filter(bytes.strip, lines.splitlines()):
        try:
            found = decode_json(line)
        except ValueError:
            raise ConfigurationError(f"{what} are not JSON Lines") from None
        if isinstance(found, dict):
            yield found


def _receipt_in(saved: SavedExchange) -> Receipt | None:
    """Return the receipt of the file with names and types; None if there is none that can be read."""
    try:
        return None if saved.receipt is None else Receipt(saved.receipt)
    except ConfigurationError:
        return None


def _check_certificate(saved: SavedExchange, certificate: bytes) -> None:
    receipt = _receipt_in(saved)
    named = receipt.enclave.certificate_sha256 if receipt is not None and receipt.enclave is not None else None
    if named is not None and named != hashlib.sha256(certificate).hexdigest():
        raise StepError("the document is about another TLS certificate than the receipt names")


def _listed_hash(saved: SavedExchange) -> str | None:
    receipt = _receipt_in(saved)
    return receipt.enclave.pcr_hash if receipt is not None and receipt.enclave is not None else None


def _nonce(saved: SavedExchange, evidence: JsonObject, proof: TeeProof | None) -> Check:
    part = evidence["nonce"]
    value = part.get("value") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(value, str):
        return Check("nonce", "fail", "the nonce of the file is no text")
    receipt = _receipt_in(saved)
    if receipt is not None and receipt.nonce not in (None, value):
        return Check("nonce", "fail", "the receipt names another nonce than the file")
    if saved.redacted:
        return Check("nonce", "skip", "the request that carries it is not in the file")
    try:
        request = json.loads(saved.wire)
    except (ValueError, RecursionError):
        request = None
    place = nonce_place(saved.path, request, value) if isinstance(request, dict) else None
    if place is None or place != part.get("place"):
        return Check("nonce", "fail", "the request does not carry it where the file says, and where it is hashed")
    return Check("nonce", "pass", f"the request carries it in {place}: what was signed answers this request alone")


def _key_config(saved: SavedExchange, evidence: JsonObject, proof: TeeProof | None) -> Check:
    # Loaded for this alone.
    from og_integrations.protocol.sealing._ohttp import KeyConfig

    try:
        part = _object(evidence, "hpke")
        blob, signature = _bytes(part, "hpke.key_config"), _bytes(part, "hpke.signature")
        config = KeyConfig.parse(blob)
        digest = key_config_digest(saved.public_key, config.ids, config.public_key, blob)
        return _checked("hpke", is_signed_by(saved.public_key, digest, signature), "signed by the enclave's own key")
    except (MissingPartError, SealedChannelError, StepError) as exc:
        return Check("hpke", "fail", f"the key of the sealed channel is not one that the enclave signed ({exc})")


def _inclusion(saved: SavedExchange, evidence: JsonObject, proof: TeeProof | None) -> Check:
    part = evidence["inclusion"]
    try:
        if proof is None:
            return Check("inclusion", "skip", "the file holds no proof to look for")
        if not isinstance(part, Mapping) or not isinstance(part.get("proof"), list):
            raise MissingPartError("inclusion.proof")
        root = _hash(part.get("root"))
        inclusion = Inclusion(leaf=_hash(part.get("leaf")), proof=tuple(map(_hash, part["proof"])))
        verify_inclusion(
            inclusion,
            root=root,
            tee_id=normalize_hash(proof.tee_id),
            request_hash=proof.request_hash,
            output_hash=proof.output_hash,
            signature=proof.signature,
            timestamp=proof.timestamp,
        )
    except (MissingPartError, ValueError, VerificationError) as exc:
        return Check("inclusion", "fail", f"the receipt is not in that batch ({exc})")
    return Check("inclusion", "pass", f"it is in the batch 0x{root.hex()}; whether that root is on chain was not asked")


def _payment(saved: SavedExchange, evidence: JsonObject, proof: TeeProof | None) -> Check:
    return Check("payment", "skip", "which transaction paid is the word of the file; the chain knows")


def _claimed_proof(saved: SavedExchange) -> TeeProof | None:
    """Return what the receipt says that the enclave signed; None if a part of that is not in it."""
    receipt = _receipt_in(saved)
    if receipt is None or receipt.request_hash is None or receipt.output_hash is None:
        return None
    if receipt.tee_timestamp is None or receipt.tee_signature is None or receipt.tee_id is None:
        return None
    return TeeProof(
        request_hash=receipt.request_hash,
        output_hash=receipt.output_hash,
        timestamp=receipt.tee_timestamp,
        signature=receipt.tee_signature,
        tee_id=receipt.tee_id,
    )


def _is_signed(saved: SavedExchange, proof: TeeProof) -> bool:
    try:
        hashes = _hash(proof.request_hash), _hash(proof.output_hash)
        digest = signed_digest(*hashes, proof.timestamp)
        return is_signed_by(saved.public_key, digest, base64.b64decode(proof.signature, validate=True))
    except (OverflowError, StepError, ValueError):
        return False


def _checked(step: str, holds: bool, detail: str) -> Check:
    return Check(step, "pass" if holds else "fail", detail if holds else f"it is not so: {detail}")


def _object(evidence: JsonObject, name: str) -> Mapping[str, object]:
    part = evidence.get(name)
    if not isinstance(part, Mapping):
        raise MissingPartError(name)
    return part


def _text(part: Mapping[str, object], place: str) -> str:
    """Return the text at `place`, such as `attestation.nonce`, of the `part` that it begins with."""
    text = part.get(place.partition(".")[2])
    if not isinstance(text, str):
        raise MissingPartError(place)
    return text


def _bytes(part: Mapping[str, object], place: str) -> bytes:
    text = _text(part, place)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise StepError(f"{place} is not base64") from None
    # Spare bits of the last character would give one document many spellings.
    if base64.b64encode(data).decode() != text:
        raise StepError(f"{place} is not base64 in its canonical spelling")
    return data


def _hex(part: Mapping[str, object], place: str) -> bytes:
    try:
        return bytes.fromhex(_text(part, place))
    except ValueError:
        raise StepError(f"{place} is not hex") from None


def _hash(text: object) -> bytes:
    """Return 32 bytes from hex with or without 0x. Raises `ValueError`."""
    data = bytes.fromhex(text.removeprefix("0x")) if isinstance(text, str) else b""
    if len(data) != 32:
        raise ValueError("no hash of 32 bytes")
    return data

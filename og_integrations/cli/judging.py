"""
The verdict on one saved exchange: the steps of `protocol.proof.verification`, and what its receipt claims.

Three checks exist only here: `receipt` (the receipt speaks about this very exchange), `payment-hash` (it
recomputes from the receipt) and `not-covered`, which names what could be altered all the same. What
nobody can judge offline, when and how the answer came, is a skip.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from og_integrations.cli.coverage import coverage_check
from og_integrations.cli.payment import payment_check
from og_integrations.cli.saved import SavedExchange
from og_integrations.cli.trust import TrustSource, Vouch
from og_integrations.errors import (
    InvalidRequestError,
    MalformedReplyError,
    StreamCutError,
    StreamFailedError,
    VerificationError,
)
from og_integrations.models import wire_name
from og_integrations.protocol.chat.answers import StreamAssembler, parse_completion
from og_integrations.protocol.chat.sse import SSEDecoder
from og_integrations.protocol.chat.wire import Completion
from og_integrations.protocol.proof.canonical import rule_name, unsigned_members
from og_integrations.protocol.proof.enclave import Enclave, normalize_hash, tee_id_of
from og_integrations.protocol.proof.verification import STEPS, Check, Exchange, VerifiedExchange, verify_exchange
from og_integrations.protocol.receipt import RECEIPT_VERSION, unsigned_fields
from og_integrations.protocol.strict_json import JsonObject, parse_json_object

TRUSTED = "enclave-trusted"
REQUIRED = frozenset(STEPS) - {"freshness", "channel"}
"""Checks that must pass; of the others only a failure counts."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`step` is the first check that failed, None if none did; of "undecided" the one that could not be made."""

    status: Literal["verified", "failed", "undecided"]
    step: str | None
    checks: tuple[Check, ...]


def judge(saved: SavedExchange, trust: TrustSource) -> Verdict:
    """Check everything that can be checked about `saved`; never raises for what the file holds."""
    completion: Completion | None = None
    verified: VerifiedExchange | None = None
    vouch = trust(tee_id_of(saved.public_key))
    try:
        completion = read_answer(saved)
        verified, checks = _proof_checks(saved, completion, vouch)
    except VerificationError as exc:
        checks = _failed_at(exc.step or "shape", str(exc))
    except (StreamCutError, StreamFailedError) as exc:
        checks = _failed_at("proof", str(exc))
    except MalformedReplyError as exc:
        checks = _failed_at("shape", str(exc))
    if saved.receipt is not None:
        checks += [_receipt_check(saved, completion, verified, vouch), payment_check(saved.receipt)]
    if verified is not None:
        checks.append(coverage_check(verified, saved.receipt, vouch, checks))
    step = next((check.id for check in checks if check.result == "fail"), None)
    passed = {check.id for check in checks if check.result == "pass"}
    if step is None and not vouch.asked:
        return Verdict("undecided", TRUSTED, tuple(checks))
    status: Literal["verified", "failed"] = "verified" if step is None and passed >= REQUIRED else "failed"
    return Verdict(status, step, tuple(checks))


def read_answer(saved: SavedExchange) -> Completion:
    """
    Read the answer in the file.

    Raises `MalformedReplyError`, `VerificationError`, `StreamCutError` or
    `StreamFailedError` for whatever is not a whole answer.
    """
    kind = saved.content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return parse_completion(saved.path, saved.response)
    if kind != "text/event-stream":
        raise MalformedReplyError(f"The answer is {kind[:80]!r}, expected application/json or text/event-stream.")
    decoder, assembler = SSEDecoder(), StreamAssembler()
    # A lone surrogate becomes bytes that are not UTF-8, which the decoder refuses. The line end
    # closes a last line without one, as the client does.
    for event in decoder.feed(saved.response.encode("utf-8", "surrogatepass") + b"\n"):
        assembler.feed(event)
    return assembler.finish()


def _proof_checks(
    saved: SavedExchange, completion: Completion, vouch: Vouch
) -> tuple[VerifiedExchange | None, list[Check]]:
    verified: VerifiedExchange | None = None
    enclave = Enclave(tee_id=normalize_hash(saved.tee_id), endpoint="", public_key=saved.public_key, source="file")
    exchange = Exchange(path=saved.path, wire=saved.wire, completion=completion, enclave=enclave, trust=vouch.trust)
    try:
        parse_json_object(saved.wire, "The request")
        verified = verify_exchange(exchange)
        checks = verified.checks
    except VerificationError as exc:
        checks = exc.checks
    except (InvalidRequestError, MalformedReplyError) as exc:
        return None, _failed_at("request-hash", f"the request cannot be hashed: {exc}")
    return verified, [_vouched(check, vouch) for check in checks]


def _vouched(check: Check, vouch: Vouch) -> Check:
    if check.id == TRUSTED and check.result != "skip":
        return replace(check, detail=vouch.detail, result=check.result if vouch.asked else "skip")
    if not vouch.asked and check.detail == f"not reached: {TRUSTED} failed":
        return replace(check, detail=f"not reached: {TRUSTED} could not be judged")
    return check


def _failed_at(step: str, detail: str) -> list[Check]:
    """Return the verdicts when nothing but `step` could be judged."""
    return [
        Check(name, "fail", detail) if name == step else Check(name, "skip", f"not reached: {step} failed")
        for name in STEPS
    ]


def _receipt_check(
    saved: SavedExchange, completion: Completion | None, verified: VerifiedExchange | None, vouch: Vouch
) -> Check:
    receipt = saved.receipt or {}
    proof = completion.proof if completion is not None else None
    if completion is None or proof is None:
        return Check("receipt", "skip", "the exchange holds no proof to compare with")
    if receipt.get("status") != "verified":
        return Check("receipt", "fail", "the receipt itself says that this answer was not verified when it came")
    enclave, payment = receipt.get("enclave"), receipt.get("payment")
    expected: dict[str, tuple[object, object]] = {
        "version": (receipt.get("version"), RECEIPT_VERSION),
        "request_hash": (receipt.get("request_hash"), proof.request_hash),
        "output_hash": (receipt.get("output_hash"), proof.output_hash),
        "tee_timestamp": (receipt.get("tee_timestamp"), proof.timestamp),
        "tee_signature": (receipt.get("tee_signature"), proof.signature),
        "tee_id": (_lowered(receipt.get("tee_id")), _lowered(proof.tee_id)),
        "model": (_bare(receipt.get("model")), completion.model),
        "enclave.public_key": (
            enclave.get("public_key") if isinstance(enclave, Mapping) else None,
            saved.public_key.hex(),
        ),
    }
    if verified is not None:
        unsigned = unsigned_fields(verified, payment if isinstance(payment, dict) else None)
        if _rule_of(receipt) != receipt.get("hashing"):
            # Of the request, receipts of that time named attachments only.
            later = {*unsigned_members(saved.path, verified.request, verified.hashing)} - {"attachments"}
            unsigned = [name for name in unsigned if name not in later]
        expected |= {
            "unsigned": (receipt.get("unsigned"), unsigned),
            "hashing": (_rule_of(receipt), verified.hashing),
        }
    if vouch.enclave is not None:
        # Bound to the key when it was registered; where an enclave is reached and paid may change.
        expected["enclave.pcr_hash"] = (
            enclave.get("pcr_hash") if isinstance(enclave, Mapping) else None,
            vouch.enclave.pcr_hash,
        )
    wrong = [
        name for name, (claimed, found) in expected.items() if type(claimed) is not type(found) or claimed != found
    ]
    if wrong:
        return Check("receipt", "fail", f"the receipt is about another exchange, or altered: {', '.join(wrong)} differ")
    return Check("receipt", "pass", "its hashes, signature, time, key and model are those of the exchange")


def _rule_of(receipt: JsonObject | None) -> str | None:
    named = receipt.get("hashing") if receipt is not None else None
    return rule_name(named) if isinstance(named, str) else None


def _lowered(tee_id: object) -> object:
    return normalize_hash(tee_id) if isinstance(tee_id, str) else None


def _bare(model: object) -> object:
    return wire_name(model) if isinstance(model, str) and model.strip() else None

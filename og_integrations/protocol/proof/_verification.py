"""
This module verifies one answer, step by step (docs/protocol.md §4).

`verify_exchange` is the only maker of `VerifiedExchange`; adapters accept nothing else. It raises
`VerificationError` at the first step that fails. A step that cannot be judged (freshness of a saved
exchange, the channel it came through) is a `skip`, and a skip is never a pass.
"""

import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from og_integrations.errors import AttestationError, InvalidRequestError, MalformedReplyError, VerificationError
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.chat._wire import SEARCH_PATH, Completion, TeeProof, ToolCall
from og_integrations.protocol.proof import _canonical as canonical
from og_integrations.protocol.proof._canonical import nonce_place
from og_integrations.protocol.proof._enclave import Enclave, normalize_hash, tee_id_of
from og_integrations.receipt import Check

STEPS = (
    "proof",
    "shape",
    "enclave",
    "request-hash",
    "output-hash",
    "signature",
    "enclave-trusted",
    "attestation",
    "freshness",
    "channel",
)
"""The ids of all checks of an answer, in the order in which they are made."""


# Most verdicts say the same of every answer of an enclave.
_check = lru_cache(maxsize=256)(Check)


class StepError(Exception):
    """A step failed; `CheckLog` turns it into a public error with all checks."""


class UndecidedStepError(StepError):
    """A step could not be judged, which is not a failure; nothing after it is judged either."""


def _unproven(step: str, detail: str) -> VerificationError:
    return VerificationError(
        f"The answer is not proven: {step}: {detail}. It was discarded; do not use it, and report "
        "the receipt if it came from an enclave of the registry.",
        step=step,
    )


class CheckLog:
    """
    A log collects the verdicts of `steps`, in their order.

    A `with` of it, or of each step, turns `StepError` into the public error, which `failed` makes of the step and its
    verdict.
    """

    def __init__(
        self,
        steps: Sequence[str] = STEPS,
        failed: Callable[[str, str], VerificationError | AttestationError] = _unproven,
    ) -> None:
        self.checks: list[Check] = []
        self._steps = steps
        self._failed = failed
        self._step = ""

    def step(self, name: str) -> "CheckLog":
        """Begin the step `name`, whose verdict is given inside of a `with`; that may hold one step, or all."""
        self._step = name
        return self

    def passed(self, detail: str) -> None:
        """Note that the step under way passed."""
        self.checks.append(_check(self._step, "pass", detail))

    def skipped(self, detail: str) -> None:
        """Note that the step under way could not be judged; it goes on."""
        self.checks.append(_check(self._step, "skip", detail))

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if not isinstance(exc, StepError):
            return
        # A step that could not be judged is a skip: reporting it
        # as failed would accuse an enclave of a node's outage.
        undecided = isinstance(exc, UndecidedStepError)
        self.checks.append(Check(self._step, "skip" if undecided else "fail", str(exc)))
        # The steps behind are listed as skipped, so that a shorter list can never be read as a list of passes.
        self.checks += not_reached(self._step, self._steps, undecided=undecided)
        error = self._failed(self._step, str(exc))
        error.checks = tuple(self.checks)
        raise error from None


def not_reached(step: str, steps: Sequence[str] = STEPS, *, undecided: bool = False) -> list[Check]:
    """Return the verdicts of all `steps` after `step`, which failed or (`undecided`) could not be judged."""
    detail = f"not reached: {step} " + ("could not be judged" if undecided else "failed")
    return [Check(name, "skip", detail) for name in steps[steps.index(step) + 1 :]]


CLOCK_SKEW = 300
"""Seconds that the enclave's clock may be off: it is not synchronised from outside."""

Channel = Literal["pinned", "unpinned", "sealed"]
"""How the answer came: through TLS pinned to the enclave's certificate, or not, or sealed by the enclave."""

Trust = Literal["endpoint", "file-key", "tee-id", "registry", "attested", "measured"]
"""
Who says that the enclave's key is genuine. Of a live answer, weakest first: the gateway itself ("endpoint"), the
registry as a node shows it, AWS ("attested", which any of its customers can be), AWS about a build that the owner
pinned ("measured").
"""


@dataclass(frozen=True, slots=True)
class TrustDecision:
    """
    A trust decision says whether an enclave's key is believed, and why or why not.

    `level` is None if nobody vouches for the key, and `detail` says the reason in one line. `enclave` is the
    registry's entry, if the registry was asked. `answered` is False if whoever was to say could not be asked: then
    nothing is known, which is not a rejection. `document` is the verdict on the enclave's attestation document, None
    if there was none to judge. `nobody` says that no source was named at all.
    """

    level: Trust | None
    detail: str
    enclave: Enclave | None = None
    answered: bool = True
    document: Check | None = None
    nobody: bool = False


TRUST_OF_SOURCE: Mapping[str, TrustDecision] = {
    "registry": TrustDecision("registry", "the TEERegistry lists this enclave"),
    "endpoint": TrustDecision(
        "endpoint", "the key came from the endpoint itself: nothing attests it (development only)"
    ),
}
"""`Enclave.source` -> the decision about a live answer. A key out of a file is not among them."""
_HASH = re.compile(r"[0-9a-f]{64}")
_SHA256 = hashes.SHA256()
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=32)
_SEAL = object()
_LIVE = ("registry", "endpoint", "attested", "measured")
"""The levels of trust that a call has which is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """
    An exchange is one request and its answer, as far as the proof is about them.

    `wire` is the request body exactly as sent; `foreign` says that a stranger wrote it, so that one which names a
    member twice has no hash. `window` is (sent, received) in unix seconds, None when unknown; `seen` whether this very
    signature came before in another answer. `usual_rule` is the hash rule to try first, if one is expected.
    `nonce` is what made this request unlike any other, None if nothing did.
    """

    path: str
    wire: bytes = field(repr=False)
    completion: Completion
    enclave: Enclave
    trust: TrustDecision | None
    window: tuple[int, int] | None = None
    channel: Channel | None = None
    seen: bool = False
    usual_rule: str | None = None
    nonce: str | None = None
    foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedExchange:
    """
    A verified exchange proves that `enclave` answered exactly this request with exactly this output.

    Only `verify_exchange` makes one. `hash_rule` names the hash rule that matched, one of `canonical.RULES`.
    """

    exchange: Exchange
    request: JsonObject = field(repr=False)
    proof: TeeProof
    hash_rule: str
    checks: tuple[Check, ...]
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise VerificationError("A VerifiedExchange is made by verify_exchange only.", step="proof")

    def unsigned(self, *, settlement_told: bool) -> tuple[str, ...]:
        """
        Return which parts of request and answer the signature leaves out, as far as they are there.

        `settlement_told` says whether headers of the answer told what became of the payment.
        """
        completion, search = self.exchange.completion, self.exchange.path == SEARCH_PATH
        present: dict[str, object] = {
            "citations": completion.citations,
            "content": completion.tool_calls and completion.text,
            "created": completion.created is not None,
            "finish_reason": not search,
            "id": completion.id is not None,
            "images": completion.images,
            "model": not search,
            "moderation": completion.moderation is not None,
            "opengradient": completion.cost is not None,
            "reasoning_content": completion.reasoning,
            "searches": completion.searches,
            "settlement": settlement_told or completion.settlement,
            "usage": completion.usage is not None,
        }
        asked = canonical.unsigned_members(self.exchange.path, self.request, self.hash_rule)
        return tuple(sorted([*asked, *filter(present.get, present)]))


def verify_exchange(exchange: Exchange) -> VerifiedExchange:
    """
    Check that `exchange.enclave` produced `exchange.completion` for exactly `exchange.wire`.

    Raises `VerificationError`; its `step` is one of `STEPS` and its `checks` hold all verdicts.
    """
    log = CheckLog()
    proof, request = exchange.completion.proof, _request(exchange)
    with log:
        log.step("proof")
        # (1): the answer carries the enclave's statement at all.
        if proof is None:
            raise StepError("the answer carries no tee_signature")
        log.passed("signature, hashes, time and id are there")
        log.step("shape")
        # (2): what the signature leaves open is closed by rules (docs/protocol.md §4, "Not covered").
        signature = _check_shape(exchange.path, exchange.completion, proof, request)
        log.passed("one choice, the requested model, text or tool calls, strict encodings")
        log.step("enclave")
        # (3): the statement names the enclave whose key we are about to use.
        _check_enclave(exchange.enclave, proof)
        log.passed(f"{exchange.enclave.tee_id}")
        log.step("request-hash")
        # (4): the enclave hashed what we sent, by a rule of gateways that we know.
        hash_rule = _matching_rule(exchange, request, proof)
        log.passed(f"keccak256 of the request by the rule {hash_rule}{_remark(exchange, request, hash_rule)}")
        log.step("output-hash")
        # (5): the enclave hashed what we received.
        _check_output(exchange.completion, proof)
        if exchange.channel in (None, "unpinned"):
            _check_kind(exchange.completion, request)
        log.passed("keccak256 of the " + ("tool calls" if exchange.completion.tool_calls else "text"))
        log.step("signature")
        # (6): RSA-PSS (SHA-256, MGF1-SHA-256, salt 32) over keccak(request ‖ output ‖ time).
        _check_signature(exchange.enclave, proof, signature)
        log.passed("RSA-PSS over keccak256(request ‖ output ‖ time)")
        log.step("enclave-trusted")
        # (7): somebody vouches for that key.
        _judge_trust(exchange.trust, log)
        log.step("attestation")
        # (8): the enclave itself showed what it runs, and AWS signed that.
        _judge_attestation(exchange.trust, log)
        log.step("freshness")
        # (9): the statement was made for this call, and not for an earlier one.
        _judge_freshness(exchange, request, proof, log)
        log.step("channel")
        # (10): nobody in between could read or change the answer.
        _judge_channel(exchange.channel, log)
    return VerifiedExchange(
        exchange=exchange, request=request, proof=proof, hash_rule=hash_rule, checks=tuple(log.checks), seal=_SEAL
    )


def _request(exchange: Exchange) -> JsonObject:
    try:
        # What we encode names nothing twice, and looking for it costs more than reading (long histories, tools).
        return parse_json_object(exchange.wire, "The request", unique=exchange.foreign)
    except MalformedReplyError as exc:
        # Its text says everything: chained in, it would stand in the traceback twice.
        raise InvalidRequestError(str(exc)) from None


def _check_search(completion: Completion, request: JsonObject) -> None:
    # Neither is signed, but both must agree with what is: our words, and the text of the results.
    query = str(request.get("query")).strip()
    if completion.searches != (query,):
        raise StepError("the answer is to another query than ours")
    for citation in completion.citations:
        if citation["url"] not in completion.text:
            raise StepError(f"the citation {shown(citation['url'], 80)} does not stand in the signed text")


def _check_shape(path: str, completion: Completion, proof: TeeProof, request: JsonObject) -> bytes:
    if path == SEARCH_PATH:
        _check_search(completion, request)
    # The model's name is not signed, so this only catches a gateway that openly answers with another model.
    elif completion.model != request.get("model"):
        raise StepError(f"the answer is from model {completion.model!r:.100}, expected {request.get('model')!r:.100}")
    # The hash covers the tool calls or the text, chosen by
    # `finish_reason`, which is itself not signed (docs/protocol.md §4.5).
    if bool(completion.tool_calls) != (completion.finish_reason == "tool_calls"):
        raise StepError(
            f"finish_reason {completion.finish_reason!r:.40} with {len(completion.tool_calls)} tool calls: the "
            "signature covers either text or tool calls, and this does not say which"
        )
    # Which tools are called is signed. One that nobody offered is a slip of the model, which frameworks refuse by name.
    for text, name in ((proof.request_hash, "tee_request_hash"), (proof.output_hash, "tee_output_hash")):
        if not _HASH.fullmatch(text):
            raise StepError(f"{name} is not 64 lower-case hex digits")
    if not 0 <= proof.timestamp < 2**53:
        raise StepError(f"tee_timestamp {proof.timestamp} is no time, expected unix seconds")
    try:
        signature = binascii.a2b_base64(proof.signature, strict_mode=True)
    except ValueError as exc:
        raise StepError("tee_signature is not strict base64") from exc
    # Python ignores spare padding bits, so one signature would have several texts, and a replay would look new.
    if len(signature) not in (256, 512) or binascii.b2a_base64(signature, newline=False).decode() != proof.signature:
        raise StepError(f"tee_signature has {len(signature)} bytes, expected 256 (RSA-2048) in canonical base64")
    return signature


def _check_enclave(enclave: Enclave, proof: TeeProof) -> None:
    key_id = _key_id(enclave.public_key)
    if key_id != enclave.tee_id:
        raise StepError(f"the key's id is {key_id}, expected {shown(enclave.tee_id, 80)}")
    # The key chosen for the check must belong to the id that the receipt will show.
    if proof.tee_id != enclave.tee_id and normalize_hash(proof.tee_id) != enclave.tee_id:
        raise StepError(f"signed by {proof.tee_id[:80]!r}, expected {enclave.tee_id}")


def _matching_rule(exchange: Exchange, request: JsonObject, proof: TeeProof) -> str:
    expected = bytes.fromhex(proof.request_hash)
    refused: InvalidRequestError | None = None
    tried: list[bytes] = []
    # Nobody outside knows which generation answers, so the
    # rules are tried until one fits (docs/protocol.md §4.4).
    for rule, asked in _readings(request, exchange.usual_rule):
        try:
            text = canonical.canonical_request(exchange.path, asked, rule)
        except InvalidRequestError as exc:
            refused = exc
            continue
        if text in tried:
            continue  # most requests are the same by several rules, and may have megabytes
        tried.append(text)
        if keccak(text) == expected:
            return canonical.plainest_rule(exchange.path, asked, rule)
    if not tried:
        raise StepError(f"the request has no hash: {refused}")
    got = keccak(tried[0]).hex()
    raise StepError(f"the enclave signed another request: hash {proof.request_hash}, expected {got}")


def _readings(request: JsonObject, usual_rule: str | None) -> Iterator[tuple[str, JsonObject]]:
    # The rule that proved the build's last answers comes first, which saves up to four hashes of a long request.
    if usual_rule in canonical.RULES:
        yield usual_rule, request
    for rule in canonical.RULES:
        if rule != usual_rule:
            yield rule, request
    yield canonical.APRIL, canonical.for_newer_python(request)


def _remark(exchange: Exchange, request: JsonObject, rule: str) -> str:
    asked = bool(request.get("reasoning_effort"))
    if asked and "reasoning_effort" in canonical.unsigned_members(exchange.path, request, rule):
        ignored = "; reasoning_effort is not in it: the gateway has probably ignored it"
        return _dropped(exchange, request, rule) + ignored
    return _dropped(exchange, request, rule)


def _dropped(exchange: Exchange, request: JsonObject, rule: str) -> str:
    if not canonical.drops_attachments(request, rule):
        return ""
    said = f"; gateways that hash by the rule {rule} drop its images and files: the model has not seen them"
    # What is saved is judged for what was signed; who calls wants an answer to all that was sent.
    if exchange.window is not None and exchange.trust is not None and exchange.trust.level in _LIVE:
        raise StepError(f"the request was signed for{said}")
    return said


def _check_output(completion: Completion, proof: TeeProof) -> None:
    try:
        got = canonical.output_hash(completion.text, completion.tool_calls, completion.finish_reason)
    except InvalidRequestError as exc:
        raise StepError(str(exc)) from exc
    if got.hex() != proof.output_hash:
        raise StepError(f"the enclave signed another answer: hash {proof.output_hash}, expected {got.hex()}")


def _check_kind(completion: Completion, request: JsonObject) -> None:
    """
    Refuse an answer that may have been of the other kind.

    A tool call and a text that spells it have one hash, and `finish_reason`, which tells them apart, is not signed. On
    a pinned channel nobody could exchange them; a file, or an unpinned channel, could show either as the other.
    """
    calls = completion.tool_calls
    if not calls and request.get("tools") and canonical.spells_tool_calls(completion.text):
        raise StepError(
            "the text spells a tool call, and tools were sent: the signature covers both alike, so it may have been one"
        )
    # A call's id is made with it, so what was asked cannot hold it, unless the model was told what to write.
    if calls and any(_spells(said, call) for said in _texts(request) for call in calls):
        raise StepError(
            "the request holds this very tool call as a text: the signature covers both alike, so the answer may have "
            "been a text that repeats it"
        )


def _spells(said: str, call: ToolCall) -> bool:
    return bool(call.id) and all(_squeezed(part) in said for part in (call.id, call.name, call.arguments))


def _texts(request: JsonObject) -> Iterator[str]:
    """
    Yield what a request says, without white space: each message, and each text of its tools and format.

    Calls of earlier turns are left out: a model made them.
    """
    listed = request.get("messages")
    for message in listed if isinstance(listed, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = content if isinstance(content, list) else [content]
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
        # The parts of one message are one text to the model.
        yield _squeezed("".join(text for text in texts if isinstance(text, str)))
    yield from map(_squeezed, _strings([request.get("tools"), request.get("response_format")]))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def _squeezed(text: str) -> str:
    return "".join(text.split()).replace("\\", "")


def _check_signature(enclave: Enclave, proof: TeeProof, signature: bytes) -> None:
    request_hash, output_hash = bytes.fromhex(proof.request_hash), bytes.fromhex(proof.output_hash)
    digest = canonical.signed_digest(request_hash, output_hash, proof.timestamp)
    if not is_signed_by(enclave.public_key, digest, signature):
        raise StepError(f"the signature is not by the key of enclave {enclave.tee_id}")


def _judge_trust(trust: TrustDecision | None, log: CheckLog) -> None:
    if trust is None:
        raise StepError("nobody vouches for this enclave")
    if not trust.answered:
        raise UndecidedStepError(trust.detail)
    if trust.level is None:
        raise StepError(trust.detail)
    # The endpoint vouches for its own key, which is no proof, so the step can be skipped and never passed.
    if trust.level == "endpoint":
        log.skipped(trust.detail)
    else:
        log.passed(trust.detail)


def _judge_attestation(trust: TrustDecision | None, log: CheckLog) -> None:
    document = trust.document if trust is not None else None
    if document is not None and document.result == "pass":
        log.passed(document.detail)
    elif document is not None and document.result == "fail":
        raise StepError(document.detail)
    # No decision may claim what only a document shows, or a receipt could say "measured" of an enclave without one.
    elif trust is not None and trust.level in ("attested", "measured"):
        raise StepError(f"the enclave is said to be {trust.level}, and no attestation document was judged")
    elif document is not None:
        log.skipped(document.detail)
    else:
        log.skipped("no attestation document was judged: what the enclave runs is the registry's word")


def _judge_freshness(exchange: Exchange, request: JsonObject, proof: TeeProof, log: CheckLog) -> None:
    # Signatures are salted, so two honest answers never have the same one; a second sight is a recording.
    if exchange.seen:
        raise StepError("this very signature came with an earlier answer: it is replayed")
    # The request's hash was compared before: a nonce where it is hashed is in what the enclave has signed.
    if exchange.nonce is not None and nonce_place(exchange.path, request, exchange.nonce) is None:
        raise StepError(f"the request does not carry this call's nonce {shown(exchange.nonce, 40)} where it is hashed")
    if exchange.window is None:
        known = "" if exchange.nonce is None else "; the answer is to a request with this nonce, and to no other"
        log.skipped(f"when the request was sent is not known{known}")
        return
    sent, received = exchange.window
    # A signed answer of another day to the same question would otherwise pass as the answer to this call.
    if not sent - CLOCK_SKEW <= proof.timestamp <= received + CLOCK_SKEW:
        raise StepError(
            f"signed at {proof.timestamp}, expected between {sent} and {received} "
            f"(give or take {CLOCK_SKEW} s); an old answer, or a wrong clock here or there"
        )
    answers = "" if exchange.nonce is None else ", and answers this call's nonce"
    log.passed(f"signed while the call was under way{answers}")


def _judge_channel(channel: Channel | None, log: CheckLog) -> None:
    # Members outside the signature, such as usage and pictures, are protected by this channel and nothing else.
    if channel == "pinned":
        log.passed("TLS pinned to the enclave's certificate")
    elif channel == "sealed":
        log.passed("sealed by the enclave for this request, with a key that it has signed")
    else:
        log.skipped("not known to have come through TLS pinned to the enclave's certificate")


def is_signed_by(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """
    Return whether an enclave's RSA key (DER) made the RSA-PSS `signature` of `digest`, as enclaves sign everything.

    Raises `StepError` if `public_key` is no RSA key.
    """
    try:
        _load_key(public_key).verify(signature, digest, _PSS, _SHA256)
    except InvalidSignature:
        return False
    return True


# One enclave answers many calls, so the hash of its key is made once and not for each of them.
_key_id = lru_cache(maxsize=64)(tee_id_of)


@lru_cache(maxsize=64)
def _load_key(der: bytes) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise StepError("the enclave's key is not a DER public key") from exc
    if not isinstance(key, rsa.RSAPublicKey):
        raise StepError("the enclave's key is not an RSA key")
    return key

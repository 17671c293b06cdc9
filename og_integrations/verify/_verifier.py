"""
The judge of saved exchanges: the numbered steps of `protocol.proof._verification`, and what a receipt claims.

Of evidence each part is judged (`_evidence`). Three checks exist only here: `receipt` (the receipt speaks about this
very exchange), `payment-hash` (it recomputes from the receipt) and `not-covered`, which names what could be altered all
the same. What nobody can judge later, when and how the answer came, is a skip.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Self

from og_integrations.errors import (
    ConfigurationError,
    InvalidRequestError,
    MalformedReplyError,
    StreamCutError,
    StreamFailedError,
    VerificationError,
)
from og_integrations.networks import Network
from og_integrations.protocol._strict_json import JsonObject, decode_json, parse_json_object
from og_integrations.protocol.chat._answers import StreamAssembler, read_completion
from og_integrations.protocol.chat._wire import Completion
from og_integrations.protocol.proof._enclave import Enclave, EnclavePolicy, normalize_hash, tee_id_of
from og_integrations.protocol.proof._measurements import (
    AWS_ROOT_G1_SHA256,
    AttestationPolicy,
    Measurements,
    listed_builds,
)
from og_integrations.protocol.proof._verification import (
    STEPS,
    Exchange,
    TrustDecision,
    VerifiedExchange,
    not_reached,
    verify_exchange,
)
from og_integrations.receipt import Check
from og_integrations.verify._bundle import SavedExchange, Source, load_judged
from og_integrations.verify._coverage import Claims, further_members, not_covered, payment_check, receipt_check
from og_integrations.verify._evidence import document_of, part_checks, redacted_checks
from og_integrations.verify._trust import FileKeyTrust, NobodyTrust, RegistryTrust, TeeIdTrust, TrustSource
from og_integrations.verify._verdict import Status, Verdict, malformed, only_the_chain

TRUSTED = "enclave-trusted"
REQUIRED = frozenset(STEPS) - {"attestation", "freshness", "channel"}
"""Checks that must pass; of the others only a failure counts."""

_key_id = lru_cache(maxsize=64)(tee_id_of)
_WORTH_A_PROCESS = 500
"""Files below which starting a process takes longer than judging them."""


class Verifier:
    """
    A verifier judges saved exchanges, believing the enclaves that its source of trust vouches for.

    ```python
    verdict = Verifier.registry().verify("receipts/receipt-001.json")
    verdict.status, [check for check in verdict.checks if check.result == "fail"]
    ```
    """

    def __init__(
        self,
        trust: TrustSource,
        documents: AttestationPolicy | None = None,
        *,
        onchain: "Callable[[JsonObject], Verdict] | None" = None,
    ) -> None:
        self._trust = trust
        self._documents = documents
        self._onchain = onchain

    def with_onchain(self, judge: "Callable[[JsonObject], Verdict]") -> Self:
        """Return a verifier that also judges receipts of models on chain, with `onchain.ReceiptJudge`."""
        return type(self)(self._trust, self._documents, onchain=judge)

    @classmethod
    def registry(
        cls,
        network: str | Network | None = None,
        *,
        registry_rpc_url: str | None = None,
        registry_address: str | None = None,
        policy: EnclavePolicy | None = None,
    ) -> Self:
        """
        Return a verifier that believes the enclaves which the TEERegistry lists, and which `policy` accepts.

        Arguments that are not given are read from the environment (`OG_NETWORK`, `OG_REGISTRY_RPC_URL`,
        `OG_REGISTRY_ADDRESS`); no wallet is needed. Raises `ConfigurationError`.
        """
        return cls(
            RegistryTrust(network, registry_rpc_url=registry_rpc_url, registry_address=registry_address, policy=policy)
        )

    @classmethod
    def measured(
        cls,
        measurements: Iterable[Measurements | Mapping[str, str]],
        *,
        root_sha256: Iterable[str] = (AWS_ROOT_G1_SHA256,),
        trust: TrustSource | None = None,
    ) -> Self:
        """
        Return a verifier that believes the enclaves whose attestation document in the file is of a pinned build.

        Nobody is asked. `measurements` are as in `EnclavePolicy`; `root_sha256` are the roots to accept instead of
        AWS's. With `trust` that source has to believe the enclave, too. Raises `ConfigurationError`.
        """
        return cls(trust or NobodyTrust(), AttestationPolicy(listed_builds(measurements), list(root_sha256)))

    @classmethod
    def tee_ids(cls, ids: Iterable[str]) -> Self:
        """Return a verifier that believes the enclaves with these ids (0x-hex). Raises `ConfigurationError`."""
        return cls(TeeIdTrust(ids))

    @classmethod
    def unsafe_file_key(cls) -> Self:
        """Return a verifier that believes the key in each file: that the file is consistent, not who made it."""
        return cls(FileKeyTrust())

    def verify(self, saved: str | Path | bytes | SavedExchange) -> Verdict:
        """
        Return the verdict on a file (its path), on its bytes, or on what was read of it.

        Never raises for what the file holds, or for a registry that does not answer.
        """
        try:
            found = load_judged(saved)
            if not isinstance(found, SavedExchange):
                return only_the_chain() if self._onchain is None else self._onchain(found)
        except ConfigurationError as exc:
            return malformed(exc)
        return judge(found, self._trust.decide(_key_id(found.public_key)), self._documents)

    async def averify(self, saved: str | Path | bytes | SavedExchange) -> Verdict:
        """Return what `verify` returns; the registry is asked without blocking the event loop."""
        try:
            found = load_judged(saved)
            if not isinstance(found, SavedExchange):
                # Loaded for this alone.
                from asyncio import to_thread

                return only_the_chain() if self._onchain is None else await to_thread(self._onchain, found)
        except ConfigurationError as exc:
            return malformed(exc)
        return judge(found, await self._trust.adecide(_key_id(found.public_key)), self._documents)

    def verify_many(self, sources: Iterable[Source], *, jobs: int = 1) -> Iterator[tuple[str, Verdict]]:
        """
        Yield (name, verdict) of each source, in their order; `jobs` processes share the work.

        Processes are started only if there is enough to do for them. Sources are read as they are needed.
        """
        waiting = iter(sources)
        first = list(islice(waiting, _WORTH_A_PROCESS))
        if jobs < 2 or len(first) < _WORTH_A_PROCESS:
            for source in chain(first, waiting):
                yield source.name, self.verify(source.saved)
            return
        # Loaded for this alone.
        from og_integrations.verify._processes import verify_in_processes

        yield from verify_in_processes(self.verify, chain(first, waiting), jobs)


class FirstSeen:
    """It remembers the calls that were handed in: one signature is one call, however many files are about it."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    @property
    def calls(self) -> int:
        """Return how many different calls there were."""
        return len(self._first)

    def before(self, name: str, call: str | None) -> str | None:
        """Return the file about the same `call` that came before `name`; None if there is none, or no call is known."""
        first = name if call is None else self._first.setdefault(call, name)
        return None if first == name else first


def judge(saved: SavedExchange, decision: TrustDecision, documents: AttestationPolicy | None = None) -> Verdict:
    """
    Check everything that can be checked about `saved`. Pure, never raises.

    `decision` is about the key in it, `documents` has the builds and roots that its attestation document must be of.
    """
    if saved.evidence is not None or documents is not None:
        decision = _with_document(decision, document_of(saved, documents), documents)
    if saved.redacted:
        return _judge_redacted(saved, decision)
    completion: Completion | None = None
    bodies: Iterable[object] = ()
    verified: VerifiedExchange | None = None
    try:
        completion, bodies = read_answer(saved)
        verified, checks = _proof_checks(saved, completion, decision)
    except VerificationError as exc:
        checks = _failed_at(exc.step or "shape", str(exc))
    except (StreamCutError, StreamFailedError) as exc:
        checks = _failed_at("proof", str(exc))
    except MalformedReplyError as exc:
        checks = _failed_at("shape", str(exc))
    checks = _with_verdict(checks, decision)
    checks += part_checks(saved, completion.proof if completion is not None else None)
    claims = None if saved.receipt is None else Claims(saved.receipt)
    told = claims is not None and claims.tells_settlement
    unsigned = () if verified is None else verified.unsigned(settlement_told=told)
    if claims is not None:
        checks += [receipt_check(claims, saved, completion, verified, decision, unsigned), payment_check(claims)]
    open_to_change: Mapping[str, tuple[str, ...]] = {}
    passed = frozenset([check.id for check in checks if check.result == "pass"])
    if verified is not None:
        open_to_change = not_covered(claims, verified, decision, passed, unsigned + further_members(bodies))
        checks.append(_named(*open_to_change.items()))
    step = next((check.id for check in checks if check.result == "fail"), None)
    status: Status = "verified" if step is None and passed >= REQUIRED else "failed"
    if step is None and not decision.answered:
        status, step = "undecided", _undecided_step(decision)
    elif step is None and saved.evidence is not None and claims is None:
        status, step = "undecided", "receipt"
    proof = verified.proof if verified is not None else None
    return Verdict(status, step, tuple(checks), open_to_change, proof, decision.level)


@lru_cache(maxsize=1024)
def _named(*groups: tuple[str, tuple[str, ...]]) -> Check:
    # Cached: in most files of a program the same is left open.
    return Check("not-covered", "skip", "; ".join(f"{group}: {', '.join(names)}" for group, names in groups))


def _with_document(decision: TrustDecision, shown: TrustDecision, documents: AttestationPolicy | None) -> TrustDecision:
    """Return what two words say together: that of the source, and that of the enclave's own document."""
    pinned = documents is not None and documents.builds is not None
    if not pinned and decision.nobody:
        told = "no measurements are pinned and no registry was asked: any AWS customer can make a genuine document"
        return replace(decision, detail=told, answered=False, document=shown.document)
    # Who pinned builds is satisfied by nothing less; a source that rejects the enclave is heard all the same.
    if pinned and (decision.nobody or decision.level is not None or not decision.answered):
        return replace(shown, enclave=decision.enclave)
    return replace(decision, document=shown.document)


def _with_verdict(checks: list[Check], decision: TrustDecision) -> list[Check]:
    """Return `checks` with the verdict on the document, which does not depend on what failed before it."""
    document = decision.document
    return checks if document is None else [document if check.id == document.id else check for check in checks]


def _undecided_step(decision: TrustDecision) -> str:
    missing = decision.document is not None and decision.document.result == "skip"
    return "attestation" if missing else TRUSTED


def _judge_redacted(saved: SavedExchange, decision: TrustDecision) -> Verdict:
    """Judge what stands without request and answer: that the enclave signed two hashes and a time, and no more."""
    proof, checks = redacted_checks(saved, decision)
    checks += part_checks(saved, proof)
    if saved.receipt is not None:
        checks.append(payment_check(Claims(saved.receipt)))
    step = next((check.id for check in checks if check.result == "fail"), None)
    return Verdict(
        "undecided" if step is None else "failed", step or "request-hash", tuple(checks), {}, proof, decision.level
    )


def read_answer(saved: SavedExchange) -> tuple[Completion, Iterable[object]]:
    """
    Return the answer in the file, and the decoded bodies that it was read of.

    Raises `MalformedReplyError`, `VerificationError`, `StreamCutError` or `StreamFailedError` for whatever is not a
    whole answer.
    """
    kind = saved.answer_type
    if kind == "application/json":
        reply = parse_json_object(saved.response, "The answer")
        return read_completion(saved.path, reply), [reply]
    if kind != "text/event-stream":
        raise MalformedReplyError(f"The answer is {kind[:80]!r}, expected application/json or text/event-stream.")
    assembler = StreamAssembler()
    events = saved.events()
    for event in events:
        assembler.feed(event)
    return assembler.finish(), _bodies(events)


def _bodies(events: Iterable[str]) -> Iterator[object]:
    for event in events:
        try:
            # Whether it names a member twice was looked at when the answer was read.
            yield decode_json(event, unique=False)
        except ValueError:
            continue


@lru_cache(maxsize=64)
def _enclave(tee_id: str, public_key: bytes) -> Enclave:
    # Cached: ten thousand files of one enclave name one.
    return Enclave(tee_id=normalize_hash(tee_id), endpoint="", public_key=public_key, source="file")


def _proof_checks(
    saved: SavedExchange, completion: Completion, decision: TrustDecision
) -> tuple[VerifiedExchange | None, list[Check]]:
    enclave = _enclave(saved.tee_id, saved.public_key)
    exchange = Exchange(
        path=saved.path, wire=saved.wire, completion=completion, enclave=enclave, trust=decision, foreign=True
    )
    try:
        verified = verify_exchange(exchange)
    except VerificationError as exc:
        return None, list(exc.checks)
    except (InvalidRequestError, MalformedReplyError) as exc:
        return None, _failed_at("request-hash", f"the request cannot be hashed: {exc}")
    return verified, list(verified.checks)


def _failed_at(step: str, detail: str) -> list[Check]:
    """Return the verdicts when nothing but `step` could be judged."""
    before = [Check(name, "skip", f"not reached: {step} failed") for name in STEPS[: STEPS.index(step)]]
    return [*before, Check(step, "fail", detail), *not_reached(step)]

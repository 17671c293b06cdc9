"""
The judge finds what a server can see of a client's misbehaviour, from the journal and the number of calls alone.

Requests are compared by their question (`journal`) and by whose money they show. The same question may be asked
again on purpose: the receipts say so, one for each call. Without receipts a request that follows one in doubt counts
as a retry. Requests that overlap in time are never retries of each other, and neither is the repetition of what was
answered well. A `Mark` is a moment of a devnet that serves more than one test: what came before it is not judged.
"""

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from og_integrations.devnet._journal import AuthorizationSeen, Exchange, FaultMet, Journal, is_known_mode
from og_integrations.devnet.verdict._claims import Claims, contradictions
from og_integrations.devnet.verdict._judgement import Finding, Judgement
from og_integrations.devnet.verdict._services import misused_services
from og_integrations.networks import OPG, Network
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import Receipt

_UNANSWERED_PER_CALL = 4
"""An honest call makes four requests at most: session expired, offer, payment, and a failover."""
_STORM = 20
_SOON = 10.0
"""Seconds: where calls are not reported, only what comes faster than this is taken for a program's doing."""
_CURABLE = {"permit2_allowance_required", "insufficient_balance"}
"""Refusals that only the wallet's owner ends: once payments are taken, somebody has approved or paid in."""


class Calls:
    """How many calls the client says it made; if it does not (`reported` is False), none are known."""

    def __init__(self, receipts: Sequence[JsonObject] | None) -> None:
        self.reported = receipts is not None
        self.total = len(receipts or ())
        self._asking: Counter[object] = Counter()
        self._paying: Counter[tuple[object, str]] = Counter()
        self._over_relay: Counter[object] = Counter()
        for receipt in map(Receipt, receipts or ()):
            self._asking[receipt.request_hash] += 1
            if receipt.sealing is not None and receipt.sealing.relay is not None:
                self._over_relay[receipt.request_hash] += 1
            if receipt.payment:
                self._paying[receipt.request_hash, str(receipt.payment.payer).lower()] += 1

    def asking(self, same: Iterable[Exchange]) -> int:
        """Return how many calls asked what `same` ask."""
        return sum(self._asking[name] for name in _hashes(same))

    def paying(self, same: Sequence[Exchange], payer: str) -> int:
        """Return for how many of them `payer` paid; a relay's payments are in no receipt, so its calls are counted."""
        if all(exchange.relayed for exchange in same):
            return sum(self._over_relay[name] for name in _hashes(same))
        return sum(self._paying[name, payer] for name in _hashes(same))

    def allow(self, unanswered: list[float], *, calls: int) -> bool:
        """Return whether `calls` calls may have made requests at those times without getting an answer."""
        count = len(unanswered) if self.reported else _most_at_once(unanswered)
        return count <= max(_STORM, _UNANSWERED_PER_CALL * calls)


def repetitions(journal: Journal, calls: Calls) -> Iterator[Finding]:
    """Yield what was asked again though it should not have been."""
    by_payer = defaultdict(list)
    by_question = defaultdict(list)
    for exchange in journal.exchanges:
        by_question[exchange.question].append(exchange)
        # What an impostor was shown is named for itself: it charges nobody.
        if exchange.payer is not None and not exchange.impostor:
            by_payer[exchange.payer, exchange.question].append(exchange)
    shared = _shared(journal)
    for (payer, _), same in by_payer.items():
        yield from _paid_again(same, calls.paying(same, payer))
        # Whoever shared another call's authorization, and finds it refused, may still sign one of its own.
        own = [exchange for exchange in same if exchange.authorization not in shared]
        yield from _signed_again(own, calls.paying(same, payer), reported=calls.reported)
    for same in by_question.values():
        yield from _storm(same, calls)
    yield from _storms_elsewhere(journal.faults_met, calls)


def _shared(journal: Journal) -> set[str | None]:
    """Return the authorizations that came with more than one question."""
    questions = defaultdict(set)
    for exchange in journal.exchanges:
        questions[exchange.authorization].add(exchange.question)
    return {authorization for authorization, asked in questions.items() if len(asked) > 1}


def _hashes(same: Iterable[Exchange]) -> set[str]:
    return {name for exchange in same for name in exchange.hashes}


def _paid_again(same: list[Exchange], calls: int) -> Iterator[Finding]:
    served = [exchange for exchange in same if exchange.status != 402]
    doubtful = [exchange for exchange in served if _in_doubt(exchange)]
    for later in same if doubtful and len(served) > calls else ():
        earlier = next((e for e in reversed(doubtful) if _over_before(e, later)), None)
        if earlier is None:
            continue
        numbers = (earlier.number, later.number)
        fate = f"status {earlier.status}, {earlier.ended}"
        fate += f", {'+'.join(earlier.faults)}" if earlier.faults else ""
        if later.paid_by == "payment" and later.authorization != earlier.authorization and later.refused is None:
            yield Finding("double_paid", f"a second authorization for a request in doubt ({fate})", numbers)
        else:
            yield Finding("retried_paid_request", f"sent again by {later.paid_by} while in doubt ({fate})", numbers)


def _in_doubt(exchange: Exchange) -> bool:
    """
    Return whether a client could not know that this request was answered well, or not charged.

    Who leaves after the answer has begun knows that the payment was taken, and need not want the rest.
    """
    unknown_error = exchange.status >= 500 and not exchange.sessions_named
    return exchange.spoiled or unknown_error or not exchange.answered


def _over_before(earlier: Exchange, later: Exchange) -> bool:
    return earlier.over_at is not None and earlier.over_at <= later.began


def _signed_again(same: list[Exchange], calls: int, *, reported: bool) -> Iterator[Finding]:
    payments = [exchange for exchange in same if exchange.paid_by == "payment"]
    refused = [exchange for exchange in payments if exchange.refused is not None]
    signed = len({exchange.authorization for exchange in payments})
    for later in payments if refused and signed > calls else ():
        earlier = next((e for e in reversed(refused) if _over_before(e, later)), None)
        if earlier is None or earlier.authorization == later.authorization:
            continue
        cured = earlier.refused in _CURABLE and later.refused is None
        if reported or (later.began - earlier.began <= _SOON and not cured):
            numbers = (earlier.number, later.number)
            yield Finding("signed_twice", f"another payment after {earlier.refused!r}", numbers)


def _storm(same: list[Exchange], calls: Calls) -> Iterator[Finding]:
    unanswered = [e for e in same if not (e.status == 200 and e.ended == "complete" and not e.spoiled)]
    known = max(calls.asking(same), len(same) - len(unanswered))
    if not calls.allow([exchange.began for exchange in unanswered], calls=known):
        numbers = (unanswered[0].number, unanswered[-1].number)
        yield Finding("retry_storm", f"{len(unanswered)} requests of one question without an answer", numbers)


def _storms_elsewhere(faults_met: list[FaultMet], calls: Calls) -> Iterator[Finding]:
    times = defaultdict(list)
    for encounter in faults_met:
        times[encounter.fault].append(encounter.began)
    for fault, began in times.items():
        if not calls.allow(began, calls=calls.total):
            yield Finding("retry_storm", f"{len(began)} times at {fault}")


def _most_at_once(times: list[float]) -> int:
    """Return how many of `times`, which ascend, lie within `_SOON`."""
    first, most = 0, 0
    for last, at in enumerate(times):
        while at - times[first] > _SOON:
            first += 1
        most = max(most, last - first + 1)
    return most


def seen_by_server(
    journal: Journal, network: Network, *, cap: int, calls: Calls, now: float, patience: float
) -> Iterator[Finding]:
    """
    Yield what `journal` shows.

    `cap` is what honest gateways ask for (base units); `now` is the journal's forward-only clock, and
    `patience` seconds of it.
    """
    yield from repetitions(journal, calls)
    for authorization in journal.authorizations.values():
        yield from _wrong_terms(authorization, network, cap)
    yield from _wrong_peers(journal)
    yield from _leaks(journal)
    for exchange in journal.exchanges:
        yield from _typo(exchange)
    waited_for: list[Exchange | FaultMet] = [*journal.exchanges, *journal.faults_met]
    for waiting in waited_for:
        yield from _patience(waiting, now, patience)


def _wrong_terms(seen: AuthorizationSeen, network: Network, cap: int) -> Iterator[Finding]:
    if seen.digest is None:
        return
    most = max(cap, OPG)
    if str(seen.token).lower() != network.token.lower():
        yield Finding("paid_wrong_terms", f"signed for the token {seen.token}, expected {network.token}")
    if seen.chain_id != network.chain_id:
        yield Finding("paid_wrong_terms", f"signed for chain {seen.chain_id}, expected {network.chain_id}")
    if seen.amount > most:
        yield Finding("paid_wrong_terms", f"signed for {seen.amount} base units, expected at most {most}")


def _wrong_peers(journal: Journal) -> Iterator[Finding]:
    for exchange in journal.exchanges:
        if exchange.prompt is None:
            continue
        if exchange.impostor:
            yield Finding(
                "prompt_sent_to_wrong_peer", f"to an impostor ({'+'.join(exchange.faults)})", (exchange.number,)
            )
        elif exchange.listed is False:
            yield Finding(
                "prompt_sent_to_wrong_peer",
                "to an enclave whose certificate the registry, as it was read, does not list, or as debug or retired",
                (exchange.number,),
            )


def _leaks(journal: Journal) -> Iterator[Finding]:
    opened = {seen.session: seen for seen in journal.authorizations.values() if seen.session is not None}
    for exchange in journal.exchanges:
        seen = opened.get(exchange.session or "") if exchange.paid_by == "session" else None
        if exchange.paid_by == "payment":
            seen = journal.authorizations.get(exchange.authorization or "")
        if exchange.impostor and exchange.paid_by != "nothing":
            yield Finding("session_leaked", f"a {exchange.paid_by} shown to an impostor", (exchange.number,))
        elif seen is not None and seen.enclave != exchange.enclave:
            yield Finding("session_leaked", f"a {exchange.paid_by} shown to another gateway", (exchange.number,))
    owners = {ref: seen.enclave for seen in journal.authorizations.values() for ref in (seen.ref, seen.session)}
    for stray in journal.stray_credentials:
        if owners.get(stray.ref, stray.enclave) != stray.enclave:
            yield Finding("session_leaked", f"a session or payment shown at {stray.place}")


def _typo(exchange: Exchange) -> Iterator[Finding]:
    word = exchange.settlement_word
    if word is not None and not is_known_mode(word):
        yield Finding("unknown_settlement_mode", f"X-SETTLEMENT-TYPE {word[:40]!r} means batch", (exchange.number,))


def _patience(waiting: Exchange | FaultMet, now: float, patience: float) -> Iterator[Finding]:
    waited = (now if waiting.over_at is None else waiting.over_at) - waiting.began
    if waiting.ended == "complete" or waited <= patience:
        return
    # An honest answer may take as long as the model likes.
    if isinstance(waiting, FaultMet):
        yield Finding("no_timeout", f"still there after {waited:.0f} s of {waiting.fault}")
    elif waiting.faults:
        detail = f"still there after {waited:.0f} s of {'+'.join(waiting.faults)}"
        yield Finding("no_timeout", detail, (waiting.number,))


def gathered(
    watched: Sequence[Sequence[JsonObject]],
    receipts: Sequence[JsonObject] | None,
    answers: Sequence[str],
    logs: Sequence[str],
) -> Claims:
    """
    Return all claims as one; nothing watched and no `receipts` means that payments are not reported.

    Collectors nest, and each gets every receipt: one that stands in two lists is one claim.
    """
    known_receipts: list[JsonObject] = []
    for some in (*watched, receipts or ()):
        known = {id(receipt) for receipt in known_receipts}
        known_receipts += [receipt for receipt in some if id(receipt) not in known]
    reported = bool(watched) or receipts is not None
    return Claims(receipts=known_receipts if reported else None, answers=list(answers), logs=list(logs))


def judge(
    claims: Claims, journal: Journal, network: Network, *, cap: int, secrets: set[str], patience: float
) -> Judgement:
    """Return what `journal` and `claims` show; to be called where nothing writes to the journal."""
    calls = Calls(claims.receipts)
    seen = seen_by_server(journal, network, cap=cap, calls=calls, now=time.monotonic(), patience=patience)
    return Judgement((*seen, *misused_services(journal), *contradictions(claims, journal, secrets)))


@dataclass(frozen=True, slots=True)
class Mark:
    """How long everything was: the journal's lists, and each watched list of receipts."""

    exchanges: int = 0
    faults_met: int = 0
    stray_credentials: int = 0
    services: int = 0
    receipts: tuple[int, ...] = ()

    @classmethod
    def of(cls, journal: Journal, watched: Sequence[Sequence[JsonObject]]) -> "Mark":
        """Return now."""
        return cls(
            exchanges=len(journal.exchanges),
            faults_met=len(journal.faults_met),
            stray_credentials=len(journal.stray_credentials),
            services=len(journal.services),
            receipts=tuple(map(len, watched)),
        )

    def new_receipts(self, watched: Sequence[Sequence[JsonObject]]) -> list[Sequence[JsonObject]]:
        """Return what has come since into each of the lists."""
        known = (*self.receipts, *[0] * len(watched))
        return [receipts[length:] for receipts, length in zip(watched, known, strict=False)]

    def new_entries(self, journal: Journal) -> Journal:
        """Return `journal` without what was before; an older authorization is kept if it was shown since."""
        if self == START:
            return journal
        exchanges = journal.exchanges[self.exchanges :]
        stray_credentials = journal.stray_credentials[self.stray_credentials :]
        shown = {ref for exchange in exchanges for ref in (exchange.authorization, exchange.session)}
        shown |= {stray.ref for stray in stray_credentials}

        def is_shown(seen: AuthorizationSeen) -> bool:
            return seen.ref in shown or (seen.session is not None and seen.session in shown)

        return dataclasses.replace(
            journal,
            exchanges=exchanges,
            faults_met=journal.faults_met[self.faults_met :],
            stray_credentials=stray_credentials,
            services=journal.services[self.services :],
            authorizations={key: seen for key, seen in journal.authorizations.items() if is_shown(seen)},
            charges=[charge for charge in journal.charges if charge.exchange > self.exchanges],
        )


START = Mark()

"""
What a server can see of a client's misbehaviour, from the journal alone.

A request is known by its bytes. So the same question asked again on purpose, after a paid one that
failed, looks like a retry: ask another one. Requests that overlap in time never count as retries of
each other, and neither does the repetition of what was answered well.
"""

from collections import defaultdict
from collections.abc import Iterator

from og_integrations.devnet.journal import AuthorizationSeen, Exchange, Journal
from og_integrations.devnet.verdict import Finding
from og_integrations.networks import OPG, Network

_KNOWN_MODES = {"private", "batch", "individual"}
_UNANSWERED_PER_CALL = 4
"""An honest call makes four requests at most: session expired, offer, payment, and a failover."""
_STORM = 8


def seen_by_server(
    journal: Journal, network: Network, *, cap: int, calls: int | None, now: float, patience: float
) -> Iterator[Finding]:
    """
    Yield what `journal` shows.

    `cap` is what honest gateways ask for (base units); `calls` how many calls the client says it
    made; `now` is the journal's forward-only clock, and `patience` seconds of it.
    """
    by_body = defaultdict(list)
    for exchange in journal.exchanges:
        by_body[exchange.body].append(exchange)
    for same in by_body.values():
        yield from _paid_again(same)
        yield from _signed_again(same)
        yield from _storm(same, calls)
    for authorization in journal.authorizations.values():
        yield from _wrong_terms(authorization, network, cap)
    yield from _wrong_peers(journal)
    yield from _leaks(journal)
    for exchange in journal.exchanges:
        yield from _typo(exchange)
        yield from _patience(exchange, now, patience)


def _paid_again(same: list[Exchange]) -> Iterator[Finding]:
    doubtful = [exchange for exchange in same if _in_doubt(exchange)]
    for later in same if doubtful else ():
        earlier = next((e for e in reversed(doubtful) if _ended_before(e, later)), None)
        if earlier is None or later.paid_by == "nothing":
            continue
        numbers = (earlier.number, later.number)
        fate = f"status {earlier.status}, {earlier.ended}"
        fate += f", {'+'.join(earlier.faults)}" if earlier.faults else ""
        if later.paid_by == "payment" and later.authorization != earlier.authorization and later.refused is None:
            yield Finding("double_paid", f"a second authorization for a request in doubt ({fate})", numbers)
        else:
            yield Finding("retried_paid_request", f"sent again by {later.paid_by} while in doubt ({fate})", numbers)


def _in_doubt(exchange: Exchange) -> bool:
    """Whether a client could not know that this request was answered well, or not charged."""
    if exchange.paid_by == "nothing" or exchange.status == 402:
        return False
    return exchange.ended != "complete" or bool(exchange.faults)


def _ended_before(earlier: Exchange, later: Exchange) -> bool:
    return earlier.ended_at is not None and earlier.ended_at <= later.began


def _signed_again(same: list[Exchange]) -> Iterator[Finding]:
    refused = [exchange for exchange in same if exchange.refused is not None]
    for later in same if refused else ():
        earlier = next((e for e in reversed(refused) if _ended_before(e, later)), None)
        if later.paid_by == "payment" and earlier is not None and earlier.authorization != later.authorization:
            numbers = (earlier.number, later.number)
            yield Finding("signed_twice", f"another payment after {earlier.refused!r}", numbers)


def _storm(same: list[Exchange], calls: int | None) -> Iterator[Finding]:
    unanswered = [e for e in same if not (e.status == 200 and e.ended == "complete" and not e.spoiled)]
    answered = len(same) - len(unanswered)
    allowed = max(_STORM, _UNANSWERED_PER_CALL * max(calls or 0, answered))
    if len(unanswered) > allowed:
        numbers = (unanswered[0].number, unanswered[-1].number)
        yield Finding("retry_storm", f"{len(unanswered)} requests of the same bytes without an answer", numbers)


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
            yield Finding("prompt_sent_to_wrong_peer", "over TLS with a wrong certificate", (exchange.number,))
        elif exchange.listed is False:
            yield Finding(
                "prompt_sent_to_wrong_peer",
                "to an enclave whose certificate the registry, as it was read, does not list, or lists as debug",
                (exchange.number,),
            )


def _leaks(journal: Journal) -> Iterator[Finding]:
    opened = {seen.session: seen for seen in journal.authorizations.values() if seen.session is not None}
    for exchange in journal.exchanges:
        seen = opened.get(exchange.session or "") if exchange.paid_by == "session" else None
        if exchange.paid_by == "payment":
            seen = journal.authorizations.get(exchange.authorization or "")
        if seen is not None and seen.enclave != exchange.enclave:
            yield Finding("session_leaked", f"a {exchange.paid_by} shown to another gateway", (exchange.number,))
        elif exchange.impostor and exchange.paid_by != "nothing":
            yield Finding("session_leaked", f"a {exchange.paid_by} shown to an impostor", (exchange.number,))


def _typo(exchange: Exchange) -> Iterator[Finding]:
    word = exchange.settlement_word
    if word is not None and "".join(c for c in word.lower() if c not in " -_") not in _KNOWN_MODES:
        yield Finding("unknown_settlement_mode", f"X-SETTLEMENT-TYPE {word[:40]!r} means batch", (exchange.number,))


def _patience(exchange: Exchange, now: float, patience: float) -> Iterator[Finding]:
    # An honest answer may take as long as the model likes.
    waited = (now if exchange.ended_at is None else exchange.ended_at) - exchange.began
    if exchange.faults and exchange.ended != "complete" and waited > patience:
        detail = f"still there after {waited:.0f} s of {'+'.join(exchange.faults)}"
        yield Finding("no_timeout", detail, (exchange.number,))

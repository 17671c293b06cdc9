"""What a server can see of a client's misbehaviour, from the journal and the number of calls alone."""

from collections.abc import Iterator

from og_integrations.devnet.journal import AuthorizationSeen, Encounter, Exchange, Journal
from og_integrations.devnet.repeating import Calls, repetitions
from og_integrations.devnet.verdict import Finding
from og_integrations.networks import OPG, Network

_KNOWN_MODES = {"private", "batch", "individual"}


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
    waited_for: list[Exchange | Encounter] = [*journal.exchanges, *journal.encounters]
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
    for stray in journal.strays:
        if owners.get(stray.ref, stray.enclave) != stray.enclave:
            yield Finding("session_leaked", f"a session or payment shown at {stray.place}")


def _typo(exchange: Exchange) -> Iterator[Finding]:
    word = exchange.settlement_word
    if word is not None and "".join(c for c in word.lower() if c not in " -_") not in _KNOWN_MODES:
        yield Finding("unknown_settlement_mode", f"X-SETTLEMENT-TYPE {word[:40]!r} means batch", (exchange.number,))


def _patience(waiting: Exchange | Encounter, now: float, patience: float) -> Iterator[Finding]:
    waited = (now if waiting.over_at is None else waiting.over_at) - waiting.began
    if waiting.ended == "complete" or waited <= patience:
        return
    # An honest answer may take as long as the model likes.
    if isinstance(waiting, Encounter):
        yield Finding("no_timeout", f"still there after {waited:.0f} s of {waiting.fault}")
    elif waiting.faults:
        detail = f"still there after {waited:.0f} s of {'+'.join(waiting.faults)}"
        yield Finding("no_timeout", detail, (waiting.number,))

"""
The claims of a client are compared with what was really sent, paid and answered.

Receipts are plain dicts in the form of `og_integrations.receipt`; a client without them may give the texts that it
returned as finished answers. Claims must be complete: a payment that no receipt names is a finding.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from og_integrations.devnet._journal import AuthorizationSeen, Exchange, Journal
from og_integrations.devnet.verdict._judgement import Finding
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import Receipt, ReceiptPayment

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CUTS = ("cut", "closed_stream", "reset_stream", "short_stream", "missing_", "error_event", "lost_event", "stall")
"""How the names of faults begin that end an answer early."""


@dataclass(slots=True)
class Claims:
    """
    This is what a client reported. `receipts` is None if it reports none: then payments are not compared.

    `answers` are texts it returned as finished, without stop sequences applied; `logs` any text it
    wrote.
    """

    receipts: list[JsonObject] | None = None
    answers: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    spoiled: set[str] = field(default_factory=set)
    """Hashes of transactions whose results, of models on chain, are none."""


def contradictions(claims: Claims, journal: Journal, secrets: set[str]) -> Iterator[Finding]:
    """Yield where `claims` and `journal` disagree, and which of `secrets` (all of them) were told."""
    if claims.receipts is not None:
        read = list(map(Receipt, claims.receipts))
        receipts = [receipt for receipt in read if receipt.onchain is None]
        yield from _inferences([receipt for receipt in read if receipt.onchain is not None], claims.spoiled)
        yield from _proofs(receipts, journal)
        yield from _payments(receipts, journal)
        yield from _charges(receipts, journal)
    yield from _texts(claims.answers, journal)
    yield from _told(claims, secrets)


def _proofs(receipts: Sequence[Receipt], journal: Journal) -> Iterator[Finding]:
    signed = {exchange.signature: exchange for exchange in journal.exchanges if exchange.signature is not None}
    verified = _verified(receipts)
    for receipt in verified:
        exchange = signed.get(str(receipt.tee_signature))
        if exchange is None:
            yield Finding("accepted_unverified", "a verified receipt with a signature that no enclave here made")
        elif exchange.spoiled:
            yield _wrongly_accepted(exchange)
        elif (receipt.request_hash, receipt.output_hash) != (exchange.request_hash, exchange.output_hash):
            detail = "a verified receipt with other hashes than the enclave signed"
            yield Finding("accepted_unverified", detail, (exchange.number,))
    for signature, times in Counter(str(receipt.tee_signature) for receipt in verified).items():
        if times > 1:
            found = signed.get(signature)
            numbers = () if found is None else (found.number,)
            yield Finding("same_proof_twice", f"one signature in {times} verified receipts", numbers)


def _inferences(receipts: Sequence[Receipt], spoiled: set[str]) -> Iterator[Finding]:
    """Yield what was shown as the proven result of a model on chain, and is none."""
    for receipt in _verified(receipts):
        if receipt.transaction_hash in spoiled:
            yield Finding("accepted_unverified", f"a verified receipt of the transaction {receipt.transaction_hash}")


def _verified(receipts: Sequence[Receipt]) -> list[Receipt]:
    return [receipt for receipt in receipts if receipt.verified]


def _wrongly_accepted(exchange: Exchange) -> Finding:
    cut = exchange.streamed and any(fault.startswith(_CUTS) for fault in exchange.faults)
    name = "truncated_stream_accepted" if cut else "accepted_unverified"
    return Finding(name, f"accepted in spite of {'+'.join(exchange.faults)}", (exchange.number,))


def _payments(receipts: Sequence[Receipt], journal: Journal) -> Iterator[Finding]:
    seen: dict[str, list[AuthorizationSeen]] = {}
    for authorization in journal.authorizations.values():
        if authorization.digest is not None and not authorization.relayed:
            seen.setdefault(authorization.digest, []).append(authorization)
    paid = [receipt.payment for receipt in receipts if receipt.payment]
    reported = {str(payment.payment_hash) for payment in paid}
    for digest in seen.keys() - reported:
        numbers = tuple(e.number for e in journal.exchanges if e.authorization in {a.ref for a in seen[digest]})
        yield Finding("unreported_payment", f"no receipt tells of the authorization {digest}", numbers)
    # A call that failed may have sent its payment into a connection that nobody read from any more.
    relied_on = {str(receipt.payment_hash) for receipt in _verified(receipts) if receipt.payment}
    for digest in relied_on - seen.keys():
        yield Finding("unseen_payment", f"no gateway saw the authorization {digest}")
    yield from _sessions(paid, seen, journal)


def _charges(receipts: Sequence[Receipt], journal: Journal) -> Iterator[Finding]:
    """Yield what was charged to payments that are reported, more often than receipts tell of."""
    paid = [receipt for receipt in receipts if receipt.payment]
    reported = {receipt.payment_hash for receipt in paid}
    sessions = {seen.session for seen in journal.authorizations.values() if seen.digest in reported}
    charged: dict[str, list[Exchange]] = {}
    asked: dict[object, str] = {}
    numbered = {exchange.number: exchange for exchange in journal.exchanges}
    for exchange in (numbered[charge.exchange] for charge in journal.charges if not charge.refused):
        if exchange.session in sessions:
            charged.setdefault(exchange.question, []).append(exchange)
            asked |= dict.fromkeys((*exchange.hashes, exchange.signature), exchange.question)
    calls = Counter(asked.get(item.request_hash, asked.get(item.tee_signature)) for item in paid)
    for question, same in charged.items():
        if len(same) > calls[question]:
            detail = f"{len(same)} answers to one question were charged, and receipts tell of {calls[question]} calls"
            yield Finding("unreported_charge", detail, tuple(exchange.number for exchange in same))


def _sessions(
    paid: Sequence[ReceiptPayment], seen: dict[str, list[AuthorizationSeen]], journal: Journal
) -> Iterator[Finding]:
    named: dict[str | None, set[str | None]] = {}
    for authorization in journal.authorizations.values():
        named.setdefault(authorization.digest, set()).add(authorization.session)
    # A gateway may name another session than it opened; a client can only report what it was told.
    for exchange in journal.exchanges:
        if exchange.sessions_named and exchange.authorization in journal.authorizations:
            named[journal.authorizations[exchange.authorization].digest].update(exchange.sessions_named)
    for digest, ref in {(str(payment.payment_hash), payment.session_ref) for payment in paid}:
        if ref is not None and digest in seen and ref not in named[digest]:
            yield Finding("wrong_session_reported", f"session_ref {ref} for the authorization {digest}")


def _texts(answers: Sequence[str], journal: Journal) -> Iterator[Finding]:
    given = [exchange for exchange in journal.exchanges if exchange.said is not None and exchange.status == 200]
    honest = Counter(exchange.said for exchange in given if exchange.signature is not None and not exchange.spoiled)
    for text, times in Counter(answers).items():
        if times <= honest[text]:
            continue
        whole = next((e for e in given if text and _is_part(text, e)), None)
        if whole is not None:
            detail = f"{len(text)} of {len(str(whole.said))} characters were taken for the answer"
            yield Finding("truncated_stream_accepted", detail, (whole.number,))
        elif not (broken := _spoiled_one(given, text)):
            yield Finding("accepted_unverified", f"{len(text)} characters that no enclave here said")
        else:
            yield _wrongly_accepted(broken)


def _is_part(text: str, exchange: Exchange) -> bool:
    whole = str(exchange.said)
    return whole.startswith(text) and (whole != text or (exchange.streamed and exchange.signature is None))


def _spoiled_one(given: Sequence[Exchange], text: str) -> Exchange | None:
    return next((exchange for exchange in given if exchange.spoiled and exchange.said == text), None)


def _told(claims: Claims, secrets: set[str]) -> Iterator[Finding]:
    places = [("a receipt", json.dumps(receipt)) for receipt in claims.receipts or ()]
    places += [("a log", text) for text in claims.logs]
    for place, text in places:
        for secret in secrets:
            if secret in text:
                name = "session_leaked" if _UUID.fullmatch(secret) else "secret_leaked"
                yield Finding(name, f"a secret stands in {place}")

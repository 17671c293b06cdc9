"""
This module reckons the figures of a report: what its rows add up to.

A call counts once, and only if it is proven; what failed or could not be decided is counted apart and sums into no
amount. Who says each figure is said beside it: the enclave, the verifier, the gateway, or nobody but the file.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median

from og_integrations.ledger._entry import SettlementNote
from og_integrations.networks import format_opg
from og_integrations.report._rows import Row

_STEPS = (60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
"""Widths of a bar, in seconds: the first that leaves at most `_MOST_BARS` is taken."""
_MOST_BARS = 48


@dataclass(slots=True)
class Group:
    """A group is what the rows of one model, wallet or enclave add up to; amounts are base units of OPG."""

    name: str
    calls: int = 0
    unproven: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    reported: int = 0
    reported_calls: int = 0
    first: int | None = None
    last: int | None = None
    rows: list[Row] = field(default_factory=list, repr=False)

    def add(self, row: Row) -> None:
        """Count one more row."""
        if not row.proven:
            self.unproven += row.duplicate_of is None
            return
        self.calls += 1
        self.rows.append(row)
        self.tokens_in += row.facts.tokens_in
        self.tokens_out += row.facts.tokens_out
        if row.facts.reported is not None:
            self.reported += row.facts.reported
            self.reported_calls += 1
        if row.when is not None:
            self.first = min(self.first or row.when, row.when)
            self.last = max(self.last or row.when, row.when)


@dataclass(slots=True)
class Payment:
    """A payment is one authorization, with the calls that it served and what the chain says was taken of it."""

    group: Group
    payer: str
    authorized: int
    settlement: SettlementNote | None

    @property
    def taken(self) -> int | None:
        """Return what was taken, in base units; None while nobody said."""
        return self.settlement.amount if self.settlement is not None else None

    @property
    def share(self) -> float:
        """Return the part of what was authorized that was taken, 0 to 1."""
        return min(1.0, (self.taken or 0) / self.authorized) if self.authorized else 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    """
    A bar holds the calls of one span of time.

    `cost` is what gateways said of the proven ones, `authorized` what new payments allowed, both in base units of OPG;
    `seconds` is the median time that a call took.
    """

    start: int
    proven: int
    failed: int
    other: int
    cost: int
    authorized: int
    seconds: float


class Figures:
    """These are the figures of `rows`; `settlements` is what the chain said of payments, by payment hash."""

    def __init__(self, rows: Sequence[Row], settlements: Mapping[str, SettlementNote]) -> None:
        self.rows = rows
        self.statuses = Counter(row.verdict.status for row in rows)
        self.duplicates = sum(row.duplicate_of is not None for row in rows)
        self.proven = [row for row in rows if row.proven]
        self.of_chain = sum(row.particulars.kind == "onchain" for row in self.proven)
        self.models = _grouped(rows, lambda row: row.facts.model)
        self.wallets = _grouped(rows, lambda row: row.facts.wallet or row.particulars.sender)
        self.enclaves = _grouped(rows, lambda row: row.verdict.proof.tee_id if row.verdict.proof else None)
        self.payments = [_payment(group, settlements) for group in _grouped(rows, lambda row: row.facts.payment)]
        self.payments = [payment for payment in self.payments if payment.group.calls]
        self.seconds = sorted(row.seconds for row in self.proven if row.seconds is not None)
        moments = [row.when for row in self.proven if row.when is not None]
        self.period = (min(moments), max(moments)) if moments else None

    @cached_property
    def trouble(self) -> list[Row]:
        """Return the rows that are not verified, the gravest first."""
        order = ("failed", "malformed", "undecided")
        wrong = [row for row in self.rows if not row.verdict.verified]
        return sorted(wrong, key=lambda row: order.index(row.verdict.status))

    @property
    def authorized(self) -> int:
        """Return the most that all payments together allow to be taken, in base units of OPG."""
        return sum(payment.authorized for payment in self.payments)

    @property
    def taken(self) -> int:
        """Return what the chain said was taken of those payments that it was asked about, in base units of OPG."""
        return sum(payment.taken or 0 for payment in self.payments)

    @property
    def asked(self) -> int:
        """Return for how many payments the chain said what was taken."""
        return sum(payment.taken is not None for payment in self.payments)

    @property
    def reported(self) -> int:
        """Return what gateways said the proven calls cost, in base units of OPG."""
        return sum(row.facts.reported or 0 for row in self.proven)

    @property
    def reported_calls(self) -> int:
        """Return for how many proven calls a gateway said what they cost."""
        return sum(row.facts.reported is not None for row in self.proven)

    @property
    def gas(self) -> int:
        """Return what the gas of models on chain cost, in wei."""
        return sum(row.particulars.gas for row in self.proven)

    @property
    def latency(self) -> dict[str, float]:
        """Return the median, the 95th percentile and the longest time of a call, in seconds; empty if none is known."""
        if not (known := self.seconds):
            return {}
        return {
            "median": median(known),
            "p95": known[min(len(known) - 1, len(known) * 95 // 100)],
            "longest": known[-1],
        }

    @property
    def failures(self) -> list[tuple[str, int]]:
        """Return the steps at which documents were refused or left open, with how many, the most first."""
        return Counter(row.verdict.step or "" for row in self.rows if not row.verdict.verified).most_common()

    @property
    def not_covered(self) -> list[tuple[str, int]]:
        """Return what could be altered in proven documents all the same, and in how many of them, the most first."""
        parts = (
            f"{group}: {name}"
            for row in self.proven
            for group, names in row.verdict.not_covered.items()
            for name in names
        )
        return Counter(parts).most_common()

    @cached_property
    def width(self) -> int:
        """Return the span of a bar, in seconds."""
        if self.period is None:
            return _STEPS[0]
        span = self.period[1] - self.period[0] + 1
        return next((step for step in _STEPS if span / step <= _MOST_BARS), -(-span // _MOST_BARS))

    @cached_property
    def bars(self) -> list[Bar]:
        """Return the bars over the whole period, empty ones among them."""
        if self.period is None:
            return []
        width = self.width
        first, last = self.period[0] // width, self.period[1] // width
        held: dict[int, list[Row]] = {at: [] for at in range(first, last + 1)}
        for row in self.rows:
            # A forged time outside of the proven period would stretch the picture to nothing.
            if row.when is not None and row.duplicate_of is None and row.when // width in held:
                held[row.when // width].append(row)
        begun = Counter[int]()
        for payment in self.payments:
            begun[(payment.group.first or 0) // width] += payment.authorized
        return [_bar(at * width, rows, begun[at]) for at, rows in held.items()]


def _bar(start: int, rows: Sequence[Row], authorized: int) -> Bar:
    statuses = Counter(row.verdict.status for row in rows)
    cost = sum(row.facts.reported or 0 for row in rows if row.proven)
    proven, failed = statuses["verified"], statuses["failed"]
    seconds = median([row.seconds for row in rows if row.proven and row.seconds is not None] or [0.0])
    return Bar(start, proven, failed, statuses.total() - proven - failed, cost, authorized, seconds)


def _grouped(rows: Iterable[Row], key: Callable[[Row], str | None]) -> list[Group]:
    groups: dict[str, Group] = {}
    for row in rows:
        name = key(row)
        if name:
            groups.setdefault(name, Group(name)).add(row)
    return sorted(groups.values(), key=lambda group: (-group.calls, group.name))


def _payment(group: Group, settlements: Mapping[str, SettlementNote]) -> Payment:
    facts = group.rows[0].facts if group.rows else None
    authorized, payer = (facts.authorized, facts.wallet or "") if facts is not None else (0, "")
    return Payment(group, payer, authorized, settlements.get(group.name))


def opg(base_units: int) -> str:
    """Return an amount in OPG for a person, with as many digits as tell it apart from nothing."""
    exact = format_opg(base_units)
    whole, _, rest = exact.partition(".")
    kept = rest[:6] if rest[:6].strip("0") else rest
    return f"{int(whole):,}" + (f".{kept.rstrip('0')}" if kept.rstrip("0") else "")

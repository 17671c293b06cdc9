"""This module sums receipts, one after the other: memory grows with payments and models, never with calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from og_integrations._accounting import facts_of
from og_integrations._notebook import table
from og_integrations.ledger._entry import SettlementNote
from og_integrations.networks import format_opg
from og_integrations.receipt import is_verified

TAKEN = "settled"
"""The word of `SettlementStatus` for a payment that was taken."""


@dataclass(slots=True)
class ModelTotals:
    """This is what was asked of one model."""

    calls: int = 0
    verified: int = 0
    replayed: int = 0


@dataclass(slots=True, kw_only=True)
class Totals:
    """
    Totals are sums over receipts; amounts are base units of OPG, and printed they are OPG.

    `authorized` bounds what can be taken: each of the `authorizations` serves many calls. `settled` is what the chain
    said was taken of `settlements` of them, and is only known where it was asked (`Ledger.note_settlement`).
    `reported` is what gateways said that `reported_calls` calls cost, `estimated_usd` what the price list gives for
    `estimated_calls` others, in US dollars; `estimated` is the part of it for which a price of OPG was given
    (`OG_OPG_PRICE_USD`). None of these is proven. `replayed` are answers that came from a cache.
    """

    calls: int = 0
    verified: int = 0
    replayed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    reported: int = 0
    reported_calls: int = 0
    estimated: int = 0
    estimated_usd: Decimal = Decimal(0)
    estimated_calls: int = 0
    settled: int = 0
    settlements: int = 0
    payments: dict[str, int] = field(default_factory=dict)
    by_model: dict[str, ModelTotals] = field(default_factory=dict)

    @property
    def authorizations(self) -> int:
        """Return how many authorizations paid."""
        return len(self.payments)

    @property
    def authorized(self) -> int:
        """Return the most that can be taken by all of them, in base units of OPG."""
        return sum(self.payments.values())

    def add(self, receipt: Mapping[str, object]) -> None:
        """Count one more call, by its receipt as plain JSON, which may hold anything."""
        facts = facts_of(receipt)
        model = self.by_model.setdefault(facts.model, ModelTotals())
        self.calls += 1
        model.calls += 1
        if is_verified(receipt):
            self.verified += 1
            model.verified += 1
        if facts.payment:
            self.payments[facts.payment] = facts.authorized
        self.tokens_in += facts.tokens_in
        self.tokens_out += facts.tokens_out
        if facts.reported is not None:
            self.reported += facts.reported
            self.reported_calls += 1
        elif facts.estimated is not None or facts.estimated_usd is not None:
            self.estimated += facts.estimated or 0
            self.estimated_usd += facts.estimated_usd or 0
            self.estimated_calls += 1

    def replay(self, receipt: Mapping[str, object]) -> None:
        """Count an answer that came from a cache: nothing was asked or paid."""
        self.replayed += 1
        self.by_model.setdefault(facts_of(receipt).model, ModelTotals()).replayed += 1

    def settle(self, notes: Mapping[str, SettlementNote]) -> None:
        """Take what the chain said of the payments that were counted."""
        known = [notes[payment] for payment in self.payments if payment in notes]
        taken = [note.amount or 0 for note in known if note.amount is not None]
        self.settled, self.settlements = sum(taken), len(taken)

    def copy(self) -> "Totals":
        """Return the same sums, which later calls do not change."""
        models = {name: replace(counted) for name, counted in self.by_model.items()}
        return replace(self, payments=dict(self.payments), by_model=models)

    def __str__(self) -> str:
        return "\n".join(f"{name:<16}{text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        """Return the report as a table, for notebooks; everything in it is escaped."""
        return table(self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        lines = [
            ("calls", f"{self.calls}, of them {self.verified} verified"),
            ("tokens", f"{self.tokens_in} in, {self.tokens_out} out (reported, not signed)"),
            ("authorized", f"{format_opg(self.authorized)} OPG at most, by {self.authorizations} authorizations"),
            ("settled", f"{format_opg(self.settled)} OPG, of {self.settlements} authorizations that the chain told of"),
        ]
        if self.replayed:
            lines.insert(1, ("from a cache", str(self.replayed)))
        if self.reported_calls:
            told = f"{format_opg(self.reported)} OPG for {self.reported_calls} calls, by gateways; not proven"
            lines.append(("cost reported", told))
        if self.estimated_calls:
            opg = f", {format_opg(self.estimated)} OPG," if self.estimated else ""
            told = f"{self.estimated_usd.normalize():f} US dollars{opg} for {self.estimated_calls} calls, by price list"
            lines.append(("cost estimated", told))
        return lines

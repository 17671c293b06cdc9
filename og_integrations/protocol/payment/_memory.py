"""
A budget in the memory of one process: where the entries are kept if `SpendPolicy.store` says nothing.

Final entries that no window reaches are folded into sums, so that a long life does not make it slow.
"""

from collections.abc import Iterable
from dataclasses import replace

from og_integrations.protocol.payment import _budget as rules
from og_integrations.protocol.payment._budget import (
    FOLD_AFTER,
    BudgetTotals,
    Entry,
    HoldState,
    Judge,
    Lock,
    counts,
    unanswered,
)


class MemoryStore:
    """A store in memory, for one process; made safe for threads by `lock`, which must be re-entrant."""

    counts_shares = True

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._entries: dict[str, Entry] = {}
        self._folded = BudgetTotals()
        self._stopped: str | None = None
        self._unanswered = 0
        self._shares: dict[str, int] = {}

    def claim(self, entry: Entry, judge: Judge) -> BudgetTotals:
        """Add `entry`, unless `judge` raises; return the sums without it."""
        with self._lock:
            # Judging and adding happen under one lock. Otherwise two
            # calls could both fit, and exceed the limit together.
            totals = self._totals(entry.at, entry.part)
            judge(totals)
            self._entries[entry.id] = entry
            for old in foldable(list(self._entries.values()), entry.at):
                self._folded = folded(self._folded, old)
                if old.part:
                    self._shares[old.part] = self._shares.get(old.part, 0) + old.amount
                del self._entries[old.id]
            return totals

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry."""
        with self._lock:
            entry = self._entries.get(entry_id)
            # A late failure of one call must not undo what another
            # call, which shares the authorization, has seen accepted.
            if entry is None or entry.state is HoldState.SETTLED:
                return
            self._unanswered = unanswered(self._unanswered, entry.state, to)
            self._entries[entry_id] = replace(entry, state=to)
            if to is HoldState.RELEASED:
                del self._entries[entry_id]

    def correct(self, entry_id: str, amount: int) -> None:
        """Note what was really taken."""
        with self._lock:
            # An entry that was folded is counted with its cap for ever; bringing it back would count it twice.
            entry = self._entries.get(entry_id)
            if entry is not None and not entry.explained:
                settled = replace(entry, amount=amount, state=HoldState.SETTLED, authorization=None)
                self._entries[entry_id] = settled

    def totals(self, now: int, part: str = "") -> BudgetTotals:
        """Return the sums at unix time `now`, with the share of `part`."""
        with self._lock:
            return self._totals(now, part)

    def entries(self) -> list[Entry]:
        """Return what may still be corrected."""
        with self._lock:
            return [entry for entry in list(self._entries.values()) if entry.authorization is not None]

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, or allow it again."""
        with self._lock:
            self._stopped = reason
            if reason is None:
                self._unanswered = 0

    def stopped(self) -> str | None:
        """Return why nothing may be authorized."""
        return self._stopped

    def _totals(self, now: int, part: str) -> BudgetTotals:
        share = self._shares.get(part, 0) if part else 0
        totals = replace(self._folded, stopped=self._stopped, unanswered=self._unanswered, share=share)
        # Of a copy: the garbage collector may end an abandoned flow here, whose hold is then released.
        for entry in list(self._entries.values()):
            totals = totals.plus(entry, now, part)
        return totals


def foldable(entries: Iterable[Entry], now: int) -> list[Entry]:
    """
    Return those of which only the amount matters any more, so that a long life does not make a store slow.

    They are the final ones older than `FOLD_AFTER`; and of those that wait for the chain's word the oldest, where
    they are more than `MOST_UNEXPLAINED`: these then count in full for ever.
    """
    # Entries in doubt are never folded, since the chain may still give their amounts back.
    old = [entry for entry in entries if entry.state is HoldState.SETTLED and entry.at < now - FOLD_AFTER]
    waiting = [entry for entry in old if entry.authorization is not None]
    final = [entry for entry in old if entry.authorization is None]
    return final + sorted(waiting, key=lambda entry: entry.at)[: max(0, len(waiting) - rules.MOST_UNEXPLAINED)]


def folded(sums: BudgetTotals, entry: Entry) -> BudgetTotals:
    """Return `sums` with one more entry of which only the amount matters."""
    amount, settled, _ = counts(entry)
    return replace(sums, authorized=sums.authorized + amount, settled=sums.settled + settled)

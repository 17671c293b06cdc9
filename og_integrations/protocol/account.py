"""
What a budget keeps: entries, their sums, and where both are kept.

An entry is one authorization. It counts with its cap until the chain has said what was really taken
(`correct`), which it finally knows once the authorization is `overdue`.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from og_integrations.protocol.amounts import format_opg
from og_integrations.protocol.permit2 import Authorization

Lock = AbstractContextManager[Any]
"""A plain mutual exclusion lock; given by the caller, since this package starts no threads."""
HOUR, DAY = 3_600, 86_400
FOLD_AFTER = 2 * DAY
"""Seconds after which only the sum is kept: a day longer than the longest window, for clocks that are ahead."""
SKEW = 30
"""Seconds after its deadline, by our clock and by the chain's, before an authorization counts as over."""
ABANDONED = HOUR
"""The same for one that is still held: no call lasts so long, so whoever held it is gone."""
MOST_UNEXPLAINED = 5_000
"""How many accepted authorizations, older than `FOLD_AFTER`, are remembered for asking the chain."""


class HoldState(Enum):
    """What became of one authorization; see `protocol.budget`."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One authorization in the account: `amount` base units, `at` (unix seconds) it was made.

    `authorization` is what was signed, for asking the chain about it; None once that has answered.
    `network` is the `Network.identity` it was made for, None where nobody noted it.
    """

    id: str
    amount: int
    at: int
    state: HoldState = HoldState.HELD
    authorization: Authorization | None = None
    network: str | None = None

    @property
    def explained(self) -> bool:
        """Whether the chain has said that `amount` was taken."""
        return self.state is HoldState.SETTLED and self.authorization is None

    def in_use(self, now: int) -> bool:
        """Whether a call may hold it at unix time `now`, so that nothing about it is final."""
        return self.state is HoldState.HELD and not self._over(now, ABANDONED)

    def overdue(self, now: int) -> bool:
        """Whether it waits for the chain's word, and nobody can take anything of it any more."""
        return self.authorization is not None and not self.in_use(now) and self._over(now, SKEW)

    def _over(self, now: int, patience: int) -> bool:
        return self.authorization is not None and now > self.authorization.deadline + patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """
    The sums at one moment, in base units: everything ever authorized and not released, and the parts of it
    that the chain says were settled, whose fate is not known, and that were made in the last hour and day.

    What is `settled` counts with what was really taken; the rest of `authorized`, with its cap.

    `stopped` is the reason why nothing more may be authorized, None if it may. `limits` are those of
    the `SpendPolicy` by name, None where there is none. As text it is a report for people, in OPG.
    """

    authorized: int = 0
    settled: int = 0
    in_doubt: int = 0
    last_hour: int = 0
    last_day: int = 0
    stopped: str | None = None
    limits: tuple[tuple[str, int | None], ...] = ()

    def plus(self, entry: Entry, now: int) -> "Account":
        """Return the account with `entry` in it, as of unix time `now`."""
        if entry.state is HoldState.RELEASED:
            return self
        amount = entry.amount
        return replace(
            self,
            authorized=self.authorized + amount,
            settled=self.settled + (amount if entry.explained else 0),
            in_doubt=self.in_doubt + (amount if entry.state is HoldState.IN_DOUBT else 0),
            # Times are whole seconds: without equality, a window would be up to a second short.
            last_hour=self.last_hour + (amount if entry.at >= now - HOUR else 0),
            last_day=self.last_day + (amount if entry.at >= now - DAY else 0),
        )

    def counted(self, limit: str) -> int:
        """Return what counts against the limit of that name in `SpendPolicy`."""
        return {"total": self.authorized, "per_hour": self.last_hour, "per_day": self.last_day}[limit]

    def __str__(self) -> str:
        limits = dict(self.limits)
        lines = [
            ("authorized", self.authorized, limits.get("total")),
            ("of it settled", self.settled, None),
            ("of it in doubt", self.in_doubt, None),
            ("in the last hour", self.last_hour, limits.get("per_hour")),
            ("in the last day", self.last_day, limits.get("per_day")),
        ]
        text = [f"{name:<18}{format_opg(amount)} OPG{_left(amount, limit)}" for name, amount, limit in lines]
        state = "allowed" if self.stopped is None else f"stopped: {self.stopped}"
        return "\n".join([*text, f"{'spending':<18}{state}"])


def _left(amount: int, limit: int | None) -> str:
    return "" if limit is None else f" of {format_opg(limit)}, {format_opg(max(0, limit - amount))} left"


@runtime_checkable
class BudgetStore(Protocol):
    """
    Where an account is kept. Each method is atomic, for every thread and process that shares it.

    A store that cannot be read or written raises `ConfigurationError` from `claim` and `account`: what
    cannot be counted is not spent. Nothing is forgotten by being read: a clock that is ahead would open
    the windows of all others.
    """

    def claim(self, entry: Entry, judge: Callable[[Account], None]) -> None:
        """Add `entry`, unless `judge` raises for the account as it is at `entry.at`."""

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry; one that is gone stays gone, and one that is settled stays settled."""

    def correct(self, entry_id: str, amount: int) -> None:
        """The chain says that exactly `amount` base units were taken, finally."""

    def account(self, now: int) -> Account:
        """Return the sums at unix time `now`."""

    def entries(self) -> list[Entry]:
        """Return the entries that may still be corrected."""

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, for this reason; None ends that."""

    def stopped(self) -> str | None:
        """Return that reason. Asked before each call."""


class MemoryStore:
    """An account in memory, for one process; made safe for threads by `lock`."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._entries: dict[str, Entry] = {}
        self._folded = Account()
        self._stopped: str | None = None

    def claim(self, entry: Entry, judge: Callable[[Account], None]) -> None:
        """Add `entry`, unless `judge` raises."""
        with self._lock:
            judge(self._account(entry.at))
            self._entries[entry.id] = entry
            for old in foldable(list(self._entries.values()), entry.at):
                self._folded = folded(self._folded, old)
                del self._entries[old.id]

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry."""
        with self._lock:
            entry = self._entries.get(entry_id)
            if entry is None or entry.state is HoldState.SETTLED:
                return
            self._entries[entry_id] = replace(entry, state=to)
            if to is HoldState.RELEASED:
                del self._entries[entry_id]

    def correct(self, entry_id: str, amount: int) -> None:
        """Note what was really taken."""
        with self._lock:
            if entry_id in self._entries:
                settled = replace(self._entries[entry_id], amount=amount, state=HoldState.SETTLED, authorization=None)
                self._entries[entry_id] = settled

    def account(self, now: int) -> Account:
        """Return the sums."""
        with self._lock:
            return self._account(now)

    def entries(self) -> list[Entry]:
        """Return what may still be corrected."""
        with self._lock:
            return [entry for entry in list(self._entries.values()) if entry.authorization is not None]

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, or again."""
        with self._lock:
            self._stopped = reason

    def stopped(self) -> str | None:
        """Return why nothing may be authorized."""
        return self._stopped

    def _account(self, now: int) -> Account:
        account = replace(self._folded, stopped=self._stopped)
        # Of a copy: the garbage collector may end an abandoned flow here, whose hold is then released.
        for entry in list(self._entries.values()):
            account = account.plus(entry, now)
        return account


def foldable(entries: Iterable[Entry], now: int) -> list[Entry]:
    """
    Return those of which only the amount matters any more, so that a long life does not make a store slow.

    Final ones older than `FOLD_AFTER`; and of those that wait for the chain's word the oldest, where they
    are more than `MOST_UNEXPLAINED`: they then count in full for ever.
    """
    old = [entry for entry in entries if entry.state is HoldState.SETTLED and entry.at < now - FOLD_AFTER]
    waiting = [entry for entry in old if entry.authorization is not None]
    final = [entry for entry in old if entry.authorization is None]
    return final + sorted(waiting, key=lambda entry: entry.at)[: max(0, len(waiting) - MOST_UNEXPLAINED)]


def folded(sums: Account, entry: Entry) -> Account:
    """Return `sums` with one more entry of which only the amount matters."""
    settled = entry.amount if entry.explained else 0
    return replace(sums, authorized=sums.authorized + entry.amount, settled=sums.settled + settled)

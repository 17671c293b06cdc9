"""
What a budget keeps: entries, their sums, and where both are kept.

An entry is one authorization. It counts with its cap until the chain has said what was really taken
(`correct`), which it finally knows once the authorization is `overdue`.

Whose turn it is to ask the chain what can be given back to a budget.

Many calls can meet the same limit at once. One of them asks, the others wait for its outcome; and if
nothing came of it, nobody asks again for a while.

The account of what was authorized under a `SpendPolicy`.

`Budget` counts authorizations: each is held from the moment it is about to be signed, and ends as
settled, released or in doubt:

    held ──> settled    the gateway opened a session for it: up to `amount` may be taken
      ├────> released   it never left this machine
      └────> in doubt   it left, and what became of it is not known; counts like settled

An authorization that was refused by the gateway is in doubt as well: whoever has it could still
settle it before its deadline. All of them count in full until the chain has said what was really
taken. When a limit is reached it is asked about those whose deadline is over (`protocol.payment.reconcile`):
what was settled for less, or not at all, is given back.

Where the account is kept is a `BudgetStore`: in memory, or in a file (`client.stores.sqlite`).
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, Protocol, runtime_checkable

from og_integrations.errors import BudgetExceededError, SpendingStoppedError
from og_integrations.networks import format_opg
from og_integrations.protocol.payment.permit2 import Authorization
from og_integrations.protocol.payment.policy import SpendPolicy

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
    """What became of one authorization; see `protocol.payment.budget`."""

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


Turn = Literal["ask", "wait", "again", "done"]
REST = 30
"""Seconds for which nobody asks, after the chain had nothing to give back."""
LOST = 120
"""Seconds after which a turn is nobody's any more: its event loop was stopped in the middle, say."""


class AskingTurns:
    """The turns of one budget; made safe for threads by `lock`. `trouble` is why the last one could not ask."""

    def __init__(self, lock: Lock) -> None:
        self.trouble = ""
        self._lock = lock
        self._asking_since: int | None = None
        self._resting_since: int | None = None
        self._ended = 0
        self._in_vain: set[str] = set()

    def ended(self) -> int:
        """Return how many turns there were, for `take` to see whether there was one meanwhile."""
        return self._ended

    def take(self, now: int, ended: int) -> Turn:
        """
        Return what to do at unix time `now`: `"ask"` and then `end` or `leave`, `"wait"` and look again, or nothing.

        `ended` is what it was when the limit was met. `"again"`: another one got something since, which may do.
        """
        with self._lock:
            if _lasts(self._asking_since, LOST, now):
                return "wait"
            if _lasts(self._resting_since, REST, now):
                return "done"
            if self._ended != ended:
                return "again"
            self._asking_since = now
            return "ask"

    def end(self, now: int, *, gave_back: bool, in_vain: Collection[str] = (), trouble: str = "") -> None:
        """The one whose turn it was has asked; the chain could not explain the entries `in_vain`."""
        with self._lock:
            self._asking_since = None
            self._resting_since = None if gave_back else now
            self._ended += 1
            self._in_vain = set(in_vain)
            self.trouble = trouble

    def leave(self) -> None:
        """It was stopped before it knew, or had nothing to ask: another one may."""
        with self._lock:
            self._asking_since = None

    def was_in_vain(self, entry_id: str) -> bool:
        """Whether the chain could not explain that entry when it was asked last."""
        return entry_id in self._in_vain


def _lasts(since: int | None, seconds: int, now: int) -> bool:
    # A clock that was set back must not make this last for long.
    return since is not None and 0 <= now - since < seconds


# The last two have homes of their own; users find them here, beside what counts by them.
_WINDOWS = {"per_hour": HOUR, "per_day": DAY}


class Hold:
    """One authorization's claim on the budget: `amount` base units."""

    def __init__(self, entry: Entry, store: BudgetStore, lock: Lock) -> None:
        self.amount = entry.amount
        self.state = HoldState.HELD
        self._id = entry.id
        self._store = store
        self._lock = lock

    def settle(self) -> None:
        """The gateway accepted it. Ends doubt, too: a later answer may bring certainty."""
        self._move(HoldState.SETTLED, HoldState.HELD, HoldState.IN_DOUBT)

    def release(self) -> None:
        """It never left this machine; nothing is owed. Only a held one can be released."""
        self._move(HoldState.RELEASED, HoldState.HELD)

    def doubt(self) -> None:
        """It left, and what became of it is not known."""
        self._move(HoldState.IN_DOUBT, HoldState.HELD)

    def _move(self, to: HoldState, *sources: HoldState) -> None:
        with self._lock:
            if self.state not in sources:
                return
            self.state = to
        self._store.move(self._id, to)


class Budget:
    """
    The account of one policy. Safe to share between threads with the `lock` it was given.

    `new_id` names entries; it must give a new text each time, also across processes sharing `store`.
    `network` is noted with each entry. `asking` says whose turn it is to ask the chain.
    """

    def __init__(
        self,
        policy: SpendPolicy,
        lock: Lock,
        *,
        store: BudgetStore,
        new_id: Callable[[], str],
        network: str | None = None,
    ) -> None:
        self.policy = policy
        self.network = network
        self.store = store
        self.asking = AskingTurns(lock)
        self._limits = (("total", policy.total_units), ("per_hour", policy.hour_units), ("per_day", policy.day_units))
        self._lock = lock
        self._new_id = new_id

    def hold(self, amount: int, *, now: int = 0, authorization: Authorization | None = None) -> Hold:
        """
        Claim `amount` base units at unix time `now`.

        Raises `BudgetExceededError` if a limit does not allow it, `SpendingStoppedError` if nothing is
        allowed.
        """
        entry = Entry(id=self._new_id(), amount=amount, at=now, authorization=authorization, network=self.network)
        self.store.claim(entry, lambda account: self._judge(account, amount))
        return Hold(entry, self.store, self._lock)

    def require_running(self) -> None:
        """Raise `SpendingStoppedError` if the kill switch was used: sessions that are paid end, too."""
        stopped = self.store.stopped()
        if stopped is not None:
            raise _stopped(stopped)

    def spent(self, now: int) -> Account:
        """Return the sums at unix time `now`, with the limits of the policy."""
        return replace(self.store.account(now), limits=self._limits)

    def authorized(self, now: int = 0) -> int:
        """Return the sum of all authorizations that were not released, in base units."""
        return self.store.account(now).authorized

    def fits(self, amount: int, now: int) -> bool:
        """Whether every limit would allow `amount` base units at unix time `now`."""
        return self._exceeded(self.store.account(now), amount) is None

    def overdue(self, now: int, limit: str) -> list[Entry]:
        """
        Return what the chain can be asked about at unix time `now`, of what counts against `limit`.

        The oldest first, since nodes forget; but last what they could not explain before.
        """
        since = now - _WINDOWS[limit] if limit in _WINDOWS else -1
        found = [entry for entry in self.store.entries() if entry.overdue(now) and entry.at >= since]
        return sorted(found, key=lambda entry: (self.asking.was_in_vain(entry.id), entry.at))

    def _judge(self, account: Account, amount: int) -> None:
        if account.stopped is not None:
            raise _stopped(account.stopped)
        exceeded = self._exceeded(account, amount)
        if exceeded is not None:
            name, limit = exceeded
            error = BudgetExceededError(
                f"The next authorization needs {format_opg(amount)} OPG, but {format_opg(account.counted(name))} of "
                f"{format_opg(limit)} OPG (SpendPolicy.{name}) are authorized already. Nothing was signed."
            )
            error.limit = name
            raise error

    def _exceeded(self, account: Account, amount: int) -> tuple[str, int] | None:
        for name, limit in self._limits:
            if limit is not None and account.counted(name) + amount > limit:
                return name, limit
        return None


def _stopped(reason: str) -> SpendingStoppedError:
    return SpendingStoppedError(
        f"Spending was stopped: {reason}. Nothing was sent. `resume_spending()` allows it again."
    )

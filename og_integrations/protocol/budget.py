"""
The account of what was authorized under a `SpendPolicy`.

`Budget` counts authorizations: each is held from the moment it is about to be signed, and ends as
settled, released or in doubt:

    held ──> settled    the gateway opened a session for it: up to `amount` may be taken
      ├────> released   it never left this machine
      └────> in doubt   it left, and what became of it is not known; counts like settled

An authorization that was refused by the gateway is in doubt as well: whoever has it could still
settle it before its deadline. All of them count in full until the chain has been asked what was really
taken (`correct`): after its deadline an authorization may be unused, but only the chain knows.

Where the account is kept is a `BudgetStore`: in memory here, in a file in `client.budget_file`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from og_integrations.errors import BudgetExceededError, SpendingStoppedError
from og_integrations.protocol.amounts import format_opg, parse_opg
from og_integrations.protocol.permit2 import Authorization
from og_integrations.protocol.spend_policy import OnPayment, PaymentRequest, SpendPolicy

__all__ = [
    "Account",
    "Budget",
    "BudgetStore",
    "DAY",
    "Entry",
    "HOUR",
    "Hold",
    "HoldState",
    "Lock",
    "MemoryStore",
    "OnPayment",
    "PaymentRequest",
    "SpendPolicy",
    "format_opg",
    "parse_opg",
]

Lock = AbstractContextManager[Any]
"""A plain mutual exclusion lock; given by the caller, since this package starts no threads."""
HOUR, DAY = 3_600, 86_400


class HoldState(Enum):
    """What became of one authorization; see the module docstring."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One authorization in the account: `amount` base units, `at` (unix seconds) it was made.

    `authorization` is what was signed, for asking the chain about it.
    """

    id: str
    amount: int
    at: int
    state: HoldState = HoldState.HELD
    authorization: Authorization | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """
    The sums at one moment, in base units: everything ever authorized and not released, the part of it
    whose fate is not known, and what of it was made in the last hour and day.

    `stopped` is the reason why nothing more may be authorized, None if it may.
    """

    authorized: int = 0
    in_doubt: int = 0
    last_hour: int = 0
    last_day: int = 0
    stopped: str | None = None

    def plus(self, entry: Entry, now: int) -> "Account":
        """Return the account with `entry` in it, as of unix time `now`."""
        if entry.state is HoldState.RELEASED:
            return self
        return replace(
            self,
            authorized=self.authorized + entry.amount,
            in_doubt=self.in_doubt + entry.amount * (entry.state is HoldState.IN_DOUBT),
            last_hour=self.last_hour + entry.amount * (entry.at > now - HOUR),
            last_day=self.last_day + entry.amount * (entry.at > now - DAY),
        )


@runtime_checkable
class BudgetStore(Protocol):
    """
    Where an account is kept. Each method is atomic, for every thread and process that shares it.

    A store that cannot be read or written raises `ConfigurationError` from `claim` and `account`: what
    cannot be counted is not spent.
    """

    def claim(self, entry: Entry, judge: Callable[[Account], None]) -> None:
        """Add `entry`, unless `judge` raises for the account as it is at `entry.at`."""

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry; one that is gone stays gone."""

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
        self._folded = 0
        self._stopped: str | None = None

    def claim(self, entry: Entry, judge: Callable[[Account], None]) -> None:
        """Add `entry`, unless `judge` raises."""
        with self._lock:
            judge(self._account(entry.at))
            self._entries[entry.id] = entry

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry."""
        with self._lock:
            if entry_id in self._entries:
                self._entries[entry_id] = replace(self._entries[entry_id], state=to)
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
            return [entry for entry in self._entries.values() if entry.authorization is not None]

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, or again."""
        with self._lock:
            self._stopped = reason

    def stopped(self) -> str | None:
        """Return why nothing may be authorized."""
        return self._stopped

    def _account(self, now: int) -> Account:
        # Old final ones are folded into a number, so that a long life does not make this slow.
        for entry in [e for e in self._entries.values() if is_foldable(e, now)]:
            self._folded += entry.amount
            del self._entries[entry.id]
        account = Account(authorized=self._folded, stopped=self._stopped)
        for entry in self._entries.values():
            account = account.plus(entry, now)
        return account


def is_foldable(entry: Entry, now: int) -> bool:
    """Whether only the amount of `entry` matters any more."""
    return entry.state is HoldState.SETTLED and entry.at <= now - DAY


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
    """

    def __init__(
        self,
        policy: SpendPolicy,
        lock: Lock,
        *,
        store: BudgetStore | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.policy = policy
        self.store: BudgetStore = store if store is not None else MemoryStore(lock)
        self._lock = lock
        self._made = 0
        self._new_id = new_id or self._next_id

    def hold(self, amount: int, *, now: int = 0, authorization: Authorization | None = None) -> Hold:
        """
        Claim `amount` base units at unix time `now`.

        Raises `BudgetExceededError` if a limit does not allow it, `SpendingStoppedError` if nothing is
        allowed.
        """
        entry = Entry(id=self._new_id(), amount=amount, at=now, authorization=authorization)
        self.store.claim(entry, lambda account: self._judge(account, amount))
        return Hold(entry, self.store, self._lock)

    def require_running(self) -> None:
        """Raise `SpendingStoppedError` if the kill switch was used: sessions that are paid end, too."""
        stopped = self.store.stopped()
        if stopped is not None:
            raise _stopped(stopped)

    def authorized(self, now: int = 0) -> int:
        """Return the sum of all authorizations that were not released, in base units."""
        return self.store.account(now).authorized

    def in_doubt(self, now: int = 0) -> int:
        """Return the part of `authorized` whose fate is not known, in base units."""
        return self.store.account(now).in_doubt

    def _judge(self, account: Account, amount: int) -> None:
        if account.stopped is not None:
            raise _stopped(account.stopped)
        for name, limit, counted in (
            ("total", self.policy.total_units, account.authorized),
            ("per_hour", self.policy.hour_units, account.last_hour),
            ("per_day", self.policy.day_units, account.last_day),
        ):
            if limit is not None and counted + amount > limit:
                raise BudgetExceededError(
                    f"The next authorization needs {format_opg(amount)} OPG, but {format_opg(counted)} of "
                    f"{format_opg(limit)} OPG (SpendPolicy.{name}) are authorized already. Nothing was signed."
                )

    def _next_id(self) -> str:
        with self._lock:
            self._made += 1
            return str(self._made)


def _stopped(reason: str) -> SpendingStoppedError:
    return SpendingStoppedError(
        f"Spending was stopped: {reason}. Nothing was sent. `resume_spending()` allows it again."
    )

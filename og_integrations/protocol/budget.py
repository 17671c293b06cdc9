"""
The account of what was authorized under a `SpendPolicy`.

`Budget` counts authorizations: each is held from the moment it is about to be signed, and ends as
settled, released or in doubt:

    held ──> settled    the gateway opened a session for it: up to `amount` may be taken
      ├────> released   it never left this machine
      └────> in doubt   it left, and what became of it is not known; counts like settled

An authorization that was refused by the gateway is in doubt as well: whoever has it could still
settle it before its deadline. All of them count in full until the chain has said what was really
taken. When a limit is reached it is asked about those whose deadline is over (`protocol.reclaiming`):
what was settled for less, or not at all, is given back.

Where the account is kept is a `BudgetStore`: in memory, or in a file (`client.budget_file`).
"""

from collections.abc import Callable
from dataclasses import replace

from og_integrations.errors import BudgetExceededError, SpendingStoppedError
from og_integrations.protocol.account import (
    DAY,
    HOUR,
    Account,
    BudgetStore,
    Entry,
    HoldState,
    Lock,
)
from og_integrations.protocol.amounts import format_opg
from og_integrations.protocol.asking_turns import AskingTurns
from og_integrations.protocol.permit2 import Authorization
from og_integrations.protocol.spend_policy import SpendPolicy

# The last two have homes of their own; users find them here, beside what counts by them.
__all__ = ["Budget", "Hold", "SpendPolicy", "format_opg"]

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

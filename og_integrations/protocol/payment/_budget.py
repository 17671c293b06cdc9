"""
This module counts what was authorized under a `SpendPolicy`, and says where that is kept.

A `Budget` counts authorizations. Each is one `Entry`, held from the moment before it is signed, and it ends as
settled, released or in doubt (`HoldState`):

```text
held ──> settled    the gateway opened a session for it: up to `amount` may be taken
  ├────> released   it never left this machine
  └────> in doubt   it left, and what became of it is not known; counts like settled
```

An authorization that the gateway refused is in doubt as well: whoever has it could still settle it before its
deadline. All of them count with their cap until the chain has said what was really taken (`BudgetStore.correct`);
it is asked about those that are `overdue` (`protocol.payment._reconcile`).

A `BudgetStore` keeps the entries: `_memory.MemoryStore` for one process, `client.stores` for many, or a class of the
user's own, which `client.stores.conformance` tests. `BudgetTotals` are its sums, `Limits` what they may come to.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol, runtime_checkable

from og_integrations._notebook import table
from og_integrations.errors import BudgetExceededError, ConfigurationError, SpendingStoppedError
from og_integrations.networks import format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._policy import LimitNear, SpendPolicy
from og_integrations.protocol.payment.schemes import Authorization, decode_authorization

Lock = AbstractContextManager[object]
"""A plain mutual exclusion lock; given by the caller, since this package starts no threads."""
HOUR, DAY = 3_600, 86_400
_WINDOWS = {"per_hour": HOUR, "per_day": DAY, "payments_per_hour": HOUR}
FOLD_AFTER = 2 * DAY
"""Seconds after which only the sum is kept: a day longer than the longest window, for clocks that are ahead."""
SKEW = 30
"""Seconds after its deadline, by our clock and by the chain's, before an authorization counts as over."""
ABANDONED = HOUR
"""The same for one that is still held: no call lasts so long, so whoever held it is gone."""
MOST_UNEXPLAINED = 5_000
"""How many accepted authorizations, older than `FOLD_AFTER`, are remembered for asking the chain."""


class HoldState(Enum):
    """A hold's state says what became of one authorization; see `protocol.payment._budget`."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    An entry is one authorization in a budget: `amount` base units, made `at` (unix seconds).

    `authorization` is what was signed, for asking the chain about it; None once that has answered. `network` is
    the `Network.identity` it was made for, None where nobody noted it. `part` names whose share of the account it
    comes from, empty for nobody's. A store may keep it as `to_json`.
    """

    id: str
    amount: int
    at: int
    state: HoldState = HoldState.HELD
    authorization: Authorization | None = None
    network: str | None = None
    part: str = ""

    @property
    def explained(self) -> bool:
        """Return whether the chain has said that `amount` was taken."""
        # The signed fields are dropped once the chain has answered, so their absence marks a final amount.
        return self.state is HoldState.SETTLED and self.authorization is None

    def in_use(self, now: int) -> bool:
        """Return whether a call may hold it at unix time `now`, so that nothing about it is final."""
        return self.state is HoldState.HELD and not self._over(now, ABANDONED)

    def overdue(self, now: int) -> bool:
        """Return whether it waits for the chain's word, and nobody can take anything of it any more."""
        return self.authorization is not None and not self.in_use(now) and self._over(now, SKEW)

    def to_json(self) -> JsonObject:
        """Return it as plain JSON; the amount as text, since a base unit does not fit into a float."""
        signed = None if self.authorization is None else self.authorization.to_json()
        return {
            "id": self.id,
            "amount": str(self.amount),
            "at": self.at,
            "state": self.state.value,
            "authorization": signed,
            "network": self.network,
            "part": self.part,
        }

    @classmethod
    def from_json(cls, stored: JsonObject) -> "Entry":
        """
        Read what `to_json` wrote.

        Raises `ConfigurationError` for anything else: an entry that cannot be read cannot be counted.
        """
        try:
            signed = stored["authorization"]
            return cls(
                id=str(stored["id"]),
                amount=int(stored["amount"]),
                at=int(stored["at"]),
                state=HoldState(stored["state"]),
                authorization=None if signed is None else decode_authorization(signed),
                network=stored["network"],
                part=str(stored.get("part", "")),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ConfigurationError(
                f"The budget's store holds an entry that cannot be read ({type(exc).__name__}: {exc}). What cannot be "
                "counted is not spent: restore the store, or set SpendPolicy.store to a new one."
            ) from exc

    def _over(self, now: int, patience: int) -> bool:
        # Up to its deadline the facilitator may still settle,
        # so an earlier answer of the chain would not be final.
        return self.authorization is not None and now > self.authorization.deadline + patience


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetTotals:
    """
    The totals are the sums of a budget at one moment, in base units.

    `authorized` is all that was ever authorized and not released; of it `settled` is what the chain says was taken,
    `in_doubt` what left without an answer, `last_hour` and `last_day` what was authorized then. What is settled
    counts with what was really taken; the rest of `authorized`, with its cap.

    `payments` are the authorizations of the last hour, `unanswered` how many in a row brought no answer, as numbers.
    `share` is what was authorized for the part of the account that was asked about, 0 if none was.

    `stopped` is the reason why nothing more may be authorized, None if it may. `limits` are those of the
    `SpendPolicy` by name, None where there is none. As text it is a report for people, in OPG.

    `reported` is what gateways said that `reported_calls` verified answers of this process cost, `estimated` what the
    price list gives for `estimated_calls` others. Neither is proven or held against a limit, no store keeps them, and
    so two totals that differ in nothing else are equal.
    """

    authorized: int = 0
    settled: int = 0
    in_doubt: int = 0
    last_hour: int = 0
    last_day: int = 0
    payments: int = 0
    unanswered: int = 0
    share: int = 0
    stopped: str | None = None
    limits: tuple[tuple[str, int | None], ...] = ()
    reported: int = field(default=0, compare=False)
    reported_calls: int = field(default=0, compare=False)
    estimated: int = field(default=0, compare=False)
    estimated_calls: int = field(default=0, compare=False)

    def plus(self, entry: Entry, now: int, part: str = "") -> "BudgetTotals":
        """Return the sums with `entry` in them, as of unix time `now`; `share` is of `part`."""
        if entry.state is HoldState.RELEASED:
            return self
        amount, settled, in_doubt = counts(entry)
        return replace(
            self,
            authorized=self.authorized + amount,
            settled=self.settled + settled,
            in_doubt=self.in_doubt + in_doubt,
            # Times are whole seconds: without equality, a window would be up to a second short.
            last_hour=self.last_hour + (amount if entry.at >= now - HOUR else 0),
            last_day=self.last_day + (amount if entry.at >= now - DAY else 0),
            payments=self.payments + (entry.at >= now - HOUR),
            share=self.share + (amount if part and entry.part == part else 0),
        )

    def counted(self, limit: str) -> int:
        """Return what counts against the limit of that name in `SpendPolicy`."""
        return {
            "total": self.authorized,
            "per_hour": self.last_hour,
            "per_day": self.last_day,
            "payments_per_hour": self.payments,
            "share": self.share,
        }[limit]

    def __str__(self) -> str:
        return "\n".join(f"{name:<18}{text}" for name, text in self._report())

    def _repr_html_(self) -> str:
        """Return the report as a table, for notebooks; everything in it is escaped."""
        return table(self._report())

    def _report(self) -> list[tuple[str, str]]:
        limits = dict(self.limits)
        lines = [
            ("authorized", self.authorized, limits.get("total")),
            ("of it settled", self.settled, None),
            ("of it in doubt", self.in_doubt, None),
            ("in the last hour", self.last_hour, limits.get("per_hour")),
            ("in the last day", self.last_day, limits.get("per_day")),
        ]
        if limits.get("share") is not None:
            lines.append(("of its share", self.share, limits["share"]))
        text = [(name, f"{format_opg(amount)} OPG{_left(amount, limit)}") for name, amount, limit in lines]
        if (most := limits.get("payments_per_hour")) is not None:
            text.append(("payments an hour", f"{self.payments} of {most}, {max(0, most - self.payments)} left"))
        for name, amount, calls in (
            ("cost reported", self.reported, self.reported_calls),
            ("cost estimated", self.estimated, self.estimated_calls),
        ):
            if calls:
                text.append((name, f"{format_opg(amount)} OPG for {calls} answers of this process, not proven"))
        return [*text, ("spending", "allowed" if self.stopped is None else f"stopped: {self.stopped}")]


def _left(amount: int, limit: int | None) -> str:
    return "" if limit is None else f" of {format_opg(limit)}, {format_opg(max(0, limit - amount))} left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    The limits say what the sums of a budget may come to, in base units; None means no limit.

    `payments_per_hour` is a number of authorizations, `unanswered` how many in a row may bring no answer. It is the
    `judge` of a claim once `amount` says what is to be added. A store that can express it in its own language (one
    SQL statement) may read the members instead of calling it.
    """

    total: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    payments_per_hour: int | None = None
    share: int | None = None
    unanswered: int | None = None
    amount: int = 0

    @classmethod
    def of(cls, policy: SpendPolicy) -> "Limits":
        """Return the limits of `policy`."""
        return cls(
            total=policy.total_units,
            per_hour=policy.hour_units,
            per_day=policy.day_units,
            payments_per_hour=policy.payments_per_hour,
            share=policy.share_units,
            unanswered=policy.stop_after_unanswered,
        )

    def by_name(self) -> tuple[tuple[str, int | None], ...]:
        """Return the limits under their names in `SpendPolicy`, in the order in which they are looked at."""
        return (
            ("total", self.total),
            ("per_hour", self.per_hour),
            ("per_day", self.per_day),
            ("payments_per_hour", self.payments_per_hour),
            ("share", self.share),
        )

    @property
    def windows(self) -> tuple[int, ...]:
        """Return the windows, in seconds, that any of them is about."""
        hour = (self.per_hour, self.payments_per_hour) != (None, None)
        return (HOUR,) * hour + (DAY,) * (self.per_day is not None)

    def needs(self, name: str) -> int:
        """Return what one more authorization adds to the sum of that name."""
        return 1 if name == "payments_per_hour" else self.amount

    def exceeded(self, totals: BudgetTotals) -> str | None:
        """Return the name of the first limit that `totals` and `amount` together exceed, None if none."""
        for name, limit in self.by_name():
            if limit is not None and totals.counted(name) + self.needs(name) > limit:
                return name
        return None

    def neared(self, totals: BudgetTotals) -> "tuple[LimitNear, ...]":
        """Return the limits that `amount`, added to `totals`, brings to `NEAR` per cent or more; before it was less."""
        return tuple(
            LimitNear(limit=name, counted=counted, allowed=limit)
            for name, limit in self.by_name()
            if limit
            and totals.counted(name) * 100 < limit * NEAR <= (counted := totals.counted(name) + self.needs(name)) * 100
        )

    def __call__(self, totals: BudgetTotals) -> None:
        """Raise `SpendingStoppedError` or `BudgetExceededError` if `amount` may not be added to `totals`."""
        # The kill switch is looked at first: a limit that is
        # exceeded as well must not hide who stopped the spending.
        if totals.stopped is not None:
            raise _stopped(totals.stopped)
        if self.unanswered is not None and totals.unanswered >= self.unanswered:
            raise _stopped(
                f"{totals.unanswered} payments in a row brought no answer (SpendPolicy.stop_after_unanswered)"
            )
        name = self.exceeded(totals)
        if name is None:
            return
        if name == "payments_per_hour":
            error = BudgetExceededError(
                f"{totals.payments} authorizations were made in the last hour, expected at most "
                f"{self.payments_per_hour} (SpendPolicy.payments_per_hour). Nothing was signed."
            )
            error.limit = name
            raise error
        limit, needed = dict(self.by_name())[name] or 0, format_opg(self.amount)
        said = (
            f"The next authorization needs {needed} OPG, but {format_opg(totals.counted(name))} of "
            f"{format_opg(limit)} OPG (SpendPolicy.{name}) are authorized already. Nothing was signed."
        )
        if self.amount > limit:
            # Waiting, or asking the chain, could not help: not even the first one fits.
            said = (
                f"One authorization needs {needed} OPG, expected at most {format_opg(limit)} OPG (SpendPolicy.{name}): "
                f'no call at all can be paid. Nothing was signed. Write SpendPolicy({name}="{needed}") or more; what a '
                "session does not use comes back after it."
            )
        error = BudgetExceededError(said)
        error.limit = name
        raise error


NEAR = 80
"""Per cent of a limit at which its owner is told (`SpendPolicy.on_limit_near`)."""
Judge = Callable[[BudgetTotals], None]
"""What decides about a claim: it raises if the claim may not be made. Usually `Limits`."""


@runtime_checkable
class BudgetStore(Protocol):
    """
    A store is where the entries of a budget are kept.

    Each method is atomic, for every thread and process that shares the store. A store that cannot be read or
    written raises `ConfigurationError` from `claim` and `totals`: what cannot be counted is not spent. Nothing is
    forgotten by being read: a clock that is ahead would open the windows of all others. The garbage collector may
    end an abandoned call, and a signal handler may use the kill switch, on a thread that is inside any method: `move`
    and `stop` must then neither wait for it nor be lost. `move` is called on event loops, too, and must not block. A
    store whose other methods wait for a disk or a network has a member `blocks` that is True: they are then called on
    another thread by asynchronous clients.
    """

    def claim(self, entry: Entry, judge: Judge) -> BudgetTotals | None:
        """
        Add `entry`, unless `judge` raises for the sums as they are at `entry.at`.

        Returns those sums; None only from a store that cannot tell them, for which nothing is said of limits that
        are near.
        """

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry; one that is gone stays gone, and one that is settled stays settled."""

    def correct(self, entry_id: str, amount: int) -> None:
        """Note that, as the chain says, exactly `amount` base units were taken; the first word on an entry is final."""

    def totals(self, now: int, part: str = "") -> BudgetTotals:
        """Return the sums at unix time `now`, and with them what was authorized for `part` as `share`."""

    def entries(self) -> list[Entry]:
        """Return the entries that may still be corrected: those with an `authorization`."""

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, for this reason; None ends that, and forgets payments without an answer."""

    def stopped(self) -> str | None:
        """Return that reason. Asked before each call."""


@runtime_checkable
class SessionNotes(Protocol):
    """
    A store that also keeps notes lets those who share it share their sessions, too (`protocol.payment._sharing`).

    A note is a text under a name; what is secret in it is sealed. `until` (unix seconds) says when it may be forgotten.
    Losing one costs an authorization more, and nothing else.
    """

    def note(self, name: str) -> str | None:
        """Return the note of that name, None if there is none."""

    def swap(self, name: str, old: str | None, new: str | None, until: int) -> bool:
        """Replace the note `old` by `new`, None for no note, in one step; return False if another one stands there."""

    def later(self, work: Callable[[], object]) -> None:
        """Have `work`, which uses the store, done after all that was asked before, without waiting for it."""


WIDTHS = (1, 60, 3_600)
"""Seconds of the spans whose sums a store keeps, so that a window is a few rows and not all entries."""


def spans_since(since: int) -> tuple[tuple[int, int, int | None], ...]:
    """
    Return the spans that together are all times from `since` on: (width, first start, start to end before or None).

    They are exact to the second: seconds up to the next minute, minutes up to the next hour, hours from there.
    """
    minute = -(-since // 60) * 60
    hour = -(-minute // 3_600) * 3_600
    return ((1, since, minute), (60, minute, hour), (3_600, hour, None))


def share_of(account: str, part: str) -> str:
    """Return under which name a store that keeps sums by account keeps those of a `part` of it, empty for all of it."""
    return f"{account}\x1f{part}" if part else account


def counts(entry: Entry | None) -> tuple[int, int, int]:
    """
    Return what `entry` adds to the sums: authorized, of it settled, of it in doubt.

    A store that keeps sums adds what an entry counts after a change, less what it counted before.
    """
    if entry is None or entry.state is HoldState.RELEASED:
        return 0, 0, 0
    amount = entry.amount
    return amount, amount if entry.explained else 0, amount if entry.state is HoldState.IN_DOUBT else 0


def unanswered(before: int, was: HoldState, to: HoldState) -> int:
    """Return how many payments in a row brought no answer, once one that `was` held or in doubt moves on."""
    if to is HoldState.SETTLED:
        return 0
    # Sharers each report the same doubt: counted each time, one lost payment could stop all spending.
    return before + (to is HoldState.IN_DOUBT and was is not HoldState.IN_DOUBT)


class Hold:
    """
    A hold is one authorization's claim on the budget: `amount` base units, which came `near` some limits.

    `near` is emptied once their owner was told, `came_near` once they were logged.
    """

    def __init__(self, entry: Entry, store: BudgetStore, lock: Lock, near: tuple[LimitNear, ...] = ()) -> None:
        self.amount: int = entry.amount
        self.near: tuple[LimitNear, ...] = near
        self.came_near: tuple[LimitNear, ...] = near
        self.state: HoldState = HoldState.HELD
        self.id: str = entry.id
        self._store = store
        self._lock = lock

    def settle(self) -> None:
        """Note that the gateway accepted it. This ends doubt, too: a later answer may bring certainty."""
        self._move(HoldState.SETTLED, HoldState.HELD, HoldState.IN_DOUBT)

    def release(self) -> None:
        """Note that it never left this machine, and nothing is owed. Only a held one can be released."""
        self._move(HoldState.RELEASED, HoldState.HELD)

    def doubt(self) -> None:
        """Note that it left, and what became of it is not known."""
        self._move(HoldState.IN_DOUBT, HoldState.HELD)

    def _move(self, to: HoldState, *sources: HoldState) -> None:
        with self._lock:
            # Calls that share an authorization report in any order, and only a move forward is taken over.
            if self.state not in sources:
                return
            self.state = to
        # The store is told outside of the lock, because a store in a file takes its time.
        self._store.move(self.id, to)


class Budget:
    """
    A budget is one policy, and the store that counts for it. Threads may share it, with the `lock` it was given.

    `new_id` names entries; it must give a new text each time, also across processes sharing `store`.
    `network` is noted with each entry; `clock` (unix seconds) is what `SpendPolicy.valid_until` goes by. Raises
    `ConfigurationError` for a policy with a `share` if the store does not count shares.
    """

    def __init__(
        self,
        policy: SpendPolicy,
        lock: Lock,
        *,
        store: BudgetStore,
        new_id: Callable[[], str],
        network: str | None = None,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        if policy.share is not None and not getattr(store, "counts_shares", False):
            raise ConfigurationError(
                f"SpendPolicy.share needs a store that counts shares, and {type(store).__name__} does not (it has no "
                "member `counts_shares`). Nothing was signed. Use one of ours, or give each account a store of its own."
            )
        self.policy = policy
        self.network = network
        self.store = store
        self.blocks: bool = getattr(store, "blocks", False)
        self.part: str = "" if policy.share is None else policy.account
        self._limits = Limits.of(policy)
        self._clock = clock
        self._lock = lock
        self._new_id = new_id
        self._costs = BudgetTotals()

    def hold(self, amount: int, *, now: int = 0, authorization: Authorization | None = None) -> Hold:
        """
        Claim `amount` base units at unix time `now`.

        Raises `BudgetExceededError` if a limit does not allow it, `SpendingStoppedError` if nothing is allowed.
        """
        self._require_time()
        # The entry is written before anything is signed: a process
        # that dies in between counts too much, never too little.
        entry = Entry(
            id=self._new_id(),
            amount=amount,
            at=now,
            authorization=authorization,
            network=self.network,
            part=self.part,
        )
        limits = replace(self._limits, amount=amount)
        before = self.store.claim(entry, limits)
        return Hold(entry, self.store, self._lock, () if before is None else limits.neared(before))

    def held(self, entry_id: str, amount: int) -> Hold:
        """Return the hold of what another process claimed in the same store."""
        # Nothing is claimed: the process that signed has done so, and a second claim would count one payment twice.
        return Hold(Entry(id=entry_id, amount=amount, at=0), self.store, self._lock)

    def require_running(self) -> None:
        """Raise `SpendingStoppedError` after the kill switch, or `valid_until`: sessions that are paid end, too."""
        self._require_time()
        stopped = self.store.stopped()
        if stopped is not None:
            raise _stopped(stopped)

    def spent(self, now: int) -> BudgetTotals:
        """Return the sums at unix time `now`, with the limits of the policy."""
        costs = self._costs
        return replace(
            self._totals(now),
            limits=self._limits.by_name(),
            reported=costs.reported,
            reported_calls=costs.reported_calls,
            estimated=costs.estimated,
            estimated_calls=costs.estimated_calls,
        )

    def note_cost(self, reported: int | None, estimated: int | None) -> None:
        """Add what a gateway said that an answer cost, or where it did not, what was estimated; base units of OPG."""
        if reported is None and estimated is None:
            return
        with self._lock:
            costs, known = self._costs, reported is not None
            self._costs = replace(
                costs,
                reported=costs.reported + (reported or 0),
                reported_calls=costs.reported_calls + known,
                estimated=costs.estimated + (0 if known else estimated or 0),
                estimated_calls=costs.estimated_calls + (not known),
            )

    def authorized(self, now: int = 0) -> int:
        """Return the sum of all authorizations that were not released, in base units."""
        return self.store.totals(now).authorized

    def fits(self, amount: int, now: int) -> bool:
        """Return whether every limit would allow `amount` base units at unix time `now`."""
        return replace(self._limits, amount=amount).exceeded(self._totals(now)) is None

    def overdue(self, now: int, limit: str) -> list[Entry]:
        """Return what the chain can be asked about at unix time `now`, of what counts against `limit`."""
        # Only what counts against the limit is asked about:
        # correcting older entries would not make room in this window.
        since = now - _WINDOWS[limit] if limit in _WINDOWS else -1
        return [entry for entry in self.store.entries() if entry.overdue(now) and entry.at >= since]

    def _totals(self, now: int) -> BudgetTotals:
        # Stores of others were written before there were shares.
        return self.store.totals(now, self.part) if self.part else self.store.totals(now)

    def _require_time(self) -> None:
        until = self.policy.valid_until
        if until is not None and self._clock() >= until.timestamp():
            raise SpendingStoppedError(
                f"SpendPolicy.valid_until was {until.isoformat()}: nothing is signed or sent after it. Make a client "
                "with a later one."
            )


def _stopped(reason: str) -> SpendingStoppedError:
    return SpendingStoppedError(
        f"Spending was stopped: {reason}. Nothing was sent. `resume_spending()` allows it again."
    )

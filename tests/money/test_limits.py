"""Limits over time, the kill switch, and stores: nothing is authorized that the owner did not allow."""

import multiprocessing
import secrets
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from og_integrations.client.stores import open_store
from og_integrations.client.stores._sqlite import BudgetFile
from og_integrations.errors import BudgetExceededError, ConfigurationError, SpendingStoppedError
from og_integrations.networks import OPG
from og_integrations.protocol.payment._budget import DAY, FOLD_AFTER, HOUR, Budget, BudgetStore, BudgetTotals, HoldState
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from tests.protocol.flows import new_budget
from tests.sizes import examples

NOW = 1_795_000_000
MakeStore = Callable[[], BudgetStore]
PERMIT = Permit2Authorization(
    chain_id=8453,
    payer="0x" + "11" * 20,
    token="0x" + "22" * 20,
    amount=7,
    spender="0x" + "33" * 20,
    nonce=2**255,
    deadline=NOW + 300,
    pay_to="0x" + "44" * 20,
    facilitator="0x" + "55" * 20,
    valid_after=NOW - 600,
)


@pytest.fixture(params=["memory", "file"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Return a store; the file's one is the same account every time."""
    if request.param == "memory":
        return lambda: MemoryStore(threading.RLock())
    return lambda: BudgetFile(tmp_path / "budget.sqlite")


def budget(store: BudgetStore, **policy: Any) -> Budget:
    return new_budget(SpendPolicy.of(policy), store=store)


@pytest.mark.parametrize(("limit", "window"), [("per_hour", HOUR), ("per_day", DAY)])
def test_limit_rolls(make_store: MakeStore, limit: str, window: int) -> None:
    """
    What was authorized a window ago counts, a second later it does not.

    Clocks are read in whole seconds: 1000.9 and 4600.0 are less than an hour apart, and look like one.
    """
    account = budget(make_store(), **{limit: "1"})
    account.hold(OPG // 2, now=NOW)
    account.hold(OPG // 2, now=NOW + 60)
    for now in (NOW + 61, NOW + window):
        with pytest.raises(BudgetExceededError, match=rf"1 of 1 OPG \(SpendPolicy\.{limit}\)"):
            account.hold(1, now=now)
    account.hold(OPG // 2, now=NOW + window + 1)
    with pytest.raises(BudgetExceededError):
        account.hold(1, now=NOW + window + 1)


def test_released_authorization_does_not_count(make_store: MakeStore) -> None:
    """It never left this machine."""
    account = budget(make_store(), per_hour="1", total="1")
    account.hold(OPG, now=NOW).release()
    account.hold(OPG, now=NOW, authorization=PERMIT).settle()
    assert account.store.totals(NOW) == BudgetTotals(authorized=OPG, last_hour=OPG, last_day=OPG, payments=1)


def test_doubt_counts_in_full_until_the_chain_speaks(make_store: MakeStore) -> None:
    """Not even its deadline ends that: a gateway that hangs up could have settled it."""
    account = budget(make_store(), total="1")
    account.hold(OPG, now=NOW, authorization=PERMIT).doubt()
    with pytest.raises(BudgetExceededError):
        account.hold(1, now=NOW + 10 * DAY)
    (entry,) = account.store.entries()
    assert (entry.authorization, entry.state) == (PERMIT, HoldState.IN_DOUBT)
    account.store.correct(entry.id, 3)
    assert account.store.totals(NOW) == BudgetTotals(
        authorized=3, settled=3, last_hour=3, last_day=3, payments=1, unanswered=1
    )
    assert account.store.entries() == []
    account.hold(OPG - 3, now=NOW)


def test_old_entries_are_folded_into_the_total(make_store: MakeStore) -> None:
    """A long life does not make it slow, nor forgetful."""
    account = budget(make_store(), total="1")
    for _ in range(10):
        account.hold(6, now=NOW, authorization=PERMIT).settle()
    for entry in account.store.entries():
        account.store.correct(entry.id, 5)
    doubtful = account.hold(7, now=NOW, authorization=PERMIT)
    doubtful.doubt()
    later = NOW + FOLD_AFTER + 1
    for _ in range(2):
        account.hold(1, now=later, authorization=PERMIT).release()
        assert account.store.totals(later) == BudgetTotals(authorized=57, settled=50, in_doubt=7, unanswered=1)
    before = account.store.totals(NOW)
    # A clock of the past sees what is still kept in detail; a file keeps the sums of each second for longer.
    assert before.last_hour == before.last_day in (7, 57)
    assert (before.authorized, before.settled, before.in_doubt) == (57, 50, 7)
    doubtful.settle()
    assert account.store.totals(later) == BudgetTotals(authorized=57, settled=50)


def test_clock_that_is_ahead_opens_no_window(make_store: MakeStore) -> None:
    """One process that only looks, or one that pays, with a clock that is a day ahead."""
    account = budget(make_store(), per_day="1")
    account.hold(OPG, now=NOW, authorization=PERMIT).settle()
    account.store.correct(account.store.entries()[0].id, OPG)
    account.store.totals(NOW + 30 * DAY)
    account.hold(OPG, now=NOW + DAY + 1)
    for now in (NOW + 60, NOW + DAY):
        with pytest.raises(BudgetExceededError, match="per_day"):
            account.hold(1, now=now)


def test_kill_switch_ends_everything(make_store: MakeStore) -> None:
    """Also what is within all limits, until it is released."""
    account = budget(make_store())
    account.store.stop("a test")
    for attempt in (lambda: account.hold(1, now=NOW), account.require_running):
        with pytest.raises(SpendingStoppedError, match="Spending was stopped: a test"):
            attempt()
    account.store.stop(None)
    account.require_running()
    account.hold(1, now=NOW)


class Ledger(RuleBasedStateMachine):
    """Any order of events, and clocks that differ by a day, against a list of what was authorized."""

    make_store: MakeStore

    def __init__(self) -> None:
        super().__init__()
        self.time = self.now = NOW
        self.taken: dict[str, int] = {}
        policy = {name: Decimal(limit) / OPG for name, limit in (("total", 300), ("per_hour", 50), ("per_day", 120))}
        self.budget = budget(type(self).make_store(), **policy)
        self.holds: list[Any] = []

    @rule(amount=st.integers(1, 40))
    def hold(self, amount: int) -> None:
        fits = all(self.sum(window) + amount <= limit for window, limit in ((HOUR, 50), (DAY, 120), (None, 300)))
        try:
            self.holds.append((self.budget.hold(amount, now=self.now, authorization=PERMIT), self.now))
        except BudgetExceededError:
            assert not fits
        else:
            assert fits

    @rule(which=st.integers(0, 50), to=st.sampled_from(["settle", "release", "doubt"]))
    def move(self, which: int, to: str) -> None:
        if self.holds:
            getattr(self.holds[which % len(self.holds)][0], to)()

    @rule(seconds=st.integers(1, DAY), off=st.integers(-DAY // 2, DAY // 2))
    def wait(self, seconds: int, off: int) -> None:
        """Time goes on, and each process has its own idea of it."""
        self.time += seconds
        self.now = self.time + off

    @rule(which=st.integers(0, 50), taken=st.integers(0, 40))
    def correct(self, which: int, taken: int) -> None:
        waiting = self.budget.store.entries()
        if waiting:
            entry = waiting[which % len(waiting)]
            self.taken[entry.id] = min(taken, entry.amount)
            self.budget.store.correct(entry.id, self.taken[entry.id])

    def sum(self, window: int | None) -> int:
        return sum(
            self.taken.get(hold.id, hold.amount)
            for hold, at in self.holds
            if (hold.id in self.taken or hold.state is not HoldState.RELEASED)
            and (window is None or at >= self.now - window)
        )

    @invariant()
    def agrees(self) -> None:
        account = self.budget.store.totals(self.now)
        assert (account.authorized, account.last_hour, account.last_day) == tuple(map(self.sum, (None, HOUR, DAY)))
        assert account.settled == sum(self.taken.values())


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_any_order_of_events_keeps_every_limit(kind: str, tmp_path: Path) -> None:
    """Hypothesis looks for a sequence that spends more than was allowed."""
    names = iter(range(10**6))

    class Kept(Ledger):
        @staticmethod
        def make_store() -> BudgetStore:
            return MemoryStore(threading.RLock()) if kind == "memory" else BudgetFile(tmp_path / f"{next(names)}.db")

    test = Kept.TestCase
    test.settings = settings(examples(15 if kind == "memory" else 4), stateful_step_count=20)
    test().runTest()


def _spend(path: str, results: Any) -> None:
    account = new_budget(SpendPolicy(total="0.000000000000000150"), store=BudgetFile(path), new_id=_new_id)
    taken = 0
    for number in range(100):
        try:
            hold = account.hold(3, now=NOW)
        except BudgetExceededError:
            break
        if number % 5:
            hold.settle()
            taken += 3
        else:
            hold.release()
    results.put(taken)


def _new_id() -> str:
    return secrets.token_hex(8)


def test_processes_on_one_file_never_exceed_it_together(tmp_path: Path) -> None:
    """Four processes, one budget of 150 base units in steps of 3, and not one more."""
    path = str(tmp_path / "budget.sqlite")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_spend, args=(path, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    taken = [results.get(timeout=50) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(taken) == BudgetFile(path).totals(NOW).authorized
    assert 140 < sum(taken) <= 150


def test_threads_on_one_budget_never_exceed_it(make_store: MakeStore) -> None:
    """64 at once."""
    account = new_budget(SpendPolicy(total="0.000000000000000100"), make_store(), new_id=_new_id)

    def take(_: int) -> int:
        try:
            return account.hold(3, now=NOW).amount
        except BudgetExceededError:
            return 0

    with ThreadPoolExecutor(64) as pool:
        assert sum(pool.map(take, range(64))) == 99
    assert account.authorized(NOW) == 99


def test_file_that_cannot_be_used_stops_spending(tmp_path: Path) -> None:
    """What cannot be counted is not spent; what is over counts as it stands."""
    (tmp_path / "no.sqlite").write_text("this is no database, and long enough to be looked at" * 100)
    for path in (tmp_path / "no.sqlite", tmp_path / "missing" / "budget.sqlite"):
        with pytest.raises(ConfigurationError, match="cannot be used"):
            BudgetFile(path)
    store = BudgetFile(tmp_path / "budget.sqlite")
    account = budget(store, total="1")
    hold = account.hold(5, now=NOW)
    with sqlite3.connect(tmp_path / "budget.sqlite") as db:
        db.execute("ALTER TABLE totals RENAME TO gone")
    db.close()
    hold.settle()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        account.hold(1, now=NOW)


def test_store_is_a_path_or_a_store() -> None:
    """Anything else is said before it matters."""
    assert open_store(None) is None
    store = MemoryStore(threading.RLock())
    assert open_store(store) is store
    with pytest.raises(ConfigurationError, match=r"store is a int, expected a path or a BudgetStore"):
        open_store(7)

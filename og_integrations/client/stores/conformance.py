"""
What every `BudgetStore` must do, as tests for stores of one's own (needs hypothesis).

```python
TestMyStore = store_machine(lambda: MyStore(...)).TestCase

def test_processes():
    check_processes(functools.partial(MyStore, "…"))   # picklable: it is called in other processes, too

def test_kills():
    check_kills(functools.partial(MyStore, "…"))
```

The machine makes claims, moves and corrections in any order, at clocks that differ by a day, through two handles on
one store, and compares every answer with a list of entries that is added up anew. The checks are for stores that
processes share: none of them may exceed a limit, lose a claim, or leave anything locked when it is killed. Both expect
a store that is empty.
"""

import multiprocessing
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from og_integrations.errors import BudgetExceededError, SpendingStoppedError
from og_integrations.networks import OPG, UPTO_PROXY_ADDRESS
from og_integrations.protocol.payment._budget import (
    BudgetStore,
    BudgetTotals,
    Entry,
    HoldState,
    Limits,
    SessionNotes,
    unanswered,
)
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.queues import Queue

NOW = 1_795_178_000
STEPS = ("before", "judging", "claimed", "told", "moved")
"""Where `check_kills` kills a process in the middle of a claim, besides moments at random."""
_SIGNED = Permit2Authorization(
    chain_id=8453,
    payer="0x" + "11" * 20,
    token="0x" + "22" * 20,
    amount=OPG,
    spender=UPTO_PROXY_ADDRESS,
    nonce=2**255 + 7,
    deadline=NOW + 300,
    pay_to="0x" + "33" * 20,
    facilitator="0x" + "44" * 20,
    valid_after=NOW - 600,
)
_AMOUNTS = st.integers(1, 2**70)
_TIMES = st.integers(NOW - 90_000, NOW + 90_000)
_NUMBERS = st.integers(0, 40)
_LIMITED = ("total", "per_hour", "per_day", "share", "payments_per_hour")
_PARTS = st.sampled_from(["", "one", "two"])


class StoreMachine(RuleBasedStateMachine):
    """
    A store beside its model: the entries, as a list that is added up anew for each question.

    `store_machine` makes a machine of it for one kind of store.
    """

    make: ClassVar[Callable[[], BudgetStore]]
    again: ClassVar[Callable[[BudgetStore], BudgetStore] | None] = None

    def __init__(self) -> None:
        super().__init__()
        first = type(self).make()
        self.handles: tuple[BudgetStore, BudgetStore] = (
            first,
            again(first) if (again := type(self).again) is not None else first,
        )
        self.model: dict[str, Entry] = {}
        self.notes: dict[str, str] = {}
        self.stopped: str | None = None
        self.unanswered: int = 0
        self.made: int = 0

    @rule(amount=_AMOUNTS, at=_TIMES, limit=st.none() | st.integers(0, 2**72), signed=st.booleans(), part=_PARTS)
    def claim(self, amount: int, at: int, limit: int | None, part: str, *, signed: bool) -> None:
        """Claim within a limit of a random kind, or beyond it: then nothing is added."""
        store = self.handles[self.made % 2]
        self.made += 1
        entry = Entry(
            id=str(self.made),
            amount=amount,
            at=at,
            authorization=_SIGNED if signed else None,
            network="base",
            part=part if self.counts_shares else "",
        )
        kind = _LIMITED[self.made % len(_LIMITED)]
        if limit is not None and kind == "payments_per_hour":
            limit %= 5
        kinds: Mapping[str, int | None] = {kind: limit if self.counts_shares or kind != "share" else None}
        limits = Limits(amount=amount, unanswered=3, **kinds)
        before = self.sums(at, entry.part)
        allowed = self.stopped is None and self.unanswered < 3 and limits.exceeded(before) is None
        try:
            found = store.claim(entry, limits)
        except (BudgetExceededError, SpendingStoppedError) as exc:
            assert not allowed, f"refused what fits: {exc}"
        else:
            assert allowed, "added what exceeds a limit, or was stopped"
            assert found is None or found.counted(kind) == before.counted(kind) or limit is None
            self.model[entry.id] = entry

    @rule(number=_NUMBERS, to=st.sampled_from([HoldState.SETTLED, HoldState.IN_DOUBT, HoldState.RELEASED]))
    def move(self, number: int, to: HoldState) -> None:
        """Note what became of an entry; a settled one stays settled, one that is gone stays gone."""
        self.handles[0].move(str(number), to)
        entry = self.model.get(str(number))
        if entry is None or entry.state is HoldState.SETTLED:
            return
        self.unanswered = unanswered(self.unanswered, entry.state, to)
        self.model[entry.id] = replace(entry, state=to)
        if to is HoldState.RELEASED:
            del self.model[entry.id]

    @rule(number=_NUMBERS, amount=_AMOUNTS)
    def correct(self, number: int, amount: int) -> None:
        """Note what the chain says; its first word on an entry is final."""
        self.handles[0].correct(str(number), amount)
        entry = self.model.get(str(number))
        if entry is not None and not entry.explained:
            self.model[entry.id] = replace(entry, amount=amount, state=HoldState.SETTLED, authorization=None)

    @rule(reason=st.none() | st.sampled_from(["lunch", "SIGTERM"]))
    def stop(self, reason: str | None) -> None:
        """Use the kill switch, or release it."""
        self.handles[0].stop(reason)
        self.stopped = reason
        if reason is None:
            self.unanswered = 0

    @rule(at=_TIMES, part=_PARTS)
    def totals(self, at: int, part: str) -> None:
        """Reading forgets nothing, whatever the clock says."""
        if part and not self.counts_shares:
            return
        found = self.handles[0].totals(at, part) if part else self.handles[0].totals(at)
        assert found == self.sums(at, part)

    @precondition(lambda self: isinstance(self.handles[0], SessionNotes))
    @rule(name=st.sampled_from("ab"), right=st.booleans(), new=st.none() | st.sampled_from(["x", "y", "z"]))
    def swap(self, name: str, new: str | None, *, right: bool) -> None:
        """Replace a note, by who knows it and by who does not."""
        old = self.notes.get(name)
        if new is None and old is None:
            return
        claimed = old if right else "another"
        for store in self.handles[:1]:
            assert isinstance(store, SessionNotes)
            assert store.swap(name, claimed, new, NOW) == right
        if right:
            self.notes[name] = new or ""
            if new is None:
                del self.notes[name]

    @invariant()
    def agrees(self) -> None:
        """Every handle says the same as the model."""
        for store in self.handles:
            assert store.totals(NOW) == self.sums(NOW)
            assert store.stopped() == self.stopped
            kept = {entry.id: entry for entry in store.entries()}
            assert kept == {name: e for name, e in self.model.items() if e.authorization is not None}
            if isinstance(store, SessionNotes):
                assert [store.note(name) for name in "ab"] == [self.notes.get(name) for name in "ab"]

    @property
    def counts_shares(self) -> bool:
        """Return whether the store counts the shares of parts of an account."""
        return bool(getattr(self.handles[0], "counts_shares", False))

    def sums(self, now: int, part: str = "") -> BudgetTotals:
        """Return the totals of the model."""
        found = BudgetTotals(stopped=self.stopped, unanswered=self.unanswered)
        for entry in self.model.values():
            found = found.plus(entry, now, part)
        return found


def store_machine(
    make: Callable[[], BudgetStore], again: Callable[[BudgetStore], BudgetStore] | None = None
) -> type[StoreMachine]:
    """
    Return a state machine that tests the stores which `make` makes; its `TestCase` is for pytest.

    `again` opens a second handle on the same store, as another process would; without it there is one.
    """
    members = {"make": staticmethod(make), "again": None if again is None else staticmethod(again)}
    return type("StoreMachineOfOneKind", (StoreMachine,), members)


def check_processes(open_store: Callable[[], BudgetStore], *, processes: int = 8, claims: int = 50) -> float:
    """
    Have processes claim at once until a limit that is a little less than they want; raise `AssertionError` if they err.

    Their clocks differ by up to half an hour. No limit may be exceeded by one base unit, and no claim lost. Returns
    the seconds that the longest claim took.
    """
    limit = processes * claims * 3 - 4
    context = _fresh_processes()
    results = context.Queue()
    given = [(open_store, limit, claims, NOW + random.randint(0, 1_800)) for _ in range(processes)]  # noqa: S311
    workers = [context.Process(target=_claim_often, args=(results, *one)) for one in given]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    made, totals = sum(count for count, _ in found), open_store().totals(NOW + 1_800)
    assert made == limit // 3, f"{made} claims of 3 were made, expected {limit // 3}"
    assert (totals.authorized, totals.last_hour, totals.payments) == (made * 3, made * 3, made), totals
    return max(float(longest) for _, longest in found)


def _fresh_processes() -> "ForkServerContext | SpawnContext":
    """Return where processes begin without anything of this one; imported once for all where that is possible."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "sqlalchemy.dialects.postgresql.psycopg"])
    return context


def _claim_often(
    results: "Queue[tuple[int, float]]", open_store: Callable[[], BudgetStore], limit: int, claims: int, now: int
) -> None:
    store, made, longest = open_store(), 0, 0.0
    for _ in range(claims):
        began = time.monotonic()
        try:
            entry = Entry(id=secrets.token_hex(16), amount=3, at=now)
            store.claim(entry, Limits(total=limit, per_hour=limit, amount=3))
            made += 1
        except BudgetExceededError:
            break
        longest = max(longest, time.monotonic() - began)
    results.put((made, longest))


def check_kills(open_store: Callable[[], BudgetStore], *, at_random: int = 3) -> None:
    """
    Kill processes in the middle of claims, at each of `STEPS` and at random moments; raise `AssertionError` on a fault.

    What was told to be claimed is counted, what was not at most once, and the next claim waits for nobody.
    """
    context = _fresh_processes()
    store, acknowledged, killed = open_store(), 0, 0
    for step in (*STEPS, *[""] * at_random):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_claim_and_die, args=(open_store, theirs, step))
        worker.start()
        theirs.close()
        if not step:
            ours.recv_bytes()
            acknowledged += 1
            time.sleep(random.uniform(0, 0.05))  # noqa: S311
            os.kill(worker.pid or 0, signal.SIGKILL)
        killed += 1
        acknowledged += _told(ours)
        worker.join()
        began = time.monotonic()
        store.claim(Entry(id=secrets.token_hex(16), amount=0, at=NOW), Limits())
        assert time.monotonic() - began < 5, f"something stayed locked after {step or 'a kill at random'}"
    assert acknowledged <= store.totals(NOW).authorized <= acknowledged + killed


def _told(pipe: Connection) -> int:
    count = 0
    try:
        while pipe.recv_bytes():
            count += 1
    except EOFError:
        pipe.close()
    return count


def _claim_and_die(open_store: Callable[[], BudgetStore], told: Connection, step: str) -> None:
    def at(here: str) -> None:
        if here == step:
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_store()
    store.totals(NOW)
    while True:
        entry = Entry(id=secrets.token_hex(16), amount=1, at=NOW, authorization=_SIGNED)
        at("before")
        store.claim(entry, lambda totals: at("judging") if step else Limits(amount=1)(totals))
        at("claimed")
        told.send_bytes(b"1")
        at("told")
        store.move(entry.id, HoldState.SETTLED)
        at("moved")

"""
What every `BudgetStore` must do, as a test for stores of one's own (needs hypothesis).

```python
TestMyStore = store_machine(lambda: MyStore(...)).TestCase
```

The machine makes claims, moves and corrections in any order, at clocks that differ by a day, through two handles on
one store, and compares every answer with a list of entries that is added up anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from og_integrations.errors import BudgetExceededError, SpendingStoppedError
from og_integrations.networks import OPG, UPTO_PROXY_ADDRESS
from og_integrations.protocol.payment._budget import BudgetStore, BudgetTotals, Entry, HoldState, Limits
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

NOW = 1_795_178_000
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
        self.handles = (first, again(first) if (again := type(self).again) is not None else first)
        self.model: dict[str, Entry] = {}
        self.gone: dict[str, Entry] = {}
        self.stopped: str | None = None
        self.made = 0

    @rule(amount=_AMOUNTS, at=_TIMES, limit=st.none() | st.integers(0, 2**72), signed=st.booleans())
    def claim(self, amount: int, at: int, limit: int | None, *, signed: bool) -> None:
        """Claim within a limit of a random kind, or beyond it: then nothing is added."""
        store = self.handles[self.made % 2]
        self.made += 1
        entry = Entry(
            id=str(self.made), amount=amount, at=at, authorization=_SIGNED if signed else None, network="base"
        )
        kinds: Mapping[str, int | None] = {("total", "per_hour", "per_day")[self.made % 3]: limit}
        limits = Limits(amount=amount, **kinds)
        allowed = self.stopped is None and limits.exceeded(self.sums(at)) is None
        try:
            store.claim(entry, limits)
        except (BudgetExceededError, SpendingStoppedError) as exc:
            assert not allowed, f"refused what fits: {exc}"
        else:
            assert allowed, "added what exceeds a limit, or was stopped"
            self.model[entry.id] = entry

    @rule(number=_NUMBERS, to=st.sampled_from([HoldState.SETTLED, HoldState.IN_DOUBT, HoldState.RELEASED]))
    def move(self, number: int, to: HoldState) -> None:
        """Note what became of an entry; a settled one stays settled, one that is gone stays gone."""
        self.handles[0].move(str(number), to)
        entry = self.model.get(str(number))
        if entry is None or entry.state is HoldState.SETTLED:
            return
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

    @rule(at=_TIMES)
    def totals(self, at: int) -> None:
        """Reading forgets nothing, whatever the clock says."""
        assert self.handles[0].totals(at) == self.sums(at)

    @invariant()
    def agrees(self) -> None:
        """Every handle says the same as the model."""
        for store in self.handles:
            assert store.totals(NOW) == self.sums(NOW)
            assert store.stopped() == self.stopped
            kept = {entry.id: entry for entry in store.entries()}
            assert kept == {name: e for name, e in self.model.items() if e.authorization is not None}

    def sums(self, now: int) -> BudgetTotals:
        """Return the totals of the model."""
        found = BudgetTotals(stopped=self.stopped)
        for entry in self.model.values():
            found = found.plus(entry, now)
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

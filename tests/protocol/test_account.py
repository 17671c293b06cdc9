"""What is remembered of each authorization, how long, and how it is told."""

import threading

import pytest

from og_integrations.networks import OPG
from og_integrations.protocol.payment import _budget as account
from og_integrations.protocol.payment._budget import ABANDONED, DAY, HOUR, SKEW, BudgetTotals, Entry, HoldState
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from tests.protocol.flows import new_budget
from tests.protocol.test_settlement import PERMIT

DEADLINE = PERMIT.deadline


def entry(
    state: HoldState, *, name: str = "one", at: int = 0, authorization: Permit2Authorization | None = PERMIT
) -> Entry:
    return Entry(id=name, amount=7, at=at, state=state, authorization=authorization)


@pytest.mark.parametrize("state", [HoldState.SETTLED, HoldState.IN_DOUBT])
def test_entry_is_overdue_when_nobody_can_take_it(state: HoldState) -> None:
    """After its deadline, and after as much as clocks may differ."""
    assert not entry(state).overdue(DEADLINE + SKEW)
    assert entry(state).overdue(DEADLINE + SKEW + 1)
    assert not entry(state, authorization=None).overdue(DEADLINE + DAY)
    assert not entry(state).in_use(0)


def test_held_entry_is_in_use_until_it_must_be_abandoned() -> None:
    assert entry(HoldState.HELD).in_use(DEADLINE + ABANDONED)
    assert not entry(HoldState.HELD).overdue(DEADLINE + ABANDONED)
    assert entry(HoldState.HELD).overdue(DEADLINE + ABANDONED + 1)


def test_entry_that_the_chain_can_still_explain_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days later it may still be given back; only where there are too many, the oldest count for ever."""
    store = MemoryStore(threading.RLock())
    for number in range(5):
        claimed = entry(HoldState.SETTLED, name=str(number), at=number)
        store.claim(claimed, lambda account: None)
    later = 3 * DAY

    def claim_another(name: str) -> BudgetTotals:
        store.claim(entry(HoldState.RELEASED, name=name, at=later, authorization=None), lambda account: None)
        return store.totals(later)

    assert claim_another("a").authorized == 35
    assert len(store.entries()) == 5
    store.correct("0", 1)
    assert claim_another("b") == BudgetTotals(authorized=29, settled=1)
    monkeypatch.setattr(account, "MOST_UNEXPLAINED", 2)
    assert claim_another("c") == BudgetTotals(authorized=29, settled=1)
    assert [item.id for item in store.entries()] == ["3", "4"]
    assert {name for name in store._entries if name.isdigit()} == {"3", "4"}


def test_report_says_what_is_left() -> None:
    """Sums, limits and the switch; a limit that is overdrawn leaves nothing."""
    budget = new_budget(SpendPolicy.of({"total": "5", "per_hour": "1", "per_day": "4"}))
    budget.hold(OPG, now=DAY, authorization=PERMIT).settle()
    (signed,) = budget.store.entries()
    budget.store.correct(signed.id, OPG)
    budget.hold(OPG // 2, now=DAY + HOUR + 1).doubt()
    assert str(budget.spent(DAY + HOUR + 1)).splitlines() == [
        "authorized        1.5 OPG of 5, 3.5 left",
        "of it settled     1 OPG",
        "of it in doubt    0.5 OPG",
        "in the last hour  0.5 OPG of 1, 0.5 left",
        "in the last day   1.5 OPG of 4, 2.5 left",
        "spending          allowed",
    ]
    budget.store.stop("lunch")
    assert str(budget.spent(0)).endswith("spending          stopped: lunch")
    assert "of 1, 0 left" in str(BudgetTotals(last_hour=2 * OPG, limits=(("per_hour", OPG),)))


def test_abandoned_flow_may_end_while_sums_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector runs where it likes: also between two entries, and in the thread that holds the lock."""
    budget = new_budget(SpendPolicy())
    abandoned = [budget.hold(1, now=5) for _ in range(3)]
    plus = BudgetTotals.plus

    def collecting(self: BudgetTotals, entry: Entry, now: int, part: str) -> BudgetTotals:
        for hold in abandoned:
            hold.release()
        return plus(self, entry, now, part)

    monkeypatch.setattr(BudgetTotals, "plus", collecting)
    budget.hold(1, now=6)
    assert [entry.at for entry in budget.store._entries.values()] == [6]  # type: ignore[attr-defined]

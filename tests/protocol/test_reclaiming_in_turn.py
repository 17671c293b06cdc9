"""Calls that wait for each other's answer from the chain: what is enough for one need not be for the other."""

import dataclasses

import pytest

from og_integrations.errors import BudgetExceededError
from og_integrations.protocol.payment._flow import Pause
from og_integrations.protocol.payment._reconcile import REST
from tests.protocol.flows import AMOUNT, ROUTE, answer
from tests.protocol.test_reclaiming import calling, go_on, two_overdue


def test_call_that_waited_in_vain_asks_for_what_is_left() -> None:
    """What the first call brought was enough for itself, and pays nothing on another route."""
    chain, clock = two_overdue()
    first, second = calling(chain), calling(chain, dataclasses.replace(ROUTE, path="/v1/completions"))
    assert isinstance(second.effect, Pause)
    go_on(first).sign().reply(answer())
    go_on(go_on(second)).sign().reply(answer())
    assert chain.asked == [["1", "2"], ["2"]]
    assert (first.signatures, second.signatures) == (1, 1)
    assert chain.wallet.sessions.budget.authorized(clock.now) == 2 * AMOUNT


@pytest.mark.parametrize(("waited", "asked"), [(REST - 1, [["1", "2"], ["2"]]), (REST, [["1", "2"]])])
def test_call_that_waited_long_does_not_ask_itself(waited: int, asked: list[list[str]]) -> None:
    """A slow node would otherwise keep each of many calls for as long as all those before it."""
    chain, clock = two_overdue(taken=AMOUNT)
    chain.forgotten = {"2"}
    first, second = calling(chain), calling(chain)
    clock.now += waited
    go_on(first)
    for call in (first, second):
        with pytest.raises(BudgetExceededError, match=r"the node forgot\."):
            go_on(go_on(call))
    assert chain.asked == asked

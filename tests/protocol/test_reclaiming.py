"""An exhausted budget asks the chain once, for all who wait, and signs nothing before the claim stands."""

import dataclasses
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from og_integrations.errors import BudgetExceededError, ConfigurationError, DiscoveryError, SpendingStoppedError
from og_integrations.protocol.payment._budget import ABANDONED, HOUR, SKEW, Entry
from og_integrations.protocol.payment._flow import Pause, PaymentContext, Send, Sign
from og_integrations.protocol.payment._lease import Drawn
from og_integrations.protocol.payment._reconcile import LOST, REST, Findings, Reclaimer
from og_integrations.protocol.payment._x402 import SESSION, Route, parse_requirements
from tests.protocol.flows import AMOUNT, NOW, REQUIREMENT, ROUTE, SESSION_ID, Call, answer, offer, paying, wallet

OVER = NOW + 300 + SKEW + 1


ASK = "ask the node"


class Clock:
    """What time it is; tests set it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Chain:
    """A chain in one line: `taken` of each entry, None for what it cannot say; asked through an effect."""

    def __init__(self, budgeted: PaymentContext, taken: int | None = 0) -> None:
        self.reclaimer = Reclaimer(budgeted.sessions.budget, budgeted.clock, self.ask, threading.RLock())
        self.wallet = dataclasses.replace(budgeted, reclaim=self.reclaimer)
        self.taken = taken
        self.forgotten: set[str] = set()
        self.asked: list[list[str]] = []

    def ask(self, entries: Sequence[Entry], enough: Callable[[], bool], found: Findings) -> Generator[Any, Any, None]:
        self.asked.append([entry.id for entry in entries])
        for entry in entries:
            yield ASK
            if self.taken is None or entry.id in self.forgotten:
                found.in_vain[entry.id] = "the node forgot."
                continue
            self.wallet.sessions.budget.store.correct(entry.id, self.taken)
            found.corrected += 1
            if enough():
                return


def exhausted(taken: int | None = 0, **policy: Any) -> tuple[Chain, Clock]:
    """Return a chain whose wallet has used up its total of 0.1 OPG, a while ago."""
    clock = Clock()
    chain = Chain(wallet(clock, **{"total": "0.1"} | policy), taken)
    paying(chain.wallet).reply(answer())
    clock.now = OVER
    return chain, clock


def calling(chain: Chain, route: Route = ROUTE) -> Call:
    """Return a call that met the limit, or that goes on."""
    call = Call(chain.wallet, route)
    return call.reply(offer()) if isinstance(call.effect, Send) and not call.headers else call


def asks(call: Call) -> bool:
    """Whether `call` wants something of the node."""
    effect: object = call.effect
    return effect == ASK


def go_on(call: Call) -> Call:
    """What the call wants is done."""
    call._advance(lambda: call.flow.send(None))
    return call


def test_what_was_not_taken_pays_for_the_next_session() -> None:
    chain, clock = exhausted(taken=7, total="0.11")
    call = calling(chain)
    assert asks(call)
    go_on(call)
    assert isinstance(call.effect, Sign)
    assert call.sign().reply(answer()).signatures == 1
    assert chain.wallet.sessions.budget.authorized(clock.now) == AMOUNT + 7


def test_nothing_is_asked_before_the_deadline_and_the_skew() -> None:
    """By a second."""
    chain, clock = exhausted()
    clock.now = OVER - 1
    with pytest.raises(BudgetExceededError, match=r"0\.1 of 0\.1 OPG \(SpendPolicy\.total\)") as caught:
        calling(chain)
    assert (chain.asked, caught.value.limit) == ([], "total")


def test_cap_of_one_authorization_is_no_question_for_the_chain() -> None:
    """Whatever is given back, it stays too much."""
    chain, clock = exhausted()
    budget = chain.wallet.sessions.budget

    def attempt() -> Drawn:
        budget.policy.check(parse_requirements(REQUIREMENT | {"amount": str(60 * AMOUNT)}), "enclave.example")
        raise AssertionError

    with pytest.raises(BudgetExceededError, match="max_per_authorization") as caught:
        next(chain.reclaimer(attempt, 60 * AMOUNT, clock() + REST))
    assert (chain.asked, caught.value.limit) == ([], "")


def test_what_was_taken_in_full_stays_refused() -> None:
    """The chain said so, and that is all there is to say."""
    chain, _ = exhausted(taken=AMOUNT)
    call = calling(chain)
    with pytest.raises(BudgetExceededError) as caught:
        go_on(call)
    assert "Some of them" not in str(caught.value)


@pytest.mark.parametrize("trouble", [DiscoveryError("The node is away."), ConfigurationError("The node is another.")])
def test_node_that_cannot_be_asked_is_named(trouble: Exception) -> None:
    """Everything goes on counting; nobody asks again for a while, and everybody is told why."""
    chain, clock = exhausted()
    call = calling(chain)
    said = rf"needs 0\.1 OPG.*go on counting, since the chain could not say what was taken: {trouble}"
    with pytest.raises(BudgetExceededError, match=said) as caught:
        call.fail(trouble)
    assert caught.value.limit == "total"
    assert chain.wallet.sessions.budget.authorized(clock.now) == AMOUNT
    for clock.now in (OVER, OVER + REST - 1):
        with pytest.raises(BudgetExceededError, match=said):
            calling(chain)
    clock.now = OVER + REST
    assert asks(calling(chain))
    assert len(chain.asked) == 2


def test_calls_at_the_same_limit_ask_once() -> None:
    """The others wait for the answer of the first, and share what it brought."""
    chain, _ = exhausted(total="0.1")
    calls = [calling(chain) for _ in range(4)]
    assert [type(call.effect) for call in calls] == [str, Pause, Pause, Pause]
    for call in (*calls, *calls[1:]):
        if isinstance(call.effect, Pause) or asks(call):
            go_on(call)
    assert len(chain.asked) == 1
    assert [type(call.effect) for call in calls] == [Sign, Pause, Pause, Pause]
    for call in calls:
        call.sign().reply(answer())
    assert sum(call.signatures for call in calls) == 1


def two_overdue(taken: int | None = 0) -> tuple[Chain, Clock]:
    """Return the chain of a wallet whose limit two overdue authorizations have used up, and its clock."""
    clock = Clock()
    chain = Chain(wallet(clock, total="0.2"), taken)
    for _ in range(2):
        calling(chain).sign().reply(answer())
        chain.wallet.sessions._current.clear()
    clock.now = OVER
    return chain, clock


def test_call_that_waited_does_not_ask_again() -> None:
    """Another entry is overdue, but what the first call brought is enough to know."""
    chain, _ = two_overdue()
    first, second = calling(chain), calling(chain)
    go_on(first)
    assert len(chain.wallet.sessions.budget.overdue(OVER, "total")) == 1
    first.sign()
    assert go_on(second).sign().payment == first.payment
    assert len(chain.asked) == 1


def test_asker_that_is_cancelled_leaves_its_turn() -> None:
    """Neither the waiting nor the next ones are hurt."""
    chain, _ = exhausted()
    first, second = calling(chain), calling(chain)
    with pytest.raises(KeyboardInterrupt):
        first.fail(KeyboardInterrupt())
    go_on(second)
    assert asks(second)
    assert len(chain.asked) == 2
    second.flow.close()
    assert asks(calling(chain))


def test_turn_of_a_loop_that_stopped_is_lost() -> None:
    """Nobody waits for ever."""
    chain, clock = exhausted()
    stuck, waiting = calling(chain), calling(chain)
    assert asks(stuck)
    clock.now += LOST
    go_on(waiting)
    assert asks(waiting)


def test_late_claim_of_a_lost_turn_is_released() -> None:
    """The loop went on after all, when another call had claimed, signed and paid: it shares that session."""
    chain, clock = two_overdue()
    stuck, waiting = calling(chain), calling(chain)
    clock.now += LOST
    go_on(go_on(waiting)).sign().reply(answer())
    assert go_on(go_on(stuck)).headers == {SESSION: SESSION_ID}
    stuck.reply(answer())
    assert (stuck.signatures, waiting.signatures) == (0, 1)
    assert chain.wallet.sessions.budget.authorized(clock.now) == AMOUNT


def test_no_lock_is_held_while_the_chain_is_asked() -> None:
    chain, clock = exhausted()
    calling(chain)
    book = chain.wallet.sessions
    for lock in (book._lock, book.budget._lock):
        assert isinstance(lock, type(threading.Lock()))
        assert not lock.locked()
    assert book.budget.authorized(clock.now) == AMOUNT


def test_kill_switch_used_meanwhile_ends_it() -> None:
    chain, _ = exhausted()
    call = calling(chain)
    chain.wallet.sessions.budget.store.stop("lunch")
    with pytest.raises(SpendingStoppedError, match="lunch"):
        go_on(call)


def test_held_authorization_is_left_to_its_call() -> None:
    """It may still be signed or on its way; only after an hour nobody can have it any more."""
    clock = Clock()
    chain = Chain(wallet(clock, total="0.1"))
    held = paying(chain.wallet)
    chain.wallet.sessions._current.clear()
    clock.now = NOW + 300 + ABANDONED
    with pytest.raises(BudgetExceededError):
        calling(chain)
    assert chain.asked == []
    clock.now += 1
    assert asks(calling(chain))
    held.flow.close()


def test_hour_is_not_helped_by_older_ones() -> None:
    """They are not asked about: nothing of them counts any more."""
    clock = Clock()
    chain = Chain(wallet(clock, per_hour="0.1"))
    paying(chain.wallet).reply(answer())
    clock.now = NOW + HOUR + 1
    calling(chain).sign().reply(answer())
    clock.now += 300 + SKEW + 1
    calling(chain)
    assert chain.asked == [["2"]]


def test_hour_is_helped_to_its_last_second() -> None:
    """What still counts is still asked about."""
    clock = Clock()
    chain = Chain(wallet(clock, per_hour="0.1"))
    paying(chain.wallet).reply(answer())
    clock.now = NOW + HOUR
    calling(chain)
    assert chain.asked == [["1"]]


def test_what_the_chain_cannot_explain_comes_last() -> None:
    """A node that forgot the old ones must not keep us from the others; one that gave back is asked again at once."""
    clock = Clock()
    chain = Chain(wallet(clock, total="0.3"))
    chain.forgotten = {"1"}
    for _ in range(3):
        calling(chain).sign().reply(answer())
        chain.wallet.sessions._current.clear()
    clock.now = OVER
    go_on(go_on(calling(chain))).sign().reply(answer())
    chain.wallet.sessions._current.clear()
    calling(chain)
    assert chain.asked == [["1", "2", "3"], ["3", "1"]]


def test_what_another_process_gave_back_is_not_asked_about() -> None:
    """It did so while this call waited for its turn."""
    chain, _ = exhausted()
    first, waiting = calling(chain), calling(chain)
    chain.wallet.sessions.budget.store.correct("1", 0)
    with pytest.raises(KeyboardInterrupt):
        first.fail(KeyboardInterrupt())
    assert isinstance(go_on(waiting).effect, Sign)
    assert chain.asked == [["1"]]
    turns = chain.reclaimer.turns
    assert turns.take(OVER, turns.ended()) == "ask"

"""Processes that share a store share their sessions: two wallets of one key, driven by hand over one set of notes."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from og_integrations.errors import (
    BudgetExceededError,
    ConnectionFailedError,
    ConnectionLostError,
    PaymentInDoubtError,
    PaymentRefusedError,
)
from og_integrations.networks import BASE
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.payment._budget import HoldState
from og_integrations.protocol.payment._flow import Pause, PaymentContext, Send, Sign
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment._session import SessionCache
from og_integrations.protocol.payment._sharing import ON_ITS_WAY, TURN, SessionBoard
from og_integrations.protocol.payment._x402 import PAYMENT_SIGNATURE, SESSION
from tests.protocol.flows import (
    AMOUNT,
    CANCELLATIONS,
    EXPIRED,
    NOW,
    ROUTE,
    SESSION_ID,
    Call,
    answer,
    new_budget,
    offer,
)


class NotedStore(MemoryStore):
    """A store in memory that keeps notes, as those of files and databases do."""

    def __init__(self) -> None:
        super().__init__(threading.RLock())
        self.notes: dict[str, str] = {}

    def note(self, name: str) -> str | None:
        return self.notes.get(name)

    def swap(self, name: str, old: str | None, new: str | None, until: int) -> bool:
        if self.notes.get(name) != old:
            return False
        self.notes.pop(name, None)
        if new is not None:
            self.notes[name] = new
        return True

    def later(self, work: Callable[[], object]) -> None:
        work()


class Fleet:
    """Processes of one wallet and one store, at a clock of their own."""

    def __init__(self) -> None:
        self.now, self.store, self._numbers = NOW, NotedStore(), itertools.count(1)

    def process(self, **policy: Any) -> PaymentContext:
        budget = new_budget(SpendPolicy.of(policy).on(BASE), self.store, new_id=lambda: f"entry {next(self._numbers)}")
        board = SessionBoard(
            notes=self.store,
            name=lambda route: f"{route.tee_id} {route.path}",
            seal=lambda secret, name: f"sealed {name} {secret.reveal()}",
            unseal=lambda text, name: (
                Secret(text.removeprefix(f"sealed {name} ")) if text.startswith(f"sealed {name} ") else None
            ),
        )
        sessions = SessionCache(budget, threading.Lock(), board=board)
        return PaymentContext(sessions=sessions, clock=lambda: self.now, nonce=lambda: next(self._numbers))

    def states(self) -> list[HoldState]:
        return [entry.state for entry in self.store.entries()]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def looks_again(call: Call) -> Call:
    """The call has waited."""
    assert isinstance(call.effect, Pause)
    call._advance(lambda: call.flow.send(None))
    return call


def test_32_cold_processes_sign_once(fleet: Fleet) -> None:
    """All ask for the price, one signs, all send the same text, and the session serves the rest."""
    calls = [Call(fleet.process()) for _ in range(32)]
    for call in calls:
        call.reply(offer())
    assert sum(isinstance(call.effect, Sign) for call in calls) == 1
    calls[0].sign()
    for call in calls[1:]:
        looks_again(call)
    assert len({call.payment for call in calls}) == 1
    for call in calls:
        call.reply(answer())
    assert [call.paid is not None for call in calls] == [True] * 32
    assert (sum(call.signatures for call in calls), fleet.store.totals(NOW).authorized) == (1, AMOUNT)
    assert fleet.states() == [HoldState.SETTLED]
    assert Call(fleet.process()).headers == {SESSION: SESSION_ID}


def test_process_that_comes_later_asks_for_no_price(fleet: Fleet) -> None:
    Call(fleet.process()).reply(offer()).sign().reply(answer())
    late = Call(fleet.process())
    assert late.headers == {SESSION: SESSION_ID}
    assert late.reply(answer()).paid is not None


def test_session_that_is_over_is_replaced_once(fleet: Fleet) -> None:
    """Three processes find it over at the same time: one signs anew, the others find what it signed."""
    processes = [fleet.process() for _ in range(3)]
    Call(processes[0]).reply(offer()).sign().reply(answer())
    calls = [Call(process) for process in processes]
    for call in calls:
        call.reply(EXPIRED)
    signing = [call for call in calls if isinstance(call.effect, Sign)]
    assert len(signing) == 1
    signing[0].sign().reply(answer(session="second"))
    for call in calls:
        if call is not signing[0]:
            if isinstance(call.effect, Send) and not call.headers:
                call.reply(offer())
            if isinstance(call.effect, Pause):
                looks_again(call)
            assert call.headers == {SESSION: "second"}
    assert fleet.store.totals(NOW).authorized == 2 * AMOUNT


def test_process_that_dies_before_it_signed_leaves_a_turn_that_ends(fleet: Fleet) -> None:
    """Killed with the turn in its hands: what it had claimed counts, and after a while another one signs."""
    dead = Call(fleet.process()).reply(offer())
    assert isinstance(dead.effect, Sign)
    other = Call(fleet.process()).reply(offer())
    looks_again(other)
    fleet.now += TURN
    looks_again(other)
    other.sign().reply(answer())
    assert other.paid is not None
    assert fleet.states() == [HoldState.HELD, HoldState.SETTLED]


def test_process_that_dies_after_it_signed_is_followed_by_others(fleet: Fleet) -> None:
    """Nobody knows whether it was sent: the same text is sent, which the gateway joins or takes as new."""
    dead = Call(fleet.process()).reply(offer()).sign()
    other = Call(fleet.process())
    assert other.payment == dead.payment
    other.reply(answer())
    assert (other.signatures, fleet.states()) == (0, [HoldState.SETTLED])


def test_what_a_dead_process_signed_long_ago_is_no_refusal_of_ours(fleet: Fleet) -> None:
    """The gateway took it, and closed that session: asked anew, with one signature of our own."""
    Call(fleet.process()).reply(offer()).sign()
    fleet.now += ON_ITS_WAY
    other = Call(fleet.process())
    other.reply(EXPIRED).reply(offer()).sign().reply(answer())
    assert (other.paid is not None, other.signatures) == (True, 1)
    assert sorted(state.value for state in fleet.states()) == ["in doubt", "settled"]


@pytest.mark.parametrize("cancellation", CANCELLATIONS, ids=lambda exc: type(exc).__name__)
def test_cancelled_call_gives_its_turn_to_another_process(fleet: Fleet, cancellation: BaseException) -> None:
    """At once; what it had claimed counts no more."""
    one = Call(fleet.process()).reply(offer())
    other = Call(fleet.process()).reply(offer())
    with pytest.raises(type(cancellation)):
        one.fail(cancellation)
    looks_again(other)
    assert isinstance(other.effect, Sign)
    assert fleet.store.totals(NOW).authorized == AMOUNT


def test_call_that_signed_and_could_not_connect_releases_nothing(fleet: Fleet) -> None:
    """Another process may have sent it already: it counts, and its own next call goes on with it."""
    process = fleet.process()
    call = Call(process).reply(offer()).sign()
    with pytest.raises(ConnectionFailedError):
        call.fail(ConnectionFailedError("refused"))
    assert fleet.states() == [HoldState.HELD]
    assert Call(process).payment == Call(fleet.process()).payment


def test_refusal_is_told_to_all_and_forgotten(fleet: Fleet) -> None:
    """Nobody signs again for a call that was under way; the next one asks anew."""
    one, two = Call(fleet.process()).reply(offer()).sign(), Call(fleet.process())
    for call in (one, two):
        with pytest.raises(PaymentRefusedError, match="insufficient_balance"):
            call.reply(offer(error="insufficient_balance"))
    assert (one.signatures, two.signatures, fleet.states()) == (1, 0, [HoldState.IN_DOUBT])
    assert Call(fleet.process()).headers == {}


def test_lost_answer_is_in_doubt_for_its_own_call_only(fleet: Fleet) -> None:
    one, two = Call(fleet.process()).reply(offer()).sign(), Call(fleet.process())
    with pytest.raises(PaymentInDoubtError):
        one.fail(ConnectionLostError("reset"))
    assert two.reply(answer()).paid is not None
    assert fleet.states() == [HoldState.SETTLED]


def test_limit_is_that_of_the_store(fleet: Fleet) -> None:
    """Who finds a session spends within it; who does not is refused, and leaves no turn behind."""
    Call(fleet.process(total="0.1")).reply(offer()).sign().reply(answer())
    process = fleet.process(total="0.1")
    assert Call(process).reply(answer()).paid is not None
    call = Call(process)
    with pytest.raises(BudgetExceededError):
        call.reply(EXPIRED)
    assert fleet.store.notes == {}


@pytest.mark.parametrize("note", ["nonsense", "sealed ", "turn:", "turn:x:y", "turn:x:99999999999999", "", "{}"])
def test_note_that_means_nothing_is_replaced(fleet: Fleet, note: str) -> None:
    """Whoever writes to the store can cost us an authorization, and no more."""
    fleet.store.notes[f"{ROUTE.tee_id} {ROUTE.path}"] = note
    Call(fleet.process()).reply(offer()).sign().reply(answer())
    assert Call(fleet.process()).headers == {SESSION: SESSION_ID}


def test_payee_that_is_not_allowed_any_more_is_not_paid_by_a_found_session(fleet: Fleet) -> None:
    """The registry has another payee by now: what a process signed before is not sent."""
    Call(fleet.process()).reply(offer()).sign().reply(answer())
    elsewhere = replace(ROUTE, payees=frozenset({"0x" + "44" * 20}))
    assert Call(fleet.process(), elsewhere).headers == {}


def test_credentials_show_in_no_repr(fleet: Fleet) -> None:
    process = fleet.process()
    call = Call(process).reply(offer()).sign()
    board = process.sessions.board
    assert board is not None
    shared = board.look(ROUTE, NOW)
    assert shared is not None
    assert str(call.headers[PAYMENT_SIGNATURE])[:60] not in repr(shared)
    assert shared.signature.reveal() not in repr(shared)

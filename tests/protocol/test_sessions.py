"""Calls that share one authorization: nobody waits, nobody is failed by another, nobody pays twice."""

import re

import pytest

from og_integrations.errors import (
    BudgetExceededError,
    ConnectionFailedError,
    ConnectionLostError,
    PaymentInDoubtError,
    PaymentRefusedError,
    SigningError,
)
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.payment import _session as session
from og_integrations.protocol.payment._budget import HoldState
from og_integrations.protocol.payment._flow import Approve, Pause, Sign
from og_integrations.protocol.payment._lease import Turn
from og_integrations.protocol.payment._session import RENEW_BEFORE
from og_integrations.protocol.payment._x402 import PAYMENT_SIGNATURE, SESSION, parse_requirements, session_ref
from tests.protocol.flows import (
    AMOUNT,
    CANCELLATIONS,
    EXPIRED,
    NOW,
    REQUIREMENT,
    ROUTE,
    SESSION_ID,
    Call,
    answer,
    current_session,
    offer,
    paying,
    signing,
    wallet,
    warm,
)

each_cancellation = pytest.mark.parametrize("cancellation", CANCELLATIONS, ids=lambda exc: type(exc).__name__)


def go_on(call: Call) -> Call:
    """The call has waited."""
    call._advance(lambda: call.flow.send(None))
    return call


def test_32_cold_calls_share_one_authorization() -> None:
    """All ask, all are told to pay, one signs; all send the same text; the session serves the rest."""
    purse = wallet()
    calls = [call.sign() for call in signing(purse, 32)]
    assert len({call.payment for call in calls}) == 1
    for call in calls:
        call.reply(answer())
    assert [call.paid is not None for call in calls] == [True] * 32
    assert (sum(call.signatures for call in calls), purse.sessions.budget.authorized()) == (1, AMOUNT)
    assert Call(purse).headers == {SESSION: SESSION_ID}


def test_call_that_comes_later_neither_asks_nor_signs() -> None:
    """It finds a signed authorization on its way and sends it along."""
    purse = wallet()
    first = paying(purse)
    second = Call(purse)
    assert second.payment == first.payment


def test_session_is_used_as_soon_as_it_is_known() -> None:
    purse = wallet()
    quick, slow = signing(purse, 2)
    quick.sign().reply(answer())
    slow.sign()
    assert slow.headers == {SESSION: SESSION_ID}
    assert slow.signatures == 0


def test_late_answer_of_a_session_that_is_over_opens_nothing() -> None:
    """Its successor is left alone, and what is remembered of it stays."""
    purse = warm(wallet())
    late, ended = Call(purse), Call(purse)
    over = current_session(purse)
    assert over is not None
    ended.reply(EXPIRED)
    successor = current_session(purse)
    remembered = purse.sessions.over(ROUTE)
    late.reply(answer())
    assert (over.state, over.calls, late.paid is not None) == (session.State.OVER, 0, True)
    assert successor is not over
    assert current_session(purse) is successor
    assert remembered == purse.sessions.over(ROUTE) == over.authorization.nonce


def test_name_of_a_session_is_shown_by_its_hash_alone() -> None:
    """A new name has a new one."""
    found = current_session(warm(wallet()))
    assert found is not None
    assert found.session_ref == session_ref(SESSION_ID)
    found.named(Secret("another"))
    assert found.session_ref == session_ref("another")


def test_sharing_calls_do_not_exceed_the_budget_of_one() -> None:
    purse = wallet(total="0.1")
    calls = [call.sign() for call in signing(purse, 5)]
    assert purse.sessions.budget.authorized() == AMOUNT
    for call in calls:
        call.reply(answer())
    with pytest.raises(BudgetExceededError):
        Call(purse).reply(EXPIRED)


def test_two_sharers_that_are_refused() -> None:
    """Each gets the error, neither signs again; the authorization counts once."""
    purse = wallet()
    calls = signing(purse, 2)
    for call in calls:
        call.sign()
    for call in calls:
        with pytest.raises(PaymentRefusedError, match="insufficient_balance"):
            call.reply(offer(error="insufficient_balance"))
    assert sum(call.signatures for call in calls) == 1
    assert purse.sessions.budget.spent(0).in_doubt == purse.sessions.budget.authorized() == AMOUNT


def test_sharer_of_what_was_refused_meanwhile_does_not_pay_anew() -> None:
    """It waited for the signature, and another call came to the gateway with it: one answer for both."""
    purse = wallet()
    quick, waiting = signing(purse, 2)
    with pytest.raises(PaymentRefusedError):
        quick.sign().reply(offer(error="insufficient_balance"))
    with pytest.raises(PaymentRefusedError, match="insufficient_balance"):
        waiting.sign()
    assert (waiting.signatures, purse.sessions.budget.authorized()) == (0, AMOUNT)


def test_sharer_whose_session_was_over_before_its_turn() -> None:
    """It joined late, was not looked at, and asks anew: with one signature of its own at most."""
    purse = warm(wallet())
    first, second = Call(purse), Call(purse)
    first.reply(EXPIRED).sign().reply(answer(session="second"))
    second.reply(EXPIRED)
    assert second.headers == {SESSION: "second"}
    second.reply(EXPIRED).sign()
    with pytest.raises(PaymentRefusedError):
        second.reply(EXPIRED)
    assert second.signatures == 1


@pytest.mark.parametrize("session", [SESSION_ID, None])
def test_sharer_that_finds_the_authorization_used_up(session: str | None) -> None:
    """It was brought there by another call: ours was not looked at, and pays for itself, once."""
    purse = wallet()
    first, late = signing(purse, 2)
    first.sign().reply(answer(session=session))
    late.sign().reply(EXPIRED)
    if session is None:
        late.reply(offer())
    late.sign().reply(answer())
    assert late.paid is not None
    assert (late.signatures, purse.sessions.budget.authorized()) == (1, 2 * AMOUNT)


def test_sharer_of_what_is_over_is_not_refused() -> None:
    """Only the gateway's word on an authorization that is new to it is one for all who share it."""
    purse = wallet()
    first, waiting = signing(purse, 2)
    with pytest.raises(PaymentInDoubtError):
        first.sign().fail(ConnectionLostError("reset"))
    Call(purse).reply(EXPIRED)
    waiting.sign().reply(EXPIRED).reply(offer()).sign().reply(answer())
    assert (waiting.paid is not None, waiting.signatures) == (True, 1)


def test_session_that_ended_before_the_call_that_paid_was_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another call brought our authorization there, spent it, and ours came too late: not signed again."""
    purse = wallet()
    take_turn, lost = purse.sessions.take_turn, iter([True])
    # On another thread, the other call may be the first to sign what ours has opened.
    monkeypatch.setattr(purse.sessions, "take_turn", lambda *call: Turn.WAIT if next(lost, False) else take_turn(*call))
    ours, other = signing(purse, 2)
    other.sign().reply(answer())
    ours.sign()
    with pytest.raises(PaymentRefusedError, match="the session that this payment opened ended before the request was"):
        ours.reply(EXPIRED)
    assert ours.signatures + other.signatures == 1


@each_cancellation
def test_cancelling_one_of_32_leaves_31_answers(cancellation: BaseException) -> None:
    """Wherever it stands: asking, signing or waiting for its answer."""
    for stage in range(3):
        purse = wallet()
        calls = [Call(purse) for _ in range(32)]
        for step in range(3):
            if step == stage:
                with pytest.raises(type(cancellation)):
                    calls.pop(0).fail(cancellation)
            for call in calls:
                call.reply((offer(), answer())[step // 2]) if step != 1 else call.sign()
        assert [call.paid is not None for call in calls] == [True] * 31
        assert purse.sessions.budget.authorized() == AMOUNT


@each_cancellation
def test_cancelling_the_only_signer_leaves_the_signing_to_the_others(cancellation: BaseException) -> None:
    """One signs, the others wait; the first is cancelled while its signer still thinks."""
    purse = wallet()
    first, second, third = signing(purse, 3)
    assert [type(call.effect) for call in (first, second, third)] == [Sign, Pause, Pause]
    with pytest.raises(type(cancellation)):
        third.fail(cancellation)  # it had no turn to leave
    assert isinstance(go_on(second).effect, Pause)
    with pytest.raises(type(cancellation)):
        first.fail(cancellation)
    assert purse.sessions.budget.authorized() == AMOUNT
    second.sign().reply(answer())
    assert (second.paid is not None, second.signatures) == (True, 1)
    assert purse.sessions.budget.authorized() == AMOUNT


@each_cancellation
def test_cancelling_the_last_waiter_leaves_the_session(cancellation: BaseException) -> None:
    """What the others have paid for is still there for the next call."""
    purse = wallet()
    first, waiting = signing(purse, 2)
    first.sign().reply(answer())
    with pytest.raises(type(cancellation)):
        waiting.fail(cancellation)
    assert Call(purse).headers == {SESSION: SESSION_ID}


@each_cancellation
def test_cancelling_all_signers_releases_the_hold(cancellation: BaseException) -> None:
    purse = wallet()
    for call in signing(purse, 3):
        with pytest.raises(type(cancellation)):
            call.fail(cancellation)
    assert purse.sessions.budget.authorized() == 0
    assert current_session(purse) is None


def test_signer_that_fails_for_one_fails_for_its_sharers() -> None:
    """Cleanly: nothing is sent with a hold that was released."""
    purse = wallet()
    first, second = signing(purse, 2)
    with pytest.raises(SigningError, match="failed with OSError"):
        first.fail(OSError("no device"))
    with pytest.raises(SigningError, match="failed, for a call that shared this authorization"):
        second.sign()
    assert purse.sessions.budget.authorized() == 0
    assert isinstance(Call(purse).effect, Sign)


def test_one_signature_serves_all() -> None:
    """Signers may randomise, and the gateway joins identical texts only."""
    purse = wallet()
    first, second = signing(purse, 2)
    assert first.sign().payment == second.sign().payment
    assert second.signatures == 0


def test_signature_that_came_too_late_is_not_sent() -> None:
    """A person thought until the offer had run out: nothing left, so nothing counts."""
    now = [NOW]
    purse = wallet(lambda: now[0])
    calls = signing(purse, 2)
    now[0] += 300 - RENEW_BEFORE
    for call in calls:
        with pytest.raises(SigningError, match=r"after the offer had run out\. Nothing was sent"):
            call.sign()
    assert purse.sessions.budget.authorized() == 0
    now[0] -= 1
    assert isinstance(Call(purse).effect, Sign)


@pytest.mark.parametrize("late", [False, True])
def test_connection_that_failed_for_one_keeps_the_hold_of_the_others(late: bool) -> None:
    """Released by the last one that did not get through, also if it came when the authorization was there."""
    purse = wallet()
    calls = [*signing(purse, 1), Call(purse)] if late else signing(purse, 2)
    for call in calls:
        call.sign()
    for call, held in zip(calls, (AMOUNT, 0), strict=True):
        with pytest.raises(ConnectionFailedError):
            call.fail(ConnectionFailedError("refused"))
        assert purse.sessions.budget.authorized() == held


def test_connection_that_failed_while_a_sharer_is_still_signing() -> None:
    """What the sharer then sends is counted."""
    purse = wallet()
    quick, slow = signing(purse, 2)
    quick.sign()
    with pytest.raises(ConnectionFailedError):
        quick.fail(ConnectionFailedError("refused"))
    slow.sign().reply(answer())
    assert slow.paid is not None
    assert slow.paid.grant is not None
    assert (slow.paid.grant.hold.state, purse.sessions.budget.authorized()) == (HoldState.SETTLED, AMOUNT)
    assert Call(purse).headers == {SESSION: SESSION_ID}


def test_connection_that_failed_after_another_got_through() -> None:
    purse = wallet()
    first, second = signing(purse, 2)
    first.sign()
    second.sign()
    with pytest.raises(PaymentInDoubtError):
        first.fail(ConnectionLostError("reset"))
    with pytest.raises(ConnectionFailedError):
        second.fail(ConnectionFailedError("refused"))
    assert purse.sessions.budget.spent(0).in_doubt == AMOUNT
    assert list(Call(purse).headers) == [PAYMENT_SIGNATURE]


def drawn() -> dict[tuple[str, str], str]:
    """Read the table in the docstring of `session`: (state, event) -> next state."""
    drawing = re.search(r"```text\n(.*?)\n```", session.__doc__ or "", re.DOTALL)
    assert drawing is not None
    head, *rows = (line.split("  ") for line in drawing[1].splitlines())
    events = [word.strip() for word in head if word][1:]
    cells: dict[tuple[str, str], str] = {}
    for row in rows:
        state, *nexts = (word.strip() for word in row if word)
        if not state.startswith("("):
            cells |= {(state, event): after for event, after in zip(events, nexts, strict=True) if after != "-"}
    return cells


def test_drawn_machine_is_the_real_one() -> None:
    """Who reads the table reads what happens."""
    real = {(state.value, event.value): after.value for (state, event), after in session.TRANSITIONS.items()}
    assert drawn() == real
    assert {state for state, _ in real} == {state.value for state in session.State}


def test_event_that_cannot_be_is_a_mistake_of_ours() -> None:
    """It never moves a session on: nothing is sent with it, and the hold counts."""
    unsigned = session.PaymentSession(route=ROUTE, requirements=parse_requirements(REQUIREMENT))
    with pytest.raises(AssertionError, match="A payment session that is new was accepted"):
        unsigned.apply(session.Event.ACCEPTED)
    assert unsigned.state is session.State.NEW
    with pytest.raises(AssertionError, match="that is new has no claim"):
        _ = unsigned.hold


def test_owner_is_not_asked_twice_for_what_was_allowed() -> None:
    """The call that asked is cancelled while the signer thinks; the next one goes on from there."""
    purse = wallet(on_payment=lambda request: True)
    first, second = signing(purse, 2)
    assert isinstance(first.effect, Approve)
    first._advance(lambda: first.flow.send(True))
    assert isinstance(first.effect, Sign)
    with pytest.raises(KeyboardInterrupt):
        first.fail(KeyboardInterrupt())
    assert isinstance(go_on(second).effect, Sign)


def test_claim_that_fails_for_one_is_made_by_the_next() -> None:
    """A limit is no refusal of the owner: each call that shares the offer finds out for itself."""
    purse = wallet(total="0.1")
    purse.sessions.budget.hold(AMOUNT)
    first, second = Call(purse), Call(purse)
    for call in (first, second):
        with pytest.raises(BudgetExceededError, match=r"0\.1 of 0\.1 OPG"):
            call.reply(offer())
    assert current_session(purse) is None

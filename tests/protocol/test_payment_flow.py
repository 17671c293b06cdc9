"""One call's payment, effect by effect: what is sent, what is signed, and how often."""

from dataclasses import replace

import pytest
from eth_account import Account

from og_integrations.errors import PayeeRefusedError, PaymentRefusedError
from og_integrations.networks import BASE
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.payment._budget import HoldState
from og_integrations.protocol.payment._flow import Send, Sign
from og_integrations.protocol.payment._session import RENEW_BEFORE
from og_integrations.protocol.payment._x402 import PAYMENT_SIGNATURE, SESSION, ReplyHead, decode_header, session_ref
from tests.protocol.captures import PAYMENTS
from tests.protocol.flows import (
    AMOUNT,
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
    wallet,
    warm,
)

KEY = PAYMENTS[0]["private_key"]


def test_cold_call_asks_signs_and_pays() -> None:
    """402, one signature, one paid request; the session that comes back is kept."""
    purse = wallet()
    call = Call(purse)
    assert call.effect == Send(ROUTE, {})
    call.reply(offer())
    assert isinstance(call.effect, Sign)
    call.sign()
    assert list(call.headers) == [PAYMENT_SIGNATURE]
    call.reply(answer())
    assert call.paid is not None
    assert (call.paid.head.status, call.signatures) == (200, 1)
    assert call.paid.grant is not None
    assert (call.paid.grant.session_ref, call.paid.grant.hold.state) == (session_ref(SESSION_ID), HoldState.SETTLED)
    assert purse.sessions.budget.authorized() == AMOUNT


def test_what_is_checked_is_what_is_signed_and_sent() -> None:
    """The typed data, the digest and the header are about the offer, and a real wallet signs them."""
    purse = wallet()
    call = Call(purse).reply(offer())
    effect, grant = call.effect, current_session(purse)
    assert isinstance(effect, Sign)
    assert grant is not None
    signed = Account.sign_typed_data(KEY, full_message=effect.typed_data)
    assert signed.message_hash == grant.authorization.digest()
    content = decode_header(call.sign("0x" + signed.signature.hex()).payment)
    assert content["accepted"] == REQUIREMENT
    assert content["payload"]["permit2Authorization"]["permitted"] == {"token": BASE.token, "amount": str(AMOUNT)}
    assert content["payload"]["permit2Authorization"]["deadline"] == str(NOW + 300)


def test_free_answer_costs_nothing() -> None:
    purse = wallet()
    call = Call(purse).reply(ReplyHead(200, []))
    assert call.paid is not None
    assert (call.paid.head.status, call.paid.grant, purse.sessions.budget.authorized()) == (200, None, 0)


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
def test_error_before_payment_is_handed_on(status: int) -> None:
    """Not an error of the payment: the caller reads its body."""
    call = Call(wallet()).reply(ReplyHead(status, []))
    assert call.paid is not None
    assert call.paid.head.status == status


def test_session_is_reused() -> None:
    """No payment header beside a session: the gateway would look at one only."""
    purse = warm(wallet())
    for _ in range(3):
        call = Call(purse)
        assert call.headers == {SESSION: SESSION_ID}
        call.reply(ReplyHead(200, []))
        assert call.paid is not None
    assert purse.sessions.budget.authorized() == AMOUNT


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_session_of_an_error_after_payment_is_kept(status: int) -> None:
    """It comes on those answers too; without it the authorization would be lost."""
    purse = wallet()
    call = paying(purse).reply(answer(status))
    assert call.paid is not None
    assert call.paid.head.status == status
    assert Call(purse).headers == {SESSION: SESSION_ID}


@pytest.mark.parametrize("status", [400, 500])
def test_error_within_a_session_is_handed_on(status: int) -> None:
    call = Call(warm(wallet())).reply(answer(status))
    assert call.paid is not None
    assert call.paid.head.status == status


def test_payment_without_session_is_used_up() -> None:
    """A gateway that takes one payment per request: the next call pays again, from the known offer."""
    purse = wallet()
    paying(purse).reply(answer(session=None))
    call = Call(purse)
    assert isinstance(call.effect, Sign)
    assert purse.sessions.budget.authorized() == 2 * AMOUNT


@pytest.mark.parametrize("name", ["path", "tee_id", "network", "payer"])
def test_session_of_another_route_is_not_used(name: str) -> None:
    """It is bound to one payer, network, gateway and endpoint."""
    purse = warm(wallet())
    other = {member: getattr(ROUTE, member) for member in ("payer", "network", "tee_id", "path", "host")}
    other[name] = "0x" + "9d" * 20
    assert Call(purse, type(ROUTE)(**other)).effect == Send(type(ROUTE)(**other), {})


@pytest.mark.parametrize(("timeout", "life"), [(300, 300 - RENEW_BEFORE), (1000, 1000 - RENEW_BEFORE), (100, 50)])
def test_authorization_is_renewed_before_its_deadline(timeout: int, life: int) -> None:
    """A session outlives its permit at the gateway, but settling it then would revert."""
    now = [NOW]
    purse = wallet(clock=lambda: now[0])
    Call(purse).reply(offer(REQUIREMENT | {"maxTimeoutSeconds": timeout})).sign().reply(answer())
    now[0] += life - 1
    assert Call(purse).headers == {SESSION: SESSION_ID}
    now[0] += 1
    assert isinstance(Call(purse).effect, Sign)


def test_renewal_pays_with_the_first_request() -> None:
    """The offer is remembered: no 402 comes first."""
    now = [NOW]
    purse = warm(wallet(clock=lambda: now[0]))
    now[0] += 200
    call = Call(purse)
    assert isinstance(call.effect, Sign)
    assert list(call.sign().headers) == [PAYMENT_SIGNATURE]
    assert call.reply(answer(session="second")).paid is not None
    assert purse.sessions.budget.authorized() == 2 * AMOUNT


def test_expired_session_costs_one_more_signature() -> None:
    purse = warm(wallet())
    call = Call(purse).reply(EXPIRED)
    assert isinstance(call.effect, Sign)
    call.sign().reply(answer(session="second"))
    assert (call.signatures, call.paid is not None) == (1, True)
    assert Call(purse).headers == {SESSION: "second"}


def test_expired_session_and_then_a_refusal() -> None:
    """Once is repeated, since nothing was processed; not twice."""
    purse = warm(wallet())
    call = Call(purse).reply(EXPIRED).sign()
    with pytest.raises(
        PaymentRefusedError,
        match=r"did not take the signed payment: 'permit2_allowance_required'.*`og-integrations approve`",
    ):
        call.reply(offer(error="permit2_allowance_required"))
    assert call.signatures == 1


@pytest.mark.parametrize("refusal", [offer(error="permit2_deadline_expired"), EXPIRED])
def test_refused_payment(refusal: ReplyHead) -> None:
    """A second 402 is the end: the hold stays in doubt, since the authorization could still be settled."""
    purse = wallet()
    call = paying(purse)
    with pytest.raises(PaymentRefusedError, match=r"It was not signed again. Usual causes: too little OPG") as caught:
        call.reply(refusal)
    assert caught.value.reason in ("permit2_deadline_expired", "Session expired or exhausted")
    assert repr(caught.value.reason) in str(caught.value)
    assert (call.signatures, purse.sessions.budget.spent(0).in_doubt) == (1, AMOUNT)


def test_session_lasts_whoever_the_registry_names() -> None:
    """It is paid for. What is asked for after it is the gateway's to say, not what was remembered."""
    purse = warm(wallet())
    moved = replace(ROUTE, payees=frozenset({"0x" + "00" * 20}))
    call = Call(purse, moved)
    assert call.headers == {SESSION: SESSION_ID}
    assert call.reply(EXPIRED).effect == Send(moved, {})
    with pytest.raises(PayeeRefusedError, match="the registry's payment addresses"):
        call.reply(offer())


def test_call_after_a_refused_payment_starts_anew() -> None:
    """Neither the refused authorization nor its offer is tried again."""
    purse = wallet()
    with pytest.raises(PaymentRefusedError):
        paying(purse).reply(offer(error="No matching payment requirements"))
    assert Call(purse).effect == Send(ROUTE, {})


def answered_402_for_ever(call: Call) -> None:
    for _ in range(20):
        if isinstance(call.effect, Sign):
            call.sign()
        else:
            call.reply(offer())


def test_server_that_always_answers_402_gets_one_signature_per_request() -> None:
    """Cold or with a session, however often it is asked."""
    purse = wallet(total="2")
    for _ in range(5):
        call = Call(purse)
        with pytest.raises(PaymentRefusedError):
            answered_402_for_ever(call)
        assert call.signatures == 1
        warm(purse)


def test_nothing_secret_is_in_any_repr() -> None:
    """Neither the session id nor the payment, in no object on the way."""
    purse = wallet()
    call = Call(purse).reply(offer()).sign()
    shown = [repr(call.effect), repr(purse)]
    grant = current_session(purse)
    payment = call.payment
    call.reply(answer())
    again = Call(purse)
    shown += [repr(call.paid), repr(again.effect), repr(answer()), repr(grant), repr(purse), str(call.paid)]
    for secret in (SESSION_ID, call.signature, call.signature[2:], payment):
        assert secret not in " ".join(shown)


def test_failure_of_an_old_grant_does_not_touch_the_new_one() -> None:
    """The late word about an expired session arrives when the next one is in use."""
    purse = warm(wallet())
    early, late = Call(purse), Call(purse)
    early.reply(EXPIRED).sign().reply(answer(session="second"))
    late.reply(EXPIRED)
    assert late.headers == {SESSION: "second"}


def test_refusal_of_an_old_grant_does_not_forget_a_newer_offer() -> None:
    purse = wallet()
    first, second = paying(purse), Call(purse)
    with pytest.raises(PaymentRefusedError):
        first.reply(offer(error="no"))
    third = Call(purse).reply(offer()).sign().reply(answer(session="third"))
    assert third.paid is not None
    with pytest.raises(PaymentRefusedError):
        second.reply(offer(error="no"))
    assert Call(purse).headers == {SESSION: "third"}
    assert Call(purse).effect == Send(ROUTE, {SESSION: Secret("third")})

"""What goes wrong around a payment: released, in doubt or refused, and never paid twice."""

import json

import pytest
from eth_account import Account

from og_integrations.errors import (
    CertificateMismatchError,
    ConnectionFailedError,
    ConnectionLostError,
    OpenGradientError,
    PaymentInDoubtError,
    ReadTimeoutError,
    SigningError,
)
from og_integrations.protocol.chain import _eip712 as eip712
from og_integrations.protocol.payment._budget import HoldState
from og_integrations.protocol.payment._flow import Send, Sign, in_doubt
from og_integrations.protocol.payment._session import RENEW_BEFORE
from og_integrations.protocol.payment._x402 import (
    PAYMENT_REQUIRED,
    PAYMENT_SIGNATURE,
    SESSION,
    ReplyHead,
    decode_header,
)
from tests.protocol.flows import (
    AMOUNT,
    CANCELLATIONS,
    NOW,
    ROUTE,
    SESSION_ID,
    SIGNATURE,
    Call,
    _signed,
    answer,
    current_session,
    offer,
    paying,
    signing,
    wallet,
    warm,
)

each_cancellation = pytest.mark.parametrize("cancellation", CANCELLATIONS, ids=lambda exc: type(exc).__name__)
each_refused_connection = pytest.mark.parametrize("kind", [ConnectionFailedError, CertificateMismatchError])


def lost(*, timed_out: bool = False) -> ConnectionLostError:
    error = ConnectionLostError("The gateway enclave.example closed the connection.")
    error.timed_out = timed_out
    return error


@each_refused_connection
def test_connection_that_failed_releases_the_hold(kind: type[ConnectionFailedError]) -> None:
    """Not a byte left, so nothing is owed, and the next call starts from the remembered offer."""
    purse = wallet()
    call = paying(purse)
    failure = kind("refused")
    with pytest.raises(kind) as caught:
        call.fail(failure)
    assert caught.value is failure
    assert purse.sessions.budget.authorized() == 0
    assert isinstance(Call(purse).effect, Sign)


def test_connection_that_failed_within_a_session_keeps_it() -> None:
    purse = warm(wallet())
    with pytest.raises(ConnectionFailedError):
        Call(purse).fail(ConnectionFailedError("refused"))
    assert Call(purse).headers == {SESSION: SESSION_ID}
    assert purse.sessions.budget.authorized() == AMOUNT


@pytest.mark.parametrize("error", [ConnectionFailedError("x"), lost(), lost(timed_out=True)])
def test_failure_before_payment_passes_unchanged(error: OpenGradientError) -> None:
    """Nothing was paid yet, and the message does not claim it."""
    purse = wallet()
    with pytest.raises(type(error)) as caught:
        Call(purse).fail(error)
    assert caught.value is error
    assert purse.sessions.budget.authorized() == 0


@pytest.mark.parametrize(("timed_out", "kind"), [(False, PaymentInDoubtError), (True, ReadTimeoutError)])
def test_connection_lost_after_payment_is_in_doubt(timed_out: bool, kind: type[PaymentInDoubtError]) -> None:
    """It may have been charged; it counts, and the same authorization is used again."""
    purse = wallet()
    call = paying(purse)
    payment, failure = call.payment, lost(timed_out=timed_out)
    said = "closed the connection. The payment had left: the call may have been charged, and was not repeated"
    with pytest.raises(PaymentInDoubtError, match=said) as caught:
        call.fail(failure)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is failure
    assert purse.sessions.budget.spent(0).in_doubt == AMOUNT
    again = Call(purse)
    assert again.payment == payment
    again.reply(answer())
    assert (purse.sessions.budget.spent(0).in_doubt, purse.sessions.budget.authorized()) == (0, AMOUNT)


def test_connection_lost_within_a_session_is_in_doubt_too() -> None:
    """The session stands for the payment; the authorization itself is not in doubt."""
    purse = warm(wallet())
    with pytest.raises(ReadTimeoutError):
        Call(purse).fail(lost(timed_out=True))
    assert Call(purse).headers == {SESSION: SESSION_ID}
    assert purse.sessions.budget.spent(0).in_doubt == 0


@pytest.mark.parametrize("status", [500, 502, 504])
def test_server_error_within_a_session_that_does_not_name_it_is_in_doubt(status: int) -> None:
    """A proxy's own: the gateway may have answered and charged, and "not charged" let retries pay again."""
    purse = warm(wallet())
    with pytest.raises(PaymentInDoubtError, match=f"answered HTTP {status} within a session, without naming it"):
        Call(purse).reply(answer(status, session=None))
    assert Call(purse).headers == {SESSION: SESSION_ID}


def test_lost_connection_in_words() -> None:
    assert type(in_doubt(lost())) is PaymentInDoubtError
    assert type(in_doubt(lost(timed_out=True))) is ReadTimeoutError


@each_cancellation
def test_cancellation_after_payment_passes_unchanged(cancellation: BaseException) -> None:
    """The task ends as asked for; what it paid counts as in doubt."""
    purse = wallet()
    call = paying(purse)
    with pytest.raises(type(cancellation)) as caught:
        call.fail(cancellation)
    assert caught.value is cancellation
    assert purse.sessions.budget.spent(0).in_doubt == AMOUNT


@each_cancellation
def test_cancellation_while_signing_releases_the_hold(cancellation: BaseException) -> None:
    purse = wallet()
    call = Call(purse).reply(offer())
    with pytest.raises(type(cancellation)) as caught:
        call.fail(cancellation)
    assert caught.value is cancellation
    assert purse.sessions.budget.authorized() == 0


@each_cancellation
def test_cancellation_before_payment_passes_unchanged(cancellation: BaseException) -> None:
    with pytest.raises(type(cancellation)) as caught:
        Call(wallet()).fail(cancellation)
    assert caught.value is cancellation


def test_flow_that_is_closed_marks_its_payment_in_doubt() -> None:
    """A driver that just lets go of the generator is an interruption like any other."""
    purse = wallet()
    paying(purse).flow.close()
    assert purse.sessions.budget.spent(0).in_doubt == AMOUNT


@pytest.mark.parametrize("failure", [RuntimeError("no device"), ValueError("bad"), TimeoutError()])
def test_signer_that_fails(failure: Exception) -> None:
    """Our error, with theirs as its cause; their text may hold anything and is not repeated."""
    purse = wallet()
    call = Call(purse).reply(offer())
    said = f"The signer of {ROUTE.payer} failed with {type(failure).__name__}. Nothing was sent or paid"
    with pytest.raises(SigningError, match=said) as caught:
        call.fail(failure)
    assert caught.value.__cause__ is failure
    assert "no device" not in str(caught.value)
    assert purse.sessions.budget.authorized() == 0
    assert current_session(purse) is None


def test_owner_who_refuses() -> None:
    """An error of our tree passes as it is."""
    refusal = SigningError("The owner refused.")
    purse = wallet()
    call = Call(purse).reply(offer())
    with pytest.raises(SigningError) as caught:
        call.fail(refusal)
    assert caught.value is refusal
    assert purse.sessions.budget.authorized() == 0


def test_owner_who_agrees_when_the_offer_has_run_out() -> None:
    """A person may take that long; nothing was signed then."""
    now = [NOW]
    purse = wallet(lambda: now[0], on_payment=lambda request: True)
    call = Call(purse).reply(offer())
    now[0] += 300 - RENEW_BEFORE
    with pytest.raises(SigningError, match=r"agreed after the offer had run out\. Nothing was signed or sent"):
        call._advance(lambda: call.flow.send(True))
    assert purse.sessions.budget.authorized(NOW) == 0


@each_cancellation
def test_owner_who_agreed_is_not_asked_again(cancellation: BaseException) -> None:
    """The call that asked was cancelled while the wallet signed; a call that shares the authorization has it signed."""
    purse = wallet(on_payment=lambda request: True)
    asker, waiting = signing(purse, 2)
    asker._advance(lambda: asker.flow.send(True))
    with pytest.raises(type(cancellation)):
        asker.fail(cancellation)
    assert list(waiting.sign().headers) == [PAYMENT_SIGNATURE]


@pytest.mark.parametrize("signature", ["", "0x", SIGNATURE[:-1], SIGNATURE + "0", SIGNATURE[2:], "0x" + "zz" * 65])
def test_signature_that_is_none(signature: str) -> None:
    """It is not sent, and not quoted either."""
    purse = wallet()
    call = Call(purse).reply(offer())
    with pytest.raises(SigningError, match="returned no signature: expected 0x and 130 hex digits") as caught:
        call.sign(signature)
    assert len(signature) < 3 or signature not in str(caught.value)
    assert purse.sessions.budget.authorized() == 0


def test_signature_that_is_no_text() -> None:
    purse = wallet()
    call = Call(purse).reply(offer())
    with pytest.raises(SigningError, match="returned no signature: expected 0x"):
        call.sign(b"bytes")  # type: ignore[arg-type]
    assert purse.sessions.budget.authorized() == 0


@pytest.mark.parametrize("status", [301, 400, 401, 403, 500, 502, 503])
def test_error_after_payment_without_session_is_in_doubt(status: int) -> None:
    """A fault of the facilitator looks like this: nobody knows whether it was taken."""
    purse = wallet()
    said = f"enclave.example answered HTTP {status} to a signed payment, with neither a session nor an offer"
    with pytest.raises(PaymentInDoubtError, match=said):
        paying(purse).reply(answer(status, session=None))
    assert purse.sessions.budget.spent(0).in_doubt == AMOUNT


@pytest.mark.parametrize(
    "head",
    [
        ReplyHead(200, [(SESSION, "a"), (SESSION.lower(), "b")]),
        ReplyHead(200, [(SESSION, "a b")]),
        ReplyHead(402, [*offer().headers, *offer().headers]),
        ReplyHead(402, [(PAYMENT_REQUIRED, "?")]),
        ReplyHead(500, [(SESSION, "")]),
    ],
)
def test_answer_to_a_payment_that_is_broken_is_in_doubt(head: ReplyHead) -> None:
    """Headers sent twice, too, are no answer that one may rely on."""
    purse = wallet()
    with pytest.raises(PaymentInDoubtError, match="The payment was sent, and its answer is broken: "):
        paying(purse).reply(head)
    assert purse.sessions.budget.spent(0).in_doubt == AMOUNT


def test_payment_in_doubt_is_joined_by_the_next_call_and_not_repeated() -> None:
    """Sending identical bytes again joins the same session, if there is one: the cost stays one cap."""
    purse = wallet()
    with pytest.raises(PaymentInDoubtError):
        paying(purse).reply(ReplyHead(502, []))
    call = Call(purse)
    assert list(call.headers) == [PAYMENT_SIGNATURE]
    call.reply(answer())
    assert (call.signatures, purse.sessions.budget.authorized()) == (0, AMOUNT)


def test_payment_in_doubt_that_is_over_is_renewed_once() -> None:
    """The gateway knows nothing of it any more: like an expired session."""
    purse = wallet()
    with pytest.raises(PaymentInDoubtError):
        paying(purse).reply(ReplyHead(502, []))
    call = Call(purse).reply(offer(error="Session expired or exhausted"))
    assert call.effect == Send(ROUTE, {})
    call.reply(offer()).sign().reply(answer())
    assert (call.signatures, purse.sessions.budget.authorized()) == (1, 2 * AMOUNT)


def test_certain_answer_ends_doubt() -> None:
    purse = wallet()
    first, second = signing(purse, 2)
    first.sign()
    second.sign()
    with pytest.raises(PaymentInDoubtError):
        first.fail(lost())
    second.reply(answer())
    assert second.paid is not None
    assert second.paid.grant is not None
    assert second.paid.grant.hold.state is HoldState.SETTLED


@pytest.mark.parametrize("error", [lost(), lost(timed_out=True), RuntimeError("driver")])
def test_no_failure_shows_a_secret(error: Exception) -> None:
    purse = warm(wallet())
    with pytest.raises((OpenGradientError, RuntimeError)) as caught:
        Call(purse).fail(error)
    shown = json.dumps([str(caught.value), repr(caught.value), repr(vars(caught.value))])
    assert SESSION_ID not in shown
    assert SIGNATURE not in shown


def spoilt(call: Call, v: int) -> str:
    """Return the payer's own signature of what `call` wants signed, with another last byte."""
    assert isinstance(call.effect, Sign)
    return _signed(call.effect)[:-2] + f"{v:02x}"


@pytest.mark.parametrize("v", [2, 26, 29, 99, 255])
def test_signature_that_no_key_made_is_not_sent(v: int) -> None:
    """It would be refused, blamed on OPG or the clock, and counted for an hour."""
    purse = wallet(total="0.15")
    call = Call(purse).reply(offer())
    with pytest.raises(SigningError, match="returned a signature that no key made of this payment") as caught:
        call.sign(spoilt(call, v))
    assert "Nothing was sent or paid" in str(caught.value)
    assert purse.sessions.budget.authorized() == 0


def test_signature_of_another_wallet_is_not_sent() -> None:
    """Address and key that do not belong together; zeros; another message."""
    purse = wallet(total="0.15")
    for wrong in ("other key", "other message", "zeros"):
        call = Call(purse).reply(offer()) if not isinstance(Call(purse).effect, Sign) else Call(purse)
        assert isinstance(call.effect, Sign)
        digest = eip712.digest(call.effect.typed_data)
        made = Account.unsafe_sign_hash(digest, "0x" + "11" * 32).signature
        message = dict(call.effect.typed_data["message"], nonce=7)
        returned = {
            "other key": "0x" + made.hex(),
            "other message": _signed(Sign(call.effect.typed_data | {"message": message})),
            "zeros": "0x" + "00" * 65,
        }[wrong]
        with pytest.raises(SigningError, match=r"of another wallet, 0x|that no key made"):
            call.sign(returned)
        assert purse.sessions.budget.authorized() == 0


def test_points_that_are_numbered_from_zero_are_mended() -> None:
    """As some hardware wallets and key services do; contracts want 27 and 28."""
    for _ in range(8):
        purse = wallet()
        call = Call(purse).reply(offer())
        assert isinstance(call.effect, Sign)
        right = _signed(call.effect)
        call.sign(right[:-2] + f"{int(right[-2:], 16) - 27:02x}")
        assert decode_header(call.payment)["payload"]["signature"] == right


@pytest.mark.parametrize("answer", ["no", "n", "False", "0", "", 1, 0, None, False, object(), [0]])
def test_only_true_allows(answer: object) -> None:
    """`on_payment` may ask a person, whose answer is always a text."""
    purse = wallet(on_payment=lambda request: answer)
    call = Call(purse).reply(offer())
    said = str(answer) if answer is None or answer is False else f"a {type(answer).__name__}"
    with pytest.raises(SigningError, match=f"it returned {said}, expected True. Nothing was signed or sent"):
        call._advance(lambda: call.flow.send(answer))
    assert purse.sessions.budget.authorized() == 0

"""What one call says in its headers, takes for an answer, and repeats of it, without a network."""

from typing import Any

import pytest

from og_integrations.client import _call as call_module
from og_integrations.client._call import Call, CallState, check_size, gateway_error
from og_integrations.client._engine import Engine
from og_integrations.errors import MalformedReplyError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.payment._x402 import ReplyHead
from tests.protocol.flows import NOW, ROUTE, wallet, warm

JSON = ("Content-Type", "application/json")


def prepared(**options: Any) -> Call:
    engine = Engine(network="devnet", private_key="0x" + "11" * 32)
    return engine.prepare_chat("openai/gpt-5-mini", [{"role": "user", "content": "What was asked"}], **options)


def answered(*headers: tuple[str, str], stream: bool = False) -> CallState:
    return CallState(call=prepared(stream=stream), head=ReplyHead(200, headers))


@pytest.mark.parametrize(("stream", "accepted"), [(False, "application/json"), (True, "text/event-stream")])
@pytest.mark.parametrize("mode", ["private", "batch", "individual"])
def test_headers_of_a_call(stream: bool, accepted: str, mode: str) -> None:
    """A settlement mode that got lost would publish hashes; an encoding we allow could be a bomb."""
    assert prepared(stream=stream, settlement_mode=mode).headers() == {
        "Authorization": "Bearer og-integrations",
        "Content-Type": "application/json",
        "Accept": accepted,
        "Accept-Encoding": "identity",
        "X-SETTLEMENT-TYPE": mode,
    }


@pytest.mark.parametrize("encodings", [["gzip"], ["identity", "br"], ["Identity, gzip"]])
def test_encoded_answer_is_refused(encodings: list[str]) -> None:
    """It was not asked for, and what is signed is the plain text."""
    with pytest.raises(MalformedReplyError, match=f"encoded as '{', '.join(encodings)}'; we asked for plain bytes"):
        answered(JSON, *(("content-encoding", value) for value in encodings)).check_head()


@pytest.mark.parametrize("encoding", ["", "identity", " IDENTITY "])
def test_plain_answer_may_say_that_it_is(encoding: str) -> None:
    answered(JSON, ("Content-Encoding", encoding)).check_head()


def test_answer_larger_than_any_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "MAX_ANSWER_BYTES", 4)
    check_size(bytearray(4))
    with pytest.raises(MalformedReplyError, match="has more than 4 bytes; it was given up"):
        check_size(bytearray(5))


def test_bodies_are_kept_for_who_collects_them_only() -> None:
    for kept, body in ((False, b""), (True, b"ab")):
        state = CallState(call=prepared(), keep_body=kept)
        state.on_data(b"a")
        state.on_data(b"b")
        assert state.body == body


@pytest.mark.parametrize("name", ["session_id", "signature", "header"])
def test_reason_that_repeats_what_was_paid_with(name: str) -> None:
    """However short a gateway makes it."""
    session = warm(wallet()).sessions.join(ROUTE, NOW)
    assert session is not None
    setattr(session, name, Secret("abcd-short"))
    state = CallState(call=prepared(), grant=session)
    assert state.quotable("you paid with abcd-short") == ""
    assert state.quotable("the session is over") == "the session is over"


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (302, "Redirects are never followed: prompt and payment would go to another host."),
        (400, "Check the model name and the parameters."),
        (401, "The gateway wants an Authorization header."),
        (404, "This gateway does not have the endpoint."),
        (413, "The request is too large."),
        (418, "It was not charged."),
        (429, "Wait and try again."),
        (503, "Try again later."),
    ],
)
def test_error_says_what_to_do(status: int, hint: str) -> None:
    error = gateway_error(CallState(call=prepared()), status, b"")
    assert (str(error).startswith(f"The gateway answered HTTP {status}. "), error.status) == (True, status)
    assert str(error).endswith(hint)

"""An OpenAI-shaped server of our own behind the paywall and the signature."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from og_integrations.devnet import Devnet, Upstream
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.chain._keccak import keccak
from tests.devnet.bare_caller import CHAT, COMPLETION, Raw, ask, raw_caller
from tests.devnet.test_faults import assembled, proven

FAILED_STREAM = 'data: {"error": "Stream processing failed"}\n\n'
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CALL = {"id": "x", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


ODD = {
    "infinite usage": b'{"choices":[{"%s":{"content":"hey"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1e999}}',
    "negative usage": b'{"choices":[{"%s":{"content":"hey"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":-1000000,"completion_tokens":1}}',
    "half a character": b'{"choices":[{"%s":{"content":"\\ud800"},"finish_reason":"stop"}]}',
    "not UTF-8": b'{"choices":[{"%s":{"content":"\xff"},"finish_reason":"stop"}]}',
    "number as a name": b'{"choices":[{"%s":{"tool_calls":[{"index":0,"function":{"name":7,"arguments":"{}"}}]},'
    b'"finish_reason":"tool_calls"}]}',
    "text as an index": b'{"choices":[{"%s":{"tool_calls":[{"index":"a","function":{"name":"f"}}]},'
    b'"finish_reason":"tool_calls"}]}',
}
"""Answers of a server that is a little off."""


def body_of(answer: bytes, *, stream: bool) -> bytes:
    return b"data: " + answer % b"delta" + b"\n\ndata: [DONE]\n\n" if stream else answer % b"message"


class Local(BaseHTTPRequestHandler):
    """Answers by the last message: text, `tool`, `429`, `garbage`, `cut`, `error`, or as `ODD` has it."""

    asked: list[dict[str, Any]]
    go_on: threading.Event

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body | {"path": self.path, "authorization": self.headers["Authorization"]})
        order = body["messages"][-1]["content"]
        if order == "429":
            self.send_response(429)
            self.end_headers()
            self.wfile.write(b'{"error":{"message":"slow down"}}')
            return
        self.send_response(200)
        self.end_headers()
        odd = [body_of(ODD[order], stream=body["stream"])] if order in ODD else None
        for data in odd or (self.streamed(order) if body["stream"] else [self.whole(order)]):
            self.wfile.write(data)

    def whole(self, order: str) -> bytes:
        if order == "garbage":
            return b"<html>"
        message: dict[str, Any] = {"role": "assistant", "content": f"local says {order}"}
        if order == "tool":
            message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE}).encode()

    def streamed(self, order: str) -> Iterator[bytes]:
        pieces = ["local ", "says ", order]
        deltas: list[dict[str, Any]] = [{"content": piece} for piece in pieces]
        if order == "tool":
            parts = [{"name": "add", "arguments": ""}, {"arguments": '{"a"'}, {"arguments": ":1}"}]
            deltas = [{"tool_calls": [{"index": 0, "function": part}]} for part in parts]
        for number, delta in enumerate(deltas):
            if number == 1:
                if order in {"cut", "error", "garbage"}:
                    events = {"error": b'data: {"error":{}}\n\n', "garbage": b"data: {oops\n\n"}
                    yield events.get(order, b"")
                    return
                self.go_on.wait(5)
            yield event_of({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield event_of({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        yield event_of({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        pass


def event_of(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@pytest.fixture(scope="module")
def local() -> Iterator[ThreadingHTTPServer]:
    Local.asked, Local.go_on = [], threading.Event()
    Local.go_on.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Local) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def served(local: ThreadingHTTPServer) -> Iterator[Raw]:
    with Devnet(upstream=f"http://127.0.0.1:{local.server_port}") as net, raw_caller(net) as raw:
        yield raw


def paid(raw: Raw, body: dict[str, Any]) -> Any:
    return raw.post(body, PAYMENT_SIGNATURE=raw.payment())


@pytest.mark.parametrize(
    ("path", "given", "told"),
    [(CHAT, {}, 0.0), (COMPLETION, {}, 1.0), (COMPLETION, {"temperature": None}, 0.0)],
)
def test_temperature_that_was_not_given(served: Raw, path: str, given: dict[str, Any], told: float) -> None:
    body = ask("hi", model="llama3.2") if path == CHAT else {"model": "llama3.2", "prompt": "hi"}
    served.post(body | given, path, PAYMENT_SIGNATURE=served.payment(served.offer(path)))
    assert Local.asked[-1]["temperature"] == told


def test_answer_is_signed_charged_and_asked_for_once(served: Raw) -> None:
    question = ask("hi", model="llama3.2", temperature=0.5, max_tokens=9)
    answer = paid(served, question).json()
    proven(answer, served.net, question)
    assert answer["choices"][0]["message"]["content"] == "local says hi"
    assert answer["usage"] == USAGE
    asked = Local.asked[-1]
    assert (asked["path"], asked["model"], asked["temperature"], asked["max_tokens"]) == (
        "/v1/chat/completions",
        "llama3.2",
        0.5,
        9,
    )
    assert served.net.journal.charges[-1].amount > 0


def test_stream_is_live(served: Raw) -> None:
    """The first piece arrives while the server has not said the second."""
    Local.go_on.clear()
    question = ask("hi", stream=True)
    with served.streaming(question, PAYMENT_SIGNATURE=served.payment()) as reply:
        chunks = reply.iter_bytes()
        first = next(chunks)
        Local.go_on.set()
        rest = b"".join(chunks)
    assert json.loads(first.removeprefix(b"data: "))["choices"][0]["delta"]["content"] == "local "
    final = json.loads(rest.split(b"\n\n")[-3].removeprefix(b"data: "))
    assert final["usage"] == USAGE
    assert final["tee_output_hash"] == keccak(b"local says hi").hex()


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_signed(served: Raw, stream: bool) -> None:
    question = ask("tool", tools=[TOOL], stream=stream)
    reply = paid(served, question)
    answer = assembled(reply) if stream else reply.json()
    proven(answer, served.net, question)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"a": 1}
    assert Local.asked[-1]["tools"] == [TOOL]


def test_completion_is_asked_as_a_message(served: Raw) -> None:
    reply = served.post({"model": "m", "prompt": "hi"}, COMPLETION, PAYMENT_SIGNATURE=served.payment())
    assert reply.json()["choices"][0]["text"] == "local says hi"


@pytest.mark.parametrize("order", ["429", "garbage"])
def test_error_becomes_the_gateways(served: Raw, order: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        reply = paid(served, ask(order))
    assert (reply.status_code, reply.json()) == (500, {"error": "Request processing failed"})
    assert "/v1/chat/completions" in caplog.text


@pytest.mark.parametrize("order", ["429", "garbage", "cut", "error"])
def test_failure_in_a_stream_is_never_signed(served: Raw, order: str) -> None:
    reply = paid(served, ask(order, stream=True))
    assert reply.text.endswith(FAILED_STREAM)
    assert "tee_signature" not in reply.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("order", ODD)
def test_odd_answer_is_a_failure_of_the_provider(served: Raw, order: str, stream: bool) -> None:
    """Not of the gateway, which would drop the connection, print a traceback, or charge less than nothing."""
    charges = len(served.net.journal.charges)
    reply = paid(served, ask(order, stream=stream))
    assert reply.status_code == (200 if stream else 500)
    assert reply.text.endswith(FAILED_STREAM if stream else '"Request processing failed"\n}\n')
    assert len(served.net.journal.charges) == charges


def test_members_that_are_null_say_nothing(local: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    nulls = b'{"error":null,"choices":[{"%s":{"content":"hey"},"finish_reason":"stop"}]}'
    monkeypatch.setitem(ODD, "nulls", nulls + b'\n\ndata: {"choices":null,"usage":null}')
    with Devnet(upstream=f"http://127.0.0.1:{local.server_port}") as net, raw_caller(net) as raw:
        assert "tee_signature" in paid(raw, ask("nulls", stream=True)).text


def test_nobody_listens_there() -> None:
    with Devnet(model=Upstream("http://127.0.0.1:9")) as net, raw_caller(net) as raw:
        assert paid(raw, ask("hi")).status_code == 500


def test_model_and_key_can_be_fixed(local: ThreadingHTTPServer) -> None:
    upstream = Upstream(f"http://127.0.0.1:{local.server_port}/v1/", model="qwen3", api_key="k")
    with Devnet(model=upstream) as net, raw_caller(net) as raw:
        assert paid(raw, ask("hi")).json()["model"] == "gpt-5-mini"
    assert (Local.asked[-1]["model"], Local.asked[-1]["authorization"]) == ("qwen3", "Bearer k")
    assert "temperature" not in Local.asked[-1]


@pytest.mark.parametrize("url", ["localhost:11434", "http://", "http://[::1", "http://127.0.0.1:99999", "ftp://host"])
def test_url_that_is_none_is_refused(url: str) -> None:
    """At once: a client that pays for each answer would be told no more than that there is none."""
    with pytest.raises(ConfigurationError, match="expected a URL such as"):
        Devnet(upstream=url)

"""Event streams: shapes per provider, timing, failures (docs/protocol.md §5; wire/02, 03, 05, 10, 13)."""

import json
import time
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.protocol.chat._wire import ToolCall
from og_integrations.protocol.proof._canonical import output_hash
from tests.devnet.bare_caller import Raw, ask

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
TWO_CALLS = 'use tool add {"a":1,"b":22} and use tool add {"a":3}'


def events_of(raw: Raw, body: Any, **headers: str) -> list[Any]:
    text = raw.post(body, PAYMENT_SIGNATURE=raw.payment(), **headers).text
    events = [line.removeprefix("data: ") for line in text.split("\n\n")[:-1]]
    return [event if event == "[DONE]" else json.loads(event) for event in events]


def fragments_of(events: list[Any]) -> list[dict[str, Any]]:
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    return [call for delta in deltas for call in delta.get("tool_calls", [])]


@pytest.mark.parametrize(
    ("model", "text", "shape"),
    [
        ("gpt-5-mini", "", [(0, '{"a":1,"b":22}'), (1, '{"a":3}')]),
        ("gpt-5-mini", "[[with_text]] ", [(0, '{"a":1,"b":22}'), (1, '{"a":3}')]),
        ("claude-haiku-4-5", "", [(0, '{"a": 1, "b": 22}'), (1, '{"a": 3}')]),
        ("claude-haiku-4-5", "[[with_text]] ", [(1, '{"a": 1, "b": 22}'), (2, '{"a": 3}')]),
        ("gemini-2.5-flash", "", [(None, '{"a": 1, "b": 22}'), (None, '{"a": 3}')]),
        ("grok-4-fast", "", [(0, None), (0, '{"a":1,"'), (0, 'b":22}'), (1, None), (1, '{"a":3}')]),
    ],
)
def test_tool_calls_stream_in_shape_of_family(raw: Raw, model: str, text: str, shape: list[Any]) -> None:
    events = events_of(raw, ask(text + TWO_CALLS, tools=[ADD], stream=True) | {"model": model})
    calls = fragments_of(events)
    assert [(call["index"], call["function"].get("arguments")) for call in calls] == shape
    assert all(call["type"] == "function" for call in calls)
    assert [event for event in events if event != "[DONE]"][-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_calls_without_index_are_signed_as_one(raw: Raw) -> None:
    """Gemini's calls merge in the gateway's own reassembly: what it signs is not valid JSON."""
    events = events_of(raw, ask(TWO_CALLS, tools=[ADD], stream=True) | {"model": "gemini-2.5-flash"})
    last = fragments_of(events)[-1]
    merged = ToolCall(last["id"], "add", '{"a": 1, "b": 22}{"a": 3}')
    assert events[-2]["tee_output_hash"] == output_hash("", [merged], "tool_calls").hex()


def test_no_header_leaves_before_first_token(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    started = time.perf_counter()
    with raw.streaming(ask("[[tokens=3 delay=0.1]]", stream=True), X_Upto_Session=session) as reply:
        assert time.perf_counter() - started >= 0.1
        chunks = list(reply.iter_raw())
    assert len(chunks) == 5  # three tokens, the signed event, [DONE]: one HTTP chunk each
    assert net.stats().charges == 2


@pytest.mark.parametrize("order", ["fail_after=4", "err_after=4"])
def test_failure_midstream_ends_without_done_and_free(net: Devnet, raw: Raw, order: str) -> None:
    events = events_of(raw, ask(f"[[tokens=10 {order}]]", stream=True))
    assert len(events) == 5
    assert events[-1] == {"error": "Stream processing failed"}
    assert (net.stats().payments, net.stats().charges) == (1, 0)


def test_individual_failure_is_followed_by_done(raw: Raw) -> None:
    events = events_of(raw, ask("[[tokens=10 fail_after=4]]", stream=True), X_SETTLEMENT_TYPE="individual")
    assert events[-3:-1] == [
        {"error": "Stream processing failed"},
        {
            "choices": [],
            "model": "unknown",
            "data_settlement_success": False,
            "data_settlement_error": "response_json has no 'usage' dict; cannot extract usage tokens",
        },
    ]
    assert events[-1] == "[DONE]"


def test_connection_is_reused_after_stream_was_read(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    for _ in range(3):
        raw.post(ask("hi", stream=True), X_Upto_Session=session)
    assert net.stats().connections == 1


def test_reader_that_leaves_is_noted_and_not_charged(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    with raw.streaming(ask("[[tokens=500 delay=5]]", stream=True), X_Upto_Session=session) as reply:
        next(reply.iter_raw())
    deadline = time.monotonic() + 5
    while net.journal.exchanges[-1].ended == "open" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert net.journal.exchanges[-1].ended == "cut"
    assert net.stats().charges == 1

"""Whole answers, read strictly: what is malformed is no answer, and says so."""

import json
from typing import Any

import pytest

from og_integrations.errors import MalformedReplyError
from og_integrations.protocol.chat._answers import parse_completion
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, Usage

MESSAGE = {"role": "assistant", "content": "hi"}
COUNTS = {"prompt_tokens": 0, "completion_tokens": 2**53 - 1, "total_tokens": 7}


def chat(choice: dict[str, Any] | None = None, **members: Any) -> bytes:
    """Return a minimal answer of the chat endpoint, with some members replaced."""
    whole = {"finish_reason": "stop", "message": MESSAGE} | (choice or {})
    return json.dumps({"model": "m", "choices": [whole]} | members).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "is not JSON; expected an object that names nothing twice, got 6 bytes of something else"),
        (b"\xff", "The answer is not JSON"),
        (b'{"choices": [], "choices": []}', "The answer is not JSON"),
        (b"[" * 100_000, "The answer is not JSON"),
        (b"[]", "The answer is a JSON list, expected an object"),
        (b"{}", "The answer has no choices"),
        (b'{"choices": []}', "The answer has no choices"),
        (b'{"choices": {"0": 1}}', "The answer has no choices"),
        (b'{"choices": [1]}', "choice is not an object"),
        (chat({"message": None}), "choice has no message"),
        (chat({"message": {"content": [1]}}), "content is a list, expected text"),
        (chat({"message": {"tool_calls": {}}}), "tool_calls is a dict, expected a list"),
        (chat({"message": {"tool_calls": [{"function": {}}]}}), "lacks its id, name or arguments as text"),
        (
            chat({"message": {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}]}}),
            "lacks its id, name or arguments as text",
        ),
        (chat({"finish_reason": None}), "lacks finish_reason or model as text"),
        (chat(model=None), "lacks finish_reason or model as text"),
    ],
)
def test_malformed_answer(body: bytes, said: str) -> None:
    with pytest.raises(MalformedReplyError, match=said):
        parse_completion(CHAT_PATH, body)


def test_malformed_text_of_completions() -> None:
    with pytest.raises(MalformedReplyError, match="text is a int, expected text"):
        parse_completion(COMPLETION_PATH, json.dumps({"choices": [{"text": 1}]}))


def test_usage_is_read() -> None:
    assert parse_completion(CHAT_PATH, chat(usage=COUNTS)).usage == Usage(0, 2**53 - 1, 7)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [None, -1, 2**53, 1.0, True, "1"])
def test_usage_that_counts_nothing(name: str, count: object) -> None:
    """Callers add these up, and bill by them."""
    with pytest.raises(MalformedReplyError, match="usage holds something else than token counts"):
        parse_completion(CHAT_PATH, chat(usage=COUNTS | {name: count}))


@pytest.mark.parametrize("call", ["f", {"id": "c"}, {"id": "c", "function": None}, {"id": "c", "function": "f"}])
def test_tool_call_without_function(call: object) -> None:
    with pytest.raises(MalformedReplyError, match="A tool call of the answer has no function"):
        parse_completion(CHAT_PATH, chat({"message": {"tool_calls": [call]}}))

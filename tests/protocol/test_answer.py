"""Single members of an answer that the signature does not cover, and on which callers rely all the same."""

import json
from typing import Any

import pytest

from og_integrations.errors import MalformedReplyError
from og_integrations.protocol.answer import parse_completion
from og_integrations.protocol.chat import CHAT_PATH, Completion, Usage
from tests.protocol.captures import CAPTURES

COUNTS = {"prompt_tokens": 0, "completion_tokens": 2**53 - 1, "total_tokens": 7}


def answer(**members: Any) -> Completion:
    """Read a captured answer with `members` instead of its own."""
    return parse_completion(CHAT_PATH, json.dumps(json.loads(CAPTURES["plain"].body) | members))


def test_usage_is_read() -> None:
    assert answer(usage=COUNTS).usage == Usage(0, 2**53 - 1, 7)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [None, -1, 2**53, 1.0, True, "1"])
def test_usage_that_counts_nothing(name: str, count: object) -> None:
    """Callers add these up, and bill by them."""
    with pytest.raises(MalformedReplyError, match="usage holds something else than token counts"):
        answer(usage=COUNTS | {name: count})


@pytest.mark.parametrize("call", ["f", {"id": "c"}, {"id": "c", "function": None}, {"id": "c", "function": "f"}])
def test_tool_call_without_function(call: object) -> None:
    choice = {"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    with pytest.raises(MalformedReplyError, match="A tool call of the answer has no function"):
        answer(choices=[choice])

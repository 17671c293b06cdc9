"""A model's slip is proven as it is; the unsigned text beside it is taken for nothing, and the conversation goes on."""

import json
from typing import Any

import pytest

from og_integrations.errors import ToolChoiceNotHonoredError
from og_integrations.models import model_info
from og_integrations.protocol.chat._answers import parse_completion
from og_integrations.protocol.chat._translation import Plan, plan_tools, readable_calls
from og_integrations.protocol.chat._wire import Completion, ToolCall

OTHER = ToolCall("1", "other", "{}")


def planned(choice: Any = None, *names: str, response_format: Any = None) -> Plan:
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]
    info = model_info("openai/gpt-5-mini")
    return plan_tools(info, [], tools=tools, tool_choice=choice, response_format=response_format)


def called(*calls: ToolCall, text: str = "") -> Completion:
    return Completion(text=text, tool_calls=calls, finish_reason="tool_calls", model="m")


def test_unsigned_text_beside_a_call_makes_no_forced_call() -> None:
    """Only the call is signed: a gateway could write the arguments of the forced tool beside it."""
    with pytest.raises(ToolChoiceNotHonoredError, match="did not answer with a JSON object"):
        planned("required", "pay").show(called(OTHER, text='{"amount": 9}'))


def test_unsigned_text_beside_a_call_is_no_structured_answer() -> None:
    shown = planned(response_format={"type": "json_object"}).show(called(OTHER, text='{"amount": 9}'))
    assert (shown.text, shown.tool_calls) == ("", (OTHER,))


def test_call_although_none_was_wanted() -> None:
    with pytest.raises(ToolChoiceNotHonoredError, match="'none', but the model called a tool"):
        planned("none", "other").show(called(OTHER))


def test_half_characters_in_calls_are_mended() -> None:
    """Signed they can be, since JSON spells them; sent back they cannot."""
    shown = planned(None, "name").show(called(ToolCall("id\ud800", "na\udfffme", '{"a": "\ud83d"}')))
    assert shown.tool_calls == (ToolCall("id\ufffd", "na\ufffdme", '{"a": "\ufffd"}'),)
    assert shown.presentation == {"kind": "mended_characters"}


def test_half_characters_beside_what_is_signed_are_mended() -> None:
    """LlamaIndex's events, and every file, would fail on them after the answer was paid."""
    body = {
        "id": "\ud800",
        "model": "m\udfff",
        "choices": [{"finish_reason": "stop", "message": {"content": "hi", "reasoning_content": "\ud83d"}}],
    }
    completion = parse_completion("/v1/chat/completions", json.dumps(body))
    assert (completion.id, completion.model, completion.reasoning) == ("\ufffd", "m\ufffd", "\ufffd")
    shown = planned(None, "other").show(called(OTHER, text="\ud800"))
    assert (shown.text, shown.presentation) == ("\ufffd", {"kind": "mended_characters"})


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('{"a":1}', '{"a":1}'),
        ("", "{}"),
        ("null", "{}"),
        ("[1]", "{}"),
        ('{"a": NaN}', "{}"),
        ('{"a": 1e400}', "{}"),
        ('{"a": "\\ud800"}', "{}"),
        ('{"a": ', "{}"),
        ('{"a": "x\ny"}', '{"a": "x\\ny"}'),
    ],
)
def test_gateway_can_read_the_calls_of_a_history(written: str, sent: str) -> None:
    """It decodes them in each later turn: a 500 for ever, or a raw line feed as no arguments at all."""
    function = {"name": "f", "arguments": written}
    history = [{"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}]
    (message,) = readable_calls(history)
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": sent}
    assert function["arguments"] == written

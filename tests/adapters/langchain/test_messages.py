"""LangChain messages as they go over the wire."""

from datetime import date
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from og_integrations.errors import InvalidRequestError
from og_integrations.langchain._messages import to_wire
from og_integrations.langchain._outputs import BROKEN_MARK

TEXT = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}, "index": "lc_txt_0", "id": "x"}
CALL = {"name": "add", "args": {"a": "é"}, "id": "c1", "type": "tool_call"}


def wire(message: BaseMessage) -> dict[str, Any]:
    return to_wire([message], model="openai/gpt-5", generation="2026-04")[0]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SystemMessage("s"), {"role": "system", "content": "s"}),
        (HumanMessage("h", name="bob"), {"role": "user", "content": "h", "name": "bob"}),
        (AIMessage("a"), {"role": "assistant", "content": "a"}),
        (ToolMessage("t", tool_call_id="c1", name="add"), {"role": "tool", "content": "t", "tool_call_id": "c1"}),
        (FunctionMessage(content="f", name="add"), {"role": "function", "content": "f", "name": "add"}),
        (ChatMessage(content="d", role="developer"), {"role": "system", "content": "d"}),
        (ChatMessage(content="d", role="user"), {"role": "user", "content": "d"}),
        (SystemMessage("d", additional_kwargs={"__openai_role__": "developer"}), {"role": "system", "content": "d"}),
        (ToolMessage("e", tool_call_id="c", status="error"), {"role": "tool", "content": "e", "tool_call_id": "c"}),
    ],
)
def test_role_is_one_that_gateway_takes(message: BaseMessage, expected: dict[str, Any]) -> None:
    assert wire(message) == expected


def test_tool_call_travels_unescaped_without_text() -> None:
    expected = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": "é"}'}}
    message = AIMessage("", tool_calls=[CALL])
    assert wire(message) == {"role": "assistant", "content": None, "tool_calls": [expected]}


def test_invalid_tool_call_travels_as_the_model_wrote_it() -> None:
    invalid: Any = {"name": "add", "args": BROKEN_MARK + '{"a": ', "id": "c1", "error": None}
    sent = wire(AIMessage("", invalid_tool_calls=[invalid]))
    assert sent["tool_calls"][0]["function"]["arguments"] == '{"a": '


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([TEXT], "hi"),
        (["hi"], "hi"),
        ([TEXT, "there"], [{"type": "text", "text": "hi"}, {"type": "text", "text": "there"}]),
        ([{"type": "text", "text": ""}], ""),
    ],
)
def test_text_block_keeps_nothing_but_text(content: list[Any], expected: object) -> None:
    """Providers refuse each other's extras, such as `cache_control`."""
    assert wire(HumanMessage(content))["content"] == expected


@pytest.mark.parametrize(
    "kind",
    [
        *("reasoning", "thinking", "tool_use", "tool_call", "refusal", "non_standard"),
        *("server_tool_use", "web_search_tool_result", "mcp_tool_use", "mcp_tool_result"),  # Anthropic
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),  # OpenAI
        *("executable_code", "code_execution_result"),  # Google
    ],
)
def test_blocks_of_other_models_are_left_out_of_history(kind: str) -> None:
    assert wire(AIMessage([{"type": kind}, TEXT]))["content"] == "hi"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "https://example.com/a.png"},
        {"type": "image", "base64": "AAAA", "mime_type": "image/png"},
        {"type": "image", "source_type": "base64", "data": "AAAA", "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "file", "base64": "AAAA", "mime_type": "application/pdf", "filename": "a.pdf"},
        {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
        {"type": "file", "url": "https://example.com/a.pdf"},
        {"type": "tool_result", "content": "x"},
        {"type": "reasoning", "reasoning": "x"},
        {},
    ],
)
def test_what_cannot_be_sent_is_refused_by_place(block: Any) -> None:
    """Dropped silently it would be paid for: the gateway drops it before the model."""
    with pytest.raises(InvalidRequestError, match=r"messages\[1\]\.content\[1\]"):
        to_wire([HumanMessage("x"), HumanMessage([TEXT, block])], model="openai/gpt-5", generation="2026-04")


def test_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="role 'critic', expected one of ai"):
        wire(ChatMessage(content="x", role="critic"))


IMAGE = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}
SENT_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PDF = {"type": "file", "base64": "AAAA", "mime_type": "application/pdf", "filename": "a.pdf"}
SENT_PDF = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
AUDIO = {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}


@pytest.mark.parametrize(
    ("model", "message", "sent"),
    [
        ("openai/gpt-5", HumanMessage([IMAGE]), [SENT_IMAGE]),
        ("openai/gpt-5", HumanMessage([TEXT, PDF]), [{"type": "text", "text": "hi"}, SENT_PDF]),
        ("anthropic/claude-sonnet-4-6", ToolMessage([IMAGE], tool_call_id="c"), [SENT_IMAGE]),
    ],
)
def test_next_gateways_get_images_and_files(model: str, message: BaseMessage, sent: list[Any]) -> None:
    assert to_wire([message], model=model, generation="next")[0]["content"] == sent


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("openai/gpt-5", HumanMessage([AUDIO])),
        ("openai/gpt-5", ToolMessage([IMAGE], tool_call_id="c")),
        ("openai/gpt-5", SystemMessage([IMAGE])),
        ("x-ai/grok-3-beta", HumanMessage([IMAGE])),
        ("nous/hermes-4-70b", HumanMessage([PDF])),
    ],
)
def test_next_gateways_get_nothing_that_would_be_lost(model: str, message: BaseMessage) -> None:
    with pytest.raises(InvalidRequestError, match=r"content\[0\] is a block of type .* expected text"):
        to_wire([message], model=model, generation="next")


@pytest.mark.parametrize("value", [date(2020, 1, 1), float("nan"), {1, 2}], ids=["date", "NaN", "set"])
def test_arguments_that_are_not_json_are_refused_by_place(value: object) -> None:
    call: Any = {"name": "add", "args": {"a": value}, "id": "c1", "type": "tool_call"}
    with pytest.raises(InvalidRequestError, match=r"messages\[0\] has a call of 'add' whose arguments are not JSON"):
        wire(AIMessage("", tool_calls=[call]))


def test_result_of_a_function_without_name_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="without its name"):
        wire(ChatMessage(content="x", role="function"))
    assert wire(ChatMessage(content="x", role="function", name="f"))["name"] == "f"

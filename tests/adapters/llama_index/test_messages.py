"""LlamaIndex messages on the wire: roles, blocks, tool calls of any origin."""

import base64
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.llms import ChatMessage, MessageRole

from og_integrations.devnet import Devnet
from og_integrations.errors import InvalidRequestError
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.llama_index._messages import to_wire
from og_integrations.protocol._strict_json import JsonObject
from tests.adapters.llama_index.auditing import Account

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DRAWING = ImageBlock(image=PNG)
PAPER = DocumentBlock(data=b"%PDF-1.4 x", document_mimetype="application/pdf", title="paper.pdf")
TODAY = ("openai/gpt-4.1", "2026-04")
NEXT = ("openai/gpt-4.1", "next")
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


def wire(receiver: tuple[str, str] = TODAY, **message: Any) -> JsonObject:
    return to_wire([ChatMessage(**message)], model=receiver[0], generation=receiver[1])[0]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("chatbot", "assistant"),
        ("model", "assistant"),
    ],
)
def test_role_becomes_the_nearest_that_the_gateway_knows(role: str, expected: str) -> None:
    """Roles that the gateway does not know become the nearest one it does."""
    assert wire(role=role, content="x") == {"role": expected, "content": "x"}


def test_every_role_is_mapped() -> None:
    """No role of LlamaIndex fails."""
    roles = [
        to_wire([ChatMessage(role=role, content="x")], model=TODAY[0], generation=TODAY[1])[0]["role"]
        for role in MessageRole
    ]
    assert set(roles) == {"system", "user", "assistant", "tool", "function"}


def test_tool_and_function_messages() -> None:
    """A tool's result names its call, a function's its function; other extras stay here."""
    extra = {"tool_call_id": "c1", "name": "add", "opengradient": {"secret": 1}}
    assert wire(role="tool", content="2", additional_kwargs=extra) == {
        "role": "tool",
        "content": "2",
        "tool_call_id": "c1",
    }
    assert wire(role="function", content="2", additional_kwargs=extra) == {
        "role": "function",
        "content": "2",
        "name": "add",
    }
    assert wire(role="assistant", content="2", additional_kwargs=extra) == {"role": "assistant", "content": "2"}


def test_texts_are_joined_as_shown() -> None:
    """What is sent is what `ChatMessage.content` shows, as plain text."""
    message = ChatMessage(role="user", content=[TextBlock(text="a"), TextBlock(text="b")])
    assert to_wire([message], model=TODAY[0], generation=TODAY[1])[0]["content"] == message.content == "a\nb"
    assert wire(role="user", content="")["content"] == ""
    assert wire(role="assistant", blocks=[])["content"] == ""


def test_blocks_with_text_inside() -> None:
    """Citable and cited texts are sent; hints for other providers and thoughts are not."""
    blocks = [
        CitableBlock(title="t", source="s", content=[TextBlock(text="cited")]),
        CitationBlock(
            cited_content=TextBlock(text="quoted"), source="s", title="t", additional_location_info={"page": 1}
        ),
        CachePoint(cache_control=CacheControl(type="ephemeral")),
        ThinkingBlock(content="hm"),
    ]
    assert wire(role="user", blocks=blocks)["content"] == "cited\nquoted"


@pytest.mark.parametrize("arguments", ['{"a":1}', {"a": 1}])
def test_tool_call_blocks(arguments: Any) -> None:
    """Arguments that are text already are not touched."""
    sent = wire(role="assistant", blocks=[ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs=arguments)])
    text = arguments if isinstance(arguments, str) else '{"a": 1}'
    assert sent["tool_calls"] == [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": text}}]


def test_tool_calls_of_other_llms() -> None:
    """Histories that keep calls in `additional_kwargs` work, as dicts and as objects."""
    as_object = SimpleNamespace(id="c1", function=SimpleNamespace(name="add", arguments='{"a":1}'))
    anthropics = {"id": "c1", "type": "tool_use", "name": "add", "input": '{"a":1}'}
    googles = SimpleNamespace(id="c1", name="add", args='{"a":1}')
    for call in (CALL, as_object, anthropics, googles):
        assert wire(role="assistant", content="", additional_kwargs={"tool_calls": [call]})["tool_calls"] == [CALL]


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (ToolCallBlock(tool_name="add", tool_kwargs={}), {"tool_call_id": "add"}),  # Gemini, Ollama
        ({"function": {"name": "add", "arguments": {}}}, {"tool_call_id": "add"}),  # Ollama, before there were blocks
        ({"toolUseId": "c1", "name": "add", "input": {}}, {"tool_call_id": "c1"}),  # Bedrock
        ({"id": "fc_1", "call_id": "c1", "name": "add", "arguments": "{}"}, {"call_id": "c1"}),  # OpenAI's responses
    ],
)
def test_result_names_the_call_of_another_llm(call: Any, result: JsonObject) -> None:
    """Providers refuse a result that answers no call."""
    said: dict[str, Any] = {"blocks": [call]} if isinstance(call, ToolCallBlock) else {"content": ""}
    asked = wire(role="assistant", additional_kwargs={"tool_calls": [call]}, **said)
    answered = wire(role="tool", content="3", additional_kwargs=result)
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"] == next(iter(result.values()))


@pytest.mark.parametrize("call", [{}, "add", {"id": "c1", "function": {"arguments": "{}"}}])
def test_tool_call_of_an_unknown_form(call: Any) -> None:
    """No call of a function named None is made up, sent and paid."""
    with pytest.raises(InvalidRequestError, match="without a function's name"):
        wire(role="assistant", content="", additional_kwargs={"tool_calls": [call]})


def test_arguments_that_are_no_json() -> None:
    """LlamaIndex swallows the `TypeError` of `json`, and answers "Empty Response"."""
    call = ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs={"day": date(2026, 1, 1)})
    with pytest.raises(InvalidRequestError, match="has a call of 'add' whose arguments are not JSON"):
        wire(role="assistant", blocks=[call])


def test_calls_stand_without_empty_text() -> None:
    """Anthropic refuses an empty text beside tool calls."""
    call = ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs={"a": "ż"})
    sent = wire(role="assistant", blocks=[TextBlock(text=""), call])
    assert sent["content"] is None
    assert sent["tool_calls"][0]["function"]["arguments"] == '{"a": "ż"}'


@pytest.mark.parametrize("receiver", [TODAY, NEXT], ids=["today", "next"])
@pytest.mark.parametrize(
    "block",
    [AudioBlock(audio=b"x", format="wav"), VideoBlock(video=b"x", video_mimetype="video/mp4")],
    ids=lambda block: type(block).__name__,
)
def test_unsendable_blocks_are_refused(block: Any, receiver: tuple[str, str]) -> None:
    """A block that the model would never see is an error, not an expense."""
    with pytest.raises(InvalidRequestError, match=rf"\(user\) has a {type(block).__name__}, which the gateway drops"):
        wire(receiver, role="user", blocks=[TextBlock(text="what is this?"), block])


def test_attachments() -> None:
    """An image is a part: its URL, or its bytes inline; a document is one with its name."""
    blocks = [TextBlock(text="?"), TextBlock(text=""), ImageBlock(image=PNG, detail="low"), PAPER]
    text, image, document = wire(NEXT, role="user", blocks=blocks)["content"]
    assert text == {"type": "text", "text": "?"}
    assert image["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert image["image_url"]["detail"] == "low"
    file = {
        "filename": "paper.pdf",
        "file_data": "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4 x").decode(),
    }
    assert document == {"type": "file", "file": file}
    linked = wire(NEXT, role="user", blocks=[ImageBlock(url="https://example.org/a.png")])["content"][0]
    assert linked["image_url"] == {"url": "https://example.org/a.png"}


@pytest.mark.parametrize(
    "block",
    [DocumentBlock(path="/no/such.pdf"), DocumentBlock(url="https://example.org/a.pdf")],
    ids=["missing", "linked"],
)
def test_attachments_that_cannot_be_read(block: Any) -> None:
    """Nothing is fetched on the way, and what is missing is said."""
    with pytest.raises(InvalidRequestError, match="could not be read"):
        wire(NEXT, role="user", blocks=[block])


@pytest.mark.parametrize(
    ("receiver", "role", "taken"),
    [
        (TODAY, "user", False),
        (NEXT, "user", True),
        (NEXT, "system", False),
        (NEXT, "tool", False),
        (("anthropic/claude-sonnet-4-6", "next"), "tool", True),
        (("openai/o3", "2026-04"), "user", False),
        (("nous/hermes-4-70b", "next"), "user", False),
        (("someone/new", "next"), "user", True),
        (("someone/new", "auto"), "user", True),
        (("x-ai/grok-4", "auto"), "user", False),
    ],
)
def test_who_takes_attachments(receiver: tuple[str, str], role: str, taken: bool) -> None:
    """They are sent only where the model sees them; elsewhere the error says what would help."""
    message: dict[str, Any] = {"role": role, "blocks": [DRAWING], "additional_kwargs": {"tool_call_id": "c1"}}
    if taken:
        assert wire(receiver, **message)["content"][0]["type"] == "image_url"
        return
    with pytest.raises(
        InvalidRequestError, match=rf"\({role}\) has a part of type image_url, expected text( or file)? for"
    ):
        wire(receiver, **message)


@pytest.mark.parametrize("url", ["data:image/png;base64,", "data:,", "file:///etc/hostname"])
def test_image_address_with_nothing_behind_it(url: str) -> None:
    """It would be paid for and reach the model as nothing."""
    with (
        OpenGradientLLM("openai/gpt-4.1", gateway_generation="next", private_key="0x" + "11" * 32) as llm,
        pytest.raises(InvalidRequestError, match="has a part of type 'image_url' without data"),
    ):
        llm.chat([ChatMessage(role="user", blocks=[ImageBlock(url=url)])])


LOOK = ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), DRAWING, PAPER])


def test_images_are_refused_by_this_gateway(account: Account) -> None:
    """The published build drops images, so they are refused before anything is paid, known by its measurement."""
    with pytest.raises(InvalidRequestError, match="is of a build that drops pictures and files"):
        account.llm().chat([LOOK])
    with pytest.raises(InvalidRequestError, match='gateway_generation="auto"'):
        account.llm(gateway_generation="2026-04").chat([LOOK])
    assert account.authorizations() == []


def test_images_reach_the_model_of_a_newer_gateway() -> None:
    """What was attached is what the model got, and the answer about it is verified."""
    with Devnet(generation="next") as net:
        options: dict[str, Any] = {"network": net.network, "private_key": net.private_key}
        with OpenGradientLLM("openai/gpt-4.1", gateway_generation="next", **options) as llm:
            response = llm.chat([LOOK])
            assert response.additional_kwargs["opengradient"]["hash_rule"] == "reduced"
            streamed = list(llm.stream_chat([LOOK]))[-1]
    expected = (
        "You said: What is this? (with image_url: image/png of 70 bytes; file: paper.pdf, application/pdf of 10 bytes)"
    )
    assert response.message.content == streamed.message.content == expected

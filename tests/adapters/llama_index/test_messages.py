"""LlamaIndex messages on the wire: roles, blocks, tool calls of any origin."""

import base64
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

from og_integrations.errors import InvalidRequestError
from og_integrations.llama_index.messages import to_wire
from og_integrations.protocol.chat import JsonObject
from tests.adapters.llama_index.auditing import Account

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}


def wire(**message: Any) -> JsonObject:
    return to_wire([ChatMessage(**message)])[0]


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
def test_roles(role: str, expected: str) -> None:
    """Roles that the gateway does not know become the nearest one it does."""
    assert wire(role=role, content="x") == {"role": expected, "content": "x"}


def test_every_role_is_mapped() -> None:
    """No role of LlamaIndex fails."""
    roles = [to_wire([ChatMessage(role=role, content="x")])[0]["role"] for role in MessageRole]
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
    assert to_wire([message])[0]["content"] == message.content == "a\nb"
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
    for call in (CALL, as_object):
        assert wire(role="assistant", content="", additional_kwargs={"tool_calls": [call]})["tool_calls"] == [CALL]


@pytest.mark.parametrize(
    "block",
    [
        AudioBlock(audio=b"x", format="wav"),
        VideoBlock(video=b"x", video_mimetype="video/mp4"),
        DocumentBlock(data=b"x", document_mimetype="application/pdf", title="t"),
    ],
    ids=lambda block: type(block).__name__,
)
def test_unsendable_blocks_are_refused(block: Any) -> None:
    """A block that the model would never see is an error, not an expense."""
    with pytest.raises(InvalidRequestError, match=rf"{type(block).__name__}, which the gateway drops"):
        wire(role="user", blocks=[TextBlock(text="what is this?"), block])


def test_image_parts() -> None:
    """An image is a part: its URL, or its bytes inline."""
    text, image = wire(role="user", blocks=[TextBlock(text="?"), ImageBlock(image=PNG, detail="low")])["content"]
    assert text == {"type": "text", "text": "?"}
    assert image["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert image["image_url"]["detail"] == "low"
    linked = wire(role="user", blocks=[ImageBlock(url="https://example.org/a.png")])["content"][0]
    assert linked["image_url"] == {"url": "https://example.org/a.png"}


def test_images_are_refused_by_this_gateway(account: Account) -> None:
    """The gateway of today drops images, so they are refused before anything is paid."""
    message = ChatMessage(role="user", blocks=[TextBlock(text="?"), ImageBlock(image=PNG)])
    with pytest.raises(InvalidRequestError, match="'image_url'"):
        account.llm().chat([message])
    assert account.authorizations() == []

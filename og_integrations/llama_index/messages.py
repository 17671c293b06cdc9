"""
LlamaIndex messages as the gateway takes them (PROTOCOL §2).

Roles that the gateway does not know are mapped, blocks that only carry hints for other providers are
left out, and what would be dropped on the way is refused: one would pay for an answer about nothing.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    BaseContentBlock,
    BaseRecursiveContentBlock,
    CachePoint,
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chat import JsonObject

_ROLES = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "function",
}


def to_wire(messages: Sequence[ChatMessage]) -> list[JsonObject]:
    """Return `messages` as wire messages. Raises `InvalidRequestError` for blocks that cannot be sent."""
    return [_message(message) for message in messages]


def tool_calls_of(message: ChatMessage) -> list[JsonObject]:
    """Return the tool calls in `message`, whoever made it, in wire form."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [_call(block.tool_call_id, block.tool_name, block.tool_kwargs) for block in blocks]
    # Histories of other LLMs keep them here, as dicts or as objects of the provider's library.
    return [_foreign_call(call) for call in message.additional_kwargs.get("tool_calls") or ()]


def _message(message: ChatMessage) -> JsonObject:
    role = _ROLES[message.role]
    wire: JsonObject = {"role": role, "content": _content(message)}
    extra = message.additional_kwargs
    if role == "assistant":
        if calls := tool_calls_of(message):
            wire["tool_calls"] = calls
    elif role == "tool":
        wire["tool_call_id"] = extra.get("tool_call_id")
    elif role == "function":
        wire["name"] = extra.get("name")
    return wire


def _content(message: ChatMessage) -> str | list[JsonObject]:
    """
    Return plain text if there is nothing else: lists are hashed in a form of their own.

    Text blocks are joined as in `ChatMessage.content`, which is what memories count and users see.
    """
    blocks = list(_sendable(message.blocks))
    if all(isinstance(block, TextBlock) for block in blocks):
        return "\n".join(block.text for block in blocks if isinstance(block, TextBlock))
    return [_part(block) for block in blocks]


def _sendable(blocks: Sequence[BaseContentBlock]) -> Iterator[TextBlock | ImageBlock]:
    for block in blocks:
        if isinstance(block, TextBlock | ImageBlock):
            yield block
        elif isinstance(block, BaseRecursiveContentBlock):
            yield from _sendable(block.nested_blocks)
        elif not isinstance(block, CachePoint | ThinkingBlock | ToolCallBlock):
            raise InvalidRequestError(
                f"A message has a {type(block).__name__}, which the gateway drops before the model sees it. You would "
                "pay for an answer about nothing; send its text instead."
            )


def _part(block: TextBlock | ImageBlock) -> JsonObject:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    try:
        url = str(block.url) if block.url else block.inline_url()
    except (ValueError, OSError) as exc:
        raise InvalidRequestError(f"An ImageBlock could not be read ({type(exc).__name__}); nothing was sent.") from exc
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": block.detail} if block.detail else {})}


def _call(call_id: str | None, name: str, arguments: object) -> JsonObject:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return {"id": call_id or "", "type": "function", "function": {"name": name, "arguments": text}}


def _foreign_call(call: Any) -> JsonObject:
    fields = call if isinstance(call, dict) else _fields(call)
    function = fields.get("function") or {}
    function = function if isinstance(function, dict) else _fields(function)
    return _call(fields.get("id"), str(function.get("name")), function.get("arguments"))


def _fields(value: Any) -> JsonObject:
    return {name: getattr(value, name, None) for name in ("id", "function", "name", "arguments")}

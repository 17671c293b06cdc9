"""
LlamaIndex messages as the gateway takes them (PROTOCOL §2).

Roles that the gateway does not know are mapped, blocks that only carry hints for other providers are
left out, and what would be dropped on the way is refused: one would pay for an answer about nothing.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.base.llms.types import (
    BaseContentBlock,
    BaseRecursiveContentBlock,
    CachePoint,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from og_integrations.errors import InvalidRequestError
from og_integrations.models import model_info
from og_integrations.protocol.proof.canonical import APRIL
from og_integrations.protocol.strict_json import JsonObject
from og_integrations.receipt import rule_name

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

_ARGUMENTS = ("arguments", "input", "args")
"""Of tool calls in histories of OpenAI's, Anthropic's and Google's models."""
_IDS = ("call_id", "toolUseId", "id")
"""Of the same: what results name comes first, since OpenAI's responses have an id of their own beside it."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who gets the messages: a model, behind gateways of a generation, which drop what they do not know."""

    model: str
    generation: str = "2026-04"

    def takes_attachments(self, role: str) -> bool:
        """
        Whether images and documents in messages of `role` reach the model.

        The captured generation drops them all. OpenAI and xAI take none in the results of tools.
        """
        info = model_info(self.model)
        shown = role == "user" or (role == "tool" and info.provider in ("anthropic", "google"))
        return rule_name(self.generation) != APRIL and info.image_inputs and shown

    def hint(self) -> str:
        """Return what else would help to send an attachment, as the end of a sentence."""
        other = '; if your gateways take images and documents, set gateway_generation="next"'
        return other if rule_name(self.generation) == APRIL else ""


def to_wire(messages: Sequence[ChatMessage], receiver: Receiver) -> list[JsonObject]:
    """Return `messages` as wire messages. Raises `InvalidRequestError` for blocks that cannot be sent."""
    return [_message(message, f"messages[{position}]", receiver) for position, message in enumerate(messages)]


def tool_calls_of(message: ChatMessage) -> list[JsonObject]:
    """Return the tool calls in `message`, whoever made it, in wire form."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [_call(block.tool_call_id, block.tool_name, block.tool_kwargs) for block in blocks]
    # Histories of other LLMs keep them here, as dicts or as objects of the provider's library.
    return [_foreign_call(call) for call in message.additional_kwargs.get("tool_calls") or ()]


def _message(message: ChatMessage, where: str, receiver: Receiver) -> JsonObject:
    role = _ROLES[message.role]
    wire: JsonObject = {"role": role, "content": _content(message, f"{where} ({role})")}
    if isinstance(wire["content"], list) and not receiver.takes_attachments(role):
        kinds = ", ".join(sorted({part["type"] for part in wire["content"]} - {"text"}))
        raise InvalidRequestError(
            f"{where} ({role}) has a part of type {kinds}, expected text for {receiver.model} ({receiver.generation} "
            "gateways). Anything else would not reach the model, and you would pay for an answer about nothing. Remove "
            f"it or describe it{receiver.hint()}."
        )
    extra = message.additional_kwargs
    if role == "assistant":
        if calls := tool_calls_of(message):
            # An empty text beside tool calls is one that Anthropic refuses.
            wire |= {"content": wire["content"] or None, "tool_calls": calls}
    elif role == "tool":
        wire["tool_call_id"] = extra.get("tool_call_id") or extra.get("call_id")
    elif role == "function":
        wire["name"] = extra.get("name")
    return wire


def _content(message: ChatMessage, where: str) -> str | list[JsonObject]:
    """
    Return plain text if there is nothing else: lists are hashed in a form of their own.

    Text blocks are joined as in `ChatMessage.content`, which is what memories count and users see.
    """
    blocks = list(_sendable(message.blocks, where))
    if _ROLES[message.role] == "assistant":
        # What the model drew: gateways take images from users, and a conversation has to go on.
        blocks = [block for block in blocks if not isinstance(block, ImageBlock)]
    if all(isinstance(block, TextBlock) for block in blocks):
        return "\n".join(block.text for block in blocks if isinstance(block, TextBlock))
    # Empty texts among parts are ones that Anthropic refuses.
    return [_part(block, where) for block in blocks if not isinstance(block, TextBlock) or block.text]


def _sendable(blocks: Sequence[BaseContentBlock], where: str) -> Iterator[TextBlock | ImageBlock | DocumentBlock]:
    for block in blocks:
        if isinstance(block, TextBlock | ImageBlock | DocumentBlock):
            yield block
        elif isinstance(block, BaseRecursiveContentBlock):
            yield from _sendable(block.nested_blocks, where)
        elif not isinstance(block, CachePoint | ThinkingBlock | ToolCallBlock):
            raise InvalidRequestError(
                f"{where} has a {type(block).__name__}, which the gateway drops before the model sees it. You would "
                "pay for an answer about nothing; send its text instead."
            )


def _part(block: TextBlock | ImageBlock | DocumentBlock, where: str) -> JsonObject:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    try:
        return _document(block) if isinstance(block, DocumentBlock) else _image(block)
    except (ValueError, OSError) as exc:
        raise InvalidRequestError(
            f"{where} has a {type(block).__name__} that could not be read ({type(exc).__name__}); nothing was sent. "
            "Give its data or path; only images may be a url."
        ) from exc


def _image(block: ImageBlock) -> JsonObject:
    url = str(block.url) if block.url else block.inline_url()
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": block.detail} if block.detail else {})}


def _document(block: DocumentBlock) -> JsonObject:
    if block.url:
        # Reading it here would be a request that nobody pinned or asked for.
        raise ValueError("a document is sent, not linked")
    data = base64.b64encode(block.resolve_document().read()).decode()
    kind = block.document_mimetype or "application/pdf"
    return {"type": "file", "file": {"filename": block.title, "file_data": f"data:{kind};base64,{data}"}}


def _call(call_id: str | None, name: str, arguments: object) -> JsonObject:
    try:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    except (TypeError, ValueError) as exc:
        raise InvalidRequestError(
            f"The call of {name!r} in a message has arguments that JSON cannot say ({exc}); nothing was sent. Give "
            "them as text, or as a dict of texts, numbers, lists and dicts."
        ) from exc
    # Calls of Gemini and Ollama may have no id; LlamaIndex's results name the tool then.
    return {"id": call_id or name, "type": "function", "function": {"name": name, "arguments": text}}


def _foreign_call(call: Any) -> JsonObject:
    """Return a call in OpenAI's form, or in one that has name and arguments beside the id, as Anthropic's."""
    fields = call if isinstance(call, dict) else _fields(call)
    function = fields.get("function") or fields
    function = function if isinstance(function, dict) else _fields(function)
    name = function.get("name")
    if not isinstance(name, str):
        raise InvalidRequestError(
            f"A message has a {type(call).__name__} without a function's name among its tool_calls, which no model "
            "would understand; nothing was sent. Use a ToolCallBlock."
        )
    arguments = next(filter(None, map(function.get, _ARGUMENTS)), None)
    return _call(next(filter(None, map(fields.get, _IDS)), None), name, arguments)


def _fields(value: Any) -> JsonObject:
    return {name: getattr(value, name, None) for name in ("function", "name", *_IDS, *_ARGUMENTS)}

"""
LangChain messages to wire messages.

What the model itself produced on its way (reasoning, tool-use blocks of other providers) is left out
of the history: tool calls travel in `tool_calls`. What the user put in and cannot be sent is refused,
never dropped: an image that silently vanishes would be paid for all the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_data_block,
)

from og_integrations.errors import InvalidRequestError
from og_integrations.langchain.blocks import unmarked
from og_integrations.langchain.profile import attachments_taken

_ROLES = {
    "ai": "assistant",
    "assistant": "assistant",
    "developer": "system",  # the gateway answers 500 to `developer`
    "function": "function",
    "human": "user",
    "system": "system",
    "tool": "tool",
    "user": "user",
}
_OWN_BLOCKS = frozenset(
    {
        "code_execution_result",
        "code_interpreter_call",
        "computer_call",
        "executable_code",
        "file_search_call",
        "function_call",
        "image",  # drawn by the model: gateways take images from users only
        "image_generation_call",
        "invalid_tool_call",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "mcp_tool_use",
        "non_standard",
        "reasoning",
        "reasoning_content",
        "redacted_thinking",
        "refusal",
        "server_tool_call",
        "server_tool_call_chunk",
        "server_tool_result",
        "server_tool_use",
        "thinking",
        "tool_call",
        "tool_call_chunk",
        "tool_use",
        "web_search_call",
    }
)
"""Parts that models write into their own messages; providers refuse each other's."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message or part of it stands, who it is for, and which parts beside text may stand there."""

    where: str
    role: str
    target: str
    taken: tuple[str, ...]

    def at(self, index: int) -> "_Place":
        """Return the place of one part."""
        return replace(self, where=f"{self.where}.content[{index}]")


def to_wire(messages: Sequence[BaseMessage], *, model: str, generation: str) -> list[dict[str, Any]]:
    """
    Return `messages` as `model` gets them from gateways of `generation`.

    Raises `InvalidRequestError` for what cannot be sent.
    """
    wire = []
    for position, message in enumerate(messages):
        role = _role(message, where := f"messages[{position}]")
        taken = attachments_taken(model, generation, role)
        wire.append(_message(message, _Place(where, role, f"{model} ({generation} gateways, role {role})", taken)))
    return wire


def _message(message: BaseMessage, place: _Place) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": place.role, "content": _content(message, place)}
    if message.name:
        wire["name"] = message.name
    elif place.role == "function":
        raise InvalidRequestError(f"{place.where} is the result of a function without its name; give it name=….")
    if isinstance(message, AIMessage) and (calls := _tool_calls(message, place.where)):
        # An empty text beside tool calls is one that Anthropic refuses.
        wire |= {"content": wire["content"] or None, "tool_calls": calls}
    if isinstance(message, ToolMessage):
        wire["tool_call_id"] = message.tool_call_id
        wire.pop("name", None)
    return wire


def _role(message: BaseMessage, where: str) -> str:
    match message:
        case HumanMessage():
            return "user"
        case AIMessage():
            return "assistant"
        case SystemMessage():
            return "system"
        case ToolMessage():
            return "tool"
        case FunctionMessage():
            return "function"
        case ChatMessage(role=role) if role in _ROLES:
            return _ROLES[role]
        case ChatMessage(role=role):
            raise InvalidRequestError(f"{where} has the role {role!r}, expected one of {', '.join(sorted(_ROLES))}.")
    raise InvalidRequestError(f"{where} is a {type(message).__name__}, which is not a message for a model.")


def _content(message: BaseMessage, place: _Place) -> str | list[dict[str, Any]]:
    content = message.content
    if isinstance(content, str):
        return content
    parts = [_part(part, place.at(i)) for i, part in enumerate(content)]
    kept = [part for part in parts if part is not None and part.get("text") != ""]
    if not kept:
        return ""
    if len(kept) == 1 and kept[0]["type"] == "text":
        return str(kept[0]["text"])
    return kept


def _part(part: object, place: _Place) -> dict[str, Any] | None:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise InvalidRequestError(f"{place.where} is a {type(part).__name__}, expected text or a content block.")
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}  # without cache_control, index, id, annotations
    if place.role == "assistant" and (kind in _OWN_BLOCKS or str(kind).endswith("_tool_result")):
        return None
    media = _media(dict(part), place.where)
    if media is None:
        raise InvalidRequestError(f"{place.where} is a block of type {kind!r}, which cannot be sent; expected text.")
    if media["type"] not in place.taken:
        raise InvalidRequestError(
            f"{place.where} is a block of type {kind!r}, expected {' or '.join(('text', *place.taken))} for "
            f"{place.target}. Anything else would not reach the model, and you would pay for an answer about nothing. "
            'Remove it or describe it; if your gateways take images and files, set gateway_generation="next".'
        )
    return media


def _media(part: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Return the wire form of an image, file or sound, None for what is neither."""
    kind, source = part.get("type"), part.get("source")
    if kind == "image" and isinstance(source, Mapping):  # Anthropic's form
        url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data') or ''}"
        part, kind = {"type": "image_url", "image_url": {"url": url}}, "image_url"
    if kind in ("image_url", "input_audio") or (kind == "file" and "file" in part):
        return {"type": kind, str(kind): part.get(str(kind))}
    if kind not in ("image", "file", "audio"):
        return None
    try:
        return convert_to_openai_data_block(part)
    except ValueError as exc:
        raise InvalidRequestError(f"{where}: {exc}") from exc


def _tool_calls(message: AIMessage, where: str) -> list[dict[str, Any]]:
    calls = [(call["id"], call["name"], _arguments(call["args"], where)) for call in message.tool_calls]
    calls += [(call["id"], call["name"] or "", unmarked(call["args"])) for call in message.invalid_tool_calls]
    return [{"id": id_, "type": "function", "function": {"name": name, "arguments": text}} for id_, name, text in calls]


def _arguments(value: dict[str, Any], where: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise InvalidRequestError(f"{where} has a tool call whose arguments are not JSON: {exc}.") from exc

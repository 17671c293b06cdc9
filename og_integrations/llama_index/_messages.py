"""
This module turns LlamaIndex's messages and tools into what the gateway takes (docs/protocol.md §2).

Roles that the gateway does not know are mapped, blocks that only carry hints for other providers are
left out, and what would be dropped on the way is refused: one would pay for an answer about nothing.
"""

import base64
from collections.abc import Iterator, Sequence

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
from llama_index.core.tools.types import BaseTool, ToolMetadata

from og_integrations.chat._requests import check_attachment, results_of_broken, wire_call
from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject, decode_arguments
from og_integrations.protocol.chat._schemas import demanded_strict_schema, open_schema

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


def to_wire(messages: Sequence[ChatMessage], *, model: str, generation: str) -> list[JsonObject]:
    """
    Return `messages` as `model` gets them from gateways of `generation`.

    A call whose arguments are no JSON object, which is never carried out (`tool_selections`), gets a result that says
    so, unless it has one. Raises `InvalidRequestError` for blocks that cannot be sent.
    """
    wire: list[JsonObject] = []
    answered = {_result_of(message) for message in messages if message.role == MessageRole.TOOL}
    for at, message in enumerate(messages):
        wire.append(_message(message, f"messages[{at}]", model, generation))
        broken = [call for call in wire[-1].get("tool_calls", ()) if arguments_of(call) is None]
        if broken:
            wire += results_of_broken(broken, answered)
    return wire


def arguments_of(call: JsonObject) -> JsonObject | None:
    """Return the arguments of a call in wire form, None if they are no JSON object."""
    try:
        return decode_arguments(call["function"]["arguments"])
    except ValueError:
        return None


def with_user_message(
    history: Sequence[ChatMessage] | None, user_message: str | ChatMessage | None
) -> list[ChatMessage]:
    """Return the messages with the user's, in a new list: the history of an agent is not ours to change."""
    messages = list(history or ())
    if isinstance(user_message, str):
        user_message = ChatMessage(role=MessageRole.USER, content=user_message)
    return [*messages, user_message] if user_message is not None else messages


def wire_tool(tool: BaseTool | JsonObject, *, strict: bool) -> JsonObject:
    """
    Return `tool` in wire form; a dict passes as it is.

    Its name is its own; the client maps one that providers refuse, both ways. `strict` is said of schemas in the strict
    subset only; an optional parameter becomes required. Raises `InvalidRequestError` for what is no tool, and for a
    schema that cannot be sent whole, or not strictly.
    """
    if isinstance(tool, dict):
        return tool
    if not isinstance(getattr(tool, "metadata", None), ToolMetadata):
        raise InvalidRequestError(
            f"A tool is a {type(tool).__name__}, expected a tool of LlamaIndex or a dict; nothing was sent. A function "
            "becomes one with FunctionTool.from_defaults(…)."
        )
    # LlamaIndex sends another name where providers refuse this one, and does not find its tool by it then.
    name = tool.metadata.get_name()
    function: JsonObject = {"name": name, "description": tool.metadata.description}
    function["parameters"] = _parameters(tool.metadata, name)
    if strict:
        function |= {"strict": True, "parameters": demanded_strict_schema(function["parameters"], name)}
    return {"type": "function", "function": function}


def _parameters(metadata: ToolMetadata, name: str) -> JsonObject:
    """
    Return the schema of a tool's arguments, whole.

    LlamaIndex keeps five words of its root, so that a recursive class, whose root is a reference, became a tool that
    could be called with nothing only.
    """
    if metadata.fn_schema is None:
        return metadata.get_parameters_dict()
    schema = metadata.fn_schema.model_json_schema()
    return open_schema({word: item for word, item in schema.items() if word not in ("title", "description")}, name)


def tool_calls_of(message: ChatMessage) -> list[JsonObject]:
    """Return the tool calls in `message`, whoever made it, in wire form."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return [_call(block.tool_call_id, block.tool_name, block.tool_kwargs) for block in blocks]
    # Histories of other LLMs keep them here, as dicts or as objects of the provider's library.
    return [_foreign_call(call) for call in message.additional_kwargs.get("tool_calls") or ()]


def _message(message: ChatMessage, where: str, model: str, generation: str) -> JsonObject:
    role = _ROLES[message.role]
    wire: JsonObject = {"role": role, "content": _content(message, f"{where} ({role})")}
    if isinstance(wire["content"], list):
        for kind in sorted({part["type"] for part in wire["content"]} - {"text"}):
            check_attachment(kind, f"{where} ({role})", role, model, generation, said=f"has a part of type {kind}")
    extra = message.additional_kwargs
    if role == "assistant":
        if calls := tool_calls_of(message):
            # An empty text beside tool calls is one that Anthropic refuses.
            wire |= {"content": wire["content"] or None, "tool_calls": calls}
    elif role == "tool":
        wire["tool_call_id"] = _result_of(message)
    elif role == "function":
        wire["name"] = extra.get("name")
    return wire


def _result_of(message: ChatMessage) -> object:
    """Return the id of the call whose result `message` is."""
    return message.additional_kwargs.get("tool_call_id") or message.additional_kwargs.get("call_id")


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
    # Calls of Gemini and Ollama may have no id; LlamaIndex's results name the tool then.
    given = arguments if isinstance(arguments, str) else arguments or {}
    return wire_call(call_id or name, name, given, "A message")


def _foreign_call(call: object) -> JsonObject:
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


def _fields(value: object) -> JsonObject:
    return {name: getattr(value, name, None) for name in ("function", "name", *_IDS, *_ARGUMENTS)}

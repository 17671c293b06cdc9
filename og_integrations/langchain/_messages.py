"""
This module turns LangChain's messages and tools into the wire form, and says how long they are and which a model
takes.

What the model itself produced on its way (reasoning, tool-use blocks of other providers) is left out
of the history: tool calls travel in `tool_calls`. What the user put in and cannot be sent is refused,
never dropped: an image that silently vanishes would be paid for all the same.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal, cast

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
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from og_integrations.chat._requests import attachments_taken, check_attachment, results_of_broken, wire_call
from og_integrations.errors import InvalidRequestError
from og_integrations.langchain._outputs import unmarked
from og_integrations.models import model_info
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._translation import schema_name

if TYPE_CHECKING:
    from langchain_core.language_models.model_profile import ModelProfile

Tool = Mapping[str, Any] | type | Callable[..., object] | Runnable[Any, Any]
"""What a tool or schema may be given as; a `BaseTool` is a `Runnable`, and importing its module takes 46 ms."""
Method = Literal["json_schema", "function_calling", "json_mode"]
"""How `with_structured_output` asks for a schema."""
Schema = JsonObject | type
"""What it may be given as. LangChain looks both up by the hints of the method, before `_structured` is loaded."""
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
_CHARACTERS_PER_TOKEN = 4.0
_NAMING_A_FUNCTION = frozenset({"name", "function", "input_schema", "json_schema", "toolSpec", "parameters"})


def to_wire(messages: Sequence[BaseMessage], *, model: str, generation: str) -> list[JsonObject]:
    """
    Return `messages` as `model` gets them from gateways of `generation`.

    A call that LangChain holds invalid, which no agent carries out, gets a result that says so, unless it has one.
    Raises `InvalidRequestError` for what cannot be sent.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    wire: list[JsonObject] = []
    for at, message in enumerate(messages):
        wire.append(_message(message, f"messages[{at}]", model, generation))
        invalid = message.invalid_tool_calls if isinstance(message, AIMessage) else ()
        if invalid:
            wire += results_of_broken(wire[-1]["tool_calls"][-len(invalid) :], answered)
    return wire


def _message(message: BaseMessage, where: str, model: str, generation: str) -> JsonObject:
    role = _role(message, where)
    given = message.content
    content: str | list[JsonObject]
    if isinstance(given, str):
        content = given
    else:
        parts = [_part(part, f"{where}.content[{at}]", role, model, generation) for at, part in enumerate(given)]
        content = _joined(parts)
    wire: JsonObject = {"role": role, "content": content}
    if message.name:
        wire["name"] = message.name
    elif role == "function":
        raise InvalidRequestError(f"{where} is the result of a function without its name; give it name=….")
    if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
        # An empty text beside tool calls is one that Anthropic refuses.
        wire |= {"content": content or None, "tool_calls": _calls(message, where)}
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


def _joined(parts: list[JsonObject | None]) -> str | list[JsonObject]:
    kept = [part for part in parts if part is not None and part.get("text") != ""]
    if not kept:
        return ""
    if len(kept) == 1 and kept[0]["type"] == "text":
        return str(kept[0]["text"])
    return kept


def _part(part: object, where: str, role: str, model: str, generation: str) -> JsonObject | None:
    """Return the wire form of a part, None for what is left out."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise InvalidRequestError(f"{where} is a {type(part).__name__}, expected text or a content block.")
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}  # without cache_control, index, id, annotations
    if role == "assistant" and (kind in _OWN_BLOCKS or str(kind).endswith("_tool_result")):
        return None
    media = _media(dict(part), where)
    if media is None:
        raise InvalidRequestError(f"{where} is a block of type {kind!r}, which cannot be sent; expected text.")
    check_attachment(str(media["type"]), where, role, model, generation, said=f"is a block of type {kind!r}")
    return media


def _media(part: JsonObject, where: str) -> JsonObject | None:
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


def _calls(message: AIMessage, where: str) -> list[JsonObject]:
    calls = [wire_call(str(call["id"]), call["name"], call["args"], where) for call in message.tool_calls]
    return calls + [
        wire_call(str(call["id"]), call["name"] or "", unmarked(call["args"]), where)
        for call in message.invalid_tool_calls
    ]


def wire_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[JsonObject]:
    """Return the schemas of `tools`. Raises `InvalidRequestError` for what is no function."""
    return [wire_tool(tool, strict=strict) for tool in tools]


def form_tools(tools: Sequence[Tool]) -> list[str]:
    """Return the names of the `tools` that nobody can run: agents have them for the form of the final answer."""
    from langchain_core.tools import StructuredTool

    return [
        tool.name for tool in tools if isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is None
    ]


def wire_tool(tool: Tool, *, strict: bool | None = None) -> JsonObject:
    """
    Return the schema of `tool`, without what providers add to theirs (`cache_control`).

    `strict` True is said of schemas in the strict subset only; an optional parameter becomes required. Raises
    `InvalidRequestError` for what is no function, such as tools that run at a provider's, and for a schema that
    cannot be sent whole, or not strictly.
    """
    if strict is None and isinstance(tool, Mapping) and _is_wire(tool.get("function")):
        function: JsonObject = dict(tool["function"])  # as `bind_tools` has made it
        return {"type": "function", "function": _with_strictness(function, None)}
    try:
        given = _as_function(tool) if isinstance(tool, Mapping) else tool
        wire = convert_to_openai_tool(cast("Callable[..., object]", given))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:  # a functools.partial has no __name__
        raise InvalidRequestError(f"A {type(tool).__name__} cannot be sent as a tool or schema: {exc}") from exc
    function = dict(wire.get("function") or {})
    if wire.get("type") != "function" or not _is_wire(function):
        raise InvalidRequestError(
            f"A tool of type {wire.get('type')!r} is no named function. Gateways hand on functions only, and run no "
            "tools of a provider."
        )
    whole = _whole_schema(given)
    if whole is not None:
        from og_integrations.protocol.chat._schemas import open_schema

        function["parameters"] = open_schema(whole, function["name"])
    return {"type": "function", "function": _with_strictness(function, strict)}


def _whole_schema(tool: object) -> JsonObject | None:
    """
    Return the schema of `tool` as it was written, None where LangChain's conversion keeps all of it.

    LangChain writes each reference out and so ends a recursive class in `{}`; and it leaves out schemas without
    `properties` at their root, whose tool the model could then only call with nothing.
    """
    from langchain_core.tools import BaseTool
    from langchain_core.tools.base import create_schema_from_function

    from og_integrations.protocol.chat._schemas import is_recursive

    schema: object = None
    if isinstance(tool, Mapping):
        schema = tool if not _NAMING_A_FUNCTION & tool.keys() else tool.get("parameters", tool.get("input_schema"))
    elif isinstance(tool, BaseTool):
        schema = tool.tool_call_schema if tool.args_schema is not None else None
    elif isinstance(tool, type):
        schema = tool
    elif isinstance(tool, FunctionType | MethodType):
        schema = create_schema_from_function(
            tool.__name__,
            tool,
            filter_args=(),
            parse_docstring=True,
            error_on_invalid_docstring=False,
            include_injected=False,
        )
    if isinstance(schema, type):
        schema = schema.model_json_schema() if issubclass(schema, BaseModel) else None
    if not isinstance(schema, Mapping) or ("properties" in schema and not is_recursive(dict(schema))):
        return None
    return {word: item for word, item in schema.items() if word not in ("title", "description")}


def _with_strictness(function: JsonObject, strict: bool | None) -> JsonObject:
    """Return `function` as `strict` wants it. Raises `InvalidRequestError` where that cannot be."""
    said = function.get("strict")
    if strict is not None and said not in (None, strict):
        raise InvalidRequestError(
            f"The tool {function['name']} says strict={said!r} itself, and strict={strict!r} was asked for."
        )
    wanted = said if strict is None else strict
    if wanted is True:
        from og_integrations.protocol.chat._schemas import demanded_strict_schema

        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        function["parameters"] = demanded_strict_schema(parameters, str(function["name"]))
    if strict is not None:
        function["strict"] = strict
    return function


def _is_wire(function: object) -> bool:
    return isinstance(function, Mapping) and isinstance(function.get("name"), str)


def schema_function(schema: Tool, *, strict: bool | None = None) -> JsonObject:
    """
    Return the function whose parameters are `schema`: a class, a JSON schema or what holds one.

    Its name is one that providers take, also of generic classes (`Page[City]`) and of titles with spaces.
    Raises `InvalidRequestError`.
    """
    function: JsonObject
    if isinstance(schema, Mapping) and not _NAMING_A_FUNCTION & schema.keys():
        from og_integrations.protocol.chat._schemas import open_schema

        name = str(schema.get("title") or "answer")
        parameters = {word: item for word, item in schema.items() if word not in ("title", "description")}
        function = {"name": name, "parameters": open_schema(parameters, name)}
        if "description" in schema:
            function["description"] = schema["description"]
        function = _with_strictness(function, strict)
    else:
        function = wire_tool(schema, strict=strict)["function"]
    return {**function, "name": schema_name(str(function["name"]))}


def _as_function(tool: Mapping[str, Any]) -> JsonObject:
    """Return a form that LangChain understands of one that it would send on unseen, or empty."""
    if isinstance(tool.get("function"), Mapping):
        return {"type": "function", "function": tool["function"]}
    if isinstance(tool.get("json_schema"), Mapping):
        tool = tool["json_schema"]
    for word in ("schema", "inputSchema"):  # the second is what MCP servers say
        if "name" in tool and isinstance(tool.get(word), Mapping):
            tool = {**tool, "parameters": tool[word]}
    kind = tool.get("type")
    if (
        isinstance(kind, str)
        and kind not in ("function", "object")
        and not {"parameters", "input_schema"} & tool.keys()
    ):
        raise InvalidRequestError(
            f"A tool is of type {kind!r}, expected a function: tools of a provider do not run here."
        )
    return {key: value for key, value in tool.items() if key != "type" or value == "object"}


def build_profile(model: str, generation: str) -> "ModelProfile":
    """Return what is known of `model`, as reached through gateways of `generation` (not at its provider)."""
    info = model_info(model)
    taken, from_tools = (attachments_taken(model, generation, role) for role in ("user", "tool"))
    profile: ModelProfile = {
        "name": info.name,
        "text_inputs": True,
        "image_inputs": "image_url" in taken,
        "image_url_inputs": "image_url" in taken,
        "pdf_inputs": "file" in taken,
        "audio_inputs": False,
        "video_inputs": False,
        "image_tool_message": "image_url" in from_tools,
        "pdf_tool_message": "file" in from_tools,
        "text_outputs": True,
        "image_outputs": info.image_outputs,
        "audio_outputs": False,
        "video_outputs": False,
        "reasoning_output": False,
        "tool_calling": info.tools,
        "tool_choice": info.tools,
        "structured_output": info.kind == "chat",
        "temperature": info.temperature,
    }
    if info.context_window is not None:
        profile["max_input_tokens"] = info.context_window
    return profile


def count_text_tokens(text: str) -> int:
    """Return about how many tokens `text` has; offline, and the same for every model."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


def count_message_tokens(messages: Sequence[BaseMessage], tools: Sequence[Tool] | None = None) -> int:
    """Return about how many tokens `messages` and the schemas of `tools` have, offline."""
    schemas = [convert_to_openai_tool(cast("Callable[..., object]", tool)) for tool in tools or ()]
    return count_tokens_approximately(messages, tools=schemas)  # type: ignore[arg-type]


def too_long(model: str, messages: Sequence[BaseMessage], tools: Sequence[Tool] | None = None) -> str | None:
    """Return why `messages` cannot fit into the window of `model`, None if they do."""
    window = model_info(model).context_window
    if window is None or (tokens := count_message_tokens(messages, tools)) <= window:
        return None
    return f"The messages have about {tokens} tokens; the context window of {model} has {window}."

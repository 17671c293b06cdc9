"""
Tools, tool choices and tool calls, between LlamaIndex and the gateway's words.

What the gateway does not enforce is dealt with below us (`protocol.chat.translation`), for both adapters.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool, ToolMetadata
from pydantic_core import from_json

from og_integrations.errors import InvalidRequestError, ToolChoiceNotHonoredError
from og_integrations.llama_index.messages import tool_calls_of
from og_integrations.llama_index.responses import receipt_of
from og_integrations.protocol.strict_json import JsonObject

_WORDS = {"auto": "auto", "none": "none", "any": "required", "required": "required"}


def wire_tool(tool: BaseTool | JsonObject, *, strict: bool) -> JsonObject:
    """
    Return `tool` in wire form; a dict passes as it is.

    Raises `InvalidRequestError` for what is no tool, and for a name that providers do not take: LlamaIndex
    sends another one then, does not find its tool by it, and ends in a `KeyError` or tells the model to try again.
    """
    if isinstance(tool, dict):
        return tool
    if not isinstance(getattr(tool, "metadata", None), ToolMetadata):
        raise InvalidRequestError(
            f"A tool is a {type(tool).__name__}, expected a tool of LlamaIndex or a dict; nothing was sent. A function "
            "becomes one with FunctionTool.from_defaults(…)."
        )
    wire: JsonObject = tool.metadata.to_openai_tool(skip_length_check=True)
    if (sent := wire["function"]["name"]) != tool.metadata.name:
        raise InvalidRequestError(
            f"The tool {tool.metadata.name!r} would be called as {sent!r}, by which LlamaIndex does not find it; "
            "nothing was sent. Give it a name of letters, digits, _ and -; for a generic class as output, make a "
            "subclass of it, or leave pydantic_program_mode and should_use_structured_outputs at their defaults."
        )
    if strict:
        wire["function"]["strict"] = True
        wire["function"]["parameters"]["additionalProperties"] = False
    return wire


def wire_tool_choice(tool_choice: Any, tools: Sequence[JsonObject]) -> str | JsonObject | None:
    """
    Return `tool_choice` as "auto", "none", "required" or a named function; None leaves it to the model.

    Understood: those words, "any", True, a tool's name, and the dicts of OpenAI and Anthropic. Raises
    `InvalidRequestError` for anything else; the client does for a tool that is not among `tools`.
    """
    if tool_choice is None or tool_choice is False or tool_choice == "":
        return None
    if tool_choice is True:
        return "required"
    names = {tool["function"].get("name") for tool in tools if isinstance(tool.get("function"), Mapping)}
    name = tool_choice
    if isinstance(tool_choice, Mapping):
        function = tool_choice.get("function")
        kind, name = tool_choice.get("type"), (function if isinstance(function, Mapping) else tool_choice).get("name")
        if not name and kind in _WORDS:
            return _WORDS[kind]
    if not isinstance(name, str):
        raise InvalidRequestError(
            f"tool_choice is {tool_choice!r}, expected one of {', '.join(_WORDS)}, a tool's name, or "
            '{"type": "function", "function": {"name": …}}.'
        )
    # A tool may be called "any": its name wins over the word.
    if name in _WORDS and name not in names and not isinstance(tool_choice, Mapping):
        return _WORDS[name]
    return {"type": "function", "function": {"name": name}}


def with_user_message(
    history: Sequence[ChatMessage] | None, user_message: str | ChatMessage | None
) -> list[ChatMessage]:
    """Return a new list: the history of an agent is not ours to change."""
    messages = list(history or ())
    if isinstance(user_message, str):
        user_message = ChatMessage(role=MessageRole.USER, content=user_message)
    return [*messages, user_message] if user_message is not None else messages


def keep_first_call(response: ChatResponse) -> ChatResponse:
    """Leave at most one tool call in `response`: the gateway does not enforce `parallel_tool_calls`."""
    message = response.message
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    message.blocks = [block for block in message.blocks if block not in calls[1:]]
    if kept := message.additional_kwargs.get("tool_calls"):
        message.additional_kwargs["tool_calls"] = kept[:1]
    return response


def tool_selections(response: ChatResponse, *, error_if_none: bool) -> list[ToolSelection]:
    """
    Return the tool calls in `response`.

    Raises `ToolChoiceNotHonoredError` if there is none and `error_if_none` is set.
    """
    selections = [
        ToolSelection(
            tool_id=call["id"],
            tool_name=call["function"]["name"],
            tool_kwargs=_arguments(call["function"]["arguments"]),
        )
        for call in tool_calls_of(response.message)
    ]
    if error_if_none and not selections:
        error = ToolChoiceNotHonoredError(
            "Expected at least one tool call, but the model answered in text. Pass tool_required=True or a "
            "tool_choice to demand one, or error_on_no_tool_call=False to take text."
        )
        error.receipt = receipt_of(response)
        raise error
    return selections


def _arguments(text: str) -> dict[str, Any]:
    """
    Return the arguments if they are a JSON object, else none.

    They are not repaired: half an amount would be another amount. A tool that misses its arguments
    says so, and the model tries again.
    """
    try:
        arguments = from_json(text)
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}

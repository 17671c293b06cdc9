"""Tools and tool choices in all of LangChain's forms, to the OpenAI wire form."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from og_integrations.errors import InvalidRequestError

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    ToolLike = Mapping[str, Any] | type | Callable[..., Any] | Runnable[Any, Any]

_NAMING = frozenset({"title", "name", "function", "input_schema", "json_schema", "toolSpec"})
_WORDS = {"auto": "auto", "none": "none", "any": "required", "required": "required"}


def wire_tools(tools: "Sequence[ToolLike]", *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Return the schemas of `tools`. Raises `InvalidRequestError` for what is no function."""
    return [wire_tool(tool, strict=strict) for tool in tools]


def wire_tool(tool: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """
    Return the schema of `tool`, without what providers add to theirs (`cache_control`).

    Raises `InvalidRequestError` for what is no function, such as tools that run at a provider's.
    """
    from langchain_core.utils.function_calling import convert_to_openai_tool

    try:
        wire = convert_to_openai_tool(_as_function(tool) if isinstance(tool, Mapping) else tool, strict=strict)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:  # a functools.partial has no __name__
        raise InvalidRequestError(f"A {type(tool).__name__} cannot be sent as a tool or schema: {exc}") from exc
    function = wire.get("function")
    if wire.get("type") != "function" or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequestError(
            f"A tool of type {wire.get('type')!r} is no named function. Gateways hand on functions only, and run no "
            "tools of a provider."
        )
    return {"type": "function", "function": dict(function)}


def schema_function(schema: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """
    Return the function whose parameters are `schema`: a class, a JSON schema or what holds one.

    Its name is one that providers take, also of generic classes (`Page[City]`) and of titles with spaces.
    Raises `InvalidRequestError`.
    """
    from og_integrations.protocol.chat.translation import schema_name

    if isinstance(schema, Mapping) and not _NAMING & schema.keys():
        schema = {"title": "answer", **schema}
    function: dict[str, Any] = wire_tool(schema, strict=strict)["function"]
    return {**function, "name": schema_name(function["name"])}


def _as_function(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form that LangChain understands of one that it would send on unseen, or empty."""
    if isinstance(tool.get("function"), Mapping):
        return {"type": "function", "function": tool["function"]}
    if isinstance(tool.get("json_schema"), Mapping):
        tool = tool["json_schema"]
    if "name" in tool and isinstance(tool.get("schema"), Mapping):
        tool = {**tool, "parameters": tool["schema"]}
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


def wire_tool_choice(choice: Any, tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any] | None:
    """
    Return `choice` as "auto", "none", "required" or a named function; None leaves it to the model.

    Understood: those words, "any", True, a tool's name, and the dicts of OpenAI and Anthropic.
    Raises `InvalidRequestError` for anything else, and for a tool that is not among `tools`.
    """
    if choice is None or choice is False or choice == "":
        return None
    if choice is True:
        return "required"
    if isinstance(choice, Mapping):
        return _of_mapping(choice, tools)
    if not isinstance(choice, str):
        raise InvalidRequestError(
            f"tool_choice is a {type(choice).__name__}, expected a word, a tool's name or a dict."
        )
    # A tool may be called "any": its name wins over the word.
    if choice in _names(tools) or choice not in _WORDS:
        return _named(choice, tools)
    return _WORDS[choice]


def _of_mapping(choice: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any]:
    kind, function = choice.get("type"), choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
    if isinstance(name, str) and kind in ("function", "tool", None):
        return _named(name, tools)
    if kind in _WORDS:
        return _WORDS[kind]
    raise InvalidRequestError(
        f'tool_choice is a dict of type {kind!r}, expected {{"type": "function", "function": {{"name": …}}}}.'
    )


def _named(name: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = _names(tools)
    if name not in names:
        close = get_close_matches(name, [*names, *_WORDS], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidRequestError(
            f"tool_choice is {name!r}, expected one of {', '.join(_WORDS)} or a bound tool ({', '.join(names)}).{hint}"
        )
    return {"type": "function", "function": {"name": name}}


def _names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(tool["function"]["name"]) for tool in tools if isinstance(tool.get("function"), Mapping)]

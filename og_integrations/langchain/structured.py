"""
`with_structured_output`: a schema in, its instances out.

The default is `json_schema`, which providers enforce; `function_calling` rests on a forced tool call,
which the gateway does not enforce (the client asks for it as a json_schema where it can).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap

from og_integrations.errors import InvalidRequestError
from og_integrations.langchain.tools import schema_function
from og_integrations.models import model_info

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage

    from og_integrations.langchain.parsing import StructuredParser

Method = Literal["json_schema", "function_calling", "json_mode"]
Schema = dict[str, Any] | type


def structured_output(
    model: "BaseChatModel",
    schema: Schema | None,
    *,
    name: str,
    method: Method,
    include_raw: bool,
    strict: bool | None,
    tools: "Sequence[Any] | None",
    arguments: dict[str, Any],
) -> "Runnable[LanguageModelInput, Any]":
    """
    Return `model`, which asks the one of this `name`, bound to `schema` and followed by its parser.

    Raises `InvalidRequestError`.
    """
    from og_integrations.langchain.parsing import StructuredParser

    _check(method, schema, strict=strict, tools=tools)
    if schema is not None and method == "json_mode" and not model_info(name).json_object:
        method = "json_schema"  # the same promise, kept better; Anthropic models refuse json_object
    described = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    options = {**arguments, "ls_structured_output_format": described}
    bound: Runnable[LanguageModelInput, AIMessage]
    parser = StructuredParser(pydantic_object=_model_class(schema))
    if method == "function_calling":
        function = schema_function(schema, strict=strict)
        parser.tool = str(function["name"])
        tool = {"type": "function", "function": function}
        bound = model.bind_tools([tool], **{"tool_choice": parser.tool, **options})
    else:
        wish = response_format(schema, strict=strict) if method == "json_schema" else {"type": "json_object"}
        options["response_format"] = wish
        bound = model.bind_tools(tools, strict=strict, **options) if tools else model.bind(**options)
    return _with_raw(bound, parser) if include_raw else bound | parser


def _with_raw(
    bound: "Runnable[LanguageModelInput, AIMessage]", parser: "StructuredParser"
) -> "Runnable[LanguageModelInput, Any]":
    """Return `bound` with its message, what `parser` makes of it, and the error if it makes nothing."""

    def parse(answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "parsed": parser.invoke(answer["raw"]), "parsing_error": None}

    def leave(answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "parsed": None}

    # Not a chain: of a stream, the fallback would see no error after the first piece.
    parsed = RunnableLambda(parse).with_fallbacks([RunnableLambda(leave)], exception_key="parsing_error")
    return RunnableMap(raw=bound) | parsed


def response_format(schema: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """
    Return the json_schema `response_format` for a pydantic class, TypedDict, JSON schema or tool.

    A dict that is a `response_format` already passes. `strict` None sends the schema as it is, and
    strictly where that changes nothing. Raises `InvalidRequestError`.
    """
    if isinstance(schema, Mapping) and schema.get("type") in ("json_schema", "json_object", "text"):
        return _well_named(schema)
    function = schema_function(schema, strict=strict)
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if strict is None and (same := _already_strict(parameters)) is not None:
        function, parameters = {**function, "strict": True}, same
    wanted = {"name": function["name"], "description": function.get("description"), "schema": parameters}
    wanted["strict"] = function.get("strict")
    return {"type": "json_schema", "json_schema": {key: value for key, value in wanted.items() if value is not None}}


def _well_named(wish: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `response_format` under a name that providers take: agents name it after the class."""
    from og_integrations.protocol.chat.translation import schema_name

    described = wish.get("json_schema")
    if not isinstance(described, Mapping) or not isinstance(described.get("name"), str):
        return dict(wish)
    return {**wish, "json_schema": {**described, "name": schema_name(described["name"])}}


def _already_strict(parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Return the strict form of a schema whose properties are all required, None for others."""
    from og_integrations.protocol.chat.schemas import strict_schema

    strict = strict_schema(parameters)
    return strict if strict is not None and _requirements(strict) == _requirements(parameters) else None


def _requirements(schema: Any) -> list[list[str]]:
    if isinstance(schema, list):
        return [found for item in schema for found in _requirements(item)]
    if not isinstance(schema, dict):
        return []
    own = [sorted(schema.get("required") or [])] if isinstance(schema.get("properties"), dict) else []
    inner = [_requirements(schema[word]) for word in ("items", "anyOf", "allOf") if word in schema]
    members = [_requirements(list((schema.get(word) or {}).values())) for word in ("properties", "$defs")]
    return [*own, *(found for part in (*inner, *members) for found in part)]


def _check(method: str, schema: Any, *, strict: bool | None, tools: Any) -> None:
    if method not in get_args(Method):
        raise InvalidRequestError(f"method is {method!r}, expected one of {', '.join(get_args(Method))}.")
    if method == "json_mode" and strict:
        raise InvalidRequestError("strict has no meaning with method='json_mode': use method='json_schema'.")
    if schema is None and method != "json_mode":
        raise InvalidRequestError(f"schema is None, which only method='json_mode' can do without (got {method!r}).")
    if tools and method != "json_schema":
        raise InvalidRequestError(f"tools beside a schema need method='json_schema', got {method!r}.")


def _model_class(schema: Any) -> Any:
    """Return `schema` if it is a pydantic class, of version 1 or 2, else None."""
    from langchain_core.utils.pydantic import is_basemodel_subclass

    return schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None

"""
This module makes `with_structured_output`, which asks for a schema and returns its instances.

The default is `json_schema`, which providers enforce; `function_calling` rests on a forced tool call,
which the gateway does not enforce (the client asks for it as a json_schema where it can).

LangChain's own parsers repair what was cut off, so that an answer which ends in `"inhabitants": 70`
instead of `700}` becomes a wrong instance. Here a piece is completed only while more may come; the
whole answer is read as it stands, or refused.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap
from langchain_core.utils.pydantic import is_basemodel_subclass
from typing_extensions import override

from og_integrations.chat._requests import wire_format
from og_integrations.errors import InvalidRequestError
from og_integrations.langchain._messages import Method, Schema, Tool, schema_function
from og_integrations.langchain._outputs import unmarked
from og_integrations.models import model_info
from og_integrations.protocol._strict_json import JsonObject, decode_answer
from og_integrations.protocol.chat._schemas import strict_schema

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from pydantic import BaseModel

    Bound = Runnable[LanguageModelInput, AIMessage]


class Wish(TypedDict):
    """A wish holds the arguments of `with_structured_output` beside the schema."""

    method: Method
    include_raw: bool
    strict: bool | None
    tools: Sequence[Tool] | None


class _V1Model(Protocol):
    """This protocol is what is used of classes of pydantic 1."""

    @classmethod
    def parse_obj(cls, obj: object) -> object:
        """Return an instance."""
        ...


def structured_output(
    model: "BaseChatModel", name: str, schema: Schema | None, wish: Wish, arguments: Mapping[str, object]
) -> "Runnable[LanguageModelInput, Any]":
    """
    Return `model`, which asks the one of this `name`, bound to `schema` and further `arguments`, and its parser.

    Raises `InvalidRequestError`.
    """
    method, strict, tools = wish["method"], wish["strict"], wish["tools"]
    _check(method, schema, strict=strict, tools=tools)
    if schema is not None and method == "json_mode" and not model_info(name).json_object:
        method = "json_schema"  # the same promise, kept better; Anthropic models refuse json_object
    described = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    options: JsonObject = {**arguments, "ls_structured_output_format": described}
    bound: Bound
    parser = StructuredParser(pydantic_object=_model_class(schema))
    if method == "function_calling":
        function = schema_function(cast(Tool, schema), strict=strict)
        parser.tool = str(function["name"])
        tool = {"type": "function", "function": function}
        bound = model.bind_tools([tool], **{"tool_choice": parser.tool, **options})
    else:
        form = response_format(schema, strict=strict) if method == "json_schema" else {"type": "json_object"}
        options["response_format"] = form
        bound = (
            model.bind_tools(cast("Sequence[type]", tools), strict=strict, **options)
            if tools
            else model.bind(**options)
        )
    return _with_raw(bound, parser) if wish["include_raw"] else bound | parser


def _with_raw(bound: "Bound", parser: "StructuredParser") -> "Runnable[LanguageModelInput, JsonObject]":
    """Return `bound` with its message, what `parser` makes of it, and the error if it makes nothing."""

    def parse(answer: JsonObject) -> JsonObject:
        return {**answer, "parsed": parser.invoke(answer["raw"]), "parsing_error": None}

    def leave(answer: JsonObject) -> JsonObject:
        return {**answer, "parsed": None}

    # Not a chain: of a stream, the fallback would see no error after the first piece.
    parsed = RunnableLambda(parse).with_fallbacks([RunnableLambda(leave)], exception_key="parsing_error")
    return RunnableMap(raw=bound) | parsed


def response_format(schema: object, *, strict: bool | None = None) -> JsonObject:
    """
    Return the json_schema `response_format` for a pydantic class, TypedDict, JSON schema or tool.

    A dict that is a `response_format` already passes. `strict` None sends the schema as it is, and
    strictly where that changes nothing. Raises `InvalidRequestError`.
    """
    if isinstance(schema, Mapping) and schema.get("type") in ("json_schema", "json_object", "text"):
        return wire_format(schema)
    function = schema_function(cast(Tool, schema), strict=strict)
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if strict is None and (same := _already_strict(parameters)) is not None:
        function, parameters = {**function, "strict": True}, same
    wanted = {"name": function["name"], "description": function.get("description"), "schema": parameters}
    wanted["strict"] = function.get("strict")
    return {"type": "json_schema", "json_schema": {key: value for key, value in wanted.items() if value is not None}}


def _already_strict(parameters: JsonObject) -> JsonObject | None:
    """Return the strict form of a schema whose properties are all required, None for others."""
    strict = strict_schema(parameters)
    return strict if strict is not None and _requirements(strict) == _requirements(parameters) else None


def _requirements(schema: object) -> list[list[str]]:
    if isinstance(schema, list):
        return [found for item in schema for found in _requirements(item)]
    if not isinstance(schema, dict):
        return []
    own = [sorted(schema.get("required") or [])] if isinstance(schema.get("properties"), dict) else []
    inner = [_requirements(schema[word]) for word in ("items", "anyOf", "oneOf", "allOf") if word in schema]
    members = [_requirements(list((schema.get(word) or {}).values())) for word in ("properties", "$defs")]
    return [*own, *(found for part in (*inner, *members) for found in part)]


def _check(method: str, schema: object, *, strict: bool | None, tools: object) -> None:
    if method not in get_args(Method):
        raise InvalidRequestError(f"method is {method!r}, expected one of {', '.join(get_args(Method))}.")
    if method == "json_mode" and strict:
        raise InvalidRequestError("strict has no meaning with method='json_mode': use method='json_schema'.")
    if schema is None and method != "json_mode":
        raise InvalidRequestError(f"schema is None, which only method='json_mode' can do without (got {method!r}).")
    if tools and method != "json_schema":
        raise InvalidRequestError(f"tools beside a schema need method='json_schema', got {method!r}.")


def _model_class(schema: object) -> Any:
    """Return `schema` if it is a pydantic class, of version 1 or 2, else None."""
    return schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None


class StructuredParser(JsonOutputParser):
    """
    A structured parser reads the text of an answer, or the arguments of its call of `tool`, as JSON of the schema.

    A pydantic class (`pydantic_object`) has instances of whole answers only; dicts of a stream grow.
    An answer that calls one of the user's own tools is not there yet: None.

    Raises `OutputParserException` for a whole answer that is not JSON, or does not fit the class.
    """

    tool: str | None = None

    @property
    @override
    def OutputType(self) -> Any:
        return self.pydantic_object or Any

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> object:
        if partial:
            grows = self.pydantic_object is None and self.tool is None
            return super().parse_result(result, partial=True) if grows else None
        message = result[0].message if isinstance(result[0], ChatGeneration) else None
        value = self._arguments(message) if isinstance(message, AIMessage) else _decoded(result[0].text)
        return value if value is None or self.pydantic_object is None else self._instance(value)

    @override
    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[object]:
        seen: list[str | BaseMessage] = []
        shown: object = _NOTHING

        def pieces() -> Iterator[str | BaseMessage]:
            for piece in input:
                seen.append(piece)
                yield piece

        for shown in super()._transform(pieces()):
            yield shown
        if (whole := self._whole(seen)) != shown:
            yield whole

    @override
    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[object]:
        seen: list[str | BaseMessage] = []
        shown: object = _NOTHING

        async def pieces() -> AsyncIterator[str | BaseMessage]:
            async for piece in input:
                seen.append(piece)
                yield piece

        async for shown in super()._atransform(pieces()):
            yield shown
        if (whole := self._whole(seen)) != shown:
            yield whole

    def _whole(self, pieces: list[str | BaseMessage]) -> object:
        answer: object = reduce(add, cast("list[str]", pieces))  # or messages, which are added up alike
        if isinstance(answer, BaseMessage):
            return self.parse_result([ChatGeneration(message=answer)])
        return self.parse_result([Generation(text=str(answer))])

    def _arguments(self, message: AIMessage) -> object:
        """Return the JSON value that `message` answers with; None if it calls other tools."""
        if self.tool is not None:
            found = [call["args"] for call in message.tool_calls if call["name"] == self.tool]
            broken = [call for call in message.invalid_tool_calls if call["name"] == self.tool]
            if broken and not found:
                return _decoded(unmarked(broken[0]["args"]))
            return found[0] if found else None
        return None if message.tool_calls else _decoded(message.text)

    def _instance(self, value: object) -> object:
        cls = cast("type[BaseModel]", self.pydantic_object)
        read = getattr(cls, "model_validate", None) or cast("_V1Model", cls).parse_obj
        try:
            return read(value)
        except ValueError as exc:  # pydantic's errors of both versions are
            text = f"The answer is JSON, but does not fit {cls.__name__}: {exc}"
            raise OutputParserException(text, llm_output=str(value)) from exc


_NOTHING = object()


def _decoded(text: str) -> object:
    try:
        return decode_answer(text)
    except ValueError as exc:
        shown = f"{text[:200]}{'…' * (len(text) > 200)}"
        raise OutputParserException(f"The answer is not JSON as a whole: {shown}", llm_output=text) from exc

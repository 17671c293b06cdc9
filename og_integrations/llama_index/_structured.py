"""
This module asks for pydantic classes as json_schema, and makes answers their instances.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.program.streaming_utils import process_streaming_content_incremental
from llama_index.core.program.utils import FlexibleModel, create_flexible_model
from llama_index.core.types import Model
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from og_integrations.client import collect_receipts
from og_integrations.errors import MalformedReplyError, ToolChoiceNotHonoredError
from og_integrations.llama_index._responses import receipt_of
from og_integrations.protocol._strict_json import JsonObject, decode_answer
from og_integrations.protocol.chat._schemas import drop_added_nulls, strict_schema
from og_integrations.protocol.chat._translation import schema_name

_FUNCTION_MODE_ONLY = ("tool_required", "tool_choice", "allow_parallel_tool_calls")
_BREAKS = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What a caller's validator may come to on half a value."""


def with_schema(output_cls: type[BaseModel], llm_kwargs: Mapping[str, object] | None) -> dict[str, Any]:
    """Return the options of a call that is to be answered by an `output_cls`."""
    options = {name: value for name, value in (llm_kwargs or {}).items() if name not in _FUNCTION_MODE_ONLY}
    return options | {"response_format": response_format(output_cls)}


def response_format(output_cls: type[BaseModel]) -> JsonObject:
    """Return the json_schema format for `output_cls`; strict, if its schema can be said strictly."""
    schema = output_cls.model_json_schema()
    strict = strict_schema(schema)
    described: JsonObject = {"name": schema_name(output_cls.__name__), "schema": strict or schema}
    if strict is not None:
        described["strict"] = True
    return {"type": "json_schema", "json_schema": described}


def parse_structured(response: ChatResponse, output_cls: type[Model]) -> Model:
    """
    Return the answer as an instance of `output_cls`.

    Raises `MalformedReplyError` if it is none, with its receipt: pydantic's own error is a
    `ValueError`, which LlamaIndex swallows, as it does a `TypeError` of a validator.
    """
    text = response.message.content or ""
    try:
        value = decode_answer(text)
        if isinstance(value, dict):
            value = drop_added_nulls(value, output_cls.model_json_schema())
        return output_cls.model_validate_json(to_json(value))
    except (ValueError, TypeError) as exc:
        error = _not_one(output_cls, _problem(exc))
        error.receipt = receipt_of(response)
        raise error from exc


def partial_structured(
    response: ChatResponse, output_cls: type[Model], before: "Model | FlexibleModel | None"
) -> "Model | FlexibleModel":
    """Return what can be made of a stream so far; of its last response, the whole thing."""
    if receipt_of(response) is not None:
        return parse_structured(response, output_cls)
    try:
        return process_streaming_content_incremental(response, output_cls, before)
    except _BREAKS:
        # A stream left here would be paid and not proven; the whole value is judged at its end.
        return before if before is not None else create_flexible_model(output_cls)()


@contextmanager
def programs_errors(output_cls: type[BaseModel]) -> Iterator[None]:
    """Turn the errors of LlamaIndex's programs, `ValueError`s that its engines swallow, into ours."""
    with collect_receipts() as receipts:
        try:
            yield
        except (ValueError, TypeError) as exc:
            error = MalformedReplyError(
                f"LlamaIndex's program made no {output_cls.__name__}; the {type(exc).__name__} that is the cause of "
                "this error says why."
            )
            error.receipt = receipts[-1] if receipts else None
            raise error from exc


@contextmanager
def unknown_tool_errors() -> Iterator[None]:
    """Turn the bare `KeyError` of `predict_and_call`, where the model calls a tool that was not offered, into ours."""
    with collect_receipts() as receipts:
        try:
            yield
        except KeyError as exc:
            error = ToolChoiceNotHonoredError(
                f"The model called a tool that was not offered: {exc.args[0]!r:.80}. No tool was run. The answer was "
                "verified and paid, and its receipt is attached to this error; ask again, or leave it to an agent, "
                "which tells the model."
            )
            error.receipt = receipts[-1] if receipts else None
            raise error from exc


def whole_at_last(stream: Iterator[Any], output_cls: type[BaseModel]) -> Generator[Any, None, None]:
    """Yield what LlamaIndex's programs make of a stream. Raises `MalformedReplyError` if it ends incomplete."""
    made: object = None
    for made in stream:
        yield made
    _refuse_part(made, output_cls)


async def whole_at_last_async(stream: AsyncIterator[Any], output_cls: type[BaseModel]) -> AsyncGenerator[Any, None]:
    """Do what `whole_at_last` does."""
    made: object = None
    async for made in stream:
        yield made
    _refuse_part(made, output_cls)


def _refuse_part(made: object, output_cls: type[BaseModel]) -> None:
    if not all(isinstance(item, output_cls) for item in (made if isinstance(made, list) else [made])):
        raise _not_one(output_cls, "incomplete")


def _not_one(output_cls: type[BaseModel], problem: str) -> MalformedReplyError:
    return MalformedReplyError(
        f"The answer is verified but is no {output_cls.__name__} ({problem}). The model did not keep to the schema, or "
        "max_tokens cut it off; try more of them, another model or another pydantic_program_mode."
    )


def _problem(exc: ValueError | TypeError) -> str:
    if isinstance(exc, TypeError):
        return "a validator raised the TypeError that is the cause of this error"
    if not isinstance(exc, ValidationError):
        return "not JSON"
    found = exc.errors(include_input=False, include_url=False)[:5]
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'answer'}: {item['msg']}" for item in found)

"""
One question to a model, which may take a second call.

Models of Anthropic and Google take no schema beside tools, so the schema is sent as one more tool
(`protocol.chat._translation`), and nothing makes a model call it. A model that answers in text instead is asked once
more, with the same history and schema and without the tools: then its provider enforces the schema. The second call is
one of its own: it is paid within the same limits, and leaves a receipt of its own.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from og_integrations.models import model_info
from og_integrations.protocol._strict_json import JsonObject, decode_answer
from og_integrations.protocol.chat._wire import Usage

if TYPE_CHECKING:
    from og_integrations.chat._model import OpenGradientModel
    from og_integrations.client import Answer, AsyncStream, ChatOptions
    from og_integrations.client._call import Piece

    Pieces = Generator[Piece, None, None]
    AsyncPieces = AsyncStream | AsyncGenerator[Piece, None]

EARLIER_KEY = "opengradient_earlier"
"""Where the receipts of the calls before the last one stand, beside that one's, if there were any."""
_WITHOUT = ("tools", "tool_choice", "parallel_tool_calls")


def ask(model: "OpenGradientModel", name: str, messages: Sequence[JsonObject], options: "ChatOptions") -> "Answer":
    """Ask the model `name` with the wallet of `model` and return its answer. Raises `OpenGradientError`."""
    client = model.clients.sync
    answer = client.chat(name, messages, **options)
    again = _second_options(model, name, options)
    if again is None or _is_formed(answer, again):
        return answer
    return _joined(answer, client.chat(name, messages, **again))


async def aask(
    model: "OpenGradientModel", name: str, messages: Sequence[JsonObject], options: "ChatOptions"
) -> "Answer":
    """Ask like `ask`."""
    client = model.clients.asynchronous
    answer = await client.chat(name, messages, **options)
    again = _second_options(model, name, options)
    if again is None or _is_formed(answer, again):
        return answer
    return _joined(answer, await client.chat(name, messages, **again))


def stream(model: "OpenGradientModel", name: str, messages: Sequence[JsonObject], options: "ChatOptions") -> "Pieces":
    """Ask like `ask`, and yield the pieces of the answer; what is wrong with the request is raised at once."""
    client = model.clients.sync
    pieces = client.stream(name, messages, **options)
    again = _second_options(model, name, options)
    if again is None:
        return pieces
    return _formed(pieces, lambda: client.stream(name, messages, **again), again)


def astream(
    model: "OpenGradientModel", name: str, messages: Sequence[JsonObject], options: "ChatOptions"
) -> "AsyncPieces":
    """Ask like `stream`."""
    client = model.clients.asynchronous
    pieces = client.stream(name, messages, **options)
    again = _second_options(model, name, options)
    if again is None:
        return pieces
    return _aformed(pieces, lambda: client.stream(name, messages, **again), again)


def _second_options(model: "OpenGradientModel", name: str, options: "ChatOptions") -> "ChatOptions | None":
    """Return the options of a second call, None if there is none, whatever the first one answers."""
    wanted = (options.get("response_format") or {}).get("type")
    if not model.ask_again or not options.get("tools") or wanted != "json_schema" or model_info(name).tools_with_schema:
        return None
    return cast("ChatOptions", {key: value for key, value in options.items() if key not in _WITHOUT})


def _is_formed(answer: "Answer", wanted: "ChatOptions") -> bool:
    """Return whether `answer` calls tools, or is an object with what the schema requires."""
    if answer.tool_calls:
        return True
    try:
        value = decode_answer(answer.text)
    except ValueError:
        return False
    schema = ((wanted["response_format"] or {}).get("json_schema") or {}).get("schema") or {}
    return isinstance(value, dict) and set(schema.get("required") or ()) <= value.keys()


def _joined(first: "Answer", second: "Answer") -> "Answer":
    """Return `second`, which took both calls."""
    usage = second.usage
    if usage is not None and first.usage is not None:
        usage = Usage(
            usage.prompt_tokens + first.usage.prompt_tokens,
            usage.completion_tokens + first.usage.completion_tokens,
            usage.total_tokens + first.usage.total_tokens,
        )
    return replace(second, usage=usage, earlier=(*first.earlier, first.receipt))


def _formed(pieces: "Pieces", ask_again: "Callable[[], Pieces]", wanted: "ChatOptions") -> "Pieces":
    with closing(pieces):
        held = list(pieces)  # its text may be no answer, and is held by the client as well until its proof
    first = cast("Answer", held[-1])
    if _is_formed(first, wanted):
        yield from held
        return
    with closing(ask_again()) as more:
        for piece in more:
            yield piece if isinstance(piece, str) else _joined(first, piece)


async def _aformed(
    pieces: "AsyncStream", ask_again: "Callable[[], AsyncStream]", wanted: "ChatOptions"
) -> "AsyncGenerator[Piece, None]":
    async with aclosing(pieces):
        held = [piece async for piece in pieces]
    first = cast("Answer", held[-1])
    if _is_formed(first, wanted):
        for piece in held:
            yield piece
        return
    async with aclosing(ask_again()) as more:
        async for piece in more:
            yield piece if isinstance(piece, str) else _joined(first, piece)

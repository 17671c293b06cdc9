"""One wish, asked of one of our clients: as a whole answer, or as OpenAI's server-sent events."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from secrets import token_hex
from typing import TYPE_CHECKING

from og_integrations.client._call import now
from og_integrations.errors import OpenGradientError
from og_integrations.openai._translation import Chunks

if TYPE_CHECKING:
    from og_integrations.client import Answer, AsyncClient, Client
    from og_integrations.openai._translation import Wish

Failed = Callable[[OpenGradientError], None]
"""Is told of a failure after the first event; before it, the error is raised."""
Ended = Callable[["Answer | OpenGradientError"], None]
"""Is told of the verified answer, too."""


def answer_of(client: "Client", wish: "Wish") -> "Answer":
    """Return the verified answer to `wish`. Raises `OpenGradientError`."""
    if wish.prompt is not None:
        return client.complete(wish.model, wish.prompt, **wish.call_options)
    return client.chat(wish.model, wish.messages, **wish.options)


async def aanswer_of(client: "AsyncClient", wish: "Wish") -> "Answer":
    """Return the verified answer to `wish`. Raises `OpenGradientError`."""
    if wish.prompt is not None:
        return await client.complete(wish.model, wish.prompt, **wish.call_options)
    return await client.chat(wish.model, wish.messages, **wish.options)


def events_of(client: "Client", wish: "Wish", failed: Failed) -> Generator[bytes, None, None]:
    """
    Return the events of the answer to `wish`, once the first piece of it is there.

    Raises `OpenGradientError` until then, since a failure still has a status of its own; later ones are told to
    `failed` and become the last event. Closing the generator ends the call.
    """
    pieces = _pieces(client, wish)
    first = next(pieces)
    return _events(_chunks(wish), first, pieces, failed)


async def aevents_of(client: "AsyncClient", wish: "Wish", ended: Ended) -> AsyncGenerator[bytes, None]:
    """Return what `events_of` returns, for an asynchronous client; `ended` is told of the answer or its failure."""
    pieces = _apieces(client, wish)
    first = await anext(pieces)
    return _aevents(_chunks(wish), first, pieces, ended)


def _chunks(wish: "Wish") -> Chunks:
    return Chunks(wish, call_id=f"og-{token_hex(12)}", created=now())


def _pieces(client: "Client", wish: "Wish") -> Generator["str | Answer", None, None]:
    if wish.prompt is not None:
        answer = answer_of(client, wish)
        yield answer.text
        yield answer
        return
    with closing(client.stream(wish.model, wish.messages, **wish.options)) as pieces:
        yield from pieces


async def _apieces(client: "AsyncClient", wish: "Wish") -> AsyncGenerator["str | Answer", None]:
    if wish.prompt is not None:
        answer = await aanswer_of(client, wish)
        yield answer.text
        yield answer
        return
    async with aclosing(client.stream(wish.model, wish.messages, **wish.options)) as pieces:
        async for piece in pieces:
            yield piece


def _events(
    chunks: Chunks, first: "str | Answer", rest: Generator["str | Answer", None, None], failed: Failed
) -> Generator[bytes, None, None]:
    with closing(rest):
        try:
            yield from chunks.of(first)
            for piece in rest:
                yield from chunks.of(piece)
        except OpenGradientError as exc:
            failed(exc)
            yield chunks.failed(exc)


async def _aevents(
    chunks: Chunks, first: "str | Answer", rest: AsyncGenerator["str | Answer", None], ended: Ended
) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        piece = first
        try:
            for event in chunks.of(first):
                yield event
            async for piece in rest:
                for event in chunks.of(piece):
                    yield event
        except OpenGradientError as exc:
            ended(exc)
            yield chunks.failed(exc)
        else:
            if not isinstance(piece, str):
                ended(piece)

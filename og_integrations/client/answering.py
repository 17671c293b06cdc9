"""
One call from its beginning to its answer, as generators of effects: the two clients only drive them.
"""

from collections.abc import Generator
from typing import Any

from og_integrations.client.call import Answer, Call, Progress, check_size
from og_integrations.client.engine import Engine
from og_integrations.client.recording import recorded
from og_integrations.client.stream import StreamReader
from og_integrations.errors import ConnectionLostError, OpenGradientError
from og_integrations.protocol.effects import RECEIVE

Piece = str | Answer
"""What a stream shows: text as it comes, and last the verified answer."""
PIECES = (str, Answer)


def whole(engine: Engine, call: Call) -> Generator[Any, Any, Answer]:
    """Make `call` and return its verified answer."""
    progress = engine.start(call)
    with recorded(progress, engine.directory):
        yield from engine.open(progress)
        return engine.conclude_body(progress, (yield from _body(progress)))


def streamed(engine: Engine, call: Call) -> Generator[Any, Any, None]:
    """Make `call` and yield, between effects, each `Piece` of its answer."""
    progress = engine.start(call)
    with recorded(progress, engine.directory):
        head = yield from engine.open(progress)
        if head.status != 200:
            engine.conclude_body(progress, (yield from _body(progress)))
        reader = StreamReader(engine, progress)
        try:
            while (data := (yield RECEIVE)) is not None:
                yield from reader.feed(data)
            rest, answer = reader.finish()
        except OpenGradientError as exc:
            raise reader.failed(exc) from exc
    if rest:
        yield rest
    yield answer


def _body(progress: Progress) -> Generator[Any, Any, bytes]:
    body = bytearray()
    try:
        while (data := (yield RECEIVE)) is not None:
            body += data
            check_size(body)
    except ConnectionLostError as exc:
        raise progress.lost(exc) from exc
    return bytes(body)

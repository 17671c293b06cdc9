"""
Answers of a hostile peer, through a pool of our own: heads, chunks, splits between any two bytes, cancellations.

A pool is driven by hand, without a loop or a socket, so that a cancellation can strike at every await and a case takes
less than a millisecond. What has to hold: only our own errors come out; how the bytes were split changes nothing; what
is taken for whole, h11 takes for the same body; and every connection and place comes back, or is closed.
"""

import asyncio
import random
import types
from collections.abc import Coroutine, Generator
from typing import Any, NamedTuple

import h11

from og_integrations.client.channels._addresses import Address
from og_integrations.client.channels._channel import UNPINNED, HttpRequest
from og_integrations.client.channels._http1 import Phase
from og_integrations.client.channels._pool import AsyncPool
from og_integrations.client.channels._streams import AsyncStream, Progress
from og_integrations.errors import ConnectionLostError
from tests.fuzz.mutation import mutated

PLACES = 2
REQUEST = HttpRequest(url="http://peer.example/v1", whom="It", headers={"A": "b"}, body=b"{}", timeout=60)
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ANSWERS = [
    _OK + b'Content-Length: 11\r\n\r\n{"a": true}',
    _OK + b"Content-Length: 0\r\n\r\n",
    _OK + b'Transfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n0c;x="y"\r\n: something\n\r\n0\r\n\r\n',
    _OK + b"Transfer-Encoding: Chunked\r\nX: y\r\n\r\n1\r\na\r\nA\r\n0123456789\r\n0\r\nX-Trailer: b\r\n\r\n",
    _OK + b"Connection: close\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\nof an older version",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    + _OK
    + b"Content-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 402 Payment Required\r\nPAYMENT-REQUIRED: e30=\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
    _OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    _OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    _OK + b"X-Folded: a\r\n b\r\nContent-Length: 1\r\n\r\na",
    _OK + b"Content-Length: 2\r\n\r\n{}" + _OK + b"Content-Length: 3\r\n\r\n{ }",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
]
_LINES = (
    b"Content-Length: 3\r\n", b"Content-Length: +3\r\n", b"Content-Length : 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n", b" folded\r\n", b"\tfolded\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive, Close\r\n", b"\r\n", b"\n", b"0\r\n\r\n", b"0\r\n",
    b"3\r\nabc\r\n", b"3\r\nabcd\r\n", b"-1\r\n", b"0x3\r\nabc\r\n", b"3;" + b"e" * 5000 + b"\r\nabc\r\n",
    b"fffffffffffffffff\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"\0", b"\r",
)  # fmt: skip


def damaged(answer: bytes, rng: random.Random) -> bytes:
    """Return `answer` with bytes or whole lines damaged, doubled or moved; now and then as it is."""
    how = rng.random()
    if how < 0.1:
        return answer
    if how < 0.5:
        return mutated(answer, rng)
    lines = answer.splitlines(keepends=True)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines) + 1)
        lines[at:at] = [rng.choice(_LINES) if rng.random() < 0.7 else rng.choice(lines or [b""])]
        if rng.random() < 0.3:
            del lines[rng.randrange(len(lines))]
    return b"".join(lines)


class _Outcome(NamedTuple):
    """What came of an exchange; `again` says whether its connection would carry another one."""

    status: int
    body: bytes
    again: bool


@types.coroutine
def _await() -> Generator[None, None, None]:
    yield


class _Scripted(AsyncStream):
    """A peer that sends `pieces` one after the other, and then ends the connection."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.closed = False

    async def send(self, data: bytes, progress: Progress) -> None:
        await _await()
        progress.phase = Phase.PART
        await _await()
        progress.phase = Phase.SENT

    async def receive(self, until: float) -> bytes:
        await _await()
        return self.pieces.pop(0) if self.pieces else b""

    def is_quiet(self) -> bool:
        return not self.pieces and not self.closed

    def close(self) -> None:
        self.closed = True


class _ScriptedPool(AsyncPool):
    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(UNPINNED, PLACES)
        self.stream = _Scripted(pieces)

    async def _connected(self, to: Address, progress: Progress) -> AsyncStream:
        await _await()
        self.kept.open.add(self.stream)
        return self.stream


async def _carried(pool: _ScriptedPool) -> _Outcome | None:
    """Make one exchange; None if it broke."""
    body = bytearray()
    try:
        reply = await pool.send(REQUEST)
        try:
            while (piece := await reply.read()) is not None:
                assert piece
                body += piece
        finally:
            await reply.aclose()
    except ConnectionLostError:
        return None
    return _Outcome(reply.status, bytes(body), bool(pool.kept.idle) and pool.stream.is_quiet())


def _driven(run: Coroutine[Any, Any, _Outcome | None], strike: int | None = None) -> _Outcome | None:
    """Run to the end; with `strike`, cancel at the await of that number. Returns None then, or if it broke."""
    awaits = 0
    try:
        while True:
            if awaits == strike:
                run.throw(asyncio.CancelledError())
            run.send(None)
            awaits += 1
    except StopIteration as end:
        found: _Outcome | None = end.value
        return found
    except asyncio.CancelledError:
        return None


def _check_books(pool: _ScriptedPool) -> None:
    idle = {stream for waiting in pool.kept.idle.values() for _, stream in waiting}
    assert pool.kept.open == idle, "a connection was lost"
    assert pool.gate.is_empty, "a place was lost"
    assert pool.stream.closed != bool(idle) or not (idle or pool.stream.closed)


def _pieces(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(1, len(data)) for _ in range(rng.choice((1, 2, 8)))) if len(data) > 1 else []
    ends = [*dict.fromkeys(cuts), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


def carry(data: bytes) -> None:
    """Check all that has to hold of the answer `data`."""
    rng = random.Random(data)
    whole, split = _ScriptedPool([data] if data else []), _ScriptedPool(_pieces(data, rng))
    outcome = _driven(_carried(whole))
    assert _driven(_carried(split)) == outcome, "how the bytes were split decides"
    given_up = _ScriptedPool(_pieces(data, rng))
    _driven(_carried(given_up), strike=rng.randrange(12))
    for pool in (whole, split, given_up):
        _check_books(pool)
    if outcome is not None:
        assert outcome.body == _by_h11(data), "h11 reads another body"


def _by_h11(data: bytes) -> bytes:
    """Return the body of the first answer in `data`. Raises `h11.RemoteProtocolError`."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    reader.receive_data(b"")
    body = bytearray()
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            body += event.data
    return bytes(body)

"""
A small HTTP/1.1 server serves the devnet: one event loop in a thread of its own, any handler, with or without TLS.

h11 has the grammar, asyncio streams carry the bytes. Handlers see a `Request` and return a `Reply`, both apart from
any socket; a fault may replace the bytes of a reply on their way out.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from typing import NamedTuple, NoReturn, Protocol, TypeVar

import h11


@dataclass(slots=True)
class Peer:
    """Who is at the other end of a connection. `left_at` is when it closed, on a clock that only goes forward."""

    left_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """This is one HTTP request, whole. Header names are in lower case, in the order of arrival."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    connection: int = 0
    peer: Peer = field(default_factory=Peer)
    impostor: bool = False
    """Whether it came over a channel that showed a wrong certificate (fault `wrong_certificate`)."""
    relayed: bool = False
    """Whether the devnet's relay brought it."""

    def header(self, name: str) -> str | None:
        """Return the first value of `name`, as WSGI servers hand it on, or None."""
        return next((value for key, value in self.headers if key == name.lower()), None)


class PieceKind(Enum):
    """What a piece of a reply on the wire is: faults cut or stall at these borders."""

    HEAD = "head"
    BODY = "body"
    END = "end"


class Piece(NamedTuple):
    """
    Bytes of a reply, as they go onto the wire (chunk sizes included).

    A `broken` head is one that nobody has to understand: no answer has begun with it.
    """

    kind: PieceKind
    data: bytes
    broken: bool = False


class Channel(Protocol):
    """
    What a fault may do to the connection, besides sending other bytes.

    Each way ends the reply by raising `HungUpError`.
    """

    async def stall(self) -> NoReturn:
        """Send nothing more, until the peer gives up or the devnet closes."""
        ...

    async def close(self) -> NoReturn:
        """Close as a server that is done: with close_notify, but without an end of the body."""
        ...

    def send_below(self, data: bytes) -> None:
        """Send bytes below TLS, as whoever sits in between can do without a key."""
        ...

    def hang_up(self) -> NoReturn:
        """Close the TCP connection without TLS close_notify and without an end of the body."""
        ...

    def reset(self) -> NoReturn:
        """Close the TCP connection with RST: the peer may lose bytes that were already sent."""
        ...


class HungUpError(Exception):
    """Raised by a fault that has closed the channel: nothing more can be sent."""


Pieces = AsyncGenerator[Piece, None]
WireFault = Callable[[Pieces, Channel], Pieces]
"""Takes the honest pieces of a reply and yields what really goes out."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """
    What a handler answers. `headers` may hold a name twice, and go out in that order.

    A body of bytes is sent with Content-Length, or as one chunk if `chunked`; a generator is sent
    as chunks, one per item, and no header leaves before its first item is there (docs/protocol.md §5).
    `on_begin` is told that its head goes out to a peer that is there, `on_end` whether all of it went out.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncGenerator[bytes, None] = b""
    chunked: bool = False
    wire: WireFault | None = None
    on_begin: Callable[[], None] | None = None
    on_end: Callable[[bool], None] | None = None


_T = TypeVar("_T")


class BackgroundLoop:
    """
    Runs `opened` when the thread's loop starts and `closed` before it ends.

    `call` runs a function *on* the loop and waits for its result: state that only the loop touches
    needs no locks.
    """

    def __init__(self, opened: Callable[[], Awaitable[None]], closed: Callable[[], Awaitable[None]]) -> None:
        self._opened = opened
        self._closed = closed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread and return when `opened` is done. Raises `RuntimeError` if it failed."""
        started: concurrent.futures.Future[bool] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._live(started),), name="opengradient-devnet", daemon=True
        )
        self._thread.start()
        if not started.result():
            self._thread.join()
            raise RuntimeError("The devnet's servers could not be started; the thread printed the reason.")

    def stop(self) -> None:
        """Run `closed`, end the loop and join the thread. Does nothing if it is not running."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = self._loop = self._stop = None

    def call(self, function: Callable[[], _T]) -> _T:
        """Return what `function` returns, run on the loop; directly if the loop is not running."""
        if self._loop is None or threading.current_thread() is self._thread:
            return function()
        return asyncio.run_coroutine_threadsafe(_as_coroutine(function), self._loop).result()

    def run(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run `work` on the loop until it is done. Does nothing if the loop is not running."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    async def _live(self, started: "concurrent.futures.Future[bool]") -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            await self._opened()
            started.set_result(True)
        finally:
            if not started.done():
                started.set_result(False)
        await self._stop.wait()
        await self._closed()


async def _as_coroutine(function: Callable[[], _T]) -> _T:
    return function()


MAX_REQUEST_BYTES = 64 * 1024 * 1024
_READ_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 256 * 1024
_REASONS = {
    200: "OK",
    307: "Temporary Redirect",
    400: "BAD REQUEST",
    401: "UNAUTHORIZED",
    402: "Payment Required",
    404: "NOT FOUND",
    405: "METHOD NOT ALLOWED",
    409: "CONFLICT",
    413: "REQUEST ENTITY TOO LARGE",
    415: "UNSUPPORTED MEDIA TYPE",
    500: "INTERNAL SERVER ERROR",
    502: "BAD GATEWAY",
    503: "SERVICE UNAVAILABLE",
}
"""Reason phrases in the capitals of the real gateway: only the 402 comes from its payment layer."""


class Connection:
    """Reads requests and writes replies; also the `Channel` on which faults act."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._peer = Peer()
        self._gone = asyncio.Event()
        self._asked_for_head = False

    async def next_request(self) -> Request | None:
        """Return the next request, None when the peer is done. Raises `h11.RemoteProtocolError`."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                self._http.receive_data(await self._reader.read(_READ_BYTES))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_REQUEST_BYTES:
                    raise h11.RemoteProtocolError("request too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._request(head, bytes(body))
            else:
                return None

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Note at once if the peer leaves while it is answered inside; what it pipelines is kept."""
        watch = asyncio.create_task(self._read_on())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _read_on(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(_READ_BYTES):
                self._http.receive_data(data)
        self._peer.left_at = time.monotonic()
        self._gone.set()

    def _request(self, head: h11.Request, body: bytes) -> Request:
        self._asked_for_head = head.method == b"HEAD"
        path, _, query = head.target.decode("ascii").partition("?")
        return Request(
            method=head.method.decode("ascii"),
            path=path,
            query=query,
            headers=tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers),
            body=body,
            connection=self.number,
            peer=self._peer,
        )

    async def send(self, reply: Reply) -> bool:
        """
        Write `reply`; return whether the connection can be used again.

        Raises `HungUpError` if a fault closed it, `ConnectionError` if the peer did.
        """
        if reply.wire is None and isinstance(reply.body, bytes):
            # The peer may act on the last byte at once, so what is counted comes first.
            self._begin(reply)
            self._end(reply, finished=True)
            await self._write(b"".join([piece.data async for piece in self._pieces(reply)]))
        else:
            await self._send_pieces(reply)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    async def _send_pieces(self, reply: Reply) -> None:
        honest = self._pieces(reply)
        sent = honest if reply.wire is None else reply.wire(honest, self)
        finished = False
        try:
            async with contextlib.aclosing(honest), contextlib.aclosing(sent):
                async for piece in sent:
                    if piece.kind is PieceKind.HEAD and not piece.broken:
                        self._begin(reply)
                    if piece.kind is PieceKind.END:
                        self._end(reply, finished=True)
                        finished = True
                    await self._write(piece.data)
        finally:
            if not finished:
                self._end(reply, finished=False)

    def refuse(self, status: int) -> bytes:
        """Return the bytes that answer a request which is not HTTP; the connection ends then."""
        if self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return b""
        headers = [("Connection", "close"), ("Content-Length", "0")]
        return self._encode(h11.Response(status_code=status, headers=headers)) + self._encode(h11.EndOfMessage())

    async def _pieces(self, reply: Reply) -> Pieces:
        if isinstance(reply.body, bytes):
            yield Piece(PieceKind.HEAD, self._head(reply, None if reply.chunked else len(reply.body)))
            if reply.body and not self._asked_for_head:
                yield Piece(PieceKind.BODY, self._encode(h11.Data(data=reply.body)))
        else:
            async with contextlib.aclosing(reply.body) as chunks:
                started = False
                async for chunk in chunks:
                    if not started:
                        yield Piece(PieceKind.HEAD, self._head(reply, None))
                        started = True
                    yield Piece(PieceKind.BODY, self._encode(h11.Data(data=chunk)))
                if not started:
                    yield Piece(PieceKind.HEAD, self._head(reply, None))
        yield Piece(PieceKind.END, self._encode(h11.EndOfMessage()))

    def _head(self, reply: Reply, length: int | None) -> bytes:
        # h11 adds Transfer-Encoding where no length is given.
        lengths = [] if length is None else [("Content-Length", str(length))]
        headers = [
            ("Server", "gunicorn"),
            ("Date", formatdate(usegmt=True)),
            ("Connection", "keep-alive"),
            *reply.headers[:1],
            *lengths,
            *reply.headers[1:],
        ]
        reason = _REASONS.get(reply.status, "")
        # Bytes, because h11 takes text in ASCII only, and a fault may put anything into a header.
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        return self._encode(h11.Response(status_code=reply.status, headers=encoded, reason=reason))

    def _encode(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        return self._http.send(event) or b""

    def _begin(self, reply: Reply) -> None:
        if reply.on_begin is not None and self._peer.left_at is None:
            reply.on_begin()

    def _end(self, reply: Reply, *, finished: bool) -> None:
        if reply.on_end is not None:
            reply.on_end(finished and self._peer.left_at is None)

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            await self._writer.drain()
            # `drain` returns at once while the buffer has room, and over TLS it does not see that the
            # peer has gone; only the loop tells, and it must have its turn.
            await asyncio.sleep(0)

    async def stall(self) -> NoReturn:
        """Send nothing more; end when the peer has gone."""
        await self._gone.wait()
        self.hang_up()

    async def close(self) -> NoReturn:
        """Close with close_notify, but without an end of the body."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        raise HungUpError

    def send_below(self, data: bytes) -> None:
        """Send bytes below TLS: what was written before has left, since each piece is drained."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                os.write(sock.fileno(), data)

    def hang_up(self) -> NoReturn:
        """Close without close_notify and without an end of the body."""
        self._writer.transport.abort()
        raise HungUpError

    def reset(self) -> NoReturn:
        """Close with RST."""
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise HungUpError


Handler = Callable[[Request], Awaitable[Reply]]
LOOPBACK = "127.0.0.1"
_HANDSHAKE_SECONDS = 10.0
_SHUTDOWN_SECONDS = 1.0


def listen(*ports: int, host: str = LOOPBACK) -> list[socket.socket]:
    """Return a socket per port, listening on `host` (port 0: any free one). Raises `OSError`."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server((host, port), backlog=512)) for port in ports]
        for sock in sockets:
            # asyncio does not do it for a socket that it was given, and then every answer waits 40 ms
            # for an ACK; accepted sockets inherit it.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.pop_all()
    return sockets


def url_of(sock: socket.socket, host: str = LOOPBACK) -> str:
    """Return where `sock` listens, without TLS, for those who reach it as `host`."""
    return f"http://{host}:{sock.getsockname()[1]}"


class HttpServer:
    """
    Serves one listening socket with one handler until `close`.

    `connections` counts accepted connections (with TLS: finished handshakes), `handshakes` the TLS
    handshakes begun, `requests` the requests read.
    """

    def __init__(
        self,
        handler: Handler,
        sock: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        impostor_tls: Callable[[], ssl.SSLContext | None] | None = None,
    ) -> None:
        self._handler = handler
        self._socket = sock
        self._tls = tls
        self._impostor_tls = impostor_tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.connections = 0
        self.handshakes = 0
        self.requests = 0

    async def start(self) -> None:
        """Begin to accept, in the running loop."""
        if self._tls is None:
            self._server = await asyncio.start_server(self._serve, sock=self._socket)
            return
        self._tls.sni_callback = self._on_client_hello
        self._server = await asyncio.start_server(
            self._serve,
            sock=self._socket,
            ssl=self._tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
        )

    async def close(self) -> None:
        """Stop accepting, cut every open connection, and wait until all are gone."""
        if self._server is not None:
            self._server.close()
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def release(self) -> None:
        """Close the listening socket, also if the server was never started."""
        self._socket.close()

    def _on_client_hello(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        self.handshakes += 1
        impostor = None if self._impostor_tls is None else self._impostor_tls()
        if impostor is not None:
            tls.context = impostor

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        connection = Connection(reader, writer, self.connections)
        tls = writer.get_extra_info("ssl_object")
        impostor = tls is not None and tls.context is not self._tls
        try:
            await self._converse(connection, writer, impostor=impostor)
            writer.close()
            # A peer that never answers our close_notify must not keep the connection alive.
            async with asyncio.timeout(_SHUTDOWN_SECONDS):
                await writer.wait_closed()
        except (OSError, HungUpError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # Only `stop` cancels, and is done with it. asyncio's own callback on this task would print
            # a traceback for a task that ends as cancelled (Python 3.11).
            if not self._stopping:
                raise
        finally:
            writer.transport.abort()

    async def _converse(self, connection: Connection, writer: asyncio.StreamWriter, *, impostor: bool) -> None:
        try:
            while (request := await connection.next_request()) is not None:
                self.requests += 1
                async with connection.watched():
                    reply = await self._handler(dataclasses.replace(request, impostor=impostor))
                    reusable = await connection.send(reply)
                if not reusable:
                    return
        except h11.RemoteProtocolError as exc:
            with contextlib.suppress(h11.LocalProtocolError):
                writer.write(connection.refuse(exc.error_status_hint))
                await writer.drain()

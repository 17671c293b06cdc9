"""
This module moves bytes to and from one peer, for the connections of a `Pool`.

They take the place of httpcore's own, which lose three things that money depends on: asynchronous reads let errors of
TLS out untranslated, a connect that is cancelled midway leaves its transport open, and no wait ends at a deadline of
the whole exchange, so that a peer can keep a call for ever with one header line each second.

TLS goes through memory (`SSLContext.wrap_bio`), neither through `ssl.SSLSocket` nor asyncio's: gevent and others
replace the first, truststore makes the second refuse our contexts, and what is compared inside the handshake is ours.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

from og_integrations.protocol._redact import empty_frames

T = TypeVar("T")
_MOST_BUFFERED = 256 * 1024
_TLS_READ = 64 * 1024
_until: ContextVar[float | None] = ContextVar("og_integrations_exchange", default=None)
"""When the exchange under way in this context is given up, by the monotonic clock."""


class exchange:  # noqa: N801 - used as a function is; a generator would cost a microsecond for each piece of a stream
    """
    Inside this `with` a library carries an exchange: every wait ends at `until` (monotonic clock), whatever its own
    limit is, and the frames of what fails in it keep no variable (`emptied_frames`): they hold what pays in clear.
    """

    __slots__ = ("_handled", "_token", "_until")

    def __init__(self, until: float | None) -> None:
        self._until = until

    def __enter__(self) -> None:
        self._token = _until.set(self._until)
        self._handled = sys.exception()

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        _until.reset(self._token)
        if exc is not None:
            empty_frames(exc, self._handled)


def under_way() -> bool:
    """Return whether this runs inside an exchange of ours: what libraries log then is about our request."""
    return _until.get() is not None


def _left(limit: float | None) -> float | None:
    """Return how many seconds may be waited now, at most `limit`. Raises `TimeoutError` if there are none."""
    until = _until.get()
    if until is None:
        return limit
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left if limit is None else min(limit, left)


class _Translated:
    """Inside this `with`, timeouts and failures of sockets and TLS are raised as the httpcore errors of these names."""

    __slots__ = ("_on_failure", "_on_timeout")

    def __init__(self, on_timeout: str, on_failure: str) -> None:
        self._on_timeout, self._on_failure = on_timeout, on_failure

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if isinstance(exc, OSError):
            import httpcore2

            name = self._on_timeout if isinstance(exc, TimeoutError) else self._on_failure
            raise getattr(httpcore2, name)(str(exc)) from exc


# Made once: each piece of a stream is read inside one of them.
_CONNECTING = _Translated("ConnectTimeout", "ConnectError")
_READING = _Translated("ReadTimeout", "ReadError")
_WRITING = _Translated("WriteTimeout", "WriteError")


class Backend:
    """Connects sockets that block, for `httpcore2.ConnectionPool`."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[object] | None = None,
    ) -> "Stream":
        """Return a connection to `host`."""
        with _CONNECTING:
            sock = socket.create_connection((host, port), _left(timeout))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Stream(sock)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Stream:
    """A connection over a socket that blocks, in clear or in TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "Stream":
        """Return this connection in TLS. Raises httpcore's `ConnectError` or `ConnectTimeout`."""
        try:
            with _CONNECTING:
                self._tls = ssl_context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
                until = _moment(_left(timeout))
                self._perform(self._tls.do_handshake, until)
        except BaseException:
            self._sock.close()
            raise
        return self

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, none at the end. Raises httpcore's `ReadError` or `ReadTimeout`."""
        with _READING:
            limit = _left(timeout)
            tls = self._tls
            if tls is None:
                self._sock.settimeout(limit)
                return self._sock.recv(max_bytes)
            try:
                return self._perform(lambda: tls.read(max_bytes), _moment(limit))
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                # An end without a goodbye is common; whether the answer is whole, its framing and signature say.
                return b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send `buffer`. Raises httpcore's `WriteError` or `WriteTimeout`."""
        with _WRITING:
            limit = _left(timeout)
            tls = self._tls
            if tls is None:
                self._sock.settimeout(limit)
                self._sock.sendall(buffer)
                return
            until, rest = _moment(limit), memoryview(buffer)
            while rest:
                part = rest
                rest = rest[self._perform(lambda part=part: tls.write(part), until) :]  # type: ignore[misc]

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def get_extra_info(self, info: str) -> object:
        """Return what httpcore asks for: `"ssl_object"`, `"socket"`, or `"is_readable"` while nothing is expected."""
        if info == "ssl_object":
            return self._tls
        if info == "is_readable":
            return self._is_readable()
        return self._sock if info == "socket" else None

    def _is_readable(self) -> bool:
        if self._incoming.pending or (self._tls is not None and self._tls.pending()):
            return True
        try:
            self._sock.settimeout(0)
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _perform(self, operation: Callable[[], T], until: float | None) -> T:
        """Run an operation of TLS until it is done, moving bytes between memory and socket; `until` is monotonic."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                self._flush(until)
                self._sock.settimeout(_seconds(until))
                if data := self._sock.recv(_TLS_READ):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                # What TLS says about it (an alert) is sent, if it can be.
                with contextlib.suppress(OSError):
                    self._flush(until)
                raise
            else:
                self._flush(until)
                return result

    def _flush(self, until: float | None) -> None:
        if self._outgoing.pending:
            self._sock.settimeout(_seconds(until))
            self._sock.sendall(self._outgoing.read())


def _moment(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _seconds(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class AsyncBackend:
    """Connects transports of the running asyncio loop, for `httpcore2.AsyncConnectionPool`."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[object] | None = None,
    ) -> "AsyncStream":
        """Return a connection to `host`."""
        buffer = _Buffer()
        loop = asyncio.get_running_loop()
        # uvloop, which uvicorn runs, tries a host's addresses in its own way and takes no such argument.
        races = isinstance(loop, asyncio.BaseEventLoop) and not _is_address(host)
        delay: dict[str, Any] = {"happy_eyeballs_delay": 0.25} if races else {}
        try:
            with _CONNECTING:
                async with asyncio.timeout(_left(timeout)):
                    await loop.create_connection(lambda: buffer, host, port, **delay)
        except BaseException:
            buffer.abort()
            raise
        return AsyncStream(buffer)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class _Buffer(asyncio.Protocol):
    """What came and was not read yet, and who waits for more."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.data = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._paused = False
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > _MOST_BUFFERED and not self._full and self.transport is not None:
            self._full = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        # The peer may still read: what it sent before is read first, and then the connection is closed by us.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self._paused = True, False
        self.error = self.error or exc
        self._wake()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def abort(self) -> None:
        """Close the connection at once, without awaiting: nothing can interrupt it."""
        if self.transport is not None:
            self.transport.abort()

    async def read(self, max_bytes: int, until: float | None) -> bytes:
        """Return what came, at most `max_bytes`; none at the end. Raises the `OSError` that ended it."""
        while not self.data and not self.ended:
            await self._wait(until)
        return self.take(max_bytes)

    async def send(self, data: bytes, until: float | None) -> None:
        """Send `data`, and return when the peer takes more. Raises `OSError` if the connection has ended."""
        if self.transport is None or self.transport.is_closing():
            raise self.error if isinstance(self.error, OSError) else ConnectionResetError("the connection has ended")
        self.transport.write(data)
        while self._paused:
            await self._wait(until)

    def take(self, max_bytes: int) -> bytes:
        """Return what came, at most `max_bytes`; none at the end. Raises the `OSError` that ended it."""
        if not self.data:
            if isinstance(self.error, OSError):
                raise self.error
            return b""
        taken = bytes(self.data[:max_bytes])
        del self.data[:max_bytes]
        if self._full and not self.data and self.transport is not None:
            self._full = False
            self.transport.resume_reading()
        return taken

    async def _wait(self, until: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        seconds = _seconds(until)
        timer = None if seconds is None else loop.call_later(seconds, self._wake)
        try:
            await waiting
        finally:
            if timer is not None:
                timer.cancel()
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class AsyncStream:
    """A connection over an asyncio transport, in clear or in TLS."""

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "AsyncStream":
        """Return this connection in TLS. Raises httpcore's `ConnectError` or `ConnectTimeout`."""
        try:
            with _CONNECTING:
                self._tls = ssl_context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
                await self._perform(self._tls.do_handshake, _moment(_left(timeout)))
        except BaseException:
            self._buffer.abort()
            raise
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, none at the end. Raises httpcore's `ReadError` or `ReadTimeout`."""
        with _READING:
            until = _moment(_left(timeout))
            tls = self._tls
            if tls is None:
                return await self._buffer.read(max_bytes, until)
            try:
                return await self._perform(lambda: tls.read(max_bytes), until)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send `buffer`. Raises httpcore's `WriteError` or `WriteTimeout`."""
        with _WRITING:
            until = _moment(_left(timeout))
            tls = self._tls
            if tls is None:
                await self._buffer.send(buffer, until)
                return
            rest = memoryview(buffer)
            while rest:
                part = rest
                rest = rest[await self._perform(lambda part=part: tls.write(part), until) :]  # type: ignore[misc]

    async def aclose(self) -> None:
        """Close the connection, without awaiting anything: a cancellation cannot strike inside."""
        self._buffer.abort()

    def get_extra_info(self, info: str) -> object:
        """Return what `Stream.get_extra_info` does."""
        if info == "ssl_object":
            return self._tls
        if info == "is_readable":
            unread = self._incoming.pending or (self._tls is not None and self._tls.pending())
            return bool(unread or self._buffer.data or self._buffer.ended)
        transport = self._buffer.transport
        return None if transport is None else transport.get_extra_info(info)

    async def _perform(self, operation: Callable[[], T], until: float | None) -> T:
        """Run an operation of TLS like `Stream._perform`."""
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._flush(until)
                if data := await self._buffer.read(_TLS_READ, until):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    await self._flush(until)
                raise
            else:
                await self._flush(until)
                return result

    async def _flush(self, until: float | None) -> None:
        if self._outgoing.pending:
            await self._buffer.send(self._outgoing.read(), until)

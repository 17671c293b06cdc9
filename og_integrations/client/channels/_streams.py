"""
This module moves bytes to and from one peer: over sockets that block, and over transports of asyncio.

Four promises stand on it. Every failure of sockets and TLS is an `OSError`. How much of a request has left is known: a
phase is noted with each byte that the system takes. A connect that is cancelled midway leaves nothing open. Every wait
ends at a deadline of its caller's, so that no peer keeps a call for ever with a byte now and then.

TLS goes through memory (`SSLContext.wrap_bio`), neither through `ssl.SSLSocket` nor asyncio's: gevent and others
replace the first, truststore makes the second refuse our contexts, and what is compared inside the handshake is ours.
"""

import asyncio
import contextlib
import ipaddress
import select
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from og_integrations.client.channels._http1 import Phase
from og_integrations.client.channels._tls import of_handshake

_MOST_BUFFERED = 256 * 1024
_MOST_READ = 64 * 1024


@dataclass(slots=True, eq=False)
class Progress:
    """
    Progress is how far one exchange got (`phase`), and when it is given up.

    `wait` is the limit of each wait in seconds, `until` that of all of them by the monotonic clock.
    """

    wait: float
    until: float
    phase: Phase = Phase.NOTHING

    def moment(self, wait: float | None = None) -> float:
        """Return when a wait that begins now ends, by the monotonic clock; `wait` is in seconds, if not its own."""
        return min(time.monotonic() + (self.wait if wait is None else wait), self.until)


def _seconds(until: float) -> float:
    """Return how many seconds are left. Raises `TimeoutError` if there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _decrypted(tls: ssl.SSLObject, incoming: ssl.MemoryBIO) -> bytes | None:
    """Return what the peer has said, b"" at its end, None if there is nothing yet but what TLS needs (tickets)."""
    # Asked before each read: the error that says so takes longer than reading a head.
    if not (incoming.pending or tls.pending() or incoming.eof):
        return None
    try:
        return tls.read(_MOST_READ)
    except ssl.SSLWantReadError:
        return None
    except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
        # An end without a goodbye is common; whether the answer is whole, its framing and signature say.
        return b""


def _encrypted(tls: ssl.SSLObject, outgoing: ssl.MemoryBIO, data: bytes) -> bytes:
    """Return `data` in records of TLS; nothing of it has left then."""
    rest = memoryview(data)
    while rest:
        rest = rest[tls.write(rest) :]
    return outgoing.read()


@contextlib.contextmanager
def _shaking() -> Iterator[None]:
    """Have a peer that ends the connection in here, or says nothing, told from one that is not there."""
    try:
        yield
    except OSError as exc:
        raise of_handshake(exc) from exc


class Stream:
    """A stream is a connection over a socket that blocks, in TLS if `context` is given. Raises `OSError`."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, wait: float, until: float) -> None:
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        first = min(time.monotonic() + wait, until)
        self._sock = socket.create_connection((host, port), _seconds(first))
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
                with _shaking():
                    self._shake_hands(self._tls, min(time.monotonic() + wait, until))
        except BaseException:
            self._sock.close()
            raise

    def _shake_hands(self, tls: ssl.SSLObject, until: float) -> None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(until)
                self._fill(until)
            except ssl.SSLError:
                # What TLS says about it (an alert) is sent, if it can be.
                with contextlib.suppress(OSError):
                    self._flush(until)
                raise
            else:
                self._flush(until)
                return

    def send(self, data: bytes, progress: Progress) -> None:
        """Send `data`, and note in `progress` that something has left."""
        wire = data if self._tls is None else _encrypted(self._tls, self._outgoing, data)
        rest = memoryview(wire)
        while rest:
            self._sock.settimeout(_seconds(progress.moment()))
            rest = rest[self._sock.send(rest) :]
            progress.phase = Phase.PART

    def receive(self, until: float) -> bytes:
        """Return the next bytes, none at the end."""
        tls = self._tls
        if tls is None:
            self._sock.settimeout(_seconds(until))
            return self._sock.recv(_MOST_READ)
        while (data := _decrypted(tls, self._incoming)) is None:
            self._flush(until)
            self._fill(until)
        return data

    def is_quiet(self) -> bool:
        """Return whether the peer is still there, and has sent nothing since its last answer but what TLS needs."""
        tls = self._tls
        try:
            while tls is None or _decrypted(tls, self._incoming) is None:
                if not _is_readable(self._sock):
                    return True
                # The socket may wait for its deadline, but not here: there is something to read.
                if tls is None or not (data := self._sock.recv(_MOST_READ)):
                    return False
                self._incoming.write(data)
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _fill(self, until: float) -> None:
        self._sock.settimeout(_seconds(until))
        if data := self._sock.recv(_MOST_READ):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self, until: float) -> None:
        if self._outgoing.pending:
            self._sock.settimeout(_seconds(until))
            self._sock.sendall(self._outgoing.read())


async def connected(host: str, port: int, context: ssl.SSLContext | None, wait: float, until: float) -> "AsyncStream":
    """
    Return a connection on the running asyncio loop, in TLS if `context` is given. Raises `OSError`.

    `wait` is the limit of connecting and of the handshake in seconds, `until` that of both by the monotonic clock.
    """
    stream = AsyncStream(host, context)
    loop = asyncio.get_running_loop()
    # uvloop, which uvicorn runs, tries a host's addresses in its own way and takes no such argument.
    races = isinstance(loop, asyncio.BaseEventLoop) and not _is_address(host)
    delay: dict[str, Any] = {"happy_eyeballs_delay": 0.25} if races else {}
    try:
        async with asyncio.timeout(_seconds(min(time.monotonic() + wait, until))):
            await loop.create_connection(lambda: stream, host, port, **delay)
        with _shaking():
            await stream.shake_hands(min(time.monotonic() + wait, until))
    except BaseException:
        stream.close()
        raise
    return stream


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class AsyncStream(asyncio.Protocol):
    """An asynchronous stream is a `Stream` over a transport of one loop; `connected` makes it."""

    def __init__(self, host: str, context: ssl.SSLContext | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = None if context is None else context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._ended = False
        self._error: OSError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._paused = False
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A selector's transport, uvloop's too, reads and writes; the base class of the argument says neither.
        self._transport = cast("asyncio.Transport", transport)
        # With these limits the system has taken everything whenever writing is not paused.
        self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self._data += data
        else:
            self._incoming.write(data)
        if len(self._data) + self._incoming.pending > _MOST_BUFFERED and not self._full and self._transport is not None:
            self._full = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        # The peer may still read: what it sent before is read first, and then the connection is closed by us.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._paused = True, False
        if isinstance(exc, OSError):
            self._error = self._error or exc
        self._wake()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    async def shake_hands(self, until: float) -> None:
        """Complete the handshake of TLS, if there is one. Raises `OSError`."""
        tls = self._tls
        while tls is not None:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                await self._fill(until)
            except ssl.SSLError:
                self._flush()
                raise
            else:
                self._flush()
                return

    async def send(self, data: bytes, progress: Progress) -> None:
        """Send `data`, and note in `progress` that something has left. Raises `OSError`."""
        transport = self._transport
        wire = data if self._tls is None else _encrypted(self._tls, self._outgoing, data)
        if transport is None or transport.is_closing():
            raise self._error or ConnectionResetError("the connection has ended")
        transport.write(wire)
        if transport.is_closing():
            # The system refused the very first byte; a transport that writes later is in doubt from here on.
            raise ConnectionResetError("the connection had ended")
        progress.phase = Phase.PART
        while self._paused:
            await self._wait(progress.moment())
        if transport.is_closing():
            raise self._error or ConnectionResetError("the connection ended")

    async def receive(self, until: float) -> bytes:
        """Return the next bytes, none at the end. Raises `OSError`."""
        tls = self._tls
        while True:
            if tls is not None:
                if (data := _decrypted(tls, self._incoming)) is not None:
                    return data
                self._flush()
            elif self._data:
                taken = bytes(self._data)
                self._data.clear()
                return taken
            elif self._ended and self._error is None:
                return b""
            await self._fill(until)

    def is_quiet(self) -> bool:
        """Return what `Stream.is_quiet` does."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._ended or self._data:
            return False
        try:
            if self._tls is not None and _decrypted(self._tls, self._incoming) is not None:
                return False
            # A loop that was busy has not looked at the socket yet: the peer may have closed it long ago.
            return not _is_readable(transport.get_extra_info("socket"))
        except OSError:
            return False

    def close(self) -> None:
        """Close the connection at once, without awaiting anything: no cancellation can strike inside."""
        if self._transport is not None:
            self._transport.abort()

    async def _fill(self, until: float) -> None:
        """Wait until there is something new to read. Raises the `OSError` that ended the connection."""
        if self._full and self._transport is not None:
            self._full = False
            self._transport.resume_reading()
        if not self._ended:
            await self._wait(until)
        elif self._error is not None:
            raise self._error
        else:
            self._incoming.write_eof()

    async def _wait(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = waiting = loop.create_future()
        timer = loop.call_later(_seconds(until), self._wake)
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())


def _is_readable(sock: Any) -> bool:
    """Return whether there is something to read, or an end, on the socket `sock`. Raises `OSError` if it is closed."""
    if (number := sock.fileno()) < 0:
        raise OSError("the connection was closed")
    if not hasattr(select, "poll"):
        return bool(select.select((number,), (), (), 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))

"""
A pool keeps our own connections to one destination, and uses them again.

Nothing here knows cookies (which would let gateways recognise a user), redirects, logins, proxies or .netrc.

The phase of an exchange says what its failure means: `ConnectionFailedError` only while not one byte has left. Such a
request goes out once more if it was refused by a connection that the server had closed while nobody used it; nothing
else is ever sent twice (docs/decisions/gateway-http.md).
"""

import ssl
import time
from collections import deque
from functools import lru_cache
from typing import Generic, TypeVar

from og_integrations.client.channels._addresses import Address, address_of
from og_integrations.client.channels._channel import (
    CONNECT_TIMEOUT,
    Destination,
    HttpRequest,
    Pinned,
    acontent_of,
    broken,
    head_until,
    late,
    lost,
    not_connected,
)
from og_integrations.client.channels._gate import AsyncGate, Gate
from og_integrations.client.channels._http1 import FramingError, Incoming, Phase, request_head
from og_integrations.client.channels._streams import AsyncStream, Progress, Stream, connected
from og_integrations.client.channels._tls import pinned_context
from og_integrations.protocol._redact import emptied_frames
from og_integrations.protocol.proof._enclave import Enclave

S = TypeVar("S", Stream, AsyncStream)
Origin = tuple[str, str, int]
MAX_CONNECTIONS = 100
KEEP_IDLE = 5.0
"""Seconds for which an unused connection is kept; servers close theirs later."""


def _failures() -> tuple[type[Exception], ...]:
    """Return what an exchange can fail with below here: sockets and TLS, and answers that are none."""
    # Asked once something has failed: heads that are plain are read without h11.
    import h11

    return OSError, FramingError, h11.ProtocolError


class _Kept(Generic[S]):
    """
    This holds the connections of one pool: those that are open, and of them those that wait for an exchange.

    An unpinned pool has several origins, and a connection is used again for its own only.

    There is no lock: each operation on a deque, dict or set is one step of the interpreter, and a connection that was
    taken out of the waiting ones belongs to its taker alone.
    """

    def __init__(self) -> None:
        self.open: set[S] = set()
        self.idle: dict[Origin, deque[tuple[float, S]]] = {}

    def take(self, origin: Origin) -> S | None:
        """Return a waiting connection whose peer is still there and has sent nothing unasked; None without one."""
        waiting = self.idle.get(origin)
        while waiting:
            try:
                since, stream = waiting.pop()
            except IndexError:
                return None  # another thread was faster
            if time.monotonic() - since < KEEP_IDLE and stream.is_quiet():
                return stream
            self.drop(stream)
        return None

    def keep(self, stream: S, origin: Origin) -> None:
        """Have `stream` wait for its next exchange, and drop those that have waited for too long."""
        if stream not in self.open:
            stream.close()  # the pool was closed meanwhile
            return
        now = time.monotonic()
        self.idle.setdefault(origin, deque()).append((now, stream))
        for waiting in list(self.idle.values()):
            try:
                while now - waiting[0][0] > KEEP_IDLE:
                    self.drop(waiting.popleft()[1])
            except IndexError:
                continue

    def drop(self, stream: S) -> None:
        """Close `stream` for good."""
        self.open.discard(stream)
        stream.close()

    def close(self) -> None:
        """Close all, those in use too: their exchanges end with an error."""
        self.idle.clear()
        while self.open:
            try:
                self.open.pop().close()
            except KeyError:
                return


class Pool:
    """A pool keeps connections to `destination`; threads may share it."""

    is_closed = False
    """A pool that was closed opens new connections when it is used again."""

    def __init__(self, destination: Destination, places: int = MAX_CONNECTIONS) -> None:
        self.destination = destination
        # Never fewer than the client's own gate lets through: who has passed that one waits for nothing here.
        self.gate = Gate(places)
        self.kept: _Kept[Stream] = _Kept()

    def send(self, request: HttpRequest) -> "PoolReply":
        """Send `request` and return the head of its answer. Raises what `Channel.send` does."""
        to = _target(request.url)
        progress = Progress(request.timeout, head_until(request))
        try:
            # Who is inside is told apart by `progress`, so that leaving twice, or without having entered, does no harm.
            if not self.gate.enters(progress, request.timeout):
                self.gate.wait(progress, request.timeout)
                # From here on: a place that took long to come would leave no time for the answer.
                progress.until = head_until(request)
            with emptied_frames():
                stream, incoming = self._exchanged(request, to, progress)
        except _failures() as exc:
            self.gate.leave(progress)
            raise _failure(exc, progress, request, self.destination) from exc
        except BaseException:
            self.gate.leave(progress)
            raise
        return PoolReply(self, request, progress, stream, incoming)

    def _exchanged(self, request: HttpRequest, to: Address, progress: Progress) -> tuple[Stream, Incoming]:
        """Return the connection on which `request` went out, and the answer that has begun to come over it."""
        while True:
            waited = self.kept.take(to.origin)
            stream = self._connected(to, progress) if waited is None else waited
            try:
                return stream, _asked(stream, request, to, progress)
            except ConnectionError:
                self.kept.drop(stream)
                # Refused before one byte was taken, since the server had closed it: another one may carry the request.
                if waited is None or progress.phase is not Phase.NOTHING:
                    raise
            except BaseException:
                self.kept.drop(stream)
                raise

    def _connected(self, to: Address, progress: Progress) -> Stream:
        # Made on use: reading the public CAs takes 20 ms, which a node over http has no need of.
        context = _context(self.destination) if to.scheme == "https" else None
        stream = Stream(*to.origin[1:], context, min(progress.wait, CONNECT_TIMEOUT), progress.until)
        self.kept.open.add(stream)
        return stream

    def close(self) -> None:
        """Close all connections."""
        self.kept.close()


def _asked(stream: Stream, request: HttpRequest, to: Address, progress: Progress) -> Incoming:
    """Send `request` and return its answer, once there is a head."""
    head, body, incoming = request_head(request, to), request.body, Incoming()
    try:
        if body is None or isinstance(body, bytes):
            stream.send(head + (body or b""), progress)
        else:
            stream.send(head, progress)
            for piece in body.pieces():
                stream.send(piece, progress)
        progress.phase = Phase.SENT
    except ConnectionError:
        if progress.phase is Phase.NOTHING:
            raise
        # A server may refuse a long request before it has read all of it; what it answered is told.
    whole = progress.phase is Phase.SENT
    while not incoming.begins(stream.receive(progress.moment())):
        pass
    progress.phase = Phase.ANSWERING
    incoming.reusable = incoming.reusable and whole
    return incoming


class _Head(Generic[S]):
    """Both kinds of replies have this: the head, and the connection until the body was read."""

    __slots__ = ("_incoming", "_pool", "_progress", "_request", "_stream", "headers", "status")

    def __init__(
        self, pool: "Pool | AsyncPool", request: HttpRequest, progress: Progress, stream: S, incoming: Incoming
    ) -> None:
        self.status, self.headers = incoming.status, incoming.headers
        self._pool, self._request, self._progress, self._incoming = pool, request, progress, incoming
        self._stream: S | None = stream
        if incoming.ended:
            self._finish()

    def _finish(self) -> None:
        """Give the connection back: the body is complete."""
        self._progress.phase = Phase.DONE
        self._let_go(reusable=self._incoming.reusable)

    def _let_go(self, *, reusable: bool) -> None:
        """Give the connection back, or close it; nothing is awaited, so that no cancellation can strike inside."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        kept: _Kept[S] = self._pool.kept  # type: ignore[assignment]
        if reusable:
            kept.keep(stream, _target(self._request.url).origin)
        else:
            kept.drop(stream)
        self._pool.gate.leave(self._progress)

    def _piece_until(self) -> float:
        """Return when the next piece must have come: bytes between two of them (of framing) could come for ever."""
        return self._progress.until if self._request.whole else time.monotonic() + self._request.timeout

    def _open(self) -> S:
        if self._stream is None:
            raise lost(f"The answer of {self._request.whom} was given up before its end.", timed_out=False)
        return self._stream

    def _failure(self, exc: BaseException) -> Exception:
        return _failure(exc, self._progress, self._request, self._pool.destination)


class PoolReply(_Head[Stream]):
    """This reply comes over one of a `Pool`'s connections."""

    __slots__ = ()

    def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        incoming, part = self._incoming, b""
        if incoming.ended:
            return None
        stream, until = self._open(), self._piece_until()
        try:
            with emptied_frames():
                while not part and not incoming.ended:
                    part = incoming.take(stream.receive(until) if incoming.waits else b"")
        except _failures() as exc:
            raise self._failure(exc) from exc
        if incoming.ended:
            self._finish()
        return part or None

    def close(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        self._let_go(reusable=False)


class AsyncPool:
    """This pool keeps connections to `destination` on one event loop."""

    is_closed = False

    def __init__(self, destination: Destination, places: int = MAX_CONNECTIONS) -> None:
        self.destination = destination
        self.gate = AsyncGate(places)
        self.kept: _Kept[AsyncStream] = _Kept()

    async def send(self, request: HttpRequest) -> "AsyncPoolReply":
        """Send `request` and return the head of its answer. Raises what `Channel.send` does."""
        to = _target(request.url)
        progress = Progress(request.timeout, head_until(request))
        try:
            if not self.gate.enters(progress, request.timeout):
                await self.gate.wait(progress, request.timeout)
                # From here on: a place that took long to come would leave no time for the answer.
                progress.until = head_until(request)
            with emptied_frames():
                stream, incoming = await self._exchanged(request, to, progress)
        except _failures() as exc:
            self.gate.leave(progress)
            raise _failure(exc, progress, request, self.destination) from exc
        except BaseException:
            self.gate.leave(progress)
            raise
        return AsyncPoolReply(self, request, progress, stream, incoming)

    async def _exchanged(self, request: HttpRequest, to: Address, progress: Progress) -> tuple[AsyncStream, Incoming]:
        """Return what `Pool._exchanged` does; a cancellation closes the connection."""
        while True:
            waited = self.kept.take(to.origin)
            stream = await self._connected(to, progress) if waited is None else waited
            try:
                return stream, await _awaited(stream, request, to, progress)
            except ConnectionError:
                self.kept.drop(stream)
                if waited is None or progress.phase is not Phase.NOTHING:
                    raise
            except BaseException:
                self.kept.drop(stream)
                raise

    async def _connected(self, to: Address, progress: Progress) -> AsyncStream:
        context = _context(self.destination) if to.scheme == "https" else None
        wait = min(progress.wait, CONNECT_TIMEOUT)
        stream = await connected(*to.origin[1:], context, wait, progress.until)
        self.kept.open.add(stream)
        return stream

    async def aclose(self) -> None:
        """Close all connections."""
        self.kept.close()


async def _awaited(stream: AsyncStream, request: HttpRequest, to: Address, progress: Progress) -> Incoming:
    """Do what `_asked` does; an upload is read on a thread."""
    head, body, incoming = request_head(request, to), acontent_of(request), Incoming()
    try:
        if body is None or isinstance(body, bytes):
            await stream.send(head + (body or b""), progress)
        else:
            await stream.send(head, progress)
            async for piece in body:
                await stream.send(piece, progress)
        progress.phase = Phase.SENT
    except ConnectionError:
        if progress.phase is Phase.NOTHING:
            raise
    whole = progress.phase is Phase.SENT
    while not incoming.begins(await stream.receive(progress.moment())):
        pass
    progress.phase = Phase.ANSWERING
    incoming.reusable = incoming.reusable and whole
    return incoming


class AsyncPoolReply(_Head[AsyncStream]):
    """This reply comes over one of an `AsyncPool`'s connections."""

    __slots__ = ()

    async def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        incoming, part = self._incoming, b""
        if incoming.ended:
            return None
        stream, until = self._open(), self._piece_until()
        try:
            with emptied_frames():
                while not part and not incoming.ended:
                    part = incoming.take(await stream.receive(until) if incoming.waits else b"")
        except _failures() as exc:
            raise self._failure(exc) from exc
        if incoming.ended:
            self._finish()
        return part or None

    async def aclose(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        self._let_go(reusable=False)


def _failure(exc: BaseException, progress: Progress, request: HttpRequest, destination: Destination) -> Exception:
    if progress.phase is Phase.NOTHING:
        return not_connected(exc, request.whom, destination)
    if isinstance(exc, TimeoutError):
        return late(request.whom)
    return broken(exc, request.whom, str(exc) if isinstance(exc, FramingError) else "")


def handshake(enclave: Enclave, timeout: float = CONNECT_TIMEOUT) -> None:
    """
    Connect to `enclave`, complete the pinned handshake and leave; `timeout` in seconds for each of the two.

    Raises `CertificateMismatchError` if it shows another certificate, `ConnectionFailedError` if it cannot be reached.
    """
    destination, to = Pinned(enclave.certificate), address_of(enclave.endpoint)
    context = _context(destination)
    try:
        Stream(to.host, to.port or 443, context, timeout, time.monotonic() + 2 * timeout).close()
    except OSError as exc:
        raise not_connected(exc, enclave.endpoint, destination) from exc


def _context(destination: Destination) -> ssl.SSLContext:
    return pinned_context(destination.certificate) if isinstance(destination, Pinned) else public_context()


@lru_cache(maxsize=1)
def public_context() -> ssl.SSLContext:
    """Return the context for what is not pinned: RPC nodes, and gateways given by URL."""
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


_target = lru_cache(maxsize=256)(address_of)
"""Returns where a URL leads to. Raises `ConnectionFailedError`."""

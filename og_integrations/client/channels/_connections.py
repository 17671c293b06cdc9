"""
The connections of a client: a gate, one channel per destination (for asyncio also per running loop), and their pools.

Async connections that are shared across loops fail every second call *after* the server got it, which
here would mean paying for nothing. Each loop's channels are anchored in an async generator started on
that loop: `loop.shutdown_asyncgens()` (which `asyncio.run` calls) then closes them in time, so that
no loop is kept alive and no socket is left to the garbage collector.

A gate lets a limited number of calls through at once; the others wait in the order in which they came.

It stands in front of the connections, so that waiting for one is no part of a call's `timeout`: a thousand calls at
once would otherwise time out before they began. A call holds its place from before it looks for an enclave until its
answer is read, so that nothing that it was told (a price, a session) grows old in the queue.

Nobody waits for ever: if none of those inside has moved for as long as their waits on the network may take (streams
that nobody reads), those who wait are told so.

A pool keeps our own connections to one destination, and uses them again. It is one of httpcore2, the part of httpx2
that talks, over streams of our own: nothing here knows cookies (which would let gateways recognise a user),
redirects, logins, proxies or .netrc, and a call costs a third less (docs/decisions).
"""

import asyncio
import contextlib
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar, cast

import og_integrations
from og_integrations._forking import survive_forks
from og_integrations.client.channels._addresses import address_of
from og_integrations.client.channels._channel import (
    CONNECT_TIMEOUT,
    AsyncChannel,
    Channel,
    Destination,
    HttpRequest,
    Pinned,
    acontent_of,
    content_of,
    failure,
    head_until,
    revealed,
)
from og_integrations.client.channels._httpx_client import AsyncHttpxChannel, HttpxChannel
from og_integrations.client.channels._logs import redact_logs
from og_integrations.client.channels._streams import AsyncBackend, Backend, exchange
from og_integrations.client.channels._tls import pinned_context
from og_integrations.errors import ConnectionFailedError
from og_integrations.protocol.proof._enclave import Enclave

if TYPE_CHECKING:
    import httpx
    import httpx2

    SyncClientFactory = Callable[[ssl.SSLContext | None], httpx.Client | httpx2.Client]
    AsyncClientFactory = Callable[[ssl.SSLContext | None], httpx.AsyncClient | httpx2.AsyncClient]
    import h11
    import httpcore2


HttpClient = TypeVar("HttpClient")
W = TypeVar("W")
MAX_CONNECTIONS = 100
_PATIENCE = 1.0
"""Seconds after which a gate whose calls should have moved is given up."""
_LOOKS_EVERY = 5.0
"""Seconds after which a thread that waits looks whether a signal cut short what was to let it in."""

# Before the first connection, whoever makes it and however logging is set up.
redact_logs()


class Borrowed(Generic[HttpClient]):
    """This factory hands out the user's own client, which is used and never closed by us."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def __call__(self, ssl_context: ssl.SSLContext | None) -> HttpClient:
        return self._client


class SyncConnections:
    """This holds the channels of one `Client`, made on first use; threads may share it."""

    def __init__(self, factory: "SyncClientFactory | None" = None, places: int = MAX_CONNECTIONS) -> None:
        self._factory = factory
        self._places = places
        self._owned = not isinstance(factory, Borrowed)
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Forget all connections; a parent process goes on with its own."""
        self._lock = threading.Lock()
        self.gate = Gate(self._places)
        self._channels: dict[Destination, Channel] = {}
        if self._owned:
            # Users drop models without closing them; sockets must not wait for the interpreter's end.
            weakref.finalize(self, _close_all, self._channels)

    def get(self, destination: Destination) -> Channel:
        """Return the channel to `destination`."""
        with self._lock:
            channel = self._channels.get(destination)
            if channel is None or channel.is_closed:
                channel = self._channels[destination] = self._made(destination)
            return channel

    def close(self) -> None:
        """Close all connections; later calls open new ones."""
        with self._lock:
            channels = dict(self._channels)
            self._channels.clear()
        if self._owned:
            _close_all(channels)

    def _made(self, destination: Destination) -> Channel:
        if self._factory is None:
            return Pool(destination, self._places)
        return HttpxChannel(self._factory(_pin_of(destination)), destination)


class AsyncConnections:
    """This holds the channels of one `AsyncClient`, for every loop that uses it."""

    def __init__(self, factory: "AsyncClientFactory | None" = None, places: int = MAX_CONNECTIONS) -> None:
        self._factory = factory
        self._places = places
        self._owned = not isinstance(factory, Borrowed)
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopChannels] = {}
        self._of_parents: list[object] = []
        survive_forks(self)

    def begin_again(self) -> None:
        """Leave all loops to the parent process; kept, since what is collected wakes its loop up."""
        self._of_parents.append(self._loops)
        self._lock, self._loops = threading.Lock(), {}

    async def get(self, destination: Destination) -> AsyncChannel:
        """Return the running loop's channel to `destination`."""
        here = self._here()
        if here.anchor is None:
            here.anchor = self._anchor(asyncio.get_running_loop(), here)
            await anext(here.anchor)
        channel = here.channels.get(destination)
        if channel is None or channel.is_closed:
            channel = here.channels[destination] = self._made(destination)
        return channel

    @property
    def gate(self) -> "AsyncGate":
        """Return the running loop's gate."""
        return self._here().gate

    def _here(self) -> "_LoopChannels":
        loop = asyncio.get_running_loop()
        with self._lock:
            here = self._loops.get(loop)
            if here is None:
                for dead in [other for other in self._loops if other.is_closed()]:
                    # A loop that ended without shutdown_asyncgens; its sockets died with it.
                    del self._loops[dead]
                here = self._loops[loop] = _LoopChannels(self._places)
            return here

    async def aclose(self) -> None:
        """Close the running loop's connections; those of other loops close when their loops end."""
        with self._lock:
            here = self._loops.get(asyncio.get_running_loop())
        if here is not None and here.anchor is not None:
            await here.anchor.aclose()

    def _made(self, destination: Destination) -> AsyncChannel:
        if self._factory is None:
            return AsyncPool(destination, self._places)
        return AsyncHttpxChannel(self._factory(_pin_of(destination)), destination)

    async def _anchor(self, loop: asyncio.AbstractEventLoop, here: "_LoopChannels") -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._loops.pop(loop, None)
            for channel in here.channels.values() if self._owned else ():
                await channel.aclose()


class _LoopChannels:
    """This holds one loop's channels, and the generator whose end closes them."""

    def __init__(self, places: int) -> None:
        self.gate = AsyncGate(places)
        self.channels: dict[Destination, AsyncChannel] = {}
        self.anchor: AsyncGenerator[None, None] | None = None


def _pin_of(destination: Destination) -> ssl.SSLContext | None:
    return pinned_context(destination.certificate) if isinstance(destination, Pinned) else None


def _close_all(channels: dict[Destination, Channel]) -> None:
    for channel in channels.values():
        channel.close()


class _Queue(Generic[W]):
    """The places of a gate, and who waits for one."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.waiting: deque[W] = deque()
        self._moves_until = 0.0

    def moved(self, timeout: float) -> None:
        """Note that a call inside has moved, and that it is to move again within `timeout` seconds."""
        self._moves_until = max(self._moves_until, time.monotonic() + timeout)

    def patience(self) -> float:
        """Return for how many seconds to wait before looking again. Raises `ConnectionFailedError` if it is in vain."""
        left = self._moves_until + _PATIENCE - time.monotonic()
        if left <= 0:
            error = ConnectionFailedError(
                f"All {self.places} places for calls at once (max_concurrency) are held by calls that do not move: "
                "nothing was sent. Read open streams to their end or close them, or allow more calls at once."
            )
            # Our own calls hold them all.
            error.blames_enclave = False
            raise error
        return left


class _Waiter:
    """A waiter is a call at a gate; `turn` is locked until its turn comes. Once in, or given up, it `is_over`."""

    def __init__(self, call: object) -> None:
        self.call = call
        self.turn = threading.Lock()
        self.turn.acquire()
        self.is_over = False


class Gate:
    """
    A gate for threads. Fair: a place that becomes free goes to the one who waits longest.

    A signal handler raises between any two steps (Ctrl-C in a notebook, celery's time limits). So who is inside is a
    set and no count: leaving is repeated without harm, and what was cut short goes on with the next who looks.
    """

    def __init__(self, places: int) -> None:
        # Re-entrant: the garbage collector may finalize an abandoned stream on a thread that holds it.
        self._lock = threading.RLock()
        self._queue: _Queue[_Waiter] = _Queue(places)
        self._inside: set[object] = set()

    @property
    def is_empty(self) -> bool:
        """Return whether nobody is inside, or waits."""
        return not self._inside and not self._queue.waiting

    def enter(self, call: object, timeout: float) -> None:
        """Wait for a place for `call`, whose waits take at most `timeout` seconds. Raises `ConnectionFailedError`."""
        queue, mine, wait = self._queue, _Waiter(call), 0.0
        try:
            queue.waiting.append(mine)
            self._look()
            while not mine.turn.acquire(timeout=wait):
                wait = min(queue.patience(), _LOOKS_EVERY)
                self._look()
        except BaseException:
            mine.is_over = True
            self.leave(call)
            raise
        mine.is_over = True
        queue.moved(timeout)

    def moved(self, timeout: float) -> None:
        """Note that a call inside got on, and will again within `timeout` seconds."""
        self._queue.moved(timeout)

    def leave(self, call: object) -> None:
        """Hand the place of `call`, if it has one, to the next one."""
        self._inside.discard(call)
        self._look()

    def _look(self) -> None:
        waiting, inside = self._queue.waiting, self._inside
        with self._lock:
            while waiting:
                first = waiting[0]
                if not first.is_over:
                    if first.call not in inside and len(inside) >= self._queue.places:
                        return
                    inside.add(first.call)
                    # It was, if this was cut short before it was taken out of the queue.
                    with contextlib.suppress(RuntimeError):
                        first.turn.release()
                if waiting and waiting[0] is first:
                    waiting.popleft()


class AsyncGate:
    """A gate of one event loop, as fair as a `Gate`."""

    def __init__(self, places: int) -> None:
        self._queue: _Queue[asyncio.Future[None]] = _Queue(places)
        self._free = places

    @property
    def is_empty(self) -> bool:
        """Return whether nobody is inside, or waits."""
        return self._free == self._queue.places and not self._queue.waiting

    async def enter(self, timeout: float) -> None:
        """Wait for a place; inside, each wait takes at most `timeout` seconds. Raises `ConnectionFailedError`."""
        queue = self._queue
        if self._free:
            self._free -= 1
            queue.moved(timeout)
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(mine)
        try:
            while not mine.done():
                await asyncio.wait((mine,), timeout=queue.patience())
        except BaseException:
            if mine.done():
                # The place came together with the cancellation: it goes on to the next one.
                self.leave()
            else:
                queue.waiting.remove(mine)
            raise
        queue.moved(timeout)

    def moved(self, timeout: float) -> None:
        """Note that a call inside got on, and will again within `timeout` seconds."""
        self._queue.moved(timeout)

    def leave(self) -> None:
        """Hand the place to the next one."""
        if self._queue.waiting:
            self._queue.waiting.popleft().set_result(None)
        else:
            self._free += 1


KEEP_IDLE = 5.0
"""Seconds for which an unused connection is kept; servers close theirs later."""
_USER_AGENT = f"og-integrations/{og_integrations.__version__}"


class Pool:
    """A pool keeps connections to `destination`; threads may share it."""

    is_closed = False
    """A pool that was closed opens new connections when it is used again."""

    def __init__(self, destination: Destination, places: int = MAX_CONNECTIONS) -> None:
        import httpcore2

        self._destination = destination
        backend = cast("httpcore2.NetworkBackend", Backend())
        self._pool = httpcore2.ConnectionPool(_context(destination), network_backend=backend, **_limits(places))

    def send(self, request: HttpRequest) -> "PoolReply":
        """Send `request` and return the head of its answer. Raises what `Channel.send` does."""
        until = head_until(request)
        try:
            with exchange(until):
                response = self._pool.handle_request(_outgoing(request, content_of(request)))
        except _failures() as exc:
            raise _failure(exc, request, self._destination) from exc
        return PoolReply(request, self._destination, response, until)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Head:
    """Both kinds of replies have this: the head, and what is needed to read on."""

    __slots__ = ("_destination", "_request", "_response", "_until", "headers", "status")

    def __init__(
        self, request: HttpRequest, destination: Destination, response: "httpcore2.Response", until: float
    ) -> None:
        self.status: int = response.status
        self.headers = _headers(response.headers)
        self._request, self._destination, self._response = request, destination, response
        self._until = until if request.whole else None

    def _failure(self, exc: BaseException) -> Exception:
        return _failure(exc, self._request, self._destination)

    def _piece_until(self) -> float:
        """Return when the next piece must have come: bytes between two of them (of framing) could come for ever."""
        return time.monotonic() + self._request.timeout if self._until is None else self._until

    def _ends_clean(self) -> bool:
        """Return whether nothing came after the end: it would be taken for the answer to the next request."""
        parser = parser_of(self._response)
        return parser is not None and not parser.trailing_data[0]


class PoolReply(_Head):
    """This reply comes over one of a `Pool`'s connections."""

    __slots__ = ("_parts",)

    def __init__(
        self, request: HttpRequest, destination: Destination, response: "httpcore2.Response", until: float
    ) -> None:
        super().__init__(request, destination, response, until)
        self._parts: Iterator[bytes] = response.iter_stream()

    def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        try:
            with exchange(self._piece_until()):
                data = next(self._parts, None)
        except _failures() as exc:
            raise self._failure(exc) from exc
        if data is None and not self._ends_clean():
            self._response.extensions["network_stream"].close()
        return data

    def close(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        self._response.close()


class AsyncPool:
    """This pool keeps connections to `destination` on one event loop."""

    is_closed = False

    def __init__(self, destination: Destination, places: int = MAX_CONNECTIONS) -> None:
        import httpcore2

        self._destination = destination
        backend = cast("httpcore2.AsyncNetworkBackend", AsyncBackend())
        self._pool = httpcore2.AsyncConnectionPool(_context(destination), network_backend=backend, **_limits(places))

    async def send(self, request: HttpRequest) -> "AsyncPoolReply":
        """Send `request` and return the head of its answer. Raises what `Channel.send` does."""
        until = head_until(request)
        try:
            with exchange(until):
                response = await self._pool.handle_async_request(_outgoing(request, acontent_of(request)))
        except _failures() as exc:
            raise _failure(exc, request, self._destination) from exc
        return AsyncPoolReply(request, self._destination, response, until)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class AsyncPoolReply(_Head):
    """This reply comes over one of an `AsyncPool`'s connections."""

    __slots__ = ("_parts",)

    def __init__(
        self, request: HttpRequest, destination: Destination, response: "httpcore2.Response", until: float
    ) -> None:
        super().__init__(request, destination, response, until)
        self._parts: AsyncIterator[bytes] = response.aiter_stream()

    async def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        try:
            with exchange(self._piece_until()):
                data = await anext(self._parts, None)
        except _failures() as exc:
            raise self._failure(exc) from exc
        if data is None and not self._ends_clean():
            await self._response.extensions["network_stream"].aclose()
        return data

    async def aclose(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        await self._response.aclose()


def parser_of(response: "httpcore2.Response") -> "h11.Connection | None":
    """
    Return the parser that `response` came out of; None if this httpcore2 has it elsewhere.

    It is the only private part of httpcore2 that is looked at: nothing public says what came after an answer's end.
    Without it no connection would be used twice, which is safe and slow, and a test fails.
    """
    connection = getattr(getattr(response.stream, "_stream", None), "_connection", None)
    parser: h11.Connection | None = getattr(connection, "_h11_state", None)
    return parser


def _failures() -> tuple[type[Exception], ...]:
    """Return all exceptions of an exchange that failed: httpcore's, which have nothing in common, and from below it."""
    import h11
    import httpcore2

    return (
        OSError,  # those of TLS, too
        h11.ProtocolError,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.ProxyError,
        httpcore2.TimeoutException,
        httpcore2.UnsupportedProtocol,
    )


def _failure(exc: BaseException, request: HttpRequest, destination: Destination) -> Exception:
    import httpcore2

    return failure(exc, httpcore2, request.whom, destination)


def handshake(enclave: Enclave, timeout: float = CONNECT_TIMEOUT) -> None:
    """
    Connect to `enclave`, complete the pinned handshake and leave; `timeout` in seconds for each of the two.

    Raises `CertificateMismatchError` if it shows another certificate, `ConnectionFailedError` if it cannot be reached.
    """
    destination, address = Pinned(enclave.certificate), address_of(enclave.endpoint)
    context = _context(destination)
    try:
        stream = Backend().connect_tcp(address.host, address.port or 443, timeout)
        stream.start_tls(context, address.host, timeout).close()
    except _failures() as exc:
        import httpcore2

        raise failure(exc, httpcore2, enclave.endpoint, destination) from exc


def _context(destination: Destination) -> ssl.SSLContext:
    return pinned_context(destination.certificate) if isinstance(destination, Pinned) else public_context()


@lru_cache(maxsize=1)
def public_context() -> ssl.SSLContext:
    """Return the context for what is not pinned: RPC nodes, and gateways given by URL."""
    # Reading the public CAs takes 20 ms, and every client of an RPC node would do it.
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _outgoing(
    request: HttpRequest, content: bytes | Iterator[bytes] | AsyncIterator[bytes] | None
) -> "httpcore2.Request":
    import httpcore2

    url, host = _target(request.url)
    headers: list[tuple[bytes | str, bytes | str]]
    headers = [("Host", host), ("User-Agent", _USER_AGENT), *revealed(request.headers).items()]
    if request.body is not None:
        headers.append(("Content-Length", str(len(request.body))))
    wait = request.timeout
    waits = {"connect": min(wait, CONNECT_TIMEOUT), "read": wait, "write": wait, "pool": wait}
    method = "GET" if request.body is None else "POST"
    return httpcore2.Request(method, url, headers=headers, content=content, extensions={"timeout": waits})


@lru_cache(maxsize=256)
def _target(url: str) -> "tuple[httpcore2.URL, str]":
    """Return where `url` leads to, as httpcore takes it, and the Host header. Raises `ConnectionFailedError`."""
    import httpcore2

    to = address_of(url)
    return httpcore2.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.target), to.host_header


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


class _Limits(TypedDict):
    max_connections: int
    max_keepalive_connections: int
    keepalive_expiry: float


def _limits(places: int) -> _Limits:
    return {
        # Never fewer than the gate lets through: nobody waits here.
        "max_connections": places,
        "max_keepalive_connections": places,
        "keepalive_expiry": KEEP_IDLE,
    }

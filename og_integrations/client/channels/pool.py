"""
A pool keeps our own connections to one destination, and uses them again.

They are pools of httpcore2, the part of httpx2 that talks, over streams of our own: nothing here knows cookies (which
would let gateways recognise a user), redirects, logins, proxies or .netrc, and a call costs a third less
(docs/decisions).
"""

import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, TypedDict, cast

import og_integrations
from og_integrations.client.channels.channel import (
    CONNECT_TIMEOUT,
    Destination,
    HttpRequest,
    Pinned,
    address_of,
    failure,
)
from og_integrations.client.channels.streams import AsyncBackend, Backend, deadline
from og_integrations.client.channels.tls import pinned_context
from og_integrations.protocol.proof.enclave import Enclave

if TYPE_CHECKING:
    import h11
    import httpcore2

MAX_CONNECTIONS = 100
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
        outgoing, until = _outgoing(request), _head_until(request)
        try:
            with deadline(until):
                response = self._pool.handle_request(outgoing)
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

    def _ends_clean(self) -> bool:
        """Return whether nothing came after the end: it would be taken for the answer to the next request."""
        connection = getattr(getattr(self._response.stream, "_stream", None), "_connection", None)
        parser: h11.Connection | None = getattr(connection, "_h11_state", None)
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
            with deadline(self._until):
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
        outgoing, until = _outgoing(request), _head_until(request)
        try:
            with deadline(until):
                response = await self._pool.handle_async_request(outgoing)
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
            with deadline(self._until):
                data = await anext(self._parts, None)
        except _failures() as exc:
            raise self._failure(exc) from exc
        if data is None and not self._ends_clean():
            await self._response.extensions["network_stream"].aclose()
        return data

    async def aclose(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        await self._response.aclose()


def _head_until(request: HttpRequest) -> float:
    """Return when the head must have come: a peer that sends 103s, or a line now and then, is left."""
    return time.monotonic() + (request.timeout if request.whole else request.timeout + CONNECT_TIMEOUT)


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


def _outgoing(request: HttpRequest) -> "httpcore2.Request":
    import httpcore2

    url, host = _target(request.url)
    headers: list[tuple[bytes | str, bytes | str]]
    headers = [("Host", host), ("User-Agent", _USER_AGENT), *request.headers.items()]
    if request.body is not None:
        headers.append(("Content-Length", str(len(request.body))))
    wait = request.timeout
    waits = {"connect": min(wait, CONNECT_TIMEOUT), "read": wait, "write": wait, "pool": wait}
    method = "GET" if request.body is None else "POST"
    return httpcore2.Request(method, url, headers=headers, content=request.body, extensions={"timeout": waits})


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

"""
A pool keeps our own connections to one destination, and uses them again.

They are pools of httpcore, the part of httpx that talks: nothing here knows cookies (which would let gateways
recognise a user), redirects, logins, proxies or .netrc, and a call costs a third less (docs/decisions).
"""

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, TypedDict

import og_integrations
from og_integrations.client.channels.channel import (
    CONNECT_TIMEOUT,
    Destination,
    HttpRequest,
    Pinned,
    address_of,
    failure,
)
from og_integrations.client.channels.tls import pinned_context

if TYPE_CHECKING:
    import httpcore

MAX_CONNECTIONS = 100
KEEP_IDLE = 5.0
"""Seconds for which an unused connection is kept; servers close theirs later."""
_USER_AGENT = f"og-integrations/{og_integrations.__version__}"


class Pool:
    """A pool keeps connections to `destination`; threads may share it."""

    is_closed = False
    """A pool that was closed opens new connections when it is used again."""

    def __init__(self, destination: Destination) -> None:
        import httpcore

        self._destination = destination
        self._pool = httpcore.ConnectionPool(_context(destination), **_limits())

    def send(self, request: HttpRequest) -> "PoolReply":
        """Send `request` and return the head of its answer. Raises what `Channel.send` does."""
        outgoing = _outgoing(request)
        try:
            response = self._pool.handle_request(outgoing)
        except _failures() as exc:
            raise _failure(exc, request, self._destination) from exc
        return PoolReply(request, self._destination, response)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class PoolReply:
    """This reply comes over one of a `Pool`'s connections."""

    __slots__ = ("_destination", "_parts", "_request", "_response", "headers", "status")

    def __init__(self, request: HttpRequest, destination: Destination, response: "httpcore.Response") -> None:
        self.status: int = response.status
        self.headers = _headers(response.headers)
        self._request, self._destination, self._response = request, destination, response
        self._parts: Iterator[bytes] = response.iter_stream()

    def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        try:
            return next(self._parts, None)
        except _failures() as exc:
            raise _failure(exc, self._request, self._destination) from exc

    def close(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        self._response.close()


class AsyncPool:
    """This pool keeps connections to `destination` on one event loop."""

    is_closed = False

    def __init__(self, destination: Destination) -> None:
        import httpcore

        self._destination = destination
        self._pool = httpcore.AsyncConnectionPool(_context(destination), **_limits())

    async def send(self, request: HttpRequest) -> "AsyncPoolReply":
        """Send `request` and return the head of its answer. Raises what `Channel.send` does."""
        outgoing = _outgoing(request)
        try:
            response = await self._pool.handle_async_request(outgoing)
        except _failures() as exc:
            raise _failure(exc, request, self._destination) from exc
        return AsyncPoolReply(request, self._destination, response)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class AsyncPoolReply:
    """This reply comes over one of an `AsyncPool`'s connections."""

    __slots__ = ("_destination", "_parts", "_request", "_response", "headers", "status")

    def __init__(self, request: HttpRequest, destination: Destination, response: "httpcore.Response") -> None:
        self.status: int = response.status
        self.headers = _headers(response.headers)
        self._request, self._destination, self._response = request, destination, response
        self._parts: AsyncIterator[bytes] = response.aiter_stream()

    async def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        try:
            return await anext(self._parts, None)
        except _failures() as exc:
            raise _failure(exc, self._request, self._destination) from exc

    async def aclose(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        await self._response.aclose()


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions by which httpcore says that an exchange failed; it has no common one."""
    import httpcore

    return (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.TimeoutException,
        httpcore.UnsupportedProtocol,
    )


def _failure(exc: BaseException, request: HttpRequest, destination: Destination) -> Exception:
    import httpcore

    return failure(exc, httpcore, request.whom, destination)


def _context(destination: Destination) -> ssl.SSLContext:
    return pinned_context(destination.certificate) if isinstance(destination, Pinned) else public_context()


@lru_cache(maxsize=1)
def public_context() -> ssl.SSLContext:
    """Return the context for what is not pinned: RPC nodes, and gateways given by URL."""
    # Reading the public CAs takes 20 ms, and every client of an RPC node would do it.
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _outgoing(request: HttpRequest) -> "httpcore.Request":
    import httpcore

    url, host = _target(request.url)
    headers: list[tuple[bytes | str, bytes | str]]
    headers = [("Host", host), ("User-Agent", _USER_AGENT), *request.headers.items()]
    if request.body is not None:
        headers.append(("Content-Length", str(len(request.body))))
    wait = request.timeout
    waits = {"connect": min(wait, CONNECT_TIMEOUT), "read": wait, "write": wait, "pool": wait}
    method = "GET" if request.body is None else "POST"
    return httpcore.Request(method, url, headers=headers, content=request.body, extensions={"timeout": waits})


@lru_cache(maxsize=256)
def _target(url: str) -> "tuple[httpcore.URL, str]":
    """Return where `url` leads to, as httpcore takes it, and the Host header. Raises `ConnectionFailedError`."""
    import httpcore

    to = address_of(url)
    return httpcore.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.target), to.host_header


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


class _Limits(TypedDict):
    max_connections: int
    max_keepalive_connections: int
    keepalive_expiry: float


def _limits() -> _Limits:
    return {
        "max_connections": MAX_CONNECTIONS,
        "max_keepalive_connections": MAX_CONNECTIONS,
        "keepalive_expiry": KEEP_IDLE,
    }

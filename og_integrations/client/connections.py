"""
HTTP clients: one per certificate, and for asyncio one per running loop and certificate.

An async client that is shared across loops fails every second call *after* the server got it, which
here would mean paying for nothing. Each loop's clients are anchored in an async generator started on
that loop: `loop.shutdown_asyncgens()` (which `asyncio.run` calls) then closes them in time, so that
no loop is kept alive and no socket is left to the garbage collector.
"""

import asyncio
import logging
import re
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from og_integrations.client.tls import pinned_context
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, ConnectionLostError

if TYPE_CHECKING:
    import httpx

    SyncClientFactory = Callable[[ssl.SSLContext | None], httpx.Client]
    AsyncClientFactory = Callable[[ssl.SSLContext | None], httpx.AsyncClient]

HttpClient = TypeVar("HttpClient")
UNPINNED = b""
"""Stands for "no certificate to pin": RPC nodes, and gateways given by URL."""

MAX_CONNECTIONS = 100


class _RedactSession(logging.Filter):
    """httpcore logs answer headers at DEBUG; the session id among them is a bearer credential."""

    _pattern = re.compile(r"(X-Upto-Session'?, ?b?')[^']*", re.IGNORECASE)

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and "upto-session" in record.msg.lower():
            record.msg = self._pattern.sub(r"\1[redacted]", record.msg)
        return True


for _name in ("httpcore.http11", "httpcore.http2"):
    logging.getLogger(_name).addFilter(_RedactSession())


class Borrowed(Generic[HttpClient]):
    """A factory that hands out the user's own client, which is used and never closed by us."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def __call__(self, ssl_context: ssl.SSLContext | None) -> HttpClient:
        return self._client


class SyncConnections:
    """The sync clients of one `Client`, made on first use; safe to use from many threads."""

    def __init__(self, factory: "SyncClientFactory | None" = None) -> None:
        self._factory = factory or _new_client
        self._lock = threading.Lock()
        self._clients: dict[bytes, httpx.Client] = {}
        self._owned = not isinstance(factory, Borrowed)
        if self._owned:
            # Users drop models without closing them; sockets must not wait for the interpreter's end.
            weakref.finalize(self, _close_all, self._clients)

    def get(self, certificate: bytes) -> "httpx.Client":
        """Return the client that talks only to the holder of `certificate` (DER)."""
        with self._lock:
            client = self._clients.get(certificate)
            if client is None or client.is_closed:
                client = self._clients[certificate] = self._factory(_context(certificate))
            return client

    def close(self) -> None:
        """Close all clients; later calls open new ones."""
        with self._lock:
            clients = dict(self._clients)
            self._clients.clear()
        if self._owned:
            _close_all(clients)


class AsyncConnections:
    """The async clients of one `AsyncClient`, for every loop that uses it."""

    def __init__(self, factory: "AsyncClientFactory | None" = None) -> None:
        self._factory = factory or _new_async_client
        self._lock = threading.Lock()
        self._owned = not isinstance(factory, Borrowed)
        self._loops: dict[asyncio.AbstractEventLoop, _LoopClients] = {}

    async def get(self, certificate: bytes) -> "httpx.AsyncClient":
        """Return the running loop's client that talks only to the holder of `certificate` (DER)."""
        loop = asyncio.get_running_loop()
        with self._lock:
            here = self._loops.get(loop)
            if here is None:
                for dead in [other for other in self._loops if other.is_closed()]:
                    # A loop that ended without shutdown_asyncgens; its sockets died with it.
                    del self._loops[dead]
                here = self._loops[loop] = _LoopClients()
        if here.anchor is None:
            here.anchor = self._anchor(loop, here)
            await anext(here.anchor)
        client = here.clients.get(certificate)
        if client is None or client.is_closed:
            client = here.clients[certificate] = self._factory(_context(certificate))
        return client

    async def aclose(self) -> None:
        """Close the running loop's clients; those of other loops close when their loops end."""
        with self._lock:
            here = self._loops.get(asyncio.get_running_loop())
        if here is not None and here.anchor is not None:
            await here.anchor.aclose()

    async def _anchor(self, loop: asyncio.AbstractEventLoop, here: "_LoopClients") -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._loops.pop(loop, None)
            for client in here.clients.values() if self._owned else ():
                await client.aclose()


class _LoopClients:
    """One loop's clients, and the generator whose end closes them."""

    def __init__(self) -> None:
        self.clients: dict[bytes, httpx.AsyncClient] = {}
        self.anchor: AsyncGenerator[None, None] | None = None


@contextmanager
def translated_errors(what: str) -> Iterator[None]:
    """
    Turn httpx's exceptions into ours: `ConnectionFailedError` if nothing of the request was sent
    (no connection, TLS failure, no free connection), `ConnectionLostError` otherwise.
    """
    import httpx

    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as exc:
        if _is_certificate_failure(exc):
            raise CertificateMismatchError(
                f"{what} showed another certificate than the pinned one. The handshake was aborted and nothing was "
                "sent: someone may be in between, or the enclave was renewed a moment ago."
            ) from exc
        raise ConnectionFailedError(f"No connection to {what} ({type(exc).__name__}): nothing was sent.") from exc
    except httpx.TimeoutException as exc:
        raise _lost(f"{what} did not answer in time.", timed_out=True) from exc
    except (httpx.TransportError, httpx.StreamError, httpx.InvalidURL) as exc:
        raise _lost(f"The connection to {what} broke ({type(exc).__name__}).", timed_out=False) from exc


def _lost(message: str, *, timed_out: bool) -> ConnectionLostError:
    error = ConnectionLostError(message)
    error.timed_out = timed_out
    return error


def _is_certificate_failure(exc: BaseException | None) -> bool:
    while exc is not None:
        if isinstance(exc, ssl.SSLError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


@lru_cache(maxsize=1)
def _public_context() -> ssl.SSLContext:
    # Reading the public CAs takes 20 ms, and every client of an RPC node would do it.
    import httpx

    return httpx.create_ssl_context(trust_env=False)


def _context(certificate: bytes) -> ssl.SSLContext | None:
    return pinned_context(certificate) if certificate else None


# Our own clients hand requests straight to the transport. httpx's way there costs a seventh of a call, for a
# cookie jar, which would let gateways recognise a user, and for redirects and logins, which we never want.


def _new_client(context: ssl.SSLContext | None) -> "httpx.Client":
    import httpx

    transport = httpx.HTTPTransport(verify=context or _public_context(), trust_env=False, limits=_limits())

    class DirectClient(httpx.Client):
        def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
            return transport.handle_request(request) if stream else super().send(request, **options)

    # trust_env would let a .netrc or a proxy variable reroute prompts and payments.
    return DirectClient(transport=transport, trust_env=False, follow_redirects=False)


def _new_async_client(context: ssl.SSLContext | None) -> "httpx.AsyncClient":
    import httpx

    transport = httpx.AsyncHTTPTransport(verify=context or _public_context(), trust_env=False, limits=_limits())

    class DirectClient(httpx.AsyncClient):
        async def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
            if stream:
                return await transport.handle_async_request(request)
            return await super().send(request, **options)

    return DirectClient(transport=transport, trust_env=False, follow_redirects=False)


def _limits() -> "httpx.Limits":
    import httpx

    return httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)


def _close_all(clients: "dict[bytes, httpx.Client]") -> None:
    for client in clients.values():
        client.close()

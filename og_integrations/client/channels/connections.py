"""
Transports: one per certificate, and for asyncio one per running loop and certificate.

Async connections that are shared across loops fail every second call *after* the server got it, which
here would mean paying for nothing. Each loop's transports are anchored in an async generator started on
that loop: `loop.shutdown_asyncgens()` (which `asyncio.run` calls) then closes them in time, so that
no loop is kept alive and no socket is left to the garbage collector.
"""

import asyncio
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from og_integrations.client.channels.lent import AsyncHttpxTransport, HttpxTransport
from og_integrations.client.channels.pool import AsyncPool, Pool, redact_logs
from og_integrations.client.channels.tls import pinned_context
from og_integrations.forking import survive_forks

if TYPE_CHECKING:
    import httpx
    import httpx2

    SyncClientFactory = Callable[[ssl.SSLContext | None], httpx.Client | httpx2.Client]
    AsyncClientFactory = Callable[[ssl.SSLContext | None], httpx.AsyncClient | httpx2.AsyncClient]

HttpClient = TypeVar("HttpClient")
Transport = Pool | HttpxTransport
AsyncTransport = AsyncPool | AsyncHttpxTransport
UNPINNED = b""
"""Stands for "no certificate to pin": RPC nodes, and gateways given by URL."""

# Before the first connection, whoever makes it and however logging is set up.
redact_logs()


class Borrowed(Generic[HttpClient]):
    """A factory that hands out the user's own client, which is used and never closed by us."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    def __call__(self, ssl_context: ssl.SSLContext | None) -> HttpClient:
        return self._client


class SyncConnections:
    """The transports of one `Client`, made on first use; safe to use from many threads."""

    def __init__(self, factory: "SyncClientFactory | None" = None) -> None:
        self._factory = factory
        self._owned = not isinstance(factory, Borrowed)
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Forget all connections; a parent process goes on with its own."""
        self._lock = threading.Lock()
        self._transports: dict[bytes, Transport] = {}
        if self._owned:
            # Users drop models without closing them; sockets must not wait for the interpreter's end.
            weakref.finalize(self, _close_all, self._transports)

    def get(self, certificate: bytes) -> Transport:
        """Return the transport that talks only to the holder of `certificate` (DER)."""
        with self._lock:
            transport = self._transports.get(certificate)
            if transport is None or transport.is_closed:
                transport = self._transports[certificate] = self._made(certificate)
            return transport

    def close(self) -> None:
        """Close all connections; later calls open new ones."""
        with self._lock:
            transports = dict(self._transports)
            self._transports.clear()
        if self._owned:
            _close_all(transports)

    def _made(self, certificate: bytes) -> Transport:
        context = _context(certificate)
        return Pool(context) if self._factory is None else HttpxTransport(self._factory(context), certificate)


class AsyncConnections:
    """The transports of one `AsyncClient`, for every loop that uses it."""

    def __init__(self, factory: "AsyncClientFactory | None" = None) -> None:
        self._factory = factory
        self._owned = not isinstance(factory, Borrowed)
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopTransports] = {}
        self._of_parents: list[object] = []
        survive_forks(self)

    def begin_again(self) -> None:
        """Leave all loops to the parent process; kept, since what is collected wakes its loop up."""
        self._of_parents.append(self._loops)
        self._lock, self._loops = threading.Lock(), {}

    async def get(self, certificate: bytes) -> AsyncTransport:
        """Return the running loop's transport that talks only to the holder of `certificate` (DER)."""
        loop = asyncio.get_running_loop()
        with self._lock:
            here = self._loops.get(loop)
            if here is None:
                for dead in [other for other in self._loops if other.is_closed()]:
                    # A loop that ended without shutdown_asyncgens; its sockets died with it.
                    del self._loops[dead]
                here = self._loops[loop] = _LoopTransports()
        if here.anchor is None:
            here.anchor = self._anchor(loop, here)
            await anext(here.anchor)
        transport = here.transports.get(certificate)
        if transport is None or transport.is_closed:
            transport = here.transports[certificate] = self._made(certificate)
        return transport

    async def aclose(self) -> None:
        """Close the running loop's connections; those of other loops close when their loops end."""
        with self._lock:
            here = self._loops.get(asyncio.get_running_loop())
        if here is not None and here.anchor is not None:
            await here.anchor.aclose()

    def _made(self, certificate: bytes) -> AsyncTransport:
        context = _context(certificate)
        return AsyncPool(context) if self._factory is None else AsyncHttpxTransport(self._factory(context), certificate)

    async def _anchor(self, loop: asyncio.AbstractEventLoop, here: "_LoopTransports") -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._lock:
                self._loops.pop(loop, None)
            for transport in here.transports.values() if self._owned else ():
                await transport.aclose()


class _LoopTransports:
    """One loop's transports, and the generator whose end closes them."""

    def __init__(self) -> None:
        self.transports: dict[bytes, AsyncTransport] = {}
        self.anchor: AsyncGenerator[None, None] | None = None


def _context(certificate: bytes) -> ssl.SSLContext | None:
    return pinned_context(certificate) if certificate else None


def _close_all(transports: dict[bytes, Transport]) -> None:
    for transport in transports.values():
        transport.close()

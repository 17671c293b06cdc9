"""
The connections of a client: one channel per destination (for asyncio also per running loop), and its connections.

Async connections that are shared across loops fail every second call *after* the server got it, which
here would mean paying for nothing. Each loop's channels are anchored in an async generator started on
that loop: `loop.shutdown_asyncgens()` (which `asyncio.run` calls) then closes them in time, so that
no loop is kept alive and no socket is left to the garbage collector.
"""

import asyncio
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from og_integrations._forking import survive_forks
from og_integrations.client.channels._channel import AsyncChannel, Channel, Destination, Pinned
from og_integrations.client.channels._gate import AsyncGate, Gate
from og_integrations.client.channels._httpx_client import AsyncHttpxChannel, HttpxChannel
from og_integrations.client.channels._logs import redact_logs
from og_integrations.client.channels._pool import MAX_CONNECTIONS, AsyncPool, Pool
from og_integrations.client.channels._tls import pinned_context

if TYPE_CHECKING:
    import httpx
    import httpx2

    SyncClientFactory = Callable[[ssl.SSLContext | None], httpx.Client | httpx2.Client]
    AsyncClientFactory = Callable[[ssl.SSLContext | None], httpx.AsyncClient | httpx2.AsyncClient]


HttpClient = TypeVar("HttpClient")

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
    def gate(self) -> AsyncGate:
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

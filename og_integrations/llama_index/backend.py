"""
The engine behind one LLM, and its two clients; made on first use, so that an LLM costs nothing.

This is where a private key given as argument waits. Copies of an LLM in one process share it, so that
a copy spends from the same budget; a pickle holds an empty one, and the copy in the other process
takes its wallet from that process's environment.
"""

import threading
from typing import TYPE_CHECKING, Self

from og_integrations.client import AsyncClient, Client, ClientOptions, Engine
from og_integrations.forking import survive_forks

if TYPE_CHECKING:
    from og_integrations.client._clients import AsyncHttpClient, SyncHttpClient


class Backend:
    """One `Engine` and the clients that share it. Safe to use from many threads and event loops."""

    def __init__(
        self,
        options: ClientOptions | None = None,
        *,
        http_client: "SyncHttpClient | None" = None,
        async_http_client: "AsyncHttpClient | None" = None,
    ) -> None:
        self._options: ClientOptions = options or {}
        self._http_client = http_client
        self._async_http_client = async_http_client
        self._engine: Engine | None = None
        self._client: Client | None = None
        self._async_client: AsyncClient | None = None
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds, also in a forked child."""
        self._lock = threading.RLock()

    @property
    def engine(self) -> Engine:
        """Wallet, budget, sessions and directory. Raises `ConfigurationError`."""
        with self._lock:
            # Two engines would be two budgets.
            if self._engine is None:
                self._engine = Engine(**self._options)
            return self._engine

    @property
    def client(self) -> Client:
        """The synchronous client."""
        with self._lock:
            if self._client is None:
                self._client = Client(engine=self.engine, http_client=self._http_client)
            return self._client

    @property
    def async_client(self) -> AsyncClient:
        """The asynchronous client."""
        with self._lock:
            if self._async_client is None:
                self._async_client = AsyncClient(engine=self.engine, http_client=self._async_http_client)
            return self._async_client

    def close(self) -> None:
        """Close the synchronous client's connections; later calls open new ones."""
        if self._client is not None:
            self._client.close()

    async def aclose(self) -> None:
        """Close the running loop's connections, and the synchronous client's."""
        self.close()
        if self._async_client is not None:
            await self._async_client.aclose()

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself; see the module's docstring."""
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        """Pickle without options, clients and key."""
        return type(self), ()

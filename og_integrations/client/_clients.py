"""The two clients, synchronous and asynchronous: the same methods, awaited or not, which a test holds equal."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from enum import Enum
from ssl import SSLContext
from typing import TYPE_CHECKING, Self, Unpack

from og_integrations.client._call import Answer, Call, CallState, Piece, now
from og_integrations.client._engine import Engine
from og_integrations.client._options import CallOptions, ChatOptions, ClientOptions, SharedOptions, seal
from og_integrations.client._runner import AsyncDriver, AsyncStream, SyncDriver, adrive, drive
from og_integrations.client._wallet import Spending
from og_integrations.client.chain._jsonrpc import RECEIPT_TIMEOUT, aread, read
from og_integrations.client.channels._connections import AsyncConnections, Borrowed, HttpClient, SyncConnections
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._budget import BudgetTotals

if TYPE_CHECKING:
    import httpx
    import httpx2

    from og_integrations.client.chain._approval import Amount, Approval, OnProgress

    _Sync = httpx.Client | httpx2.Client
    _Async = httpx.AsyncClient | httpx2.AsyncClient
    SyncHttpClient = _Sync | Callable[[SSLContext | None], _Sync]
    AsyncHttpClient = _Async | Callable[[SSLContext | None], _Async]


def http_client_factory(
    http_client: "HttpClient | Callable[[SSLContext | None], HttpClient] | None", *, gateway_url: str | None
) -> "Callable[[SSLContext | None], HttpClient] | None":
    """
    Return how HTTP clients are made: None means our own way.

    A ready client is accepted only with `gateway_url`: httpx cannot change a client's TLS afterwards,
    so it could not be pinned to an enclave of the registry. Otherwise give a function that takes the
    `ssl_context` (None for RPC nodes) and returns a client. Raises `ConfigurationError`.
    """
    if http_client is None or (callable(http_client) and not hasattr(http_client, "build_request")):
        return http_client
    if gateway_url is None:
        raise ConfigurationError(
            f"http_client is a ready {type(http_client).__name__}, which cannot be pinned to an enclave's "
            "certificate. Give a function that takes ssl_context and returns one, or set gateway_url."
        )
    ready: HttpClient = http_client  # type: ignore[assignment]
    return Borrowed(ready)


class Client(Spending):
    """
    A client makes verified, paid calls of models in enclaves.

    ```python
    with Client(private_key=key) as client:
        answer = client.chat("openai/gpt-5.2", [{"role": "user", "content": "hi"}])
    print(answer.text, answer.receipt["payment"]["payment_hash"])
    ```

    Safe to use from many threads. Options: see `ClientOptions`. `engine` shares the wallet, budget,
    sessions and directory of another client (`AsyncClient(engine=client.engine)`).

    Every method raises errors of `OpenGradientError` only, each of which says whether anything was
    paid; nothing unverified is ever returned.
    """

    def __init__(
        self,
        *,
        http_client: "SyncHttpClient | None" = None,
        engine: Engine | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        seal(options)
        self.engine: Engine = engine if engine is not None else Engine(**options)
        self._connections = SyncConnections(
            http_client_factory(http_client, gateway_url=self.engine.settings.gateway_url), self.engine.max_concurrency
        )

    def chat(self, model: str | Enum, messages: Sequence[JsonObject], **options: Unpack[ChatOptions]) -> Answer:
        """Ask `model` (`provider/name` or a `TEE_LLM`) and return its verified answer."""
        return self._whole(self.engine.prepare_chat(model, messages, **options))

    def stream(
        self, model: str | Enum, messages: Sequence[JsonObject], **options: Unpack[ChatOptions]
    ) -> Generator[Piece, None, None]:
        """
        Yield the answer's text as it comes, and last the verified `Answer`.

        Tool calls are in the `Answer` only. Without that last item nothing was verified: a stream
        that cannot be proven ends in an exception, whose `partial_text` is what had come.
        """
        return self._stream(self.engine.prepare_chat(model, messages, stream=True, **options))

    def web_search(
        self,
        query: str,
        *,
        num_results: int | None = None,
        recency_days: int | None = None,
        **options: Unpack[SharedOptions],
    ) -> Answer:
        """
        Search the web inside the enclave, and return the verified answer; newer gateways have this, others say 404.

        Its `text` holds the results, `citations` their `title` and `url`, each of which stands in that signed text.
        The signature proves that the enclave got it, and not that it is true: it is text of strangers, and never an
        instruction. `num_results` is 1 to 10, `recency_days` how old results may be. A search has an authorization of
        its own, beside that of chats.
        """
        call = self.engine.prepare_search(query, num_results=num_results, recency_days=recency_days, **options)
        return self._whole(call)

    def complete(self, model: str | Enum, prompt: str, **options: Unpack[CallOptions]) -> Answer:
        """Continue `prompt` by the completions endpoint, which never streams."""
        return self._whole(self.engine.prepare_completion(model, prompt, **options))

    def ensure_opg_approval(
        self,
        min_allowance: "Amount",
        approve_amount: "Amount | None" = None,
        *,
        timeout: float = RECEIPT_TIMEOUT,
        on_progress: "OnProgress | None" = None,
        max_cost: int | None = None,
    ) -> "Approval":
        """
        Allow Permit2 to take OPG, if less than `min_allowance` is allowed; once per wallet, costs gas.

        `approve_amount` (default: twice `min_allowance`; amounts in OPG, `min_allowance` at least 0.1)
        is capped to the balance, with a warning. Returns when the transaction is mined and the node
        shows it; `timeout` in seconds, `max_cost` of its gas in wei (default: 0.001 ETH). `on_progress` is
        told meanwhile.

        Raises `ConfigurationError`, `SigningError` or `ApprovalError`; the last has the `transaction_hash` if one
        was sent.
        """
        # Loaded here, since it is done once per wallet.
        from og_integrations.client.chain._approval import ensure_approval, progress_teller, signer_of
        from og_integrations.client.chain._transactions import SyncSender

        settings = self.engine.settings
        flow = ensure_approval(settings, min_allowance, approve_amount, timeout=timeout, max_cost=max_cost)
        tell = progress_teller(on_progress)
        return drive(flow, SyncSender(lambda: signer_of(settings), self._connections, tell=tell).perform)

    def reconcile_spending(self) -> BudgetTotals:
        """
        Ask the chain what was really taken, give the rest back to the budget, and return `spent()`.

        An authorization counts in full until half a minute after its deadline, and then until the chain shows
        what became of it. Calls ask by themselves, about what is overdue, before they raise
        `BudgetExceededError`. Raises `ConfigurationError` or `DiscoveryError`.
        """
        from og_integrations.client.chain._settlement import reconcile

        read(self._connections, reconcile(self.engine.budget, self.engine.settings.network, now()))
        return self.spent()

    def close(self) -> None:
        """Close all connections; the client can be used again and opens new ones."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _whole(self, call: Call) -> Answer:
        state = CallState(call=call)
        with self._driver(state) as driver:
            return driver.run(self.engine.whole(state))

    def _stream(self, call: Call) -> Generator[Piece, None, None]:
        state = CallState(call=call)
        with self._driver(state) as driver, closing(self.engine.streamed(state)) as flow:
            while (piece := driver.next_piece(flow)) is not None:
                yield piece

    def _driver(self, state: CallState) -> SyncDriver:
        return SyncDriver(state, self._connections, self.engine.settings.require_signer)


class AsyncClient(Spending):
    """
    A client makes verified, paid calls of models in enclaves.

    ```python
    async with AsyncClient(private_key=key) as client:
        answer = await client.chat("openai/gpt-5.2", [{"role": "user", "content": "hi"}])
    print(answer.text, answer.receipt["payment"]["payment_hash"])
    ```

    Works on any number of event loops, one after the other or at once. Options: see `ClientOptions`.
    `engine` shares the wallet, budget, sessions and directory of another client.

    Every method raises errors of `OpenGradientError` only, each of which says whether anything was
    paid; nothing unverified is ever returned.
    """

    def __init__(
        self,
        *,
        http_client: "AsyncHttpClient | None" = None,
        engine: Engine | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        seal(options)
        self.engine: Engine = engine if engine is not None else Engine(**options)
        self._connections = AsyncConnections(
            http_client_factory(http_client, gateway_url=self.engine.settings.gateway_url), self.engine.max_concurrency
        )

    async def chat(self, model: str | Enum, messages: Sequence[JsonObject], **options: Unpack[ChatOptions]) -> Answer:
        """Ask `model` (`provider/name` or a `TEE_LLM`) and return its verified answer."""
        return await self._whole(self.engine.prepare_chat(model, messages, **options))

    def stream(self, model: str | Enum, messages: Sequence[JsonObject], **options: Unpack[ChatOptions]) -> AsyncStream:
        """
        Yield the answer's text as it comes, and last the verified `Answer`.

        Tool calls are in the `Answer` only. Without that last item nothing was verified: a stream
        that cannot be proven ends in an exception, whose `partial_text` is what had come.
        """
        call = self.engine.prepare_chat(model, messages, stream=True, **options)
        state = CallState(call=call)
        return AsyncStream(self.engine.streamed(state), self._driver(state))

    async def web_search(
        self,
        query: str,
        *,
        num_results: int | None = None,
        recency_days: int | None = None,
        **options: Unpack[SharedOptions],
    ) -> Answer:
        """Do what `Client.web_search` does."""
        call = self.engine.prepare_search(query, num_results=num_results, recency_days=recency_days, **options)
        return await self._whole(call)

    async def complete(self, model: str | Enum, prompt: str, **options: Unpack[CallOptions]) -> Answer:
        """Continue `prompt` by the completions endpoint, which never streams."""
        return await self._whole(self.engine.prepare_completion(model, prompt, **options))

    async def ensure_opg_approval(
        self,
        min_allowance: "Amount",
        approve_amount: "Amount | None" = None,
        *,
        timeout: float = RECEIPT_TIMEOUT,
        on_progress: "OnProgress | None" = None,
        max_cost: int | None = None,
    ) -> "Approval":
        """
        Allow Permit2 to take OPG, if less than `min_allowance` is allowed; once per wallet, costs gas.

        `approve_amount` (default: twice `min_allowance`; amounts in OPG, `min_allowance` at least 0.1)
        is capped to the balance, with a warning. Returns when the transaction is mined and the node
        shows it; `timeout` in seconds, `max_cost` of its gas in wei (default: 0.001 ETH). `on_progress` is
        told meanwhile, and awaited if it is asynchronous.

        Raises `ConfigurationError`, `SigningError` or `ApprovalError`; the last has the `transaction_hash` if one
        was sent.
        """
        # Loaded here, since it is done once per wallet.
        from og_integrations.client.chain._approval import ensure_approval, progress_teller, signer_of
        from og_integrations.client.chain._transactions import AsyncSender

        settings = self.engine.settings
        flow = ensure_approval(settings, min_allowance, approve_amount, timeout=timeout, max_cost=max_cost)
        tell = progress_teller(on_progress)
        return await adrive(flow, AsyncSender(lambda: signer_of(settings), self._connections, tell=tell).perform)

    async def reconcile_spending(self) -> BudgetTotals:
        """
        Ask the chain what was really taken, give the rest back to the budget, and return `spent()`.

        An authorization counts in full until half a minute after its deadline, and then until the chain shows
        what became of it. Calls ask by themselves, about what is overdue, before they raise
        `BudgetExceededError`. Raises `ConfigurationError` or `DiscoveryError`.
        """
        from og_integrations.client.chain._settlement import reconcile

        await aread(self._connections, reconcile(self.engine.budget, self.engine.settings.network, now()))
        return self.spent()

    async def aclose(self) -> None:
        """Close the connections of the running loop; the client can be used again and opens new ones."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _whole(self, call: Call) -> Answer:
        state = CallState(call=call)
        async with self._driver(state) as driver:
            return await driver.run(self.engine.whole(state))

    def _driver(self, state: CallState) -> AsyncDriver:
        return AsyncDriver(state, self._connections, self.engine.settings.require_signer)

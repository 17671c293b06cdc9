"""The asynchronous client. `sync_client` is the same without awaiting; a test keeps the two equal."""

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Self, Unpack

from og_integrations.client.answering import streamed, whole
from og_integrations.client.approval import RECEIPT_TIMEOUT, Approval, AsyncApprover, OnProgress, ensure_approval
from og_integrations.client.approval_plan import Amount
from og_integrations.client.call import Answer, Call
from og_integrations.client.connections import AsyncConnections
from og_integrations.client.drivers import AsyncDriver, AsyncStream
from og_integrations.client.driving import adrive
from og_integrations.client.engine import Engine, now
from og_integrations.client.fetching import aread
from og_integrations.client.options import CallOptions, ChatOptions, ClientOptions, http_client_factory
from og_integrations.client.reconciling import reconcile
from og_integrations.client.spending import Spending
from og_integrations.protocol.account import Account
from og_integrations.protocol.chat import JsonObject

if TYPE_CHECKING:
    from og_integrations.client.options import AsyncHttpClient


class AsyncClient(Spending):
    """
    Verified, paid calls of models in enclaves.

    ```python
    async with AsyncClient(private_key=key) as client:
        answer = await client.chat("openai/gpt-5", [{"role": "user", "content": "hi"}])
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
        self.engine = engine if engine is not None else Engine(**options)
        self._connections = AsyncConnections(
            http_client_factory(http_client, gateway_url=self.engine.settings.gateway_url)
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
        return AsyncStream(streamed(self.engine, call), self._driver(call))

    async def complete(self, model: str | Enum, prompt: str, **options: Unpack[CallOptions]) -> Answer:
        """Continue `prompt` by the completions endpoint, which never streams."""
        return await self._whole(self.engine.prepare_completion(model, prompt, **options))

    async def ensure_opg_approval(
        self,
        min_allowance: Amount,
        approve_amount: Amount | None = None,
        *,
        timeout: float = RECEIPT_TIMEOUT,
        on_progress: OnProgress | None = None,
        max_cost: int | None = None,
    ) -> Approval:
        """
        Allow Permit2 to take OPG, if less than `min_allowance` is allowed; once per wallet, costs gas.

        `approve_amount` (default: twice `min_allowance`; amounts in OPG, `min_allowance` at least 0.1)
        is capped to the balance, with a warning. Returns when the transaction is mined and the node
        shows it; `timeout` in seconds, `max_cost` of its gas in wei (default: 0.001 ETH). `on_progress` is
        told meanwhile, and awaited if it is asynchronous.

        Raises `ConfigurationError`, `SigningError` or `ApprovalError`; the last has the `transaction_hash` if one
        was sent.
        """
        settings = self.engine.settings
        flow = ensure_approval(settings, min_allowance, approve_amount, timeout=timeout, max_cost=max_cost)
        return await adrive(flow, AsyncApprover(settings, self._connections, on_progress).perform)

    async def reconcile_spending(self) -> Account:
        """
        Ask the chain what was really taken, give the rest back to the budget, and return `spent()`.

        An authorization counts in full until half a minute after its deadline, and then until the chain shows
        what became of it. Calls ask by themselves, about what is overdue, before they raise
        `BudgetExceededError`. Raises `ConfigurationError` or `DiscoveryError`.
        """
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
        async with self._driver(call) as driver:
            return await driver.run(whole(self.engine, call))

    def _driver(self, call: Call) -> AsyncDriver:
        return AsyncDriver(call, self._connections, self.engine.directory, self.engine.settings.require_signer)

"""The synchronous client. `async_client` is the same, awaited; a test keeps the two equal."""

from collections.abc import Generator, Sequence
from contextlib import closing
from enum import Enum
from typing import TYPE_CHECKING, Self, Unpack

from og_integrations.client.answering import Piece, streamed, whole
from og_integrations.client.approval import RECEIPT_TIMEOUT, Approval, OnProgress, SyncApprover, ensure_approval
from og_integrations.client.approval_plan import Amount
from og_integrations.client.call import Answer, Call
from og_integrations.client.connections import SyncConnections
from og_integrations.client.drivers import SyncDriver
from og_integrations.client.driving import drive
from og_integrations.client.engine import Engine, now
from og_integrations.client.fetching import read
from og_integrations.client.options import CallOptions, ChatOptions, ClientOptions, http_client_factory
from og_integrations.client.reconciling import reconcile
from og_integrations.client.spending import Spending
from og_integrations.protocol.account import Account
from og_integrations.protocol.chat import JsonObject

if TYPE_CHECKING:
    from og_integrations.client.options import SyncHttpClient


class Client(Spending):
    """
    Verified, paid calls of models in enclaves.

    ```python
    with Client(private_key=key) as client:
        answer = client.chat("openai/gpt-5", [{"role": "user", "content": "hi"}])
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
        self.engine = engine if engine is not None else Engine(**options)
        self._connections = SyncConnections(
            http_client_factory(http_client, gateway_url=self.engine.settings.gateway_url)
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

    def complete(self, model: str | Enum, prompt: str, **options: Unpack[CallOptions]) -> Answer:
        """Continue `prompt` by the completions endpoint, which never streams."""
        return self._whole(self.engine.prepare_completion(model, prompt, **options))

    def ensure_opg_approval(
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
        told meanwhile.

        Raises `ConfigurationError`, `SigningError` or `ApprovalError`; the last has the `transaction_hash` if one
        was sent.
        """
        settings = self.engine.settings
        flow = ensure_approval(settings, min_allowance, approve_amount, timeout=timeout, max_cost=max_cost)
        return drive(flow, SyncApprover(settings, self._connections, on_progress).perform)

    def reconcile_spending(self) -> Account:
        """
        Ask the chain what was really taken, give the rest back to the budget, and return `spent()`.

        An authorization counts in full until half a minute after its deadline, and then until the chain shows
        what became of it. Calls ask by themselves, about what is overdue, before they raise
        `BudgetExceededError`. Raises `ConfigurationError` or `DiscoveryError`.
        """
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
        with self._driver(call) as driver:
            return driver.run(whole(self.engine, call))

    def _stream(self, call: Call) -> Generator[Piece, None, None]:
        with self._driver(call) as driver, closing(streamed(self.engine, call)) as flow:
            while (piece := driver.next_piece(flow)) is not None:
                yield piece

    def _driver(self, call: Call) -> SyncDriver:
        return SyncDriver(call, self._connections, self.engine.directory, self.engine.settings.require_signer)

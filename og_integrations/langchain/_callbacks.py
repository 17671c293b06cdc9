"""
This module collects receipts for people, through chains, agents, batches and structured output.

LangChain's events tell of cached answers too (nothing was asked or paid: a replay), but of no call that
was cancelled. So `get_receipt_callback` listens to them and to the client's own `collect_receipts`.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from og_integrations._forking import survive_forks
from og_integrations.chat._asking import EARLIER_KEY
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import RECEIPT_KEY, is_verified, receipts_table, signature_of

if TYPE_CHECKING:
    from pathlib import Path

    from og_integrations.ledger import Ledger, Totals
    from og_integrations.ledger._entry import Exchanges


class ReceiptCallbackHandler(BaseCallbackHandler):
    """
    A receipt handler collects receipts: in `receipts`, in order of ending, failed calls included; in `replays` those of
    answers that came from a cache.

    Made by `get_receipt_callback` it misses none. Handed to LangChain like any callback it knows what
    events say, and there is none when a call is cancelled or a stream is closed before its end. Safe to
    share between threads; copies of it are the same one, as a model's copies have the same callbacks.
    """

    def __init__(self) -> None:
        self._runs: set[UUID] = set()
        self._reported: list[JsonObject] = []
        self._replays: list[JsonObject] = []
        self._collected: Sequence[JsonObject] = ()
        self._outer: ReceiptCallbackHandler | None = None
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds, also in a forked child."""
        self._lock = threading.Lock()

    @property
    def receipts(self) -> list[JsonObject]:
        """Return the receipts of all calls so far."""
        with self._lock:
            collected = list(self._collected)
            known = {_identity(receipt) for receipt in collected}
            return collected + [receipt for receipt in self._reported if _identity(receipt) not in known]

    @property
    def replays(self) -> list[JsonObject]:
        """Return the receipts of answers that came from a cache."""
        with self._lock:
            return list(self._replays)

    @property
    def verified(self) -> bool:
        """Return whether there is at least one receipt, and every one is verified."""
        found = [*self.receipts, *self.replays]
        return bool(found) and all(map(is_verified, found))

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: object) -> None:
        """Keep the receipts of an answer."""
        if self._outer is not None:
            self._outer.on_llm_end(response, run_id=run_id)
        for generations in response.generations:
            for generation in generations:
                receipts, cached = _receipts_of(generation)
                self._keep(receipts, run_id, cached=cached)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        """Keep the receipt of a failed call, where its error has one."""
        if self._outer is not None:
            self._outer.on_llm_error(error, run_id=run_id)
        receipt = getattr(error, "receipt", None)
        if isinstance(receipt, dict):
            self._keep([receipt], run_id, cached=False)

    @override
    def on_tool_end(self, output: object, *, run_id: UUID, **kwargs: object) -> None:
        """Keep the receipt of a model on chain that an agent ran as a tool."""
        if self._outer is not None:
            self._outer.on_tool_end(output, run_id=run_id)
        artifact = getattr(output, "artifact", None)
        receipt = artifact.get(RECEIPT_KEY) if isinstance(artifact, dict) else None
        if isinstance(receipt, dict):
            self._keep([receipt], run_id, cached=False)

    @override
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        """Keep the receipt of a failed tool, where its error has one."""
        self.on_llm_error(error, run_id=run_id)

    def totals(self) -> "Totals":
        """Return the sums over all receipts so far; printed, they are a report in OPG."""
        from og_integrations.ledger import Totals

        totals = Totals()
        for receipt in self.receipts:
            totals.add(receipt)
        for receipt in self.replays:
            totals.replay(receipt)
        return totals

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.receipts)} receipts>"

    def _repr_html_(self) -> str:
        """Return one row for each call, for notebooks; everything in it is escaped."""
        return receipts_table(self.receipts)

    def listening(self, collected: Sequence[JsonObject], outer: "ReceiptCallbackHandler | None") -> Self:
        """Take what the client collects, and tell `outer` what this one is told."""
        self._collected, self._outer = collected, outer
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return this handler itself: a copy would collect what nobody reads."""
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        """Travel empty: nobody there would read what was collected here."""
        return type(self), ()

    def _keep(self, receipts: Sequence[JsonObject], run_id: UUID, *, cached: bool) -> None:
        with self._lock:
            # LangChain may know of this handler twice, and one error may end many runs of texts.
            if not receipts or run_id in self._runs:
                return
            self._runs.add(run_id)
            if cached:
                self._replays += receipts
                return
            known = set(map(_identity, self._reported))
            self._reported += [receipt for receipt in receipts if _identity(receipt) not in known]


def _identity(receipt: JsonObject) -> object:
    """Return what two receipts have in common only if they are of one call: signatures are randomised."""
    return signature_of(receipt) or id(receipt)


_handler: ContextVar[ReceiptCallbackHandler | None] = ContextVar("og_integrations_receipts", default=None)
register_configure_hook(_handler, inheritable=True)


@contextmanager
def get_receipt_callback(
    *,
    to: "str | Path | Ledger | None" = None,
    keep_exchanges: "bool | Exchanges" = False,
    tags: Iterable[str] = (),
) -> Iterator[ReceiptCallbackHandler]:
    """
    Collect the receipts of all calls inside the `with`, through whatever LangChain runs, and of cached answers.

    ```python
    with get_receipt_callback() as receipts:
        agent.invoke(…)
    print(receipts.totals())
    ```

    They nest, and each gets everything. A stream has to be read to its end or closed inside. `to` names a ledger that
    gets them as they happen, too, with `tags` and those of LangChain's runs (not of streams, of whose run it tells a
    model nothing); see `collect_receipts`, which alone needs no memory for each call.
    """
    from og_integrations.client._collecting import collect_receipts

    with ExitStack() as collectors:
        if to is not None:
            collectors.enter_context(collect_receipts(to=to, keep_exchanges=keep_exchanges, tags=tags))
        collected = collectors.enter_context(collect_receipts())
        handler = ReceiptCallbackHandler().listening(collected, _handler.get())
        token = _handler.set(handler)
        try:
            yield handler
        finally:
            _handler.reset(token)


def _receipts_of(generation: Generation) -> tuple[list[JsonObject], bool]:
    """Return the receipts of a generation, and whether LangChain took it from a cache."""
    message = generation.message if isinstance(generation, ChatGeneration) else None
    metadata = message.response_metadata if message is not None else generation.generation_info or {}
    receipts = [receipt for receipt in (*metadata.get(EARLIER_KEY, ()), metadata.get(RECEIPT_KEY)) if receipt]
    # LangChain marks cached answers by a cost of nothing.
    return receipts, (getattr(message, "usage_metadata", None) or {}).get("total_cost") == 0

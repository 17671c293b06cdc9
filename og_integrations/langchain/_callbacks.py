"""
This module collects receipts for people, through chains, agents, batches and structured output.

LangChain's events tell of cached answers too (nothing was asked or paid: a replay), but of no call that
was cancelled. So `get_receipt_callback` listens to them and to the client's own `collect_receipts`.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from og_integrations._forking import survive_forks
from og_integrations.chat._asking import EARLIER_KEY
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import RECEIPT_KEY, Receipt, is_verified, signature_of


@dataclass(slots=True)
class ModelTotals:
    """Totals say what was asked of one model, or of all."""

    calls: int = 0
    verified: int = 0
    replayed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTotals:
    """
    These totals are sums over receipts. `calls` counts what reached a gateway or failed before; `replayed` are answers
    from a cache. `authorized` is the sum of what was authorized, in base units of OPG: each
    authorization serves many calls, and what is finally taken of it is less.
    """

    calls: int
    verified: int
    replayed: int
    authorizations: int
    authorized: int
    by_model: dict[str, ModelTotals] = field(default_factory=dict)


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
        if self._outer is not None:
            self._outer.on_llm_end(response, run_id=run_id)
        for generations in response.generations:
            for generation in generations:
                receipts, cached = _receipts_of(generation)
                self._keep(receipts, run_id, cached=cached)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        if self._outer is not None:
            self._outer.on_llm_error(error, run_id=run_id)
        receipt = getattr(error, "receipt", None)
        if isinstance(receipt, dict):
            self._keep([receipt], run_id, cached=False)

    @override
    def on_tool_end(self, output: object, *, run_id: UUID, **kwargs: object) -> None:
        if self._outer is not None:
            self._outer.on_tool_end(output, run_id=run_id)
        # Of models on chain, which agents run as tools.
        artifact = getattr(output, "artifact", None)
        receipt = artifact.get(RECEIPT_KEY) if isinstance(artifact, dict) else None
        if isinstance(receipt, dict):
            self._keep([receipt], run_id, cached=False)

    @override
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: object) -> None:
        self.on_llm_error(error, run_id=run_id)

    def totals(self) -> ReceiptTotals:
        """Return the sums over all receipts so far."""
        receipts, replays = list(map(Receipt, self.receipts)), list(map(Receipt, self.replays))
        by_model: dict[str, ModelTotals] = {}
        for receipt in receipts:
            totals = by_model.setdefault(str(receipt.model), ModelTotals())
            totals.calls += 1
            totals.verified += receipt.verified
        for receipt in replays:
            by_model.setdefault(str(receipt.model), ModelTotals()).replayed += 1
        paid = filter(None, (receipt.payment for receipt in receipts))
        payments = {payment.payment_hash: int(payment.max_amount or 0) for payment in paid}
        return ReceiptTotals(
            calls=len(receipts),
            verified=sum(totals.verified for totals in by_model.values()),
            replayed=len(replays),
            authorizations=len(payments),
            authorized=sum(payments.values()),
            by_model=by_model,
        )

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
def get_receipt_callback() -> Iterator[ReceiptCallbackHandler]:
    """
    Collect the receipts of all calls inside the `with`, through whatever LangChain runs, and of cached answers.

    ```python
    with get_receipt_callback() as receipts:
        agent.invoke(…)
    print(receipts.totals())
    ```

    They nest, and each gets everything. A stream has to be read to its end or closed inside.
    """
    from og_integrations.client._collecting import collect_receipts

    with collect_receipts() as collected:
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

"""
Receipts for people: collected by a callback, through chains, agents, batches and structured output.

`collect_receipts` of the client sees every call too; this one also sees cached answers (and marks
them as replays: nothing was asked or paid), and can be handed to LangChain like any callback.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from og_integrations.forking import survive_forks
from og_integrations.langchain.outputs import RECEIPT_KEY


@dataclass(slots=True)
class ModelTotals:
    """What was asked of one model, or of all."""

    calls: int = 0
    verified: int = 0
    replayed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTotals:
    """
    Sums over receipts. `calls` counts what reached a gateway or failed before; `replayed` are answers
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
    Collects the receipt of every call: in `receipts`, in order of ending, failed ones included.

    `replays` holds those of answers that came from a cache. Safe to share between threads.
    """

    def __init__(self) -> None:
        self.receipts: list[dict[str, Any]] = []
        self.replays: list[dict[str, Any]] = []
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds, also in a forked child."""
        self._lock = threading.Lock()

    @property
    def verified(self) -> bool:
        """Whether there is at least one receipt, and every one is verified."""
        found = [*self.receipts, *self.replays]
        return bool(found) and all(receipt["status"] == "verified" for receipt in found)

    @override
    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        for generations in response.generations:
            for generation in generations:
                receipt, cached = _receipt_of(generation)
                if receipt is not None:
                    self._keep(receipt, cached=cached)

    @override
    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        receipt = getattr(error, "receipt", None)
        if isinstance(receipt, dict):
            self._keep(receipt, cached=False)

    def totals(self) -> ReceiptTotals:
        """Return the sums over all receipts so far."""
        with self._lock:
            receipts, replays = list(self.receipts), list(self.replays)
        by_model: dict[str, ModelTotals] = {}
        for receipt in receipts:
            totals = by_model.setdefault(str(receipt["model"]), ModelTotals())
            totals.calls += 1
            totals.verified += receipt["status"] == "verified"
        for receipt in replays:
            by_model.setdefault(str(receipt["model"]), ModelTotals()).replayed += 1
        payments = {p["payment_hash"]: int(p["max_amount"]) for r in receipts if (p := r.get("payment"))}
        return ReceiptTotals(
            calls=len(receipts),
            verified=sum(totals.verified for totals in by_model.values()),
            replayed=len(replays),
            authorizations=len(payments),
            authorized=sum(payments.values()),
            by_model=by_model,
        )

    def _keep(self, receipt: dict[str, Any], *, cached: bool) -> None:
        with self._lock:
            # Signatures are randomised, so the same one twice is the same answer twice.
            signature = receipt.get("tee_signature")
            known = signature is not None and any(r.get("tee_signature") == signature for r in self.receipts)
            (self.replays if cached or known else self.receipts).append(receipt)


_handler: ContextVar[ReceiptCallbackHandler | None] = ContextVar("og_integrations_receipts", default=None)
register_configure_hook(_handler, inheritable=True)


@contextmanager
def get_receipt_callback() -> Iterator[ReceiptCallbackHandler]:
    """
    Collect the receipts of everything that LangChain runs inside the `with`.

    ```python
    with get_receipt_callback() as receipts:
        agent.invoke(…)
    print(receipts.totals())
    ```
    """
    handler = ReceiptCallbackHandler()
    token = _handler.set(handler)
    try:
        yield handler
    finally:
        _handler.reset(token)


def _receipt_of(generation: Any) -> tuple[dict[str, Any] | None, bool]:
    """Return the receipt of a generation, and whether LangChain took it from a cache."""
    if not isinstance(generation, ChatGeneration):
        return (generation.generation_info or {}).get(RECEIPT_KEY), False
    usage = getattr(generation.message, "usage_metadata", None) or {}
    # LangChain marks cached answers by a cost of nothing.
    return generation.message.response_metadata.get(RECEIPT_KEY), usage.get("total_cost") == 0

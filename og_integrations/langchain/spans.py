"""
Receipts on OpenTelemetry spans, if the application traces.

`opengradient.*` attributes go onto the LLM span that OpenInference's instrumentation has for the run,
else onto the span that is current when the call begins. OpenTelemetry is never imported here: nobody
has a span who has not imported it. Of a stream that is closed before its end, no receipt reaches them.
"""

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from og_integrations.protocol.tracing import ReceiptSpan

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

_OPENINFERENCE = "openinference.instrumentation.langchain"
_run: ContextVar[UUID | None] = ContextVar("og_integrations_run", default=None)


class _RunWatcher(BaseCallbackHandler):
    """Remembers which run begins: `stream()` tells handlers, but not the model."""

    run_inline = True
    ignore_llm = ignore_chain = ignore_agent = ignore_retriever = True

    @override
    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: Any
    ) -> None:
        _run.set(run_id)


class _Watching:
    """What LangChain reads like a `ContextVar`: the watcher, once OpenInference is there to have spans of runs."""

    def __init__(self) -> None:
        self._watcher = _RunWatcher()

    def get(self) -> _RunWatcher | None:
        # A handler costs each call 30 us and each token 2, and who does not trace needs none.
        return self._watcher if _OPENINFERENCE in sys.modules else None


register_configure_hook(cast("ContextVar[_RunWatcher | None]", _Watching()), inheritable=True)


class CallSpan(ReceiptSpan):
    """The span of the call that is made inside the `with`; without OpenTelemetry it does nothing."""

    def __init__(self, run_manager: "CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None") -> None:
        super().__init__(_span_of(_run.get() if run_manager is None else run_manager.run_id))


def _span_of(run_id: UUID | None) -> Any:
    """Return OpenInference's span of the run, else the current one, None without OpenTelemetry."""
    openinference = sys.modules.get(_OPENINFERENCE)
    if openinference is not None and run_id is not None:
        instrumentor = openinference.LangChainInstrumentor()
        span = instrumentor.get_span(run_id) if instrumentor.is_instrumented_by_opentelemetry else None
        if span is not None:
            return span
    trace = sys.modules.get("opentelemetry.trace")
    return None if trace is None else trace.get_current_span()

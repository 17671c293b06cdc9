"""This module holds a run: what one call is to LangChain's tracing, and the form in which its errors leave."""

import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, cast
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from og_integrations.client._telemetry import ReceiptSpan, Span, current_span
from og_integrations.errors import OpenGradientError
from og_integrations.langchain._messages import Tool, too_long
from og_integrations.protocol._strict_json import JsonObject

RunManager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun
_OPENINFERENCE = "openinference.instrumentation.langchain"
_run: ContextVar[UUID | None] = ContextVar("og_integrations_run", default=None)


class _RunWatcher(BaseCallbackHandler):
    """A run watcher remembers which run begins: `stream()` tells handlers, but not the model."""

    run_inline = True
    ignore_llm = ignore_chain = ignore_agent = ignore_retriever = True

    @override
    def on_chat_model_start(
        self, serialized: JsonObject, messages: list[list[BaseMessage]], *, run_id: UUID, **kwargs: object
    ) -> None:
        _run.set(run_id)


class _Watching:
    """LangChain reads this like a `ContextVar`; it holds the watcher once OpenInference has spans of runs."""

    def __init__(self) -> None:
        self._watcher = _RunWatcher()

    def get(self) -> _RunWatcher | None:
        # A handler costs each call 30 us and each token 2, and who does not trace needs none.
        return self._watcher if _OPENINFERENCE in sys.modules else None


register_configure_hook(cast("ContextVar[_RunWatcher | None]", _Watching()), inheritable=True)


def _span_of(manager: RunManager | None) -> Span | None:
    """Return OpenInference's span of a run, else the current one, None without OpenTelemetry."""
    openinference = sys.modules.get(_OPENINFERENCE)
    run = manager.run_id if manager is not None else _run.get()
    if openinference is not None and run is not None:
        instrumentor = openinference.LangChainInstrumentor()
        if instrumentor.is_instrumented_by_opentelemetry and (span := instrumentor.get_span(run)) is not None:
            return cast("Span", span)
    return current_span()


class Asker(Protocol):
    """An asker is the model whose run it is."""

    def asked_model(self, arguments: Mapping[str, object]) -> str:
        """Return the name of the model that a call with these arguments asks."""
        ...


class Run(ReceiptSpan):
    """A run is one call, in a `with`: its receipt goes onto the span of LangChain's run, errors leave as doubles."""

    def __init__(
        self,
        model: Asker,
        manager: RunManager | None,
        asked: Sequence[BaseMessage] | str,
        arguments: Mapping[str, object],
    ) -> None:
        super().__init__(_span_of(manager))
        self._model = model
        self._asked = asked
        self._arguments = arguments

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.note(error)
        if isinstance(error, OpenGradientError):
            from og_integrations.langchain.errors import as_model_error

            # In its place: its own frames would fill a screen, and stand in every report with their locals.
            raise as_model_error(error, too_long=self._too_long) from error.__cause__

    def _too_long(self) -> str | None:
        name = self._model.asked_model(self._arguments)
        messages = [HumanMessage(self._asked)] if isinstance(self._asked, str) else self._asked
        return too_long(name, messages, cast("Sequence[Tool] | None", self._arguments.get("tools")))

"""
Receipts on the spans of a tracer, whichever framework's: the adapters find the span, this writes on it.
"""

from types import TracebackType
from typing import Any, Self, TypeVar

from og_integrations.receipt import span_attributes

_T = TypeVar("_T")


class ReceiptSpan:
    """A span (OpenTelemetry's, or None without one) that gets the receipt of the call made inside the `with`."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the receipt of a call that failed or was cancelled."""
        self.note(error)

    def note(self, answer: _T) -> _T:
        """Write the receipt of an answer or error, and return it; a piece of text has none."""
        receipt = getattr(answer, "receipt", None)
        if receipt is not None and self._span is not None and self._span.is_recording():
            for name, value in span_attributes(receipt).items():
                self._span.set_attribute(name, value)
        return answer

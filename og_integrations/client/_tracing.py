"""
Receipts on the spans of OpenTelemetry, if the application uses it.

OpenTelemetry is never imported here: nobody has a span who has not imported it, and it would cost everybody
else 30 ms.
"""

import sys
from types import TracebackType
from typing import Protocol, Self, TypeVar, cast

from og_integrations.receipt import SPAN_RECEIPT, span_attributes

_T = TypeVar("_T")


class Span(Protocol):
    """What is used of a span of OpenTelemetry."""

    def is_recording(self) -> bool:
        """Return whether attributes are kept."""
        ...

    def set_attribute(self, key: str, value: str | bool | int) -> None:
        """Set one attribute."""
        ...

    def add_event(self, name: str, attributes: dict[str, str | bool | int]) -> None:
        """Add something that happened meanwhile."""
        ...


class ReceiptSpan:
    """A span, or None without one, that gets the receipt of the call made inside the `with`."""

    def __init__(self, span: Span | None) -> None:
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
        """Write the receipt of an answer or error on the span, and return it; a piece of text has none."""
        if self._span is None:
            return answer
        receipt = getattr(answer, "receipt", None)
        if receipt is not None and self._span.is_recording():
            attributes = span_attributes(receipt)
            for name, value in attributes.items():
                self._span.set_attribute(name, value)
            # The attributes are the last call's; where one span stands for several calls, such as an agent's, each
            # has an event.
            self._span.add_event(SPAN_RECEIPT, attributes)
        return answer


def current_span() -> Span | None:
    """Return the span that is current where a call begins; a stream's is no longer current when its receipt comes."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span()
    # OpenInference hands out a proxy that points to another span as soon as this one is detached.
    return cast("Span", getattr(span, "__wrapped__", span))

"""
Receipts on the OpenTelemetry span of the call, if the application uses OpenTelemetry.

`opengradient.*` attributes are set on whatever span is current: with OpenInference that is the LLM
span. A stream's span is no longer current when its receipt comes, so it is kept from the beginning.
Of a stream that is closed before its end, no receipt reaches its span.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Self, cast

from og_integrations.client import Answer
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.record import span_attributes


class CallSpan:
    """The span that was current when a call began; without OpenTelemetry it does nothing."""

    def __init__(self) -> None:
        # Nobody has a span who has not imported it, and importing it for nobody would cost 30 ms.
        trace = sys.modules.get("opentelemetry.trace")
        span: Any = trace.get_current_span() if trace is not None else None
        # OpenInference hands out a proxy that points to another span as soon as this one is detached.
        self._span = getattr(span, "__wrapped__", span)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the receipt of a call that failed or was cancelled."""
        self._write(getattr(error, "receipt", None))

    def note(self, answer: Answer) -> Answer:
        """Write the receipt of `answer`, which is returned."""
        self._write(answer.receipt)
        return answer

    def noting(self, pieces: Iterator[str | Answer]) -> Generator[str | Answer, None, None]:
        """Pass `pieces` on and write the receipt of the answer, or of the failure."""
        with closing(cast("Generator[str | Answer, None, None]", pieces)) as stream, self:
            for piece in stream:
                yield piece if isinstance(piece, str) else self.note(piece)

    async def noting_async(self, pieces: AsyncIterator[str | Answer]) -> AsyncGenerator[str | Answer, None]:
        """Pass `pieces` on and write the receipt of the answer, or of the failure."""
        async with aclosing(cast("AsyncGenerator[str | Answer, None]", pieces)) as stream:
            with self:
                async for piece in stream:
                    yield piece if isinstance(piece, str) else self.note(piece)

    def _write(self, receipt: JsonObject | None) -> None:
        if receipt is not None and self._span is not None and self._span.is_recording():
            for name, value in span_attributes(receipt).items():
                self._span.set_attribute(name, value)

"""
Receipts on the OpenTelemetry span of the call, if the application uses OpenTelemetry.

`opengradient.*` attributes are set on whatever span is current: with OpenInference that is the LLM
span. A stream's span is no longer current when its receipt comes, so it is kept from the beginning.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from typing import Any, cast

from og_integrations.client import Answer
from og_integrations.errors import OpenGradientError
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

    def note(self, answer: Answer) -> Answer:
        """Write the receipt of `answer`, which is returned."""
        self._write(answer.receipt)
        return answer

    @contextmanager
    def noting_failures(self) -> Iterator[None]:
        """Write the receipt of a call that fails inside."""
        try:
            yield
        except OpenGradientError as exc:
            if exc.receipt is not None:
                self._write(exc.receipt)
            raise

    def noting(self, pieces: Iterator[str | Answer]) -> Generator[str | Answer, None, None]:
        """Pass `pieces` on and write the receipt of the answer, or of the failure."""
        with closing(cast("Generator[str | Answer, None, None]", pieces)) as stream, self.noting_failures():
            for piece in stream:
                yield piece if isinstance(piece, str) else self.note(piece)

    async def noting_async(self, pieces: AsyncIterator[str | Answer]) -> AsyncGenerator[str | Answer, None]:
        """Pass `pieces` on and write the receipt of the answer, or of the failure."""
        async with aclosing(cast("AsyncGenerator[str | Answer, None]", pieces)) as stream:
            with self.noting_failures():
                async for piece in stream:
                    yield piece if isinstance(piece, str) else self.note(piece)

    def _write(self, receipt: JsonObject) -> None:
        if self._span is not None and self._span.is_recording():
            for name, value in span_attributes(receipt).items():
                self._span.set_attribute(name, value)

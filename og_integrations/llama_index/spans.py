"""
Receipts on the OpenTelemetry span of the call, if the application uses OpenTelemetry.

`opengradient.*` attributes are set on whatever span is current: with OpenInference that is the LLM
span. A stream's span is no longer current when its receipt comes, so it is kept from the beginning.
Of a stream that is closed before its end, no receipt reaches its span.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any, cast

from og_integrations.client import Answer
from og_integrations.protocol.tracing import ReceiptSpan


class CallSpan(ReceiptSpan):
    """The span that was current when a call began; without OpenTelemetry it does nothing."""

    def __init__(self) -> None:
        # Nobody has a span who has not imported it, and importing it for nobody would cost 30 ms.
        trace = sys.modules.get("opentelemetry.trace")
        span: Any = trace.get_current_span() if trace is not None else None
        # OpenInference hands out a proxy that points to another span as soon as this one is detached.
        super().__init__(getattr(span, "__wrapped__", span))

    def noting(self, pieces: Iterator[str | Answer]) -> Generator[str | Answer, None, None]:
        """Pass `pieces` on and write the receipt of the answer, or of the failure."""
        with closing(cast("Generator[str | Answer, None, None]", pieces)) as stream, self:
            for piece in stream:
                yield self.note(piece)

    async def noting_async(self, pieces: AsyncIterator[str | Answer]) -> AsyncGenerator[str | Answer, None]:
        """Pass `pieces` on and write the receipt of the answer, or of the failure."""
        async with aclosing(cast("AsyncGenerator[str | Answer, None]", pieces)) as stream:
            with self:
                async for piece in stream:
                    yield self.note(piece)

"""
Receipts on the OpenTelemetry span of the call, if the application uses OpenTelemetry.

`opengradient.*` attributes are set on whatever span is current: with OpenInference that is the LLM
span. A stream's span is no longer current when its receipt comes, so it is kept from the beginning.
Of a stream that is closed before its end, no receipt reaches its span.
"""

import sys
from typing import Any

from og_integrations.chat.tracing import ReceiptSpan


class CallSpan(ReceiptSpan):
    """The span that was current when a call began; without OpenTelemetry it does nothing."""

    def __init__(self) -> None:
        # Nobody has a span who has not imported it, and importing it for nobody would cost 30 ms.
        trace = sys.modules.get("opentelemetry.trace")
        span: Any = trace.get_current_span() if trace is not None else None
        # OpenInference hands out a proxy that points to another span as soon as this one is detached.
        super().__init__(getattr(span, "__wrapped__", span))

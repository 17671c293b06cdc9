"""This module puts receipts into the traces of the OpenAI Agents SDK, where whoever runs the agent asks for that."""

import sys
from typing import TYPE_CHECKING

from og_integrations.receipt import RECEIPT_KEY

if TYPE_CHECKING:
    from og_integrations.protocol._strict_json import JsonObject

SPAN_NAME = "OpenGradient receipt"


def trace_receipt(receipt: "JsonObject") -> None:
    """Write `receipt` as a span into the trace that is current; without one, or where tracing is off, nowhere."""
    # Whoever has a trace has imported it.
    tracing = sys.modules.get("agents.tracing")
    if tracing is None or tracing.get_current_trace() is None:
        return
    with tracing.custom_span(SPAN_NAME, {RECEIPT_KEY: receipt}):
        pass

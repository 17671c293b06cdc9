"""OpenTelemetry: receipts on the span that was current when the call began."""

import asyncio
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from og_integrations.errors import VerificationError
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account


class Span:
    def __init__(self, *, recording: bool = True) -> None:
        self.attributes: dict[str, Any] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.recording = recording

    def is_recording(self) -> bool:
        return self.recording

    def set_attribute(self, name: str, value: object) -> None:
        self.attributes[name] = value

    def add_event(self, name: str, attributes: dict[str, Any]) -> None:
        self.events.append((name, attributes))


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand in for opentelemetry-api, which is not among the dependencies; `current` is the span."""
    tracing = SimpleNamespace(current=Span())
    tracing.get_current_span = lambda: tracing.current
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", tracing)
    return tracing


async def drained(stream: Any) -> list[Any]:
    return [item async for item in await stream]


CALLS: dict[str, Callable[[OpenGradientLLM], Any]] = {
    "complete": lambda llm: llm.complete("x"),
    "acomplete": lambda llm: asyncio.run(llm.acomplete("x")),
    "completions": lambda llm: llm.complete("x", use_chat_completions=False),
    "stream_complete": lambda llm: list(llm.stream_complete("x")),
    "astream_complete": lambda llm: asyncio.run(drained(llm.astream_complete("x"))),
}


@pytest.mark.parametrize("name", CALLS)
def test_receipt_on_the_span(tracing: SimpleNamespace, llm: OpenGradientLLM, name: str) -> None:
    """Flat attributes to search for, and the whole receipt to verify."""
    CALLS[name](llm)
    attributes = tracing.current.attributes
    receipt = json.loads(attributes["opengradient.receipt"])
    assert attributes["opengradient.status"] == receipt["status"] == "verified"
    assert attributes["opengradient.verified"] is True
    assert attributes["opengradient.payment_hash"] == receipt["payment"]["payment_hash"]
    assert attributes["opengradient.tee_signature"] == receipt["tee_signature"]
    assert None not in attributes.values()


def test_stream_keeps_its_span(tracing: SimpleNamespace, llm: OpenGradientLLM) -> None:
    """Another span is current when the stream ends, and a proxy points to it; the first one is written."""
    first = Span()
    tracing.current = SimpleNamespace(__wrapped__=first)
    stream = llm.stream_complete("x")
    tracing.current = other = Span()
    list(stream)
    assert "opengradient.receipt" in first.attributes
    assert other.attributes == {}


@pytest.mark.parametrize("name", CALLS)
def test_failure_on_the_span(account: Account, tracing: SimpleNamespace, llm: OpenGradientLLM, name: str) -> None:
    """A failed call's receipt is there, too."""
    account.net.inject("bad_signature")
    with pytest.raises(VerificationError):
        CALLS[name](llm)
    assert tracing.current.attributes["opengradient.status"] == "unverified"
    assert tracing.current.attributes["opengradient.verified"] is False


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
async def test_cancelled_call_marks_its_span(tracing: SimpleNamespace, llm: OpenGradientLLM, streamed: bool) -> None:
    """A call that is given up has been paid; its receipt says that nothing is proven."""
    prompt = "[[tokens=50 delay=0.1]]"
    task: asyncio.Task[Any] = asyncio.create_task(
        drained(llm.astream_complete(prompt)) if streamed else llm.acomplete(prompt)
    )
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tracing.current.attributes["opengradient.verified"] is False
    assert "opengradient.payment_hash" in tracing.current.attributes


def test_span_that_records_nothing(tracing: SimpleNamespace, llm: OpenGradientLLM) -> None:
    """A sampled-out span costs nothing."""
    tracing.current = Span(recording=False)
    llm.complete("x")
    assert tracing.current.attributes == {}

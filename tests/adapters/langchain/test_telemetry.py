"""OpenTelemetry: each LLM span of OpenInference carries the receipt of its call; without it, the current span."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from og_integrations.client import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.errors import VerificationError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from tests.adapters.langchain.conftest import MODEL
from tests.adapters.langchain.ways_to_ask import WAYS, get_weather

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider()
    yield provider
    provider.shutdown()


@pytest.fixture
def exporter(provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def instrumented(provider: TracerProvider) -> Iterator[None]:
    LangChainInstrumentor().instrument(tracer_provider=provider)
    yield
    LangChainInstrumentor().uninstrument()


def llm_spans(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    """Return the finished LLM spans, in order of ending."""
    return [s for s in exporter.get_finished_spans() if (s.attributes or {}).get("openinference.span.kind") == "LLM"]


def check(span: ReadableSpan, receipt: dict[str, Any]) -> None:
    """Assert that `span` tells what `receipt` does."""
    told = dict(span.attributes or {})
    assert told["opengradient.payment_hash"] == receipt["payment"]["payment_hash"]
    assert told.get("opengradient.tee_signature") == receipt["tee_signature"]
    assert told["opengradient.verified"] is (receipt["status"] == "verified")
    assert json.loads(str(told["opengradient.receipt"])) == receipt


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_asking_marks_its_span(model: ChatOpenGradient, exporter: InMemorySpanExporter, way: str) -> None:
    with collect_receipts() as receipts:
        WAYS[way](model, "hi")
    (span,) = llm_spans(exporter)
    check(span, receipts[0])


@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_failed_call_is_marked_unverified(
    net: Devnet, model: ChatOpenGradient, exporter: InMemorySpanExporter, way: str
) -> None:
    net.inject("altered_text")
    with pytest.raises(VerificationError) as caught:
        WAYS[way](model, "hi there")
    (span,) = llm_spans(exporter)
    assert (span.attributes or {})["opengradient.verified"] is False
    assert json.loads(str((span.attributes or {})["opengradient.receipt"])) == caught.value.receipt


@pytest.mark.usefixtures("instrumented")
def test_calls_at_once_and_in_agents_mark_their_own_spans(
    model: ChatOpenGradient, exporter: InMemorySpanExporter
) -> None:
    agent: Any = create_agent(model, [get_weather])
    with collect_receipts() as receipts:
        model.batch(["one", "two", "three"])
        asyncio.run(model.abatch(["four", "five"]))
        model.generate([[HumanMessage("six")], [HumanMessage("seven")]])
        for _ in agent.stream({"messages": [("user", 'weather in "Oslo"')]}, stream_mode="messages"):
            pass
    spans = llm_spans(exporter)
    by_signature = {receipt["tee_signature"]: receipt for receipt in receipts}
    signatures = [(span.attributes or {})["opengradient.tee_signature"] for span in spans]
    assert sorted(map(str, signatures)) == sorted(by_signature)
    for span, signature in zip(spans, signatures, strict=True):
        check(span, by_signature[signature])


@pytest.mark.usefixtures("instrumented")
def test_no_secret_is_in_any_span(net: Devnet, model: ChatOpenGradient, exporter: InMemorySpanExporter) -> None:
    model.invoke("hi")
    list(model.stream("there"))
    told = "\n".join(span.to_json() for span in exporter.get_finished_spans())
    assert "opengradient.payment_hash" in told
    assert not [secret for secret in net.secrets() if secret in told]


def test_text_model_marks_the_current_span(net: Devnet, provider: TracerProvider) -> None:
    model = OpenGradientCompletion(model=MODEL, private_key=net.private_key, network=net.network)
    with provider.get_tracer("app").start_as_current_span("mine") as span, collect_receipts() as receipts:
        model.invoke("hi")
    model.close()
    check(span, receipts[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_without_openinference_the_current_span_is_marked(
    model: ChatOpenGradient, provider: TracerProvider, way: str
) -> None:
    with provider.get_tracer("app").start_as_current_span("mine") as span, collect_receipts() as receipts:
        WAYS[way](model, "hi")
    check(span, receipts[0])  # type: ignore[arg-type]


async def test_cancelled_call_marks_its_span(model: ChatOpenGradient, provider: TracerProvider) -> None:
    with provider.get_tracer("app").start_as_current_span("mine") as span, collect_receipts() as receipts:
        task = asyncio.create_task(model.ainvoke("[[tokens=50 delay=0.1]]"))
        await asyncio.sleep(0.6)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    check(span, receipts[0])  # type: ignore[arg-type]
    await model.aclose()


def test_works_without_opentelemetry(net: Devnet) -> None:
    program = (
        "import sys\n"
        "sys.modules.update({'opentelemetry': None, 'opentelemetry.trace': None})\n"
        "from og_integrations.langchain import ChatOpenGradient\n"
        "model = ChatOpenGradient(model='openai/gpt-5.2')\n"
        "print(model.invoke('hi').text, *[chunk.text for chunk in model.stream('hi')]); model.close()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], env=net.environment(), check=True, timeout=50)


def test_model_that_is_older_than_tracing_marks_its_first_span(net: Devnet) -> None:
    program = """if True:
        from og_integrations.langchain import ChatOpenGradient
        model = ChatOpenGradient(model="openai/gpt-5.2")
        import sys
        assert "openinference.instrumentation.langchain" not in sys.modules
        from openinference.instrumentation.langchain import LangChainInstrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        provider, exporter = TracerProvider(), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        LangChainInstrumentor().instrument(tracer_provider=provider)
        list(model.stream("hi"))
        model.close()
        print(*[span.attributes.get("opengradient.verified") for span in exporter.get_finished_spans()])
    """
    done = subprocess.run(
        [sys.executable, "-c", program], env=net.environment(), check=True, timeout=50, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True"]

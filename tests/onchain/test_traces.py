"""Receipts of models on chain in spans and traces, as those of LLM calls; and an agent of the third framework."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, set_trace_processors, set_tracing_disabled
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tracers import LangChainTracer
from langsmith.integrations.openai_agents_sdk import OpenAIAgentsTracingProcessor
from langsmith.integrations.otel.processor import OtelExporter
from llama_index.core.agent.workflow import FunctionAgent
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from og_integrations import collect_receipts
from og_integrations.cli import main
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import TransactionRefusedError
from og_integrations.langchain import ChatOpenGradient, onchain_tool
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.llama_index import onchain_tool as llama_tool
from og_integrations.onchain import AsyncOnchainClient, OnchainClient
from og_integrations.openai import OpenGradientProvider
from og_integrations.openai import onchain_tool as agents_tool
from tests.adapters.langchain.local_langsmith import langsmith
from tests.onchain.test_inference import CANDLES
from tests.onchain.test_tools import MODEL, volatility
from tests.onchain.test_workflows import deploy
from tests.report.test_report import rows_in

ASKED = 'use tool volatility {"pair": "ETH/USD"}'


def by_sync(chain: OnchainClient, model_cid: str) -> Any:
    return chain.infer(model_cid, CANDLES)


def by_async(chain: OnchainClient, model_cid: str) -> Any:
    return asyncio.run(AsyncOnchainClient(sharing=chain).infer(model_cid, CANDLES))


@pytest.mark.parametrize("infer", [by_sync, by_async])
def test_current_span_carries_the_receipt(chain: OnchainClient, infer: Any) -> None:
    """Also of an inference that failed."""
    provider = TracerProvider()
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("good") as good:
        result = infer(chain, VOLATILITY)
    with (
        tracer.start_as_current_span("bad", record_exception=False, set_status_on_exception=False) as bad,
        pytest.raises(TransactionRefusedError) as caught,
    ):
        infer(chain, "QmNothing")
    provider.shutdown()
    told: dict[str, Any] = dict(good.attributes)  # type: ignore[attr-defined]
    assert told["opengradient.transaction_hash"] == result.transaction_hash
    assert json.loads(told["opengradient.receipt"]) == result.receipt
    assert json.loads(bad.attributes["opengradient.receipt"]) == caught.value.receipt  # type: ignore[attr-defined]


def test_span_of_another_transaction_has_no_receipt(chain: OnchainClient) -> None:
    """What a node says of it is called a receipt, too, and is none of ours."""
    address = deploy(chain)
    provider = TracerProvider()
    with provider.get_tracer("t").start_as_current_span("s") as span:
        chain.schedule_workflow(address, every=3600, duration=7200)
    provider.shutdown()
    assert not span.attributes  # type: ignore[attr-defined]


def test_trace_of_an_agent_holds_both_receipts(evm: Devnet, chain: OnchainClient) -> None:
    """That of the LLM in its run, that of the model on chain in the run of the tool."""
    model = ChatOpenGradient(model=MODEL, private_key=evm.new_wallet().private_key, network=evm.network)
    agent = create_agent(model, [onchain_tool(volatility(chain))])
    with langsmith("batch") as (client, capture), collect_receipts() as receipts:
        tracer = LangChainTracer(client=client, project_name="p")
        agent.invoke({"messages": [HumanMessage(ASKED)]}, {"callbacks": [tracer]})
        tracer.wait_for_futures()
        client.flush()
    model.close()
    assert [receipt["kind"] for receipt in receipts] == ["chat", "onchain", "chat"]
    told = json.dumps(capture.outputs())
    for receipt in receipts:
        assert receipt["output_hash"] in told
    assert receipts[1]["onchain"]["transaction_hash"] in told


@pytest.mark.filterwarnings("ignore:The `")  # LlamaIndex's workflows look at old attributes of pydantic's
@pytest.mark.filterwarnings("ignore:Accessing the 'model_")
def test_span_of_a_llama_index_agent_holds_both_receipts(evm: Devnet, chain: OnchainClient) -> None:
    """One span stands for the whole run: each receipt is an event of it."""
    llm = OpenGradientLLM(MODEL, private_key=evm.new_wallet().private_key, network=evm.network)
    agent = FunctionAgent(llm=llm, tools=[llama_tool(volatility(chain))])

    async def run() -> str:
        async with llm:
            return str(await agent.run(ASKED))

    provider = TracerProvider()
    with provider.get_tracer("t").start_as_current_span("agent") as span, collect_receipts() as receipts:
        assert "0.0225" in asyncio.run(run())
    provider.shutdown()
    events = [dict(event.attributes) for event in span.events]  # type: ignore[attr-defined]
    assert [json.loads(event["opengradient.receipt"]) for event in events] == receipts
    assert [receipt["kind"] for receipt in receipts] == ["chat", "onchain", "chat"]


@pytest.mark.filterwarnings("ignore:The `")
@pytest.mark.filterwarnings("ignore:Accessing the 'model_")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of OpenInference and LlamaIndex, of each other
def test_trace_of_a_llama_index_agent_holds_both_receipts_at_langsmith(evm: Devnet, chain: OnchainClient) -> None:
    """By OpenInference's spans and LangSmith's own exporter: each call and the tool have a span with their receipt."""
    llm = OpenGradientLLM(MODEL, private_key=evm.new_wallet().private_key, network=evm.network)
    agent = FunctionAgent(llm=llm, tools=[llama_tool(volatility(chain))])

    async def run() -> None:
        async with llm:
            await agent.run(ASKED)

    provider, instrumentor = TracerProvider(), LlamaIndexInstrumentor()
    with langsmith("batch") as (client, capture), collect_receipts() as receipts:
        provider.add_span_processor(
            SimpleSpanProcessor(OtelExporter(url=f"{client.api_url}/otel/v1/traces", api_key="x"))
        )
        instrumentor.instrument(tracer_provider=provider)
        asyncio.run(run())
        instrumentor.uninstrument()
        provider.shutdown()
    assert [receipt["kind"] for receipt in receipts] == ["chat", "onchain", "chat"]
    told = b"".join(body for _, body in capture.bodies)
    for receipt in receipts:
        assert json.dumps(receipt).encode() in told
    assert receipts[1]["onchain"]["transaction_hash"].encode() in told


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_trace_of_an_openai_agent_holds_both_receipts_at_langsmith(
    evm: Devnet, chain: OnchainClient, streamed: bool
) -> None:
    """By LangSmith's own processor; without `trace_receipts` no receipt is in the trace."""

    async def run(**options: Any) -> None:
        provider = OpenGradientProvider(private_key=evm.new_wallet().private_key, network=evm.network, **options)
        agent = Agent(name="a", model=MODEL, tools=[agents_tool(volatility(chain), **options)])
        config = RunConfig(model_provider=provider)
        try:
            if streamed:
                async for _ in Runner.run_streamed(agent, ASKED, run_config=config).stream_events():
                    pass
            else:
                await Runner.run(agent, ASKED, run_config=config)
        finally:
            await provider.aclose()

    told = {}
    for options in ({"trace_receipts": True}, {}):
        with langsmith("batch") as (client, capture), collect_receipts() as receipts:
            processor: Any = OpenAIAgentsTracingProcessor(client=client, project_name="p")  # type: ignore[no-untyped-call]
            set_trace_processors([processor])
            set_tracing_disabled(False)
            asyncio.run(run(**options))
            client.flush()
            told[bool(options)] = capture.text
        assert [receipt["kind"] for receipt in receipts] == ["chat", "onchain", "chat"]
        for receipt in receipts:
            assert (receipt["output_hash"] in capture.text) == bool(options)
    set_trace_processors([])
    set_tracing_disabled(True)
    assert "OpenGradient receipt" in told[True]


@pytest.mark.parametrize("framework", ["langchain", "llama-index", "openai agents"])
@pytest.mark.filterwarnings("ignore:The `")
@pytest.mark.filterwarnings("ignore:Accessing the 'model_")
def test_ledger_of_an_agent_is_verified_side_by_side(
    evm: Devnet,
    chain: OnchainClient,
    framework: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`verify` reads the file that the run wrote: an LLM's receipt from its exchange, a model's from the chain."""
    file = tmp_path / "agent.jsonl"
    options: Any = {"private_key": evm.new_wallet().private_key, "network": evm.network}

    async def llama() -> None:
        async with OpenGradientLLM(MODEL, **options) as llm:
            await FunctionAgent(llm=llm, tools=[llama_tool(volatility(chain))]).run(ASKED)

    async def openai() -> None:
        provider = OpenGradientProvider(**options)
        agent = Agent(name="a", model=MODEL, tools=[agents_tool(volatility(chain))])
        await Runner.run(agent, ASKED, run_config=RunConfig(model_provider=provider, tracing_disabled=True))
        await provider.aclose()

    def langchain() -> None:
        model = ChatOpenGradient(model=MODEL, **options)
        create_agent(model, [onchain_tool(volatility(chain))]).invoke({"messages": [HumanMessage(ASKED)]})
        model.close()

    with collect_receipts(to=str(file), keep_exchanges=True):
        if framework == "langchain":
            langchain()
        else:
            asyncio.run({"llama-index": llama, "openai agents": openai}[framework]())
    for name, value in evm.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["verify", "--registry", "--json", str(file)]) == 0
    verdicts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [verdict["status"] for verdict in verdicts] == ["verified"] * 3
    by_chain = [[check["id"] for check in verdict["checks"]] for verdict in verdicts]
    assert ["transaction" in checks for checks in by_chain] == [False, True, False]
    assert main(["verify", "--registry", str(file)]) == 0
    assert capsys.readouterr().out.count(": verified") == 3
    assert_report_shows_both(file, tmp_path / "report.html")
    assert capsys.readouterr().out.splitlines()[0] == "3 documents: 3 verified"


def assert_report_shows_both(ledger: Path, page: Path) -> None:
    """The report, made of the ledger with the chain asked, has a row for each call, with the checks of its kind."""
    assert main(["report", "--registry", str(ledger), "--html", str(page)]) == 0
    head, rows = rows_in(page.read_text())
    assert [row["kind"] for row in rows] == ["chat", "onchain", "chat"]
    assert {row["status"] for row in rows} == {"verified"}
    llm, onchain = (
        {
            check["id"]: check["result"]
            for check in json.loads("".join(head["shared"][p] if isinstance(p, int) else p for p in row["checks"]))
        }
        for row in rows[:2]
    )
    proven = ("transaction", "mined", "result_event", "inference_event", "not_simulated")
    left = ("tee_attestation", "zk_proof", "recomputed")
    assert onchain == dict.fromkeys(proven, "pass") | dict.fromkeys(left, "skip")
    assert {llm[step] for step in ("request-hash", "output-hash", "signature", "enclave-trusted")} == {"pass"}


def test_openai_agent_has_both_receipts(evm: Devnet, chain: OnchainClient) -> None:
    """Its LLM is ours, too."""

    async def run() -> Any:
        provider = OpenGradientProvider(private_key=evm.new_wallet().private_key, network=evm.network)
        agent = Agent(name="a", model=MODEL, tools=[agents_tool(volatility(chain))])
        config = RunConfig(model_provider=provider, tracing_disabled=True)
        try:
            return await Runner.run(agent, ASKED, run_config=config)
        finally:
            await provider.aclose()

    with collect_receipts() as receipts:
        result = asyncio.run(run())
    assert "0.0225" in result.final_output
    assert [receipt["kind"] for receipt in receipts] == ["chat", "onchain", "chat"]
    assert receipts.verified
    (kept,) = (item.custom_data for item in result.new_items if item.type == "tool_call_output_item")
    assert kept["opengradient"] == receipts[1]

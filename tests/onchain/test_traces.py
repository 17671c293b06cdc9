"""Receipts of models on chain in spans and traces, as those of LLM calls; and an agent of the third framework."""

import asyncio
import json
from typing import Any

import pytest
from agents import Agent, RunConfig, Runner
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tracers import LangChainTracer
from opentelemetry.sdk.trace import TracerProvider

from og_integrations import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import TransactionRefusedError
from og_integrations.langchain import ChatOpenGradient, onchain_tool
from og_integrations.onchain import AsyncOnchainClient, OnchainClient
from og_integrations.openai import OpenGradientProvider
from og_integrations.openai import onchain_tool as agents_tool
from tests.adapters.langchain.local_langsmith import langsmith
from tests.onchain.test_inference import CANDLES
from tests.onchain.test_tools import MODEL, volatility
from tests.onchain.test_workflows import deploy

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

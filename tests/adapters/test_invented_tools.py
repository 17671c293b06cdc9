"""A tool that nobody offered is the model's slip, not a lie: its call is proven, and agents of both kinds go on."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import FunctionTool

from og_integrations import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM

MODEL = "openai/gpt-5-mini"
INVENTED = "transfer_everything"
ORDER = 'use tool add {"a": 1, "b": 2}'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def model(net: Devnet) -> Iterator[ChatOpenGradient]:
    made = ChatOpenGradient(model=MODEL, private_key=net.private_key, network=net.network)
    yield made
    made.close()


def test_langchains_agent_is_told_and_goes_on(net: Devnet, model: ChatOpenGradient) -> None:
    net.inject("unoffered_tool", times=1)
    agent: Any = create_agent(model, [add])
    with collect_receipts() as receipts:
        messages = agent.invoke({"messages": [("user", ORDER)]})["messages"]
    told = [message for message in messages if isinstance(message, ToolMessage)]
    assert (told[0].status, INVENTED in told[0].text) == ("error", True)
    assert receipts.verified
    assert net.verdict().clean


@pytest.mark.filterwarnings("ignore:The `")  # LlamaIndex's workflows look at old attributes of pydantic's
@pytest.mark.filterwarnings("ignore:Accessing the 'model_")
@pytest.mark.parametrize("streaming", [False, True])
def test_llama_indexs_agent_is_told_and_goes_on(net: Devnet, streaming: bool) -> None:
    async def run(llm: OpenGradientLLM) -> Any:
        return await FunctionAgent(tools=[FunctionTool.from_defaults(add)], llm=llm, streaming=streaming).run(ORDER)

    net.inject("unoffered_tool", times=1)
    options: Any = {"private_key": net.private_key, "network": net.network}
    with OpenGradientLLM(MODEL, **options) as llm, collect_receipts() as receipts:
        output = asyncio.run(run(llm))
    assert output.tool_calls[0].tool_name == INVENTED
    assert output.tool_calls[0].tool_output.is_error
    assert receipts.verified


@pytest.mark.parametrize("bound", [False, True], ids=["no tool", "another tool"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_call_is_handed_on_with_a_verified_receipt(net: Devnet, model: ChatOpenGradient, way: str, bound: bool) -> None:
    """Also where no tool was sent, as in the turn after the last one with tools."""
    net.inject("unoffered_tool", times=1)
    asked: Any = model.bind_tools([add]) if bound else model
    if way == "invoke":
        answer = asked.invoke("hi")
    else:
        first, *more = asked.stream("hi")
        answer = sum(more, first)
    assert [call["name"] for call in answer.tool_calls] == [INVENTED]
    assert answer.response_metadata["opengradient"]["status"] == "verified"

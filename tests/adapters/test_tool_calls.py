"""
Calls of tools as models make them: of tools that nobody offered, which is a slip and no lie (it is proven, and agents
of both kinds go on), and several at once.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from og_integrations import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM

MODEL = "openai/gpt-5-mini"
INVENTED = "transfer_everything"
ORDER = 'use tool add {"a": 1, "b": 2}'


class Sum(BaseModel):
    """Two numbers to add."""

    a: int
    b: int


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


TWICE = 'use tool add {"a": 1, "b": 2} and use tool add {"a": 3, "b": 4}'


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_two_calls_of_googles_model_in_a_stream_are_two(net: Devnet, way: str) -> None:
    """The gateway merges them under one signature, so it is asked without streaming; text alone is streamed."""
    model = ChatOpenGradient(model="google/gemini-2.5-flash", private_key=net.private_key, network=net.network)
    asked: Any = model.bind_tools([add])

    async def read() -> list[Any]:
        return [chunk async for chunk in asked.astream(TWICE)]

    first, *more = asked.stream(TWICE) if way == "stream" else asyncio.run(read())
    answer = sum(more, first)
    assert [call["args"] for call in answer.tool_calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert answer.response_metadata["opengradient"]["status"] == "verified"
    assert len([chunk for chunk in model.stream("[[tokens=3]]") if chunk.text]) == 3
    model.close()


@pytest.mark.parametrize("several", [False, True])
def test_program_gives_all_objects_if_it_may(net: Devnet, several: bool) -> None:
    """A schema in place of the one demanded tool, which providers enforce, could be answered once only."""
    with OpenGradientLLM(MODEL, private_key=net.private_key, network=net.network) as llm:
        program: Any = FunctionCallingProgram.from_defaults(
            output_cls=Sum, prompt_template_str="{order}", llm=llm, allow_parallel_tool_calls=several
        )
        made = program(order=TWICE.replace("tool add", "tool Sum"))
    if several:
        assert made == [Sum(a=1, b=2), Sum(a=3, b=4)]
    else:
        assert isinstance(made, Sum)

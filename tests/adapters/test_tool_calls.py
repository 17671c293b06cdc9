"""
Calls of tools as models make them: of tools that nobody offered, which is a slip and no lie (it is proven, and agents
of both kinds go on), and several at once.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from og_integrations import AsyncClient, Client, collect_receipts
from og_integrations.client import Answer
from og_integrations.devnet import Devnet
from og_integrations.errors import InvalidRequestError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.openai import openai_client

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


WIRE = [{"type": "function", "function": {"name": "add", "parameters": Sum.model_json_schema()}}]
TWO_CALLS = [{"role": "user", "content": TWICE}]


def of_client(net: Devnet, name: str, *, streamed: bool) -> tuple[int, Any]:
    options: Any = {"tools": WIRE, "parallel_tool_calls": False}
    with Client(private_key=net.private_key, network=net.network) as client:
        if streamed:
            *_, answer = client.stream(name, TWO_CALLS, **options)
            assert isinstance(answer, Answer)
        else:
            answer = client.chat(name, TWO_CALLS, **options)
    return len(answer.tool_calls), answer.receipt


def of_async_client(net: Devnet, name: str, *, streamed: bool) -> tuple[int, Any]:
    async def run() -> Any:
        options: Any = {"tools": WIRE, "parallel_tool_calls": False}
        async with AsyncClient(private_key=net.private_key, network=net.network) as client:
            if streamed:
                return [piece async for piece in client.stream(name, TWO_CALLS, **options)][-1]
            return await client.chat(name, TWO_CALLS, **options)

    answer = asyncio.run(run())
    return len(answer.tool_calls), answer.receipt


def of_langchain(net: Devnet, name: str, *, streamed: bool) -> tuple[int, Any]:
    model = ChatOpenGradient(model=name, private_key=net.private_key, network=net.network)
    asked: Any = model.bind_tools([add], parallel_tool_calls=False)
    if streamed:
        first, *more = asked.stream(TWICE)
        answer = sum(more, first)
    else:
        answer = asked.invoke(TWICE)
    model.close()
    return len(answer.tool_calls), answer.response_metadata["opengradient"]


def of_llama_index(net: Devnet, name: str, *, streamed: bool) -> tuple[int, Any]:
    tools = [FunctionTool.from_defaults(add)]
    with OpenGradientLLM(name, private_key=net.private_key, network=net.network) as llm:
        response = list(llm.stream_chat_with_tools(tools, TWICE))[-1] if streamed else llm.chat_with_tools(tools, TWICE)
    return len(llm.get_tool_calls_from_response(response)), response.additional_kwargs["opengradient"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", [MODEL, "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash"])
@pytest.mark.parametrize("ask", [of_client, of_async_client, of_langchain, of_llama_index])
def test_one_call_at_a_time_is_kept_and_named(net: Devnet, ask: Any, name: str, streamed: bool) -> None:
    """No gateway hands the wish to a model, so it is kept here; what is shown is then not all that was signed."""
    calls, receipt = ask(net, name, streamed=streamed)
    assert (calls, receipt["status"]) == (1, "verified")
    assert receipt["presentation"] == {"kind": "first_tool_call", "tool_calls": 2}


@pytest.mark.parametrize("given", [0, "false", "no", 2, []])
def test_wish_for_one_call_is_never_taken_for_its_opposite(net: Devnet, given: Any) -> None:
    """A text "false" is true to Python; it would have two tools run where one was allowed."""
    model: Any = ChatOpenGradient(model=MODEL, private_key=net.private_key, network=net.network)
    with (
        Client(private_key=net.private_key, network=net.network) as client,
        OpenGradientLLM(MODEL, private_key=net.private_key, network=net.network) as llm,
    ):
        ways: list[Any] = [
            lambda: client.chat(MODEL, TWO_CALLS, tools=WIRE, parallel_tool_calls=given),
            lambda: model.bind_tools([add], parallel_tool_calls=given).invoke(TWICE),
            lambda: llm.chat([ChatMessage(TWICE)], tools=WIRE, parallel_tool_calls=given).message,
        ]
        for ask in ways:
            if given == 0:
                answer = ask()
                calls = answer.tool_calls if hasattr(answer, "tool_calls") else answer.additional_kwargs["tool_calls"]
                assert len(calls) == 1
            else:
                with pytest.raises(InvalidRequestError, match=r"parallel_tool_calls is .*expected True or False"):
                    ask()
    assert net.stats().payments <= 1
    model.close()


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_made_up_tool_over_an_unpinned_client_is_handed_on(net: Devnet, way: str) -> None:
    """
    Whoever stood in between could show a text that spells a call as one, since both have one hash.

    Such a client knows its gateway by URL only, whose word for its own key is no proof either: the receipt says so,
    instead of an error that would hit a model's honest slip.
    """
    net.inject("unoffered_tool", times=1)
    url = net.enclaves[0].endpoint
    with httpx.Client(verify=False) as mine:
        model = ChatOpenGradient(
            model=MODEL, private_key=net.private_key, network=net.network, gateway_url=url, http_client=mine
        )
        asked: Any = model.bind_tools([add])
        if way == "invoke":
            answer = asked.invoke("hi")
        else:
            first, *more = asked.stream("hi")
            answer = sum(more, first)
    assert [call["name"] for call in answer.tool_calls] == [INVENTED]
    receipt = answer.response_metadata["opengradient"]
    assert (receipt["status"], receipt["trust"], receipt["channel"]) == ("verified", "endpoint", "unpinned")
    assert {check["id"]: check["result"] for check in receipt["checks"]}["enclave-trusted"] == "skip"


def _broken(**schema: object) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"a": schema, "b": {"type": "integer"}}}
    return {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": parameters}}


def tool_of_client(net: Devnet, tool: Any) -> None:
    with Client(private_key=net.private_key, network=net.network) as client:
        client.chat(MODEL, TWO_CALLS, tools=[tool])


def tool_of_langchain(net: Devnet, tool: Any) -> None:
    model = ChatOpenGradient(model=MODEL, private_key=net.private_key, network=net.network)
    model.bind_tools([tool]).invoke(TWICE)
    model.close()


def tool_of_llama_index(net: Devnet, tool: Any) -> None:
    with OpenGradientLLM(MODEL, private_key=net.private_key, network=net.network) as llm:
        llm.chat([ChatMessage(TWICE)], tools=[tool])


def tool_of_openai(net: Devnet, tool: Any) -> None:
    messages: Any = TWO_CALLS
    with openai_client(private_key=net.private_key, network=net.network) as client:
        client.chat.completions.create(model=MODEL, messages=messages, tools=[tool])


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/Gone"},
        {"$ref": "https://elsewhere.example/schema"},
        {"$dynamicRef": "#gone"},
        {"type": "str"},
        {"type": "array", "items": "string"},
        {"enum": []},
    ],
    ids=lambda schema: next(iter(schema.items())).__repr__()[:30],
)
@pytest.mark.parametrize("ask", [tool_of_client, tool_of_langchain, tool_of_llama_index, tool_of_openai])
def test_schema_that_every_provider_refuses_is_refused_unpaid(net: Devnet, ask: Any, schema: dict[str, Any]) -> None:
    """The gateway would make the provider's 400 a failure of the server, after the payment."""
    with pytest.raises((InvalidRequestError, openai.BadRequestError), match=r"add"):
        ask(net, _broken(**schema))
    assert net.stats().signatures == 0


@pytest.mark.parametrize("ask", [tool_of_client, tool_of_langchain, tool_of_llama_index, tool_of_openai])
def test_tool_whose_schema_points_into_itself_is_sent(net: Devnet, ask: Any) -> None:
    """As servers of MCP that are written with zod do it."""
    ask(net, _broken(type="array", items={"$ref": "#/properties/b"}))
    assert net.stats().charges == 1

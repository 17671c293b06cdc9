"""
Models of Anthropic and Google that answer in text where tools and a schema were given: they are asked once more.

The second call is paid within the same limits, leaves a receipt of its own, and can be switched off.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from llama_index.core.llms import ChatMessage, ChatResponse
from pydantic import BaseModel

from og_integrations import collect_receipts
from og_integrations.devnet import Answer, Devnet, ModelCall, ModelRequest, Usage
from og_integrations.langchain import ChatOpenGradient, ReceiptCallbackHandler
from og_integrations.langchain.errors import SpendingStoppedError, ToolChoiceNotHonoredError
from og_integrations.llama_index import OpenGradientLLM

CLAUDE, GEMINI, GPT = "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash", "openai/gpt-5-mini"
USAGE = Usage(10, 5, 15)
ANSWERED = '{"city": "Oslo", "sunny": true}'
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "sunny": {"type": "boolean"}},
    "required": ["city", "sunny"],
}
FORM = {"type": "json_schema", "json_schema": {"name": "Weather", "schema": SCHEMA}}


class Weather(BaseModel):
    """What the weather is like."""

    city: str
    sunny: bool


def look(city: str) -> str:
    """Look at the weather of a city."""
    return f"The sun shines in {city}."


def look_again(city: str) -> str:
    """Look once more."""
    return look(city)


TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}


class Talker:
    """Looks once where it can, and then talks, unless its provider enforces a schema."""

    def __init__(self) -> None:
        self.asked: list[ModelRequest] = []
        self.talks = "It is sunny."

    async def answer(self, request: ModelRequest) -> Answer:
        """Answer by what came."""
        self.asked.append(request)
        if request.response_format is not None and not request.tools:
            return Answer(pieces=(ANSWERED[:9], ANSWERED[9:]), usage=USAGE)
        if request.tools and request.messages[-1]["role"] == "user":
            return Answer(calls=(ModelCall("look", '{"city": "Oslo"}'),), usage=USAGE)
        return Answer(pieces=(self.talks,), usage=USAGE)


@pytest.fixture
def talker() -> Talker:
    return Talker()


@pytest.fixture
def net(talker: Talker) -> Iterator[Devnet]:
    with Devnet(model=talker) as devnet:
        yield devnet


def langchain_model(net: Devnet, name: str, **options: Any) -> ChatOpenGradient:
    return ChatOpenGradient(model=name, private_key=net.private_key, network=net.network, **options)


HISTORY: list[Any] = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "name": "look", "args": {}, "type": "tool_call"}]},
    {"role": "tool", "content": "The sun shines.", "tool_call_id": "1"},
]


async def _read(stream: Any) -> list[Any]:
    return [piece async for piece in stream]


def _sum(chunks: list[Any]) -> AIMessage:
    first, *more = chunks
    summed: AIMessage = sum(more, first)
    return summed


WAYS: dict[str, Callable[[Any, Any], AIMessage]] = {
    "invoke": lambda model, asked: model.invoke(asked),
    "ainvoke": lambda model, asked: asyncio.run(model.ainvoke(asked)),
    "stream": lambda model, asked: _sum(list(model.stream(asked))),
    "astream": lambda model, asked: _sum(asyncio.run(_read(model.astream(asked)))),
}


@pytest.mark.parametrize("name", [CLAUDE, GEMINI])
def test_agent_with_tools_and_a_form_ends_with_the_form(net: Devnet, talker: Talker, name: str) -> None:
    """It ended with LangChain's `StructuredOutputValidationError`, after two paid calls."""
    model = langchain_model(net, name)
    agent: Any = create_agent(model, [look], response_format=Weather)
    handler = ReceiptCallbackHandler()
    with collect_receipts() as receipts:
        state = agent.invoke({"messages": [("user", "q")]}, {"callbacks": [handler]})
    assert state["structured_response"] == Weather(city="Oslo", sunny=True)
    assert (len(talker.asked), len(receipts), receipts.verified) == (3, 3, True)
    assert [item["tee_signature"] for item in handler.receipts] == [item["tee_signature"] for item in receipts]
    assert net.verdict().clean
    model.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [CLAUDE, GEMINI])
def test_message_has_the_form_and_both_receipts(net: Devnet, talker: Talker, name: str, way: str) -> None:
    model = langchain_model(net, name)
    with collect_receipts() as receipts:
        answer = WAYS[way](model.bind_tools([look], response_format=Weather), HISTORY)
    assert answer.text == ANSWERED
    assert answer.response_metadata["opengradient"] == receipts[1]
    assert answer.response_metadata["opengradient_earlier"] == [receipts[0]]
    assert answer.usage_metadata == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    first, second = talker.asked
    assert (len(first.tools), second.tools) == (2, [])
    assert second.messages == first.messages
    model.close()


FORM_TOOL = StructuredTool(name="Weather", description="Give the answer.", args_schema=SCHEMA)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [GPT, GEMINI])
def test_form_that_stands_as_a_tool_is_asked_for_alone(net: Devnet, talker: Talker, name: str, way: str) -> None:
    """LangChain's agents (`ToolStrategy`) demand some tool, one of which nobody runs: it is the form of the answer."""
    model = langchain_model(net, name)
    with collect_receipts() as receipts:
        answer = WAYS[way](model.bind_tools([look, FORM_TOOL], tool_choice="any"), HISTORY)
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("Weather", {"city": "Oslo", "sunny": True})
    ]
    assert answer.response_metadata["opengradient_earlier"] == [receipts[0]]
    assert (answer.text, receipts.verified, len(receipts)) == ("", True, 2)
    model.close()


@pytest.mark.parametrize(
    ("tools", "options"),
    [([look, FORM_TOOL], {"ask_again": False}), ([look, look_again], {})],
    ids=["switched off", "no tool is a form"],
)
def test_demand_of_a_call_is_not_asked_again(net: Devnet, talker: Talker, tools: Any, options: Any) -> None:
    model = langchain_model(net, GEMINI, **options)
    with pytest.raises(ToolChoiceNotHonoredError):
        model.bind_tools(tools, tool_choice="any").invoke(HISTORY)
    assert len(talker.asked) == 1
    model.close()


LLAMA_INDEX: dict[str, Callable[[OpenGradientLLM, Any, Any], ChatResponse]] = {
    "chat": lambda llm, asked, options: llm.chat(asked, **options),
    "achat": lambda llm, asked, options: asyncio.run(llm.achat(asked, **options)),
    "stream_chat": lambda llm, asked, options: list(llm.stream_chat(asked, **options))[-1],
    "astream_chat": lambda llm, asked, options: asyncio.run(_last(llm.astream_chat(asked, **options))),
}


async def _last(stream: Any) -> ChatResponse:
    last: ChatResponse = [piece async for piece in await stream][-1]
    return last


@pytest.mark.parametrize("way", LLAMA_INDEX)
@pytest.mark.parametrize("name", [CLAUDE, GEMINI])
def test_response_has_the_form_and_both_receipts(net: Devnet, talker: Talker, name: str, way: str) -> None:
    asked = [ChatMessage(role="system", content="Answer without looking.")]
    with (
        OpenGradientLLM(name, private_key=net.private_key, network=net.network) as llm,
        collect_receipts() as receipts,
    ):
        response = LLAMA_INDEX[way](llm, asked, {"tools": [TOOL], "response_format": FORM})
    assert response.message.content == ANSWERED
    for member in (response.raw or {}, response.additional_kwargs):
        assert (member["opengradient"], member["opengradient_earlier"]) == (receipts[1], [receipts[0]])
    assert response.additional_kwargs["total_tokens"] == 30
    assert [len(request.tools) for request in talker.asked] == [2, 0]


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    ("name", "talks", "options"),
    [
        pytest.param(CLAUDE, "It is sunny.", {"ask_again": False}, id="switched off"),
        pytest.param(GPT, "It is sunny.", {}, id="enforced beside tools"),
        pytest.param(GEMINI, ANSWERED, {}, id="the form, as text"),
    ],
)
def test_no_second_call_is_made(
    net: Devnet, talker: Talker, way: str, name: str, talks: str, options: dict[str, Any]
) -> None:
    talker.talks = talks
    model = langchain_model(net, name, **options)
    answer = WAYS[way](model.bind_tools([look], response_format=Weather), HISTORY)
    assert (answer.text, len(talker.asked)) == (talks, 1)
    assert "opengradient_earlier" not in answer.response_metadata
    model.close()


def test_second_call_is_paid_within_the_limits(net: Devnet, talker: Talker) -> None:
    """It is a call like any other: what stops payments stops it, and the first receipt is kept."""
    model = langchain_model(net, CLAUDE)
    first: Any = talker.answer

    async def stop_then(request: ModelRequest) -> Answer:
        model.clients.sync.stop_spending("enough")
        answer: Answer = await first(request)
        return answer

    talker.answer = stop_then  # type: ignore[method-assign]
    with collect_receipts() as receipts, pytest.raises(SpendingStoppedError):
        WAYS["invoke"](model.bind_tools([look], response_format=Weather), HISTORY)
    assert [receipt["status"] for receipt in receipts] == ["verified", "unverified"]
    assert len(talker.asked) == 1
    model.close()

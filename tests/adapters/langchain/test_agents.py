"""Agents: three steps, streamed in every way, kept and resumed; each AI message has one whole receipt."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from og_integrations.client import collect_receipts
from og_integrations.devnet import Answer, Devnet, ModelCall, ModelRequest, Script
from og_integrations.langchain import ChatOpenGradient
from tests.adapters.langchain.ways_to_ask import add_numbers, get_weather

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is in beta", "ignore:astream_events version='v1'", "ignore:The v3 streaming protocol"
)
QUESTION = {"messages": [("user", "What is the weather, and then a sum?")]}


class ThreeSteps(Script):
    """Asks for the weather, then for a sum, then answers."""

    async def answer(self, request: ModelRequest) -> Answer:
        """Take the step that the number of tool results says."""
        plain = await super().answer(request)
        results = sum(message["role"] == "tool" for message in request.messages)
        steps = [ModelCall("get_weather", '{"city": "Oslo"}'), ModelCall("add_numbers", '{"a": 1, "b": 2}')]
        if results >= len(steps) or not request.tools:
            return Answer(pieces=("All ", "done."), usage=plain.usage)
        return Answer(calls=(steps[results],), usage=plain.usage)


@pytest.fixture
def net() -> Any:
    with Devnet(model=ThreeSteps()) as devnet:
        yield devnet


def by_invoke(agent: Any, config: Any) -> None:
    agent.invoke(QUESTION, config)


def by_stream(agent: Any, config: Any) -> None:
    for _ in agent.stream(QUESTION, config, stream_mode=["messages", "updates"]):
        pass


def by_events(version: str) -> Callable[[Any, Any], None]:
    def run(agent: Any, config: Any) -> None:
        import asyncio

        async def read() -> None:
            async for _ in agent.astream_events(QUESTION, config, version=version):
                pass

        asyncio.run(read())

    return run


def by_v3(agent: Any, config: Any) -> None:
    stream = agent.stream_events(QUESTION, config, version="v3")
    assert stream.output["messages"]


WAYS = {
    "invoke": by_invoke,
    "stream": by_stream,
    "events v1": by_events("v1"),
    "events v2": by_events("v2"),
    "events v3": by_v3,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("output_version", ["v0", "v1"])
def test_each_step_keeps_one_receipt(
    net: Devnet, make_model: Callable[..., ChatOpenGradient], way: str, output_version: str
) -> None:
    saver = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    agent: Any = create_agent(make_model(output_version=output_version), [get_weather, add_numbers], checkpointer=saver)
    with collect_receipts() as collected:
        WAYS[way](agent, config)
    resumed: Any = create_agent(make_model(), [get_weather, add_numbers], checkpointer=saver)
    messages = resumed.get_state(config).values["messages"]
    steps = [message for message in messages if isinstance(message, AIMessage)]
    assert [call["name"] for step in steps for call in step.tool_calls] == ["get_weather", "add_numbers"]
    assert steps[-1].text == "All done."
    assert [step.response_metadata["opengradient"] for step in steps] == list(collected)
    assert len(collected) == 3
    assert collected.verified
    assert net.stats().payments == 1
    continued = resumed.invoke({"messages": [("user", "thanks")]}, config)["messages"]
    assert continued[: len(messages)] == messages


def test_stream_shows_tokens_as_they_come(net: Devnet, model: ChatOpenGradient) -> None:
    agent: Any = create_agent(model, [get_weather, add_numbers])
    chunks = [chunk for chunk, _ in agent.stream(QUESTION, stream_mode="messages") if isinstance(chunk, AIMessage)]
    assert [chunk.text for chunk in chunks if chunk.text] == ["All ", "done."]
    assert len({chunk.id for chunk in chunks}) == 3


@pytest.mark.parametrize("run", [by_invoke, by_stream, by_events("v2")])
def test_id_that_the_gateway_repeats_replaces_nothing(
    model: ChatOpenGradient, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    """It is not signed, and LangGraph takes messages of one id for one message."""
    from dataclasses import replace as changed

    from og_integrations.protocol.chat import _answers as answers

    honest = answers.build_completion

    def repeating(*args: Any, **kwargs: Any) -> Any:
        return changed(honest(*args, **kwargs), id="chatcmpl-same")

    monkeypatch.setattr(answers, "build_completion", repeating)
    agent: Any = create_agent(model, [get_weather, add_numbers], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    run(agent, config)
    said = [m for m in agent.get_state(config).values["messages"] if isinstance(m, AIMessage)]
    assert len(said) == len({message.id for message in said}) == 3
    assert {message.response_metadata["id"] for message in said} == {"chatcmpl-same"}

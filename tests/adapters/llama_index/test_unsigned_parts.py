"""What a model draws and thinks beside its answer: shown, named as unsigned, never sent back."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

from og_integrations import collect_receipts
from og_integrations.devnet import Answer, Devnet, Script
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.protocol.chat._wire import Usage

THOUGHT = "The user wants an answer. "


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet(generation="next") as devnet:
        yield devnet


@pytest.fixture
def llm(net: Devnet) -> Iterator[OpenGradientLLM]:
    with OpenGradientLLM(
        "openai/gpt-4.1", gateway_generation="next", network=net.network, private_key=net.private_key
    ) as made:
        yield made


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


async def last_of(stream: Any) -> Any:
    return [item async for item in await stream][-1]


WAYS: dict[str, Callable[[OpenGradientLLM, str], Any]] = {
    "chat": lambda llm, text: llm.chat([user(text)]),
    "achat": lambda llm, text: asyncio.run(llm.achat([user(text)])),
    "stream_chat": lambda llm, text: list(llm.stream_chat([user(text)]))[-1],
    "astream_chat": lambda llm, text: asyncio.run(last_of(llm.astream_chat([user(text)]))),
}
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
def test_drawn_image_is_a_block(llm: OpenGradientLLM, way: str) -> None:
    """It stands beside the text, whole, and the conversation goes on without it."""
    response = WAYS[way](llm, "[[image]] draw")
    text, image = response.message.blocks
    assert text == TextBlock(text="You said: [[image]] draw")
    assert isinstance(image, ImageBlock)
    assert image.image_mimetype == "image/png"
    assert image.resolve_image().read().startswith(b"\x89PNG")
    assert "images" in response.additional_kwargs["opengradient"]["unsigned"]
    again = llm.chat([user("draw"), response.message, user("thanks")])
    assert again.message.content == "You said: thanks"


def test_drawn_image_of_a_completion_is_in_raw(llm: OpenGradientLLM) -> None:
    """Completions have no blocks."""
    raw: Any = llm.complete("[[image]] draw").raw
    assert raw["choices"][0]["message"]["images"][0].startswith("data:image/png;base64,")


@pytest.mark.parametrize("image", ["no url", "data:image/png;base64,@@", "\ud800"])
def test_image_that_is_none_loses_no_answer(
    net: Devnet, llm: OpenGradientLLM, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    """No signature covers images, so anybody may have written them; the answer was paid and is proven."""

    async def answer(self: Script, request: Any) -> Answer:
        return Answer(pieces=("hi",), images=(image,), usage=Usage(1, 1, 2))

    monkeypatch.setattr(Script, "answer", answer)
    response: Any = llm.chat([user("draw")])
    assert response.message.content == "hi"
    assert response.raw["choices"][0]["message"]["images"] == [
        image.replace("\ud800", "\ufffd")
    ]  # no JSON has half a character


@each_way
def test_thought_is_beside_the_message(llm: OpenGradientLLM, way: str) -> None:
    """Prompts and memories do not repeat it; a stream's last response has it as agents want it."""
    response = WAYS[way](llm, "[[reasoning]] hi")
    assert response.message.blocks == [TextBlock(text="You said: [[reasoning]] hi")]
    assert response.message.additional_kwargs == {}
    assert response.additional_kwargs["reasoning_content"] == THOUGHT
    assert response.additional_kwargs.get("thinking_delta") == (THOUGHT if "stream" in way else None)
    assert response.raw["choices"][0]["message"]["reasoning_content"] == THOUGHT
    assert "reasoning_content" in response.additional_kwargs["opengradient"]["unsigned"]


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
async def test_agent_shows_the_thought(llm: OpenGradientLLM, streaming: bool) -> None:
    """In its stream, and in the `raw` of the step; the next step does not send it."""
    with collect_receipts(keep_exchanges=True) as receipts:
        handler = FunctionAgent(tools=[add], llm=llm, streaming=streaming).run(
            '[[reasoning]] use tool add {"a": 1, "b": 2}'
        )
        thoughts = [event.thinking_delta async for event in handler.stream_events() if isinstance(event, AgentStream)]
        result: Any = await handler
    assert result.raw["choices"][0]["message"]["reasoning_content"] == THOUGHT
    assert [thought for thought in thoughts if thought] == [THOUGHT, THOUGHT] * streaming
    assert all(THOUGHT not in exchange["request"] for exchange in receipts.exchanges if exchange)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

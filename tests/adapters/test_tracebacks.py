"""What a beginner's mistake looks like on a terminal: one error, its advice in the last line, on one screen."""

import asyncio
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from og_integrations import AsyncClient, Client, OpenGradientError, SpendPolicy
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM

SCREEN = 40
"""Lines of a terminal. What the frameworks themselves take of it is in there."""
MODEL = "openai/gpt-5-mini"
ASKED: Any = [{"role": "user", "content": "hi"}]


async def _aclient(options: Any, model: str) -> None:
    async with AsyncClient(**options) as client:
        await client.chat(model, ASKED)


async def _astream(options: Any, model: str) -> None:
    async for _chunk in ChatOpenGradient(model=model, **options).astream("hi"):
        pass


WAYS: dict[str, Callable[[Any, str], object]] = {
    "Client.chat": lambda options, model: Client(**options).chat(model, ASKED),
    "Client.stream": lambda options, model: list(Client(**options).stream(model, ASKED)),
    "AsyncClient.chat": lambda options, model: asyncio.run(_aclient(options, model)),
    "invoke": lambda options, model: ChatOpenGradient(model=model, **options).invoke("hi"),
    "ainvoke": lambda options, model: asyncio.run(ChatOpenGradient(model=model, **options).ainvoke("hi")),
    "stream": lambda options, model: list(ChatOpenGradient(model=model, **options).stream("hi")),
    "astream": lambda options, model: asyncio.run(_astream(options, model)),
    "complete": lambda options, model: OpenGradientLLM(model, **options).complete("hi"),
    "stream_complete": lambda options, model: list(OpenGradientLLM(model, **options).stream_complete("hi")),
    "acomplete": lambda options, model: asyncio.run(OpenGradientLLM(model, **options).acomplete("hi")),
}


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


MISTAKES: dict[str, tuple[Callable[[Devnet], Any], str, str]] = {
    "no wallet": (lambda net: {"network": net.network}, MODEL, "No wallet"),
    "unknown model": (
        lambda net: {"network": net.network, "private_key": net.private_key},
        "openai/gpt-99",
        "not supported",
    ),
    "over budget": (
        lambda net: {
            "network": net.network,
            "private_key": net.new_wallet().private_key,
            "spend_policy": SpendPolicy(max_per_authorization="0.01"),
        },
        MODEL,
        "max_per_authorization",
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_common_mistake_fits_on_one_screen(net: Devnet, way: str, mistake: str) -> None:
    make, model, says = MISTAKES[mistake]
    with pytest.raises(OpenGradientError) as caught:
        WAYS[way](make(net), model)
    shown = "".join(traceback.format_exception(caught.value))
    lines = shown.splitlines()
    assert len(lines) <= SCREEN
    assert says in lines[-1]
    # Causes of ours would tell the same twice.
    assert "direct cause" not in shown
    assert "another exception occurred" not in shown

"""Each way in which LangChain asks a chat model once, as one table."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

Model = Runnable[Any, AIMessage]


def summed(chunks: list[Any]) -> AIMessage:
    """Add up the chunks of a stream, as LangChain does."""
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return cast("AIMessage", total)


async def _streamed(model: Model, text: str) -> AIMessage:
    return summed([chunk async for chunk in model.astream(text)])


async def _streamed_v3(model: Any, text: str) -> AIMessage:
    stream = await model.astream_events(text, version="v3")
    return cast("AIMessage", await stream.output)


async def _from_events(model: Model, text: str) -> AIMessage:
    ends = [e async for e in model.astream_events(text, version="v2") if e["event"] == "on_chat_model_end"]
    return cast("AIMessage", ends[-1]["data"]["output"])


WAYS: dict[str, Callable[[Any, str], AIMessage]] = {
    "invoke": lambda model, text: model.invoke(text),
    "invoke streaming": lambda model, text: model.invoke(text, stream=True),
    "stream": lambda model, text: summed(list(model.stream(text))),
    "batch": lambda model, text: model.batch([text])[0],
    "with_retry": lambda model, text: model.with_retry().invoke(text),
    "with_fallbacks": lambda model, text: model.with_fallbacks([model]).invoke(text),
    "stream_events v3": lambda model, text: model.stream_events(text, version="v3").output,
    "ainvoke": lambda model, text: asyncio.run(model.ainvoke(text)),
    "astream": lambda model, text: asyncio.run(_streamed(model, text)),
    "abatch": lambda model, text: asyncio.run(model.abatch([text]))[0],
    "astream_events v2": lambda model, text: asyncio.run(_from_events(model, text)),
    "astream_events v3": lambda model, text: asyncio.run(_streamed_v3(model, text)),
}
"""Name of the way -> a function that asks a model by it and returns the whole message."""


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"It is sunny in {city}."


def add_numbers(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

"""
The ways in which LlamaIndex asks an LLM, as the columns of the table of faults: the eight endpoints, a query
engine, a function agent.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.tools import FunctionTool

from og_integrations.client import Receipts
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.llama_index._messages import wire_tool


@dataclass
class Asked:
    """
    One asking: the prompt, the tools that a chat gets, and what came of it.

    `shown` is all that the caller saw, `ran` each tool that was executed with the receipts' states just then.
    """

    llm: OpenGradientLLM
    prompt: str
    receipts: Receipts
    with_tools: bool = False
    shown: list[Any] = field(default_factory=list)
    ran: list[tuple[str, list[str]]] = field(default_factory=list)
    answer: str | None = None

    @property
    def messages(self) -> list[ChatMessage]:
        """The prompt as a chat."""
        return [ChatMessage(role="user", content=self.prompt)]

    @property
    def options(self) -> dict[str, Any]:
        """What a chat is called with."""
        return {"tools": [wire_tool(tool, strict=False) for tool in self.tools()]} if self.with_tools else {}

    def tools(self) -> list[FunctionTool]:
        """A tool to be called, and the one that a lying gateway would like to see called."""

        def get_weather(city: str) -> str:
            """Tell the weather in a city."""
            return self._run(f"weather in {city}", f"It is sunny in {city}.")

        def transfer(amount: int = 1) -> str:
            """Send money away."""
            return self._run(f"transfer of {amount}", "Sent.")

        return [FunctionTool.from_defaults(get_weather), FunctionTool.from_defaults(transfer)]

    def _run(self, what: str, result: str) -> str:
        self.ran.append((what, [receipt["status"] for receipt in self.receipts]))
        return result

    def show(self, response: Any) -> None:
        """Keep a response, whole or a stream's; the last one has the answer."""
        self.shown.append(response)
        self.answer = response.text if hasattr(response, "text") else response.message.content or ""


Way = Callable[[Asked], None]


def _chat(asked: Asked) -> None:
    asked.show(asked.llm.chat(asked.messages, **asked.options))


def _stream_chat(asked: Asked) -> None:
    for response in asked.llm.stream_chat(asked.messages, **asked.options):
        asked.show(response)


def _achat(asked: Asked) -> None:
    async def ask() -> None:
        asked.show(await asked.llm.achat(asked.messages, **asked.options))

    asyncio.run(ask())


def _astream_chat(asked: Asked) -> None:
    asyncio.run(_show_each(asked, asked.llm.astream_chat(asked.messages, **asked.options)))


def _complete(asked: Asked) -> None:
    asked.show(asked.llm.complete(asked.prompt))


def _stream_complete(asked: Asked) -> None:
    for response in asked.llm.stream_complete(asked.prompt):
        asked.show(response)


def _acomplete(asked: Asked) -> None:
    async def ask() -> None:
        asked.show(await asked.llm.acomplete(asked.prompt))

    asyncio.run(ask())


def _astream_complete(asked: Asked) -> None:
    asyncio.run(_show_each(asked, asked.llm.astream_complete(asked.prompt)))


async def _show_each(asked: Asked, stream: Awaitable[AsyncGenerator[Any, None]]) -> None:
    async for response in await stream:
        asked.show(response)


INDEX = VectorStoreIndex.from_documents(
    [Document(text="Oslo is the capital of Norway."), Document(text="Rome is the capital of Italy.")],
    embed_model=MockEmbedding(embed_dim=8),
)


def _engine(asked: Asked, *, streaming: bool) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(
        INDEX.as_retriever(), llm=asked.llm, response_mode=ResponseMode.COMPACT, streaming=streaming
    )


def _query(asked: Asked) -> None:
    response = _engine(asked, streaming=False).query(asked.prompt)
    asked.shown.append(str(response))
    asked.answer = str(response)


def _streamed_query(asked: Asked) -> None:
    response: Any = _engine(asked, streaming=True).query(asked.prompt)
    for piece in response.response_gen:
        asked.shown.append(piece)
    asked.answer = "".join(asked.shown)


async def _run_agent(asked: Asked, *, streaming: bool) -> None:
    agent = FunctionAgent(tools=[*asked.tools()], llm=asked.llm, streaming=streaming)
    handler = agent.run(asked.prompt)
    async for event in handler.stream_events():
        asked.shown.append(event)
    asked.answer = str(await handler)


def _agent(asked: Asked) -> None:
    asyncio.run(_run_agent(asked, streaming=False))


def _streamed_agent(asked: Asked) -> None:
    asyncio.run(_run_agent(asked, streaming=True))


CHATS: dict[str, Way] = {"chat": _chat, "achat": _achat, "stream_chat": _stream_chat, "astream_chat": _astream_chat}
COMPLETIONS: dict[str, Way] = {
    "complete": _complete,
    "acomplete": _acomplete,
    "stream_complete": _stream_complete,
    "astream_complete": _astream_complete,
}
ENGINES: dict[str, Way] = {"query engine": _query, "query engine, streamed": _streamed_query}
AGENTS: dict[str, Way] = {"agent": _agent, "agent, streamed": _streamed_agent}
BUFFERED: dict[str, Way] = {"stream_chat, buffered": _stream_chat}
WAYS: dict[str, Way] = CHATS | COMPLETIONS | ENGINES | AGENTS | BUFFERED
TAKING_TOOLS = CHATS.keys() | BUFFERED.keys() | AGENTS.keys()
STREAMED = frozenset(name for name in WAYS if "stream" in name)

"""Four chat engines, each called in four ways; memories hold no receipts."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine, ChatMode
from llama_index.core.memory import ChatMemoryBuffer, ChatSummaryMemoryBuffer

from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited

ENGINES = {
    "simple": (ChatMode.SIMPLE, 1),
    "context": (ChatMode.CONTEXT, 1),
    "condense_question": (ChatMode.CONDENSE_QUESTION, 2),
    "condense_plus_context": (ChatMode.CONDENSE_PLUS_CONTEXT, 2),
}
"""How many calls a turn with a history makes."""


async def streamed(engine: BaseChatEngine, message: str) -> str:
    response = await engine.astream_chat(message)
    return "".join([text async for text in response.async_response_gen()])


WAYS: dict[str, Callable[[Any, str], str]] = {
    "chat": lambda engine, message: engine.chat(message).response,
    "achat": lambda engine, message: asyncio.run(engine.achat(message)).response,
    "stream_chat": lambda engine, message: "".join(engine.stream_chat(message).response_gen),
    "astream_chat": lambda engine, message: asyncio.run(streamed(engine, message)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ENGINES)
def test_chat_engines(account: Account, index: VectorStoreIndex, llm: OpenGradientLLM, name: str, way: str) -> None:
    """Writer threads and tasks included, each call leaves its receipt; what follows sees clean messages."""
    mode, calls = ENGINES[name]
    memory = ChatMemoryBuffer.from_defaults(llm=llm)
    engine: Any = (
        SimpleChatEngine.from_defaults(llm=llm, memory=memory)
        if mode is ChatMode.SIMPLE
        else index.as_chat_engine(chat_mode=mode, llm=llm, memory=memory)
    )
    with audited(account) as audit:
        WAYS[way](engine, "first question")
        first = len(audit.receipts)
        answer = WAYS[way](engine, "second question")
    assert "second question" in answer
    assert len(audit.receipts) - first == calls
    # Not `memory.to_string()`: llama-index-core 0.14.25 cannot write any message with pydantic 2.14.
    stored = "".join(message.model_dump_json() for message in memory.get_all())
    assert "second question" in stored
    assert "opengradient" not in stored
    assert "tee_signature" not in str(account.speaker.asked)


def test_summary_memory(account: Account, llm: OpenGradientLLM) -> None:
    """A memory that asks the LLM for summaries stores the LLM, but not its key."""
    memory = ChatSummaryMemoryBuffer.from_defaults(llm=llm, token_limit=40)
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=memory)
    with audited(account):
        for number in range(4):
            engine.chat(f"this is question number {number} of several that are too long to keep")
    stored = ChatSummaryMemoryBuffer.from_defaults(llm=llm).to_string()
    assert "opengradient_llm" in stored
    assert account.wallet.private_key[2:] not in stored

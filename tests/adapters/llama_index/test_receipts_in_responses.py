"""`receipts_in_responses`: what engines answer carries the receipt of each call that it took, where asked for."""

import asyncio
from collections.abc import Iterator

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.memory import ChatMemoryBuffer
from llama_index_instrumentation import get_dispatcher

from og_integrations import collect_receipts
from og_integrations.errors import VerificationError
from og_integrations.llama_index import OpenGradientLLM, receipts_in_responses
from tests.adapters.llama_index.auditing import Account


@pytest.fixture(autouse=True)
def asked_for() -> Iterator[None]:
    receipts_in_responses()
    yield
    receipts_in_responses(on=False)


def statuses(metadata: object) -> list[str]:
    assert isinstance(metadata, dict)
    return [receipt["status"] for receipt in metadata["opengradient"]]


def test_query_engine_answers_with_the_receipts_of_all_its_calls(index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    """ "refine" asks once for each passage; what the engine said of its passages stays."""
    engine = index.as_query_engine(llm=llm, response_mode="refine", similarity_top_k=3)
    with collect_receipts() as receipts:
        answer = engine.query("Where does Paris lie?")
    assert answer.metadata is not None
    assert answer.metadata["opengradient"] == receipts
    assert statuses(answer.metadata) == ["verified"] * 3
    assert len(answer.metadata) > 1


def test_two_answers_have_their_own(index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    """Answers that are made at once do not get each other's receipts."""
    engine = index.as_query_engine(llm=llm)

    async def ask() -> list[object]:
        return [answer.metadata for answer in await asyncio.gather(engine.aquery("one"), engine.aquery("two"))]

    first, second = asyncio.run(ask())
    assert statuses(first) == statuses(second) == ["verified"]
    assert first != second


def test_stream_has_its_receipt_at_the_end(index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    answer = index.as_query_engine(llm=llm, streaming=True).query("Where does Paris lie?")
    assert isinstance(answer, StreamingResponse)
    llm.complete("Between the pieces somebody else's call is not counted.")
    assert str(answer)
    assert statuses(answer.metadata) == ["verified"]


async def test_async_stream_has_its_receipt_at_the_end(index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    answer = await index.as_query_engine(llm=llm, streaming=True).aquery("Where does Paris lie?")
    assert isinstance(answer, AsyncStreamingResponse)
    assert [piece async for piece in answer.async_response_gen()]
    assert statuses(answer.metadata) == ["verified"]


def test_chat_engine_answers_with_them_too(index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    engine = index.as_chat_engine(llm=llm, chat_mode=ChatMode.CONTEXT, memory=ChatMemoryBuffer.from_defaults(llm=llm))
    assert statuses(getattr(engine.chat("Where does Paris lie?"), "metadata", None)) == ["verified"]
    streamed = engine.stream_chat("And Rome?")
    assert "".join(streamed.response_gen)
    assert statuses(getattr(streamed, "metadata", None)) == ["verified"]


def test_failure_is_raised_and_leaves_nothing_open(
    index: VectorStoreIndex, llm: OpenGradientLLM, account: Account
) -> None:
    """An answer that cannot be proven is an error as before, and the next one has its own receipt only."""
    engine = index.as_query_engine(llm=llm)
    account.net.inject("bad_signature", times=1)
    with pytest.raises(VerificationError):
        engine.query("Where does Paris lie?")
    assert statuses(engine.query("Where does Rome lie?").metadata) == ["verified"]


def test_it_is_asked_for_once_and_ended(index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    """Cells of notebooks are run again: a second handler would count twice."""
    before = len(get_dispatcher().span_handlers)
    receipts_in_responses()
    assert len(get_dispatcher().span_handlers) == before
    receipts_in_responses(on=False)
    answer = index.as_query_engine(llm=llm).query("Where does Paris lie?")
    assert "opengradient" not in (answer.metadata or {})

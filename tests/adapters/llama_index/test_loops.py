"""Event loops, threads and abandoned streams: requests and payments are counted exactly."""

import asyncio
import contextvars
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.async_utils import asyncio_run
from llama_index.core.llms import ChatMessage

from og_integrations import collect_receipts
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited

# LlamaIndex closes the loops of its threads without ending what lives on them; their sockets wait for the
# collector, which may come in any test after.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_successive_loops(account: Account, llm: OpenGradientLLM) -> None:
    """Each loop gets connections of its own: one request per call, one payment for all."""
    with audited(account) as audit:
        for number in range(4):
            assert asyncio.run(llm.acomplete(str(number))).text == f"You said: {number}"
            assert asyncio_run(llm.acomplete("x")).text == "You said: x"
    assert len(audit.receipts) == 8
    assert len(account.authorizations()) == 1


async def test_sync_calls_inside_a_loop(account: Account, index: VectorStoreIndex) -> None:
    """As in a notebook: sync endpoints, and a sync query that starts a loop in a thread, three times."""
    llm = account.llm()
    engine = index.as_query_engine(llm=llm, response_mode="accumulate", use_async=True, similarity_top_k=2)
    with audited(account) as audit:
        for _ in range(3):
            llm.complete("x")
            engine.query("x")
            await llm.acomplete("x")
    assert len(audit.receipts) == 12
    await llm.aclose()
    del llm, engine
    gc.collect()


async def test_parallel_cold_calls(account: Account) -> None:
    """Many first calls at once share one signature and one session."""
    llm = account.llm()
    with audited(account) as audit:
        await asyncio.gather(*(llm.acomplete(str(number)) for number in range(16)))
    assert len(audit.receipts) == 16
    assert len(account.authorizations()) == 1


def test_parallel_threads(account: Account) -> None:
    """Threads share session and budget; a bare pool has to be given the context."""
    llm = account.llm()
    with audited(account) as audit, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(contextvars.copy_context().run, llm.complete, str(number)) for number in range(16)]
        texts = {future.result().text for future in futures}
    assert len(texts) == 16
    assert len(audit.receipts) == 16
    assert len(account.authorizations()) == 1


def check_abandoned(account: Account, receipts: Any) -> None:
    assert [receipt["status"] for receipt in receipts] == ["unverified"]
    assert len(account.exchanges()) == 1
    assert len(account.authorizations()) == 1


@pytest.mark.parametrize("name", ["stream_chat", "stream_complete"])
def test_abandoned_stream(account: Account, llm: OpenGradientLLM, name: str) -> None:
    """Who leaves a stream has paid for it: its receipt says unverified, and nothing is asked again."""
    prompt = "[[tokens=500 delay=1]]"
    with collect_receipts() as receipts:
        stream = getattr(llm, name)([ChatMessage(content=prompt)] if name == "stream_chat" else prompt)
        next(stream)
        del stream
        gc.collect()
    check_abandoned(account, receipts)
    assert llm.complete("again").text == "You said: again"
    assert len(account.authorizations()) == 1


async def test_abandoned_async_stream(account: Account, llm: OpenGradientLLM) -> None:
    """The same for an async stream that is closed, and for a cancelled one."""
    with collect_receipts() as receipts:
        stream = await llm.astream_complete("[[tokens=500 delay=1]]")
        await anext(stream)
        await stream.aclose()
        gc.collect()
        await asyncio.sleep(0.05)
    check_abandoned(account, receipts)


@pytest.mark.parametrize("name", ["astream_chat", "astream_complete"])
def test_async_stream_left_at_the_end_of_its_loop(
    account: Account, llm: OpenGradientLLM, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """As in a script: asyncio has nothing to report, such as "asynchronous generator is already running"."""

    async def ask() -> None:
        async for _ in await getattr(llm, name)(prompt if name == "astream_complete" else [ChatMessage(prompt)]):
            break

    prompt = "[[tokens=500 delay=1]]"
    with collect_receipts() as receipts:
        asyncio.run(ask())
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    check_abandoned(account, receipts)


async def test_cancelled_call(account: Account, llm: OpenGradientLLM) -> None:
    """Cancelling passes unchanged, leaves an unverified receipt, and the next call goes on."""
    with collect_receipts() as receipts:
        task = asyncio.create_task(llm.acomplete("[[tokens=3 delay=200]]"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await llm.acomplete("again")
    assert [receipt["status"] for receipt in receipts] == ["unverified", "verified"]


def test_unread_stream_costs_nothing(account: Account, llm: OpenGradientLLM) -> None:
    """A stream is asked for by reading it."""
    llm.stream_complete("x")
    assert account.authorizations() == []


async def test_closed_llm_can_be_used_again(account: Account) -> None:
    """A closed LLM can be used again."""
    async with account.llm() as llm:
        await llm.acomplete("a")
    assert (await llm.acomplete("b")).text == "You said: b"
    await llm.aclose()

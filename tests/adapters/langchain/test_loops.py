"""Event loops and threads as users have them: notebooks, web servers, repeated `asyncio.run`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.output_parsers import StrOutputParser

from og_integrations import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient


def test_repeated_asyncio_run(net: Devnet, model: ChatOpenGradient) -> None:
    texts = [asyncio.run(model.ainvoke("hi")).text for _ in range(5)]
    assert texts == ["You said: hi"] * 5
    assert (net.stats().requests, net.stats().payments) == (6, 1)


async def test_sync_call_inside_running_loop(model: ChatOpenGradient) -> None:
    """As in a notebook."""
    assert model.invoke("hi").text == "You said: hi"
    assert "".join(chunk.text for chunk in model.stream("hi")) == "You said: hi"
    assert (await model.ainvoke("hi")).text == "You said: hi"


def test_many_loops_in_threads(net: Devnet, model: ChatOpenGradient) -> None:
    """As in a web server with several workers."""

    def work(number: int) -> str:
        return asyncio.run(model.ainvoke(f"[[tokens={number + 1}]]")).text

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(work, range(16)))
    assert [len(text.split()) for text in texts] == list(range(1, 17))
    assert net.stats().statuses[200] == 16


async def test_cold_concurrent_calls_share_one_payment(net: Devnet, model: ChatOpenGradient) -> None:
    messages = await asyncio.gather(*(model.ainvoke(f"n{n}") for n in range(32)))
    assert {message.response_metadata["opengradient"]["status"] for message in messages} == {"verified"}
    assert net.stats().signatures == 1


@pytest.mark.parametrize("parsed", [False, True])
def test_async_stream_left_at_the_end_of_its_loop(
    net: Devnet, model: ChatOpenGradient, caplog: pytest.LogCaptureFixture, parsed: bool
) -> None:
    """As in a script: asyncio has nothing to report, such as "asynchronous generator is already running"."""

    async def ask() -> None:
        async for _ in chain.astream("[[tokens=500 delay=1]]"):
            break

    chain = model | StrOutputParser() if parsed else model
    with collect_receipts() as receipts:
        asyncio.run(ask())
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    assert [receipt["status"] for receipt in receipts] == ["unverified"]
    assert net.stats().payments == 1


async def test_cancelled_call_passes_cancellation_on(model: ChatOpenGradient) -> None:
    task = asyncio.create_task(model.ainvoke("[[tokens=20 delay=0.1]]"))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_batch_of_threads(net: Devnet, model: ChatOpenGradient) -> None:
    assert len(model.batch([f"n{n}" for n in range(32)], config={"max_concurrency": 16})) == 32
    assert net.stats().statuses[200] == 32


def test_sequential_calls_use_one_handshake_and_one_payment(net: Devnet, model: ChatOpenGradient) -> None:
    for number in range(100):
        model.invoke(f"n{number}")
    stats = net.stats()
    assert (stats.handshakes, stats.payments, stats.statuses) == (1, 1, {402: 1, 200: 100})

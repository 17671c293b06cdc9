"""A stream that is left before its end: closed, dropped, or cut off by the end of its loop."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from og_integrations.client import Answer, AsyncClient, Client, collect_receipts
from og_integrations.client._call import Piece
from og_integrations.devnet import Devnet
from tests.client.conftest import MODEL
from tests.client.ways_to_ask import user

keep: list[object] = []
LONG = user("[[tokens=2000 delay=1]]")


async def _dropped(client: AsyncClient) -> None:
    async for _ in client.stream(MODEL, LONG):
        break


async def _closed(client: AsyncClient) -> None:
    async with contextlib.aclosing(client.stream(MODEL, LONG)) as stream:
        await anext(stream)


async def _kept(client: AsyncClient) -> None:
    stream = client.stream(MODEL, LONG)
    await anext(stream)
    keep.append(stream)


async def _in_a_generator(client: AsyncClient) -> None:
    async def pieces() -> AsyncGenerator[Piece, None]:
        async with contextlib.aclosing(client.stream(MODEL, LONG)) as stream:
            async for piece in stream:
                yield piece

    outer = pieces()
    keep.append(outer)
    await anext(outer)


@pytest.mark.parametrize("way", [_dropped, _closed, _kept, _in_a_generator])
def test_async_stream_left_at_the_end_of_its_loop(
    net: Devnet,
    async_client: AsyncClient,
    caplog: pytest.LogCaptureFixture,
    way: Callable[[AsyncClient], Coroutine[Any, Any, None]],
) -> None:
    """Nobody reads asyncio's "aclose(): asynchronous generator is already running"; the receipt is made."""
    caplog.set_level(logging.WARNING, "asyncio")
    with collect_receipts() as receipts:
        asyncio.run(way(async_client))
        keep.clear()
        gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    assert [receipt["status"] for receipt in receipts] == ["unverified"]
    assert net.verdict().clean


async def test_async_stream_dropped_on_a_running_loop(net: Devnet, async_client: AsyncClient) -> None:
    """Its connection is let go, so that the gateway stops, and the next call is answered."""
    with collect_receipts() as receipts:
        await _dropped(async_client)
        assert [receipt["status"] for receipt in receipts] == ["unverified"]
        assert (await async_client.chat(MODEL, user("again"))).text == "You said: again"
    await async_client.aclose()
    assert net.stats().payments == 1


async def test_async_stream_closed_twice(async_client: AsyncClient) -> None:
    with collect_receipts() as receipts:
        stream = async_client.stream(MODEL, LONG)
        await anext(stream)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert len(receipts) == 1


async def test_async_stream_read_by_two_tasks(async_client: AsyncClient) -> None:
    """The second one is refused, as an async generator refuses it, and the first one reads on."""
    stream = async_client.stream(MODEL, user("[[tokens=3 delay=30]]"))
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    for meddling in (stream.__anext__, stream.aclose):
        with pytest.raises(RuntimeError, match="being read already"):
            await meddling()
    pieces = [await reading, *[piece async for piece in stream]]
    assert isinstance(pieces[-1], Answer)
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == pieces[-1].text


async def test_async_stream_cancelled_while_reading(net: Devnet, async_client: AsyncClient) -> None:
    with collect_receipts() as receipts:
        stream = async_client.stream(MODEL, user("[[tokens=3 delay=5000]]"))
        reading = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.3)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert [receipt["status"] for receipt in receipts] == ["unverified"]
    assert net.verdict().clean


def test_connection_is_free_once_the_answer_is_there(net: Devnet, client: Client) -> None:
    """Who reads no further than the `Answer` blocks nothing: the next call goes over the same connection."""
    held = client.stream(MODEL, user("held"))
    while not isinstance(next(held), Answer):
        pass
    client.chat(MODEL, user("again"))
    assert net.stats().handshakes == 1
    held.close()


async def test_async_connection_is_free_once_the_answer_is_there(net: Devnet, async_client: AsyncClient) -> None:
    held = async_client.stream(MODEL, user("held"))
    while not isinstance(await anext(held), Answer):
        pass
    await async_client.chat(MODEL, user("again"))
    assert net.stats().handshakes == 1
    await held.aclose()

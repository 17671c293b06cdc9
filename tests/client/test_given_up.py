"""Calls that are given up at random moments, by the thousand: connections and places come back, whatever struck."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.client.channels._channel import Destination, Pinned
from og_integrations.devnet import Devnet
from og_integrations.errors import ConnectionFailedError, OpenGradientError
from tests.client.ways_to_ask import MODEL, user
from tests.sizes import sized

PLACES = 10


def _whole_again(client: Client | AsyncClient, channels: Mapping[Destination, object]) -> None:
    pools: list[Any] = [channel for destination, channel in channels.items() if isinstance(destination, Pinned)]
    for pool in pools:
        assert pool.kept.open == {stream for waiting in pool.kept.idle.values() for _, stream in waiting}
        assert (pool.gate._queue.free, len(pool.gate._queue.waiting)) == (PLACES, 0)
    assert pools


@sized("crowds", small=20, full=120)
async def test_cancelled_calls_give_everything_back(net: Devnet, crowds: int) -> None:
    """Within the pool and beyond it: while they wait, connect, shake hands, send, read or close."""
    rng = random.Random(12)
    async with AsyncClient(private_key=net.private_key, network=net.network, max_concurrency=PLACES) as client:
        await client.chat(MODEL, user("warm"))

        async def given_up(number: int) -> None:
            with contextlib.suppress(TimeoutError, OpenGradientError):
                async with asyncio.timeout(rng.uniform(0, 0.25)):
                    if number % 3:
                        await client.chat(MODEL, user(f"[[delay=60]] {number}"))
                    else:
                        async for _piece in client.stream(MODEL, user(f"[[tokens=20]] {number}")):
                            await asyncio.sleep(rng.uniform(0, 0.01))

        for crowd in range(crowds):
            await asyncio.gather(*(given_up(crowd * 60 + number) for number in range(60)))
        here = next(iter(client._connections._loops.values()))
        await asyncio.sleep(0.05)
        assert (here.gate._queue.free, len(here.gate._queue.waiting)) == (PLACES, 0)
        _whole_again(client, here.channels)
        assert (await client.chat(MODEL, user("and now"))).receipt["status"] == "verified"


async def test_dropped_streams_give_their_places_back(net: Devnet) -> None:
    """Nobody closes them: the garbage collector does."""
    async with AsyncClient(private_key=net.private_key, network=net.network, max_concurrency=2) as client:
        for number in range(6):
            stream = client.stream(MODEL, user(f"[[tokens=30]] {number}"))
            await anext(stream)
            del stream
            await asyncio.sleep(0.02)
        assert (await client.chat(MODEL, user("and now"))).receipt["status"] == "verified"


def test_abandoned_streams_of_threads_give_everything_back(net: Devnet) -> None:
    with Client(private_key=net.private_key, network=net.network, max_concurrency=PLACES) as client:
        client.chat(MODEL, user("warm"))

        def work(seed: int) -> None:
            rng = random.Random(seed)
            for number in range(12):
                stream = client.stream(MODEL, user(f"[[tokens=15]] {number}"))
                for _ in range(rng.randrange(1, 8)):
                    next(stream, None)
                if number % 2:
                    stream.close()

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        connections = client._connections
        assert (connections.gate._queue.free, len(connections.gate._queue.waiting)) == (PLACES, 0)
        _whole_again(client, connections._channels)
        assert client.chat(MODEL, user("and now")).receipt["status"] == "verified"


async def test_crowd_beyond_the_pool_is_answered_within_a_short_timeout(net: Devnet) -> None:
    """Waiting for a place is no part of `timeout`: unbounded batches failed as a whole."""
    async with AsyncClient(private_key=net.private_key, network=net.network, max_concurrency=5, timeout=2) as client:
        answers = await asyncio.gather(*(client.chat(MODEL, user(f"[[delay=300]] {n}")) for n in range(60)))
    assert [answer.receipt["status"] for answer in answers] == ["verified"] * 60


@pytest.mark.parametrize("places", [1, 2])
def test_places_that_nobody_gives_back_are_said(
    net: Devnet, places: int, make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open streams that nobody reads: whoever waits for them would wait for ever."""
    monkeypatch.setattr("og_integrations.client.channels._gate._PATIENCE", 0.1)
    client = make_client(max_concurrency=places, timeout=0.4)
    streams = [client.stream(MODEL, user("[[tokens=30]]")) for _ in range(places)]
    for stream in streams:
        next(stream)
    with pytest.raises(ConnectionFailedError, match=rf"All {places} places .* calls that do not move") as caught:
        client.chat(MODEL, user("hi"))
    assert not caught.value.blames_enclave
    for stream in streams:
        stream.close()
    assert client.chat(MODEL, user("hi")).receipt["status"] == "verified"

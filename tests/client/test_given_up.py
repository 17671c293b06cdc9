"""Calls that are given up at random moments, by the thousand: connections and places come back, whatever struck."""

import asyncio
import contextlib
import itertools
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from og_integrations.client import Answer, AsyncClient, Client
from og_integrations.client.channels import _gate as gates
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
        assert pool.gate.is_empty
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
        assert here.gate.is_empty
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


@sized("calls", small=10, full=200)
def test_calls_that_threads_give_up_give_everything_back(net: Devnet, calls: int) -> None:
    """Timed out while they connect, shake hands, send or read; left, closed or dropped at a random piece; answered."""
    with Client(private_key=net.private_key, network=net.network, max_concurrency=PLACES, max_retries=0) as client:
        client.chat(MODEL, user("warm"))
        # A connect that was too short for this machine would keep the only enclave away from all the others.
        client.engine.directory.leave = lambda *_: None  # type: ignore[method-assign]

        def work(seed: int) -> None:
            rng = random.Random(seed)
            for number in range(calls):
                with contextlib.suppress(OpenGradientError):
                    if number % 3 == 0:
                        asked = user(f"[[delay={rng.randrange(120)}]] {number}")
                        client.chat(MODEL, asked, timeout=rng.uniform(0.005, 0.1))
                        continue
                    stream = client.stream(MODEL, user(f"[[tokens=15]] {number}"))
                    for _ in range(rng.randrange(8)):
                        next(stream, None)
                    if number % 3 == 1:
                        stream.close()
                    del stream

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client._connections.gate.is_empty
        _whole_again(client, client._connections._channels)
        assert client.chat(MODEL, user("and now")).receipt["status"] == "verified"


class _Signal(BaseException):
    """Stands for what a signal handler raises: Ctrl-C in a notebook, a time limit of celery's."""


@contextlib.contextmanager
def _signal_after(steps: int) -> Iterator[list[int]]:
    """Raise a `_Signal` at the given step of the gate's own code, if it comes so far; yield what is left of `steps`."""
    left = [steps]

    def step(frame: FrameType, event: str, _argument: object) -> None:
        # Where the interpreter looks for signals: as a function begins, and after a call of one in C.
        if event in ("call", "c_return") and frame.f_code.co_filename == gates.__file__:
            left[0] -= 1
            if left[0] == 0:
                sys.setprofile(None)
                raise _Signal

    sys.setprofile(step)
    try:
        with contextlib.suppress(_Signal):
            yield left
    finally:
        sys.setprofile(None)


def _enter(gate: gates.Gate, call: str) -> None:
    if not gate.enters(call, 60):
        gate.wait(call, 60)


@pytest.mark.parametrize("moment", ["entering", "waiting", "leaving"])
def test_signal_at_any_step_costs_no_place(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that is lost is lost for good, and one that is given twice opens more connections than there are."""
    monkeypatch.setattr(gates, "_LOOKS_EVERY", 0.01)
    for steps in itertools.count(1):
        gate = gates.Gate(1)
        if moment != "entering":
            _enter(gate, "first")
        other = threading.Thread(target=_enter, args=(gate, "other"))
        if moment == "leaving":
            other.start()
            while not gate.waiting:
                pass
        with _signal_after(steps) as left:
            if moment == "leaving":
                gate.leave("first")
            elif moment == "entering":
                _enter(gate, "first")
            else:
                gate._moves_until = -60
                with contextlib.suppress(ConnectionFailedError):
                    _enter(gate, "second")
        # The end of a call leaves again, whatever had become of it.
        gate.leave("second")
        gate.leave("first")
        if moment == "leaving":
            other.join(10)
            assert gate.inside == {"other"}
            gate.leave("other")
        assert gate.is_empty, f"step {steps}"
        if left[0] > 0:
            assert steps > 5
            return


async def _asked_in_tasks(net: Devnet, questions: list[str], **options: Any) -> list[Answer]:
    async with AsyncClient(private_key=net.private_key, network=net.network, **options) as client:
        return await asyncio.gather(*(client.chat(MODEL, user(question)) for question in questions))


def _asked_in_threads(net: Devnet, questions: list[str], **options: Any) -> list[Answer]:
    """Each in a thread of its own: all wait at the gate at once."""
    before = threading.stack_size(512 * 1024)
    try:
        with (
            Client(private_key=net.private_key, network=net.network, **options) as client,
            ThreadPoolExecutor(len(questions)) as threads,
        ):
            return list(threads.map(lambda question: client.chat(MODEL, user(question)), questions))
    finally:
        threading.stack_size(before)


@sized("calls", small=60, full=5000)
@pytest.mark.parametrize("way", ["tasks", "threads"])
def test_crowd_beyond_the_pool_is_answered_within_a_short_timeout(net: Devnet, calls: int, way: str) -> None:
    """
    Waiting for a place is no part of `timeout`: unbounded batches failed as a whole.

    At its full size 5,000 begin at once, each is answered after 2 s, `timeout` is 30 s, and all is done after 100 s.
    """
    # Of each of the five words that come back.
    delay, options = (400, {"timeout": 30.0}) if calls == 5000 else (60, {"timeout": 2.0, "max_concurrency": 5})
    questions = [f"[[delay={delay}]] question {number}" for number in range(calls)]
    if way == "tasks":
        answers = asyncio.run(_asked_in_tasks(net, questions, **options))
    else:
        answers = _asked_in_threads(net, questions, **options)
    assert [answer.receipt["status"] for answer in answers] == ["verified"] * calls
    # None lost, and none answered to somebody else.
    assert [answer.completion.text.rpartition(" ")[2] for answer in answers] == [str(number) for number in range(calls)]


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

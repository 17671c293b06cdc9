"""`spread=True`: calls take turns on all enclaves, and every rule of one enclave holds for each of them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from og_integrations import errors
from og_integrations.client import AsyncClient, Client, Receipts, collect_receipts
from og_integrations.devnet import Devnet
from tests.client.ways_to_ask import MODEL, user

ENCLAVES = 3


@pytest.fixture
def three() -> Iterator[Devnet]:
    with Devnet(enclaves=ENCLAVES) as net:
        yield net


@contextmanager
def spreading(net: Devnet, *, spread: bool = True) -> Iterator[Client]:
    """Make a client, and let the devnet judge everything that it did."""
    with (
        collect_receipts() as receipts,
        Client(private_key=net.private_key, network=net.network, spread=spread) as client,
    ):
        yield client
    judge(net, receipts)


def judge(net: Devnet, receipts: Receipts) -> None:
    verdict = net.verdict(receipts, patience=5)
    assert verdict.clean, str(verdict)


def ask(client: Client, number: int) -> str:
    """Return the id of who answered."""
    return str(client.chat(MODEL, user(f"question {number}")).receipt["tee_id"])


def test_calls_take_turns(three: Devnet) -> None:
    with spreading(three) as client:
        ids = [ask(client, number) for number in range(3 * ENCLAVES)]
    assert set(ids) == {enclave.tee_id for enclave in three.enclaves}
    assert ids == ids[:ENCLAVES] * 3
    assert three.stats().signatures == ENCLAVES


def test_without_it_one_enclave_answers_all(three: Devnet) -> None:
    with spreading(three, spread=False) as client:
        assert len({ask(client, number) for number in range(2 * ENCLAVES)}) == 1
    assert three.stats().signatures == 1


def test_threads_are_spread(three: Devnet) -> None:
    with (
        Client(private_key=three.private_key, network=three.network, spread=True) as client,
        ThreadPoolExecutor(12) as pool,
    ):
        ids = list(pool.map(lambda number: ask(client, number), range(12)))
    assert sorted(Counter(ids).values()) == [4, 4, 4]
    assert three.stats().signatures == ENCLAVES
    assert three.verdict(patience=5).clean


async def test_tasks_are_spread(three: Devnet) -> None:
    """Cold and all at once: the calls of each enclave share one authorization."""
    with collect_receipts() as receipts:
        async with AsyncClient(private_key=three.private_key, network=three.network, spread=True) as client:
            answers = await asyncio.gather(*(client.chat(MODEL, user(f"question {n}")) for n in range(12)))
    assert sorted(Counter(answer.receipt["tee_id"] for answer in answers).values()) == [4, 4, 4]
    assert three.stats().signatures == ENCLAVES
    judge(three, receipts)


def test_dead_enclave_is_left_out(three: Devnet) -> None:
    dead = three.enclaves[0]
    with spreading(three) as client:
        for number in range(ENCLAVES):
            ask(client, number)
        three.kill(dead)
        ids = [ask(client, number) for number in range(10, 16)]
    assert sorted(Counter(ids).values()) == [3, 3]
    assert dead.tee_id not in ids
    assert three.stats().payments == ENCLAVES


def test_retired_enclave_is_left_out_at_the_next_reading(three: Devnet) -> None:
    retired = three.enclaves[0]
    three.retire(retired)
    with spreading(three) as client:
        assert retired.tee_id not in {ask(client, number) for number in range(4)}
    assert three.stats().payments == ENCLAVES - 1


def test_lying_enclave_fails_once_and_is_left(three: Devnet) -> None:
    """What it was asked is not asked elsewhere: it was paid for."""
    liar = three.enclaves[0]
    three.inject("bad_signature", enclave=liar)
    failed, ids = 0, []
    with spreading(three) as client:
        for number in range(7):
            try:
                ids.append(ask(client, number))
            except errors.VerificationError:
                failed += 1
    assert (failed, len(ids)) == (1, 6)
    assert sorted(Counter(ids).values()) == [3, 3]


def test_streams_are_spread(three: Devnet) -> None:
    ids = set()
    with spreading(three) as client:
        for number in range(ENCLAVES):
            *_, answer = client.stream(MODEL, user(f"question {number}"))
            assert not isinstance(answer, str)
            ids.add(answer.receipt["tee_id"])
    assert len(ids) == ENCLAVES

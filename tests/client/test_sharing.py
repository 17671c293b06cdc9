"""One authorization for many calls; each request sent once; every loop its own connections."""

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from og_integrations.client import Answer, AsyncClient, Client, LocalSigner
from og_integrations.devnet import Devnet
from tests.client.ways_to_ask import MODEL, user
from tests.sizes import sized


class CountingSigner(LocalSigner):
    """A local key that counts how often it is asked."""

    def __init__(self, private_key: str) -> None:
        super().__init__(private_key)
        self.signed = 0

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        self.signed += 1
        return super().sign_typed_data(typed_data)


async def test_cold_calls_share_one_authorization(net: Devnet) -> None:
    signer = CountingSigner(net.private_key)
    async with AsyncClient(signer=signer, network=net.network) as client:
        answers = await asyncio.gather(*(client.chat(MODEL, user(f"question {n}")) for n in range(32)))
    assert [f"question {n}" in answer.text for n, answer in enumerate(answers)] == [True] * 32
    assert len({answer.receipt["payment"]["payment_hash"] for answer in answers}) == 1
    assert len({answer.receipt["tee_signature"] for answer in answers}) == 32
    stats = net.stats()
    assert (signer.signed, stats.signatures, stats.payments, stats.sessions) == (1, 1, 1, 1)


class RemoteSigner(CountingSigner):
    """A key that is far away; `task` is the one that asked it."""

    task: "asyncio.Task[Any] | None" = None

    async def sign_typed_data(self, typed_data: dict[str, Any]) -> str:  # type: ignore[override]
        self.signed += 1
        self.task = asyncio.current_task()
        await asyncio.sleep(0.1)
        return LocalSigner.sign_typed_data(self, typed_data)


async def test_cold_calls_ask_an_asynchronous_signer_once(net: Devnet) -> None:
    """It may be a person, or cost something for each signature."""
    signer = RemoteSigner(net.private_key)
    async with AsyncClient(signer=signer, network=net.network) as client:
        await asyncio.gather(*(client.chat(MODEL, user(f"question {n}")) for n in range(32)))
    assert (signer.signed, net.stats().payments) == (1, 1)


async def test_cancelling_who_signs_hands_the_turn_over(net: Devnet) -> None:
    signer = RemoteSigner(net.private_key)
    async with AsyncClient(signer=signer, network=net.network) as client:
        calls = [asyncio.create_task(client.chat(MODEL, user(f"question {n}"))) for n in range(4)]
        while signer.task is None:
            await asyncio.sleep(0.005)
        signer.task.cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert Counter(type(item) for item in found) == {asyncio.CancelledError: 1, Answer: 3}
    assert (signer.signed, net.stats().payments) == (2, 1)


@sized("calls", small=64, full=1_000)
def test_threads_share_one_authorization_and_send_once(net: Devnet, calls: int) -> None:
    signer = CountingSigner(net.private_key)
    with Client(signer=signer, network=net.network) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: client.chat(MODEL, user(f"q{n}")), range(calls)))
    assert [f"q{n}" in answer.text for n, answer in enumerate(answers)] == [True] * calls
    assert (signer.signed, net.stats().payments) == (1, 1)
    assert sorted(e.prompt or "" for e in net.journal.exchanges if e.status == 200) == sorted(
        f"q{n}" for n in range(calls)
    )


@sized("calls", small=100, full=1_000)
def test_sequential_calls_use_one_handshake_and_one_payment(net: Devnet, client: Client, calls: int) -> None:
    for number in range(calls):
        assert client.chat(MODEL, user(f"q{number}")).receipt["status"] == "verified"
    stats = net.stats()
    assert (stats.handshakes, stats.payments, stats.statuses) == (1, 1, {402: 1, 200: calls})


def test_streams_leave_the_connection_usable(net: Devnet, client: Client) -> None:
    """Read past [DONE] to the end of the body; otherwise each stream costs a new handshake."""
    for _ in range(5):
        list(client.stream(MODEL, user("[[tokens=5]]")))
    assert net.stats().handshakes == 1


def test_successive_loops_cost_no_request_more(net: Devnet, make_async_client: Callable[..., AsyncClient]) -> None:
    client = make_async_client()
    answers = [asyncio.run(client.chat(MODEL, user("hi"))) for _ in range(5)]
    assert [answer.receipt["status"] for answer in answers] == ["verified"] * 5
    stats = net.stats()
    assert (stats.requests, stats.payments) == (6, 1)


@sized("count", small=20, full=300)
def test_many_loops_leave_nothing_behind(
    net: Devnet, make_async_client: Callable[..., AsyncClient], count: int
) -> None:
    """`filterwarnings = error` would show an open socket or a loop that was never closed."""
    client = make_async_client()
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def ask() -> Answer:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        *_, answer = [item async for item in client.stream(MODEL, user("hi"))]
        assert isinstance(answer, Answer)
        return answer

    for _ in range(count):
        asyncio.run(ask())
    gc.collect()
    assert [loop() for loop in loops] == [None] * count
    assert client._connections._loops == {}


def test_loops_in_threads_do_not_disturb_each_other(net: Devnet, make_async_client: Callable[..., AsyncClient]) -> None:
    client = make_async_client()

    def on_its_own_loop(number: int) -> str:
        async def ask() -> str:
            answers = await asyncio.gather(*(client.chat(MODEL, user(f"q{number}.{n}")) for n in range(4)))
            return answers[0].receipt["status"]  # type: ignore[no-any-return]

        return asyncio.run(ask())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(on_its_own_loop, range(8))) == ["verified"] * 8
    assert (net.stats().payments, net.stats().statuses[200]) == (1, 32)


async def test_cancelling_one_sharer_leaves_the_others(net: Devnet, async_client: AsyncClient) -> None:
    tasks = [asyncio.create_task(async_client.chat(MODEL, user(f"[[delay=300]] {n}"))) for n in range(32)]
    while net.stats().payments < 1:
        await asyncio.sleep(0.01)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert sum(isinstance(result, Answer) for result in results) == 31
    assert net.stats().payments == 1


def test_wallets_never_share_a_session(net: Devnet, make_client: Callable[..., Client]) -> None:
    other = net.new_wallet()
    first = make_client().chat(MODEL, user("hi")).receipt["payment"]
    second = make_client(private_key=other.private_key).chat(MODEL, user("hi")).receipt["payment"]
    assert first["payer"] != second["payer"]
    assert first["session_ref"] != second["session_ref"]
    assert net.stats().sessions == 2


def test_each_path_has_its_own_session(net: Devnet, client: Client) -> None:
    client.chat(MODEL, user("hi"))
    client.complete(MODEL, "hi")
    client.chat(MODEL, user("hi"))
    assert (net.stats().sessions, net.stats().statuses[200]) == (2, 3)


def test_renewal_pays_with_the_first_request(net: Devnet, client: Client) -> None:
    """The offer is remembered: an expired session costs one refused request, not a second 402 as well."""
    client.chat(MODEL, user("hi"))
    net.advance(130)
    client.chat(MODEL, user("hi"))
    assert [(e.paid_by, e.status) for e in net.journal.exchanges] == [
        ("nothing", 402),
        ("payment", 200),
        ("session", 402),
        ("payment", 200),
    ]


def test_client_is_garbage_without_close(net: Devnet) -> None:
    """Users drop models without closing them; a socket left open would be a warning, thus an error."""

    def use() -> weakref.ref[Client]:
        client = Client(private_key=net.private_key, network=net.network)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: client.chat(MODEL, user(str(n))), range(8)))
        return weakref.ref(client)

    gone = use()
    gc.collect()
    assert gone() is None

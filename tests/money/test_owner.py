"""`on_payment`, `spent`, the kill switch and shared budgets, through the clients."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from og_integrations.client import Answer, AsyncClient, Client, LocalSigner, collect_receipts
from og_integrations.devnet import DEFAULT_CAP, Devnet
from og_integrations.devnet.chain._evm import call_data
from og_integrations.errors import BudgetExceededError, ConfigurationError, SigningError, SpendingStoppedError
from og_integrations.networks import PERMIT2_ADDRESS
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.payment._policy import PaymentRequest
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from tests.money.recorded_payments import MODEL, chain_of

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


def client(net: Devnet, **policy: Any) -> Client:
    return Client(private_key=net.private_key, network=net.network, spend_policy=policy)


def aclient(net: Devnet, **policy: Any) -> AsyncClient:
    return AsyncClient(private_key=net.private_key, network=net.network, spend_policy=policy)


def test_owner_sees_what_is_signed(net: Devnet) -> None:
    """Once per authorization, not once per call."""
    asked: list[PaymentRequest] = []

    def agree(request: PaymentRequest) -> bool:
        asked.append(request)
        return True

    with client(net, on_payment=agree) as payer:
        payment = payer.chat(MODEL, HI).receipt["payment"]
        payer.chat(MODEL, HI)
        (request,) = asked
        assert (str(request.amount), request.payer, request.pay_to) == (
            payment["max_amount"], payment["payer"], payment["pay_to"],
        )  # fmt: skip
        assert (request.deadline, request.authorized, request.opg) == (payment["deadline"], 0, "0.1")
        payer.complete(MODEL, "once upon")
        assert asked[1].authorized == DEFAULT_CAP


def refuse(request: PaymentRequest) -> bool:
    return False


def fail(request: PaymentRequest) -> bool:
    raise KeyError(request.payer)


@pytest.mark.parametrize(("on_payment", "text"), [(refuse, "refused to authorize 0.1 OPG"), (fail, "KeyError")])
def test_refusal_signs_nothing_and_holds_nothing(net: Devnet, on_payment: Any, text: str) -> None:
    """Synchronously, asynchronously, in a stream; by an answer or by an exception."""

    async def later(request: PaymentRequest) -> bool:
        await asyncio.sleep(0)
        return bool(on_payment(request))

    async def ask(payer: AsyncClient) -> None:
        async with payer:
            with pytest.raises(SigningError, match=text):
                await payer.chat(MODEL, HI)
            assert payer.spent().authorized == 0

    with client(net, on_payment=on_payment) as payer:
        for attempt in (lambda: payer.chat(MODEL, HI), lambda: list(payer.stream(MODEL, HI))):
            with pytest.raises(SigningError, match=text):
                attempt()
        assert payer.spent().authorized == 0
    asyncio.run(ask(aclient(net, on_payment=on_payment)))
    asyncio.run(ask(aclient(net, on_payment=later)))
    assert net.stats().signatures == 0


class Falsy:
    """What numpy's False is like."""

    def __bool__(self) -> bool:
        return False


@pytest.mark.parametrize("answer", [None, 0, "", [], Falsy(), np.True_, "no", "n", 1, object()])
def test_only_true_allows(net: Devnet, answer: object) -> None:
    """A callback that only looks returns None, one that asks a person a text: neither is consent."""
    of = "" if type(answer).__module__ == "builtins" else f"{type(answer).__module__}."
    kind = "None" if answer is None else f"a {of}{type(answer).__name__}"
    with client(net, on_payment=lambda request: answer) as payer:
        with pytest.raises(
            SigningError, match=rf"it returned {kind}, expected True\. Nothing was signed or sent\. To allow .* True"
        ):
            payer.chat(MODEL, HI)
        assert (payer.spent().authorized, net.stats().signatures) == (0, 0)


def test_answer_that_nobody_awaited_does_not_allow(net: Devnet) -> None:
    """An asynchronous callback that forgets an await, of a question that is answered by no."""

    async def no(request: PaymentRequest) -> bool:
        return False

    async def forget(request: PaymentRequest) -> object:
        return no(request)

    async def ask() -> None:
        async with aclient(net, on_payment=forget) as payer:
            with pytest.raises(SigningError, match="returned False"):
                await payer.chat(MODEL, HI)

    asyncio.run(ask())


def test_calls_that_share_an_authorization_ask_once(net: Devnet) -> None:
    """32 threads and 32 tasks wait for one slow owner."""
    asked: list[int] = []

    def slowly(request: PaymentRequest) -> bool:
        asked.append(request.amount)
        time.sleep(0.1)
        return True

    async def slowly_too(request: PaymentRequest) -> bool:
        asked.append(request.amount)
        await asyncio.sleep(0.1)
        return True

    async def ask() -> None:
        async with aclient(net, on_payment=slowly_too) as payer:
            await asyncio.gather(*(payer.chat(MODEL, HI) for _ in range(32)))

    with client(net, on_payment=slowly) as payer, ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: payer.chat(MODEL, HI), range(32)))
    assert (len(asked), net.stats().signatures) == (1, 1)
    asyncio.run(ask())
    assert (len(asked), net.stats().signatures) == (2, 2)


def test_tasks_on_one_budget_never_exceed_it(net: Devnet) -> None:
    """64 tasks of 4 wallets, a budget of two authorizations in one store: two are signed, the rest is told."""
    store = MemoryStore(threading.RLock())
    options: dict[str, Any] = {"network": net.network, "spend_policy": {"total": "0.2", "store": store}}
    wallets = [net.new_wallet().private_key for _ in range(4)]

    async def ask() -> list[Any]:
        payers = [AsyncClient(private_key=private_key, **options) for private_key in wallets]
        calls = [payers[number % 4].chat(MODEL, HI) for number in range(64)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(*(payer.aclose() for payer in payers))
        return found

    kinds = Counter(type(item) for item in asyncio.run(ask()))
    assert kinds == {Answer: 32, BudgetExceededError: 32}
    assert net.stats().signatures == 2
    assert store.totals(0).authorized == 2 * DEFAULT_CAP


def test_refusal_counts_for_all_who_share(net: Devnet) -> None:
    """Nobody signs behind the owner's back."""

    async def no(request: PaymentRequest) -> bool:
        await asyncio.sleep(0.1)
        return False

    async def ask() -> None:
        async with aclient(net, on_payment=no) as payer:
            found = await asyncio.gather(*(payer.chat(MODEL, HI) for _ in range(8)), return_exceptions=True)
            assert {type(item) for item in found} == {SigningError}
            assert payer.spent().authorized == 0

    asyncio.run(ask())
    assert net.stats().signatures == 0


def test_cancelled_asker_leaves_the_question_to_others(net: Devnet) -> None:
    """Cancelling one call neither agrees nor refuses for another."""
    asked = 0

    async def yes(request: PaymentRequest) -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.2)
        return True

    async def ask() -> None:
        async with aclient(net, on_payment=yes) as payer:
            first = asyncio.create_task(payer.chat(MODEL, HI))
            while not asked:
                await asyncio.sleep(0.01)
            second = asyncio.create_task(payer.chat(MODEL, HI))
            await asyncio.sleep(0.05)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await second).text

    asyncio.run(ask())
    assert (asked, net.stats().signatures) == (2, 1)


class AskingSigner:
    """A signer asks something before it signs."""

    def __init__(self, net: Devnet, ask: Callable[[], bool]) -> None:
        self._own = LocalSigner(net.private_key)
        self.address = self._own.address
        self._ask = ask

    def sign_typed_data(self, typed_data: JsonObject) -> str:
        self._ask()
        return self._own.sign_typed_data(typed_data)


@pytest.mark.parametrize("store", ["memory", "file"])
@pytest.mark.parametrize("asked", ["on_payment", "on_limit_near", "signer"])
def test_owner_who_asks_the_model_itself_is_told_and_waits_for_nothing(
    net: Devnet, tmp_path: Path, asked: str, store: str
) -> None:
    """Its call would wait for the authorization that it is to decide about; with an account of its own it is paid."""
    payers: list[Client] = []

    def ask_itself(*_about: object) -> bool:
        return payers[0].chat(MODEL, [{"role": "user", "content": "Shall I pay?"}]).text != ""

    signer = AskingSigner(net, ask_itself) if asked == "signer" else LocalSigner(net.private_key)
    policy: dict[str, Any] = {} if store == "memory" else {"store": str(tmp_path / "budget.sqlite")}
    policy |= {} if asked == "signer" else {asked: ask_itself, "total": "0.1"}
    with Client(signer=signer, network=net.network, spend_policy=policy) as payer:
        payers[:] = [payer]
        with pytest.raises(SigningError, match=r"asks a model itself.*Nothing was sent or paid for it.*account="):
            payer.chat(MODEL, HI)
        assert (net.stats().payments, payer.spent().authorized) == (0, 0)
        with client(net, account="advice") as adviser:
            payers[:] = [adviser]
            assert payer.chat(MODEL, HI).receipt["status"] == "verified"
        assert net.stats().payments == 2


async def test_owner_whose_tasks_ask_the_model_is_told_and_they_may_go_on_later(net: Devnet) -> None:
    later: list[asyncio.Task[Answer]] = []
    decided = asyncio.Event()

    async def on_payment(request: PaymentRequest) -> bool:
        async def ask(*, at_once: bool) -> Answer:
            if not at_once:
                await decided.wait()
            return await payer.chat(MODEL, HI)

        later.append(asyncio.create_task(ask(at_once=False)))
        with pytest.raises(SigningError, match="asks a model itself"):
            await asyncio.create_task(ask(at_once=True))
        return True

    async with aclient(net, on_payment=on_payment) as payer:
        assert (await payer.chat(MODEL, HI)).receipt["status"] == "verified"
        decided.set()
        assert (await later[0]).receipt["status"] == "verified"
    assert net.stats().payments == 1


def test_asynchronous_owner_needs_an_asynchronous_client(net: Devnet) -> None:
    """It is said, and the hold is released."""

    async def yes(request: PaymentRequest) -> bool:
        return True

    with client(net, on_payment=yes) as payer:
        with pytest.raises(ConfigurationError, match="on_payment is asynchronous"):
            payer.chat(MODEL, HI)
        assert payer.spent().authorized == 0


def test_kill_switch_stops_sessions_that_are_open(net: Devnet) -> None:
    """Not one more request leaves, whatever was paid before, and its receipt tells of no payment."""
    with client(net) as payer, collect_receipts() as receipts:
        payer.chat(MODEL, HI)
        requests = net.stats().requests
        payer.stop_spending("lunch")
        with pytest.raises(SpendingStoppedError, match="lunch"):
            payer.chat(MODEL, HI)
        assert net.stats().requests == requests
        assert [receipt["payment"] is None for receipt in receipts] == [False, True]
        payer.resume_spending()
        assert payer.chat(MODEL, HI).text


def test_one_file_is_one_budget_and_one_switch(net: Devnet, tmp_path: Path) -> None:
    """Two wallets that name the same file share the account, but no session."""
    store = tmp_path / "budget.sqlite"
    policy = {"total": "0.1", "store": str(store)}
    second = Client(private_key=net.new_wallet().private_key, network=net.network, spend_policy=policy)
    with client(net, total="0.1", store=store) as one, second as other:
        one.chat(MODEL, HI)
        with pytest.raises(BudgetExceededError, match=r"SpendPolicy\.total"):
            other.chat(MODEL, HI)
        assert one.spent() == other.spent()
        other.stop_spending()
        with pytest.raises(SpendingStoppedError):
            one.chat(MODEL, HI)


def test_chain_gives_back_what_was_not_taken(own_evm: Devnet, pass_time: Callable[[Devnet, float], None]) -> None:
    """Settled for less, cancelled, and unused; all of it after the deadline only."""
    net = own_evm
    wallet = net.new_wallet()
    options: dict[str, Any] = {"private_key": wallet.private_key, "network": net.network}
    with Client(**options) as payer:
        payer.chat(MODEL, HI)
        net.settle_all()
        taken = net.stats().charged
        payer.complete(MODEL, "cancelled")
        payment = payer.engine.budget.store.entries()[1].authorization
        assert isinstance(payment, Permit2Authorization)
        data = call_data("invalidateUnorderedNonces(uint256,uint256)", payment.nonce >> 8, 1 << (payment.nonce & 255))
        chain_of(net).node.transact(wallet.address, PERMIT2_ADDRESS, data)
        payer.engine.sessions._current.clear()
        payer.chat(MODEL, HI)
        net.kill(net.enclaves[0])  # it will not settle

        # Before the deadline nothing comes back, whatever a node may know.
        assert payer.reconcile_spending().authorized == 3 * DEFAULT_CAP
        pass_time(net, 400)
        account = asyncio.run(AsyncClient(engine=payer.engine).reconcile_spending())
        assert account.authorized == account.settled == taken > 0
        assert payer.engine.budget.store.entries() == []

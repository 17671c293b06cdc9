"""What a service does with us: a model per request, copies in pickles, a database that restarts under load."""

import asyncio
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from og_integrations.networks import OPG
from tests.postgres_server import MISSING, PostgresServer, find_programs

MODEL = "openai/gpt-5.4-mini"
ASKED = [{"role": "user", "content": "hi"}]


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of one's own, for a test that restarts it."""
    programs = find_programs()
    if programs is None:
        pytest.skip(MISSING)
    with PostgresServer(programs) as server:
        yield server


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devnet]:
    """A devnet that models find by the environment, as those in pickles must."""
    with Devnet() as devnet:
        for name, value in devnet.environment().items():
            monkeypatch.setenv(name, value)
        yield devnet


def test_15_models_made_for_each_request_pay_once(net: Devnet) -> None:
    for _ in range(15):
        ChatOpenGradient(model=MODEL, spend_policy={"total": "1"}).invoke("hi")
    assert net.stats().payments == 1


def test_a_thousand_unpickled_copies_are_one_account(net: Devnet) -> None:
    """Each is asked for what was spent, and every hundredth asks: one authorization."""
    sent = pickle.dumps(ChatOpenGradient(model=MODEL, spend_policy={"total": "1"}))
    for number in range(1_000):
        model: ChatOpenGradient = pickle.loads(sent)
        if number % 100 == 0:
            model.invoke("hi")
        assert model.spent().authorized == OPG // 10
    assert net.stats().payments == 1


async def test_fastapi_dependency_that_makes_a_model_for_each_request(net: Devnet) -> None:
    """200 requests, 20 at once: one authorization, and every one is answered."""
    app = FastAPI()

    def make_model() -> ChatOpenGradient:
        return ChatOpenGradient(model=MODEL, spend_policy={"total": "1"})

    async def ask(model: Any) -> dict[str, str]:
        return {"status": (await model.ainvoke("hi")).response_metadata["opengradient"]["status"]}

    ask.__annotations__["model"] = Annotated[ChatOpenGradient, Depends(make_model)]
    app.post("/ask")(ask)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=50) as http:
        for _ in range(10):
            replies = await asyncio.gather(*(http.post("/ask") for _ in range(20)))
            assert [reply.json() for reply in replies] == [{"status": "verified"}] * 20
    assert net.stats().payments == 1


def test_database_that_restarts_under_load_loses_nothing(net: Devnet, own_postgres: PostgresServer) -> None:
    """No answer is lost, and nothing is signed that is not counted: fast shutdown, and a crash."""
    policy = {"store": own_postgres.new_database()}
    done = threading.Event()

    def ask(number: int) -> int:
        asked = 0
        while not done.is_set():
            account = f"{number} {asked}"
            with Client(
                private_key=net.private_key, network=net.network, spend_policy=policy | {"account": account}
            ) as client:
                assert client.chat(MODEL, ASKED).receipt["status"] == "verified"
                asked += 1
        return asked

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(ask, number) for number in range(4)]
        for how in (signal.SIGINT, signal.SIGQUIT):
            before = net.stats().payments
            while net.stats().payments < before + 3:
                threading.Event().wait(0.05)
            own_postgres.stop(how)
            own_postgres.start()
        before = net.stats().payments
        while net.stats().payments < before + 3:
            threading.Event().wait(0.05)
        done.set()
        answered = sum(worker.result() for worker in working)
    ((counted,),) = own_postgres.sql(policy["store"], "SELECT sum(authorized) FROM og_budget_totals")
    ((payments,),) = own_postgres.sql(policy["store"], "SELECT sum(payments) FROM og_budget_spans WHERE width = 1")
    assert answered == net.stats().payments == payments
    assert counted == answered * OPG // 10

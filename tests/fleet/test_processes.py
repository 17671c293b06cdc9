"""Many processes, one wallet, one store: one signature, whoever dies, and the books are those of the devnet."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import Client
from og_integrations.client.stores import BudgetTotals, open_store
from og_integrations.devnet import Devnet
from og_integrations.networks import OPG
from tests.fleet.worker import POINTS, work
from tests.postgres_server import PostgresServer
from tests.sizes import HEAVY_SECONDS, sized

CONTEXT = multiprocessing.get_context("forkserver")
# Imported once for all workers: a process that imports all of it anew takes seconds.
CONTEXT.set_forkserver_preload([
    "tests.fleet.worker", "og_integrations.client.stores", "sqlalchemy.dialects.postgresql.psycopg", "coincurve",
    "eth_abi", "h11", "anyio.to_thread", "truststore", "socksio", "certifi",
])  # fmt: skip
PATIENCE = 300.0
HEAVY = (pytest.mark.heavy, pytest.mark.timeout(HEAVY_SECONDS))


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture(params=["file", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What each worker names as its store."""
    if request.param == "file":
        return str(tmp_path / "budget.sqlite")
    return str(request.getfixturevalue("database"))


class Fleet:
    """Workers that share `store`; what they report is in `results`."""

    def __init__(self, net: Devnet, store: str) -> None:
        self.net, self.store, self.results = net, store, CONTEXT.Queue()
        self.workers: list[Any] = []

    def start(self, count: int = 1, *, calls: int = 1, dies: str = "", turn: int = 1) -> Any:
        given = (self.results, self.net.network, self.net.private_key, self.store, calls, dies, turn)
        started = [CONTEXT.Process(target=work, args=given) for _ in range(count)]
        for worker in started:
            worker.start()
        self.workers += started
        return started[-1]

    def end(self) -> list[tuple[str, str]]:
        """Wait for all; return what they reported."""
        reported = []
        for worker in self.workers:
            worker.join(PATIENCE)
            assert worker.exitcode in (0, -signal.SIGKILL)
        while not self.results.empty():
            reported.append(self.results.get())
        return reported

    def spent(self) -> BudgetTotals:
        """Return what the store has counted."""
        opened = open_store(self.store)
        assert opened is not None
        return opened.totals(int(time.time()))


@pytest.fixture
def fleet(net: Devnet, store: str) -> Fleet:
    return Fleet(net, store)


@sized("processes", small=8, full=32)
def test_cold_processes_sign_once(fleet: Fleet, processes: int) -> None:
    """Each answer is verified, and paid for by the same authorization."""
    fleet.start(processes, turn=60)
    reported = fleet.end()
    assert [status for status, _ in reported] == ["verified"] * processes
    assert len({payment for _, payment in reported}) == 1
    assert (fleet.net.stats().payments, fleet.spent().authorized) == (1, OPG // 10)


@pytest.mark.parametrize(
    ("store", "point"),
    [("file", point) for point in POINTS]
    + [pytest.param("postgres", point, marks=HEAVY if point != "claimed" else ()) for point in POINTS],
    indirect=["store"],
)
def test_killed_worker_leaves_nothing_locked(fleet: Fleet, point: str) -> None:
    """Those who come after it are answered, and what the devnet was shown is what the budget counts, or less."""
    fleet.start(dies=point).join(PATIENCE)
    for _ in range(2):
        fleet.start().join(PATIENCE)
    assert [status for status, _ in fleet.end()] == ["verified"] * 2
    shown, counted = fleet.net.stats().payments, fleet.spent().payments
    # What was claimed and not signed counts, since nobody knows that it was not.
    lost = point in ("claimed", "signed")
    assert (shown, counted) == (1, 2 if lost else 1)


@sized("kills", small=5, full=200)
def test_workers_that_are_killed_at_random_lose_nothing(fleet: Fleet, kills: int) -> None:
    """Nothing is signed that is not counted, and at most one authorization is lost by each death."""
    for _ in range(kills):
        # More than it can make until then: on a fast machine fifty were over, and there was nobody to kill.
        victim = fleet.start(calls=100_000)
        time.sleep(random.uniform(0, 0.4))
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(PATIENCE)
    fleet.results = CONTEXT.Queue()
    fleet.start(2)
    reported = fleet.end()
    assert [status for status, _ in reported] == ["verified"] * 2, reported[0][1] + reported[1][1]
    shown, spent = fleet.net.stats().payments, fleet.spent()
    assert shown <= spent.payments <= shown + kills
    assert spent.authorized == spent.payments * OPG // 10


def test_session_in_the_store_is_sealed(fleet: Fleet, tmp_path: Path, postgres: PostgresServer) -> None:
    """Neither the session's name nor the signature stands in the file or the tables."""
    with Client(
        private_key=fleet.net.private_key, network=fleet.net.network, spend_policy={"store": fleet.store}
    ) as one:
        one.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}])
        (session,) = one.engine.sessions._current.values()
        assert session.session_id is not None
        assert session.header is not None
        assert session.signature is not None
        canaries = [secret.reveal() for secret in (session.session_id, session.header, session.signature)]
        canaries.append(fleet.net.private_key[2:])
        one.engine.budget.spent(0)
        if fleet.store.startswith("postgresql:"):
            kept = str([postgres.sql(fleet.store, f"SELECT * FROM og_budget_{name}") for name in ("notes", "entries")])
        else:
            kept = "".join(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir())
        assert len(kept) > 500
        assert [canary[-40:] in kept for canary in canaries] == [False] * 4


def test_sharing_can_be_switched_off(fleet: Fleet) -> None:
    """Two processes' worth of accounts: the sums are shared, the sessions are not."""
    for account in range(2):
        policy = {"store": fleet.store, "share_sessions": False, "hosts": None, "max_validity_seconds": 3_600 + account}
        with Client(private_key=fleet.net.private_key, network=fleet.net.network, spend_policy=policy) as client:
            client.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}])
            assert client.engine.sessions.board is None
    assert (fleet.net.stats().payments, fleet.spent().payments) == (2, 2)


class RemoteSigner:
    """A signer whose key is elsewhere."""

    def __init__(self, net: Devnet, secret: str | None) -> None:
        from og_integrations.client import LocalSigner

        self._signer = LocalSigner(net.private_key)
        self.address = self._signer.address
        self.session_secret = secret

    def sign_typed_data(self, typed_data: Any) -> str:
        return self._signer.sign_typed_data(typed_data)


@pytest.mark.parametrize(("secret", "shares"), [(None, False), ("a secret that all of the workers have", True)])
def test_signer_without_a_key_shares_by_a_secret(net: Devnet, tmp_path: Path, secret: str | None, shares: bool) -> None:
    policy = {"store": str(tmp_path / "budget.sqlite")}
    with Client(signer=RemoteSigner(net, secret), network=net.network, spend_policy=policy) as client:
        assert (client.engine.sessions.board is not None) == shares

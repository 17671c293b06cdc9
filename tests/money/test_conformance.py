"""Every store behind `SpendPolicy.store` passes the kit that is published for stores of others."""

import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from og_integrations.client.stores._postgres import BudgetDatabase
from og_integrations.client.stores._sqlite import BudgetFile
from og_integrations.client.stores.conformance import check_kills, check_processes, store_machine
from og_integrations.errors import BudgetBusyError, ConfigurationError
from og_integrations.protocol.payment._budget import BudgetStore, Entry, Limits
from og_integrations.protocol.payment._memory import MemoryStore
from tests.money.test_limits import NOW
from tests.postgres_server import PostgresServer
from tests.sizes import examples, sized

FOLDER = Path(tempfile.mkdtemp(prefix="og-budget-"))


def new_file() -> BudgetStore:
    return BudgetFile(FOLDER / f"{secrets.token_hex(8)}.sqlite")


def another(store: BudgetStore) -> BudgetStore:
    assert isinstance(store, BudgetFile)
    return BudgetFile(store.path)


Opener = Callable[[], BudgetStore]
few = settings(examples(10), stateful_step_count=25, deadline=None)
TestMemory: Any = store_machine(lambda: MemoryStore(threading.RLock())).TestCase
TestFile: Any = store_machine(new_file, another).TestCase
TestMemory.settings = TestFile.settings = few


def teardown_module() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(params=["file", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """What opens a store that processes share; it can be pickled."""
    if request.param == "file":
        return partial(BudgetFile, str(tmp_path / "budget.sqlite"))
    return partial(BudgetDatabase, request.getfixturevalue("database"))


def test_database(postgres: PostgresServer) -> None:
    """The machine of the kit, on databases that are new each time."""

    def new_database() -> BudgetStore:
        return BudgetDatabase(postgres.new_database())

    machine = store_machine(new_database, lambda store: BudgetDatabase(str(cast("BudgetDatabase", store).place[1])))
    run_state_machine_as_test(machine, settings=settings(examples(6), stateful_step_count=25, deadline=None))


@sized("claims", small=60, full=1_000)
@pytest.mark.timeout(180)  # eight interpreters start on two cores
def test_eight_processes_never_exceed_a_limit_and_lose_nothing(opened: Opener, claims: int) -> None:
    """Sums of the whole and of the hour, to one base unit, at clocks that differ."""
    check_processes(opened, claims=claims)


@sized("at_random", small=3, full=40)
def test_killed_processes_leave_nothing_locked_and_lose_no_claim(opened: Opener, at_random: int) -> None:
    """At each step, and at random moments."""
    check_kills(opened, at_random=at_random)


def test_kill_switch_works_inside_a_claim(tmp_path: Path) -> None:
    """A signal handler that runs in the middle of a claim of the same thread does not wait for itself."""
    for store in (BudgetFile(tmp_path / "budget.sqlite"), MemoryStore(threading.RLock())):
        stop = partial(store.stop, "SIGTERM")
        store.claim(Entry(id="one", amount=1, at=NOW), lambda totals, stop=stop: stop())  # type: ignore[misc]
        assert store.stopped() == "SIGTERM"
        assert store.totals(NOW).authorized == 1


def test_older_copy_is_noticed_by_who_knew_the_file(tmp_path: Path) -> None:
    """A backup that is copied back forgets what was authorized since."""
    path, copy = tmp_path / "budget.sqlite", tmp_path / "copy.sqlite"
    store = BudgetFile(path)
    shutil.copy(path, copy)
    store.claim(Entry(id="one", amount=1, at=NOW), Limits(amount=1))
    time.sleep(0.02)
    shutil.copy(copy, path)
    for attempt in (lambda: store.totals(NOW), store.stopped):
        with pytest.raises(ConfigurationError, match=r"is another one than before: .* overwritten by a copy"):
            attempt()


def test_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "app.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE users (name)")
    db.close()
    before = path.read_bytes(), sorted(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match="is a database of another program, expected a budget or no file"):
        BudgetFile(path)
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_store_that_is_held_is_busy_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retryable, and nothing was signed."""
    monkeypatch.setattr("og_integrations.client.stores._sqlite.LOCK_TIMEOUT", 0.2)
    store = BudgetFile(tmp_path / "budget.sqlite")
    other = sqlite3.connect(tmp_path / "budget.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(
        BudgetBusyError, match=r"another process holds it for more than 0\.2 s\. Nothing was signed"
    ) as caught:
        store.claim(Entry(id="one", amount=1, at=NOW), Limits(amount=1))
    assert caught.value.is_retryable
    other.close()
    store.claim(Entry(id="one", amount=1, at=NOW), Limits(amount=1))


def test_accounts_of_one_file_count_apart(tmp_path: Path) -> None:
    one, two = (BudgetFile(tmp_path / "budget.sqlite", name) for name in ("one", "two"))
    one.claim(Entry(id="a", amount=5, at=NOW), Limits(amount=5))
    one.stop("lunch")
    assert (two.totals(NOW).authorized, two.stopped(), one.totals(NOW).last_day) == (0, None, 5)

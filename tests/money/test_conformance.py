"""Every store behind `SpendPolicy.store` passes the kit that is published for stores of others."""

import multiprocessing
import os
import random
import secrets
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from og_integrations.client.stores._conformance import store_machine
from og_integrations.client.stores._sqlite import BudgetFile
from og_integrations.errors import BudgetBusyError, BudgetExceededError, ConfigurationError
from og_integrations.protocol.payment._budget import BudgetStore, Entry, HoldState, Limits, MemoryStore
from tests.money.test_limits import NOW, PERMIT
from tests.sizes import examples

FOLDER = Path(tempfile.mkdtemp(prefix="og-budget-"))


def new_file() -> BudgetStore:
    return BudgetFile(FOLDER / f"{secrets.token_hex(8)}.sqlite")


def another(store: BudgetStore) -> BudgetStore:
    assert isinstance(store, BudgetFile)
    return BudgetFile(store.path)


few = settings(examples(10), stateful_step_count=25, deadline=None)
TestMemory: Any = store_machine(lambda: MemoryStore(threading.RLock())).TestCase
TestFile: Any = store_machine(new_file, another).TestCase
TestMemory.settings = TestFile.settings = few


def teardown_module() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)


def _claim(path: str, limit: int, count: int, results: Any) -> None:
    store, made = BudgetFile(path), 0
    for _ in range(count):
        try:
            store.claim(Entry(id=secrets.token_hex(8), amount=3, at=NOW), Limits(total=limit, per_hour=limit, amount=3))
            made += 1
        except BudgetExceededError:
            break
    results.put(made)


def test_eight_processes_never_exceed_a_limit_and_lose_nothing(tmp_path: Path) -> None:
    """Sums of the whole and of the hour, to one base unit."""
    path, context = str(tmp_path / "budget.sqlite"), multiprocessing.get_context("spawn")
    BudgetFile(path)
    results = context.Queue()
    workers = [context.Process(target=_claim, args=(path, 1_000, 100, results)) for _ in range(8)]
    for worker in workers:
        worker.start()
    made = sum(results.get(timeout=50) for _ in workers)
    for worker in workers:
        worker.join()
    totals = BudgetFile(path).totals(NOW)
    assert (made, totals.authorized, totals.last_hour) == (333, 999, 999)


def _claim_and_say(path: str, told: Any) -> None:
    store = BudgetFile(path)
    while True:
        entry = Entry(id=secrets.token_hex(8), amount=1, at=NOW, authorization=PERMIT)
        store.claim(entry, Limits(amount=1))
        told.send_bytes(b"1")
        store.move(entry.id, HoldState.SETTLED)


def test_killed_processes_leave_nothing_locked_and_lose_no_claim(tmp_path: Path) -> None:
    """At random moments: what was told to be claimed is counted, and what was not at most once."""
    path, context = str(tmp_path / "budget.sqlite"), multiprocessing.get_context("spawn")
    store, acknowledged, killed = BudgetFile(path), 0, 6
    for _ in range(killed):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_claim_and_say, args=(path, theirs))
        worker.start()
        theirs.close()
        ours.recv_bytes()
        acknowledged += 1
        time.sleep(random.uniform(0, 0.05))
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        try:
            while True:
                ours.recv_bytes()
                acknowledged += 1
        except EOFError:
            ours.close()
    store.claim(Entry(id="after", amount=0, at=NOW), Limits())
    assert acknowledged <= store.totals(NOW).authorized <= acknowledged + killed


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

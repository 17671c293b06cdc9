"""The account in a file: found again wherever the process goes, and never mistaken for another one."""

import asyncio
import json
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.client.stores import _sqlite as sqlite
from og_integrations.client.stores._sqlite import BudgetFile
from og_integrations.devnet import Devnet
from og_integrations.errors import BudgetBusyError, BudgetExceededError, ConfigurationError
from og_integrations.networks import BASE, OPG
from og_integrations.protocol.payment._budget import Budget, Entry, HoldState
from og_integrations.protocol.payment._policy import SpendPolicy
from tests.money.recorded_payments import MODEL
from tests.money.test_limits import NOW, PERMIT
from tests.protocol.flows import new_budget

HI = [{"role": "user", "content": "hi"}]


def budget(store: BudgetFile, **policy: Any) -> Budget:
    return new_budget(SpendPolicy.of(policy), store=store, network=BASE.identity)


def test_relative_path_does_not_follow_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it goes, it spends from the account that it began with."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    account = budget(BudgetFile("budget.sqlite"), total="1")
    account.hold(OPG, now=NOW)
    monkeypatch.chdir(tmp_path / "elsewhere")
    BudgetFile("budget.sqlite")  # somebody else's
    with pytest.raises(BudgetExceededError):
        account.hold(1, now=NOW)


def test_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert BudgetFile("~/budget.sqlite").path == tmp_path / "budget.sqlite"
    assert (tmp_path / "budget.sqlite").exists()


@pytest.mark.parametrize("path", ["", ":memory:", "~nobody-of-that-name/budget.sqlite", "a\0b"])
def test_path_that_is_none_is_refused(path: str) -> None:
    """SQLite would take some of them, and forget the account with each connection."""
    with pytest.raises(ConfigurationError, match=r"SpendPolicy\.store is "):
        BudgetFile(path)


@pytest.mark.parametrize("harm", ["emptied", "deleted", "deleted and made anew", "replaced"])
def test_file_that_is_not_the_same_any_more_is_no_fresh_account(tmp_path: Path, harm: str) -> None:
    """Whoever knew the old one spends nothing, and makes no new one by asking."""
    path = tmp_path / "budget.sqlite"
    account = budget(BudgetFile(path), total="1")
    account.hold(OPG, now=NOW)
    if harm == "emptied":
        os.truncate(path, 0)
    else:
        path.unlink()
    if harm == "deleted and made anew":
        BudgetFile(path)
    if harm == "replaced":
        BudgetFile(tmp_path / "other.sqlite")
        (tmp_path / "other.sqlite").rename(path)
    for attempt in (
        lambda: account.hold(1, now=NOW),
        lambda: account.spent(NOW),
        account.require_running,
        lambda: account.store.stop("lunch"),
    ):
        with pytest.raises(ConfigurationError, match="The budget file"):
            attempt()
    assert path.exists() == (harm != "deleted")
    if harm not in ("deleted", "emptied"):
        # (What was emptied still has its log beside it, and is held by who knew it.)
        BudgetFile(path)  # a client that is made now knows what it begins with


@pytest.mark.parametrize("way", ["files", "backup"])
def test_older_copy_of_the_file_and_its_log_is_noticed(tmp_path: Path, way: str) -> None:
    """A backup of all its parts looks exactly as the file did, with its times; later claims would be forgotten."""
    path = tmp_path / "budget.sqlite"
    account, other = (budget(BudgetFile(path), total="3") for _ in range(2))
    account.hold(OPG, now=NOW)
    parts = [name for name in ("budget.sqlite", "budget.sqlite-wal", "budget.sqlite-shm") if (tmp_path / name).exists()]
    (tmp_path / "backup").mkdir()
    if way == "files":
        for name in parts:
            shutil.copy2(tmp_path / name, tmp_path / "backup" / name)
    else:
        with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(tmp_path / "backup" / path.name)) as copy:
            db.backup(copy)
    account.hold(OPG, now=NOW)
    assert other.spent(NOW).authorized == 2 * OPG
    if way == "files":
        for name in parts:
            shutil.copy2(tmp_path / "backup" / name, tmp_path / name)
    else:
        with closing(sqlite3.connect(tmp_path / "backup" / path.name)) as copy, closing(sqlite3.connect(path)) as db:
            copy.backup(db)
    for knows in (account, other):
        with pytest.raises(ConfigurationError, match="overwritten by a copy"):
            knows.hold(OPG, now=NOW)


def test_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Also while it is in use."""
    account = budget(BudgetFile(tmp_path / "budget.sqlite"))
    with sqlite3.connect(tmp_path / "budget.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        db.execute("PRAGMA user_version = 4")
    db.close()
    for attempt in (lambda: BudgetFile(tmp_path / "budget.sqlite"), lambda: account.hold(1, now=NOW)):
        with pytest.raises(ConfigurationError, match="is of version 4, expected 3"):
            attempt()


def test_older_file_is_read(tmp_path: Path) -> None:
    """Made before networks and names were noted: what is in it counts, and can be explained."""
    with sqlite3.connect(tmp_path / "budget.sqlite") as db:
        db.execute(
            "CREATE TABLE entries (id TEXT PRIMARY KEY, amount TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,"
            " signed TEXT) STRICT"
        )
        db.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
        db.execute("INSERT INTO entries VALUES ('a', '7', ?, 'settled', ?)", (NOW, json.dumps(asdict(PERMIT))))
        db.execute("INSERT INTO facts VALUES ('folded', '5')")
    db.close()
    store = BudgetFile(tmp_path / "budget.sqlite")
    assert store.totals(NOW).authorized == 12
    (entry,) = store.entries()
    assert (entry.authorization, entry.network, entry.state) == (PERMIT, None, HoldState.SETTLED)
    budget(store).hold(1, now=NOW, authorization=PERMIT)
    assert [item.network for item in BudgetFile(tmp_path / "budget.sqlite").entries()] == [None, "base"]


def test_file_that_is_locked_stops_no_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped in the middle, say. It is said, nothing is sent, and other tasks go on meanwhile."""
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT", 0.4)
    beats: list[float] = []

    async def beat() -> None:
        while True:
            await asyncio.sleep(0.02)
            beats.append(time.monotonic())

    async def ask(net: Devnet) -> None:
        policy = {"store": tmp_path / "budget.sqlite"}
        async with AsyncClient(private_key=net.private_key, network=net.network, spend_policy=policy) as payer:
            other = sqlite3.connect(tmp_path / "budget.sqlite", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            beating = asyncio.create_task(beat())
            with pytest.raises(BudgetBusyError, match=r"another process holds it for more than 0\.4 s"):
                await payer.chat(MODEL, HI)
            assert len(beats) > 4
            beating.cancel()
            other.close()
            assert net.stats().signatures == 0
            assert (await payer.chat(MODEL, HI)).text

    with Devnet() as net:
        asyncio.run(ask(net))


HELD = {
    "read": ["BEGIN", "SELECT * FROM sqlite_schema"],
    "written": ["BEGIN IMMEDIATE"],
    "closed to readers": ["BEGIN EXCLUSIVE"],
}
STEPS = ["_check_header", "_version", "_begin"]
"""What is done before the file has its log, where locks of others are in the way of each statement."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("held", HELD)
def test_new_file_that_others_open_too_is_waited_for(
    held: str, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that start together on a new file were told at once that somebody had held it for 10 s."""
    path = tmp_path / "budget.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)) as other:
        original, done = getattr(sqlite, step), list[threading.Timer]()

        def then_held(*arguments: Any) -> object:
            result = original(*arguments)
            if not done:
                with suppress(sqlite3.OperationalError):  # ours has begun to write, so that others only read
                    for statement in HELD[held]:
                        other.execute(statement).fetchall()
                done.append(threading.Timer(0.1, other.rollback))
                done[0].start()
            return result

        monkeypatch.setattr(sqlite, step, then_held)
        store = BudgetFile(path)
        done[0].join()
        budget(store).hold(1, now=NOW)
        assert store.totals(NOW).authorized == 1


def test_devnet_gives_nothing_back_to_what_another_network_authorized(tmp_path: Path, monkeypatch: Any) -> None:
    """One file, two networks with the same chain id, and the same wallet on both."""
    policy = {"store": tmp_path / "budget.sqlite"}
    with Devnet() as real, Devnet() as other:
        with Client(private_key=real.private_key, network=real.network, spend_policy=policy) as payer:
            payer.chat(MODEL, HI)
            counted = payer.spent().authorized
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 4000)
        real.advance(4000)
        other.advance(4000)
        with Client(private_key=real.private_key, network=other.network, spend_policy=policy) as payer:
            assert payer.reconcile_spending().authorized == counted > 0
        with Client(private_key=real.private_key, network=real.network, spend_policy=policy) as payer:
            assert payer.reconcile_spending().authorized == 0


def test_claim_is_on_the_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transaction is over by then, so that others claim meanwhile; what became of it is not waited for."""
    store, other = (BudgetFile(tmp_path / "budget.sqlite") for _ in range(2))
    log, synced = Path(f"{store.path}-wal"), list[bool]()

    def sync(file: int) -> None:
        assert os.path.samestat(os.fstat(file), log.stat())
        synced.append(b"the first" in log.read_bytes())
        if len(synced) == 1:
            other.claim(Entry(id="the second", amount=1, at=NOW), lambda totals: None)

    monkeypatch.setattr(sqlite, "_DATA_SYNC", sync)
    store.claim(Entry(id="the first", amount=1, at=NOW), lambda totals: None)
    assert synced == [True, True]
    assert store.totals(NOW).authorized == 2
    store.move("the first", HoldState.SETTLED)
    assert store.totals(NOW).settled == 1
    assert len(synced) == 2


def test_checkpoint_of_another_process_is_not_taken_for_another_file(tmp_path: Path) -> None:
    """Slow disks: two that wrote at once noted what the file looked like in the middle, and all spending ended."""
    store, other = (BudgetFile(tmp_path / "budget.sqlite") for _ in range(2))
    store.claim(Entry(id="a", amount=1, at=NOW), lambda totals: None)

    def noted(value: str | None = None) -> str:
        with closing(sqlite3.connect(store.path)) as db, db:
            if value is not None:
                db.execute("UPDATE facts SET value = ? WHERE name = 'main'", (value,))
            return str(db.execute("SELECT value FROM facts WHERE name = 'main'").fetchone()[0])

    begun = noted(f"busy {int(time.time())} of another")
    other._thread.run(other._checkpoint)
    assert noted() == begun
    store.claim(Entry(id="b", amount=1, at=NOW), lambda totals: None)
    # Whoever began that one is gone: the next one notes what the file looks like again.
    noted(f"busy {int(time.time()) - sqlite._CHECKPOINT_SECONDS - 1} of another")
    other._thread.run(other._checkpoint)
    assert noted() == sqlite._looks(store.path.stat())
    assert store.totals(NOW).authorized == 2


def test_only_our_own_checkpoints_write_the_main_part(tmp_path: Path) -> None:
    """Neither a new connection nor one that a forked child opens writes it on its own."""
    store = BudgetFile(tmp_path / "budget.sqlite")
    store.begin_again()
    settings = store._thread.run(
        lambda: [
            store._connection().execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("wal_autocheckpoint", "synchronous")
        ]
    )
    assert settings == [0, 1]

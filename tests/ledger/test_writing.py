"""Receipts are in the ledger when their call ends, whoever made it and however it ended."""

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from og_integrations import collect_receipts
from og_integrations.client import AsyncClient, Client, set_ledger
from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError, GatewayError, LedgerBusyError
from og_integrations.ledger import LedgerEntry, open_ledger
from og_integrations.ledger import _ledger as ledger_module
from og_integrations.ledger._sql import SqlLedger
from tests.client.ways_to_ask import MODEL, user
from tests.ledger.conftest import ask
from tests.sizes import sized


def receipts_in(to: str, **wishes: Any) -> list[dict[str, Any]]:
    return [entry.receipt for entry in open_ledger(to).entries(**wishes)]


def test_receipt_is_there_when_the_call_ends(client: Client, to: str) -> None:
    """Streams and failures too; nothing waits for the end of the `with`."""
    with collect_receipts(to=to) as recording:
        first = ask(client, "one")
        assert receipts_in(to) == [first]
        *_, last = client.stream(MODEL, user("two"))
        assert receipts_in(to) == [first, last.receipt]  # type: ignore[union-attr]
        assert recording.verified
        with pytest.raises(GatewayError) as caught:
            client.chat("openai/no-such-model", user("three"))
        assert receipts_in(to, status="unverified") == [caught.value.receipt]
    assert (recording.totals().calls, recording.totals().verified, recording.verified) == (3, 2, False)


async def test_tasks_write_one_ledger(net: Devnet, to: str) -> None:
    async with AsyncClient(private_key=net.private_key, network=net.network) as client:
        with collect_receipts(to=to) as recording:
            answers = await asyncio.gather(*(client.chat(MODEL, user(f"n {number}")) for number in range(30)))
    kept = sorted(entry.receipt["tee_signature"] for entry in recording.entries())
    assert kept == sorted(answer.receipt["tee_signature"] for answer in answers)


def test_cancelled_call_leaves_its_receipt(net: Devnet, to: str) -> None:
    async def leave() -> None:
        async with AsyncClient(private_key=net.private_key, network=net.network) as client:
            with collect_receipts(to=to):
                task = asyncio.create_task(client.chat(MODEL, user("[[delay=3.0]] x")))
                await asyncio.sleep(0.3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(leave())
    assert [receipt["status"] for receipt in receipts_in(to)] == ["unverified"]


def test_whole_process_has_one_ledger(client: Client, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that copy no context too; what a collector writes to the same ledger is there once."""
    monkeypatch.setenv("OG_LEDGER", to)
    thread = threading.Thread(target=ask, args=(client, "from a bare thread"))
    thread.start()
    thread.join()
    with collect_receipts(to=to, keep_exchanges=True, tags=["inner"]) as recording:
        ask(client, "from a collector")
    kept = list(open_ledger(to).entries())
    assert [(entry.run, entry.exchange is not None) for entry in kept] == [(None, False), (recording.run, True)]
    set_ledger(None)


def test_program_chooses_the_ledger(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OG_LEDGER", str(tmp_path / "of-the-environment.jsonl"))
    set_ledger(tmp_path / "chosen.jsonl")
    try:
        ask(client, "x")
    finally:
        set_ledger(None)
    assert [file.name for file in tmp_path.iterdir()] == ["chosen.jsonl"]


def test_ledger_of_a_call_is_the_one_it_began_with(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one was made ready before anything was paid; the next call has the new one."""
    monkeypatch.setenv("OG_LEDGER", str(tmp_path / "first.jsonl"))
    pieces = client.stream(MODEL, user("[[tokens=4]] x"))
    next(pieces)
    monkeypatch.setenv("OG_LEDGER", str(tmp_path / "second.jsonl"))
    assert list(pieces)
    assert [file.name for file in tmp_path.iterdir()] == ["first.jsonl"]
    ask(client, "y")
    names = ("first.jsonl", "second.jsonl")
    assert [len(list(open_ledger(tmp_path / name).entries())) for name in names] == [1, 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mysql://host/x", "The ledger's URL cannot be used: Protocol not known: mysql"),
        ("sqlite:///no/such/folder/x.db", "is away, or held by others for too long"),
    ],
)
def test_unusable_ledger_is_told_before_anything_is_paid(
    net: Devnet, client: Client, monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    monkeypatch.setenv("OG_LEDGER", value)
    before = net.stats().requests
    with pytest.raises(ConfigurationError, match=expected):
        ask(client, "x")
    assert net.stats().requests == before


def test_hashes_stand_for_what_was_said(client: Client, tmp_path: Path) -> None:
    to = tmp_path / "r.jsonl"
    with collect_receipts(to=to, keep_exchanges="hash"):
        ask(client, "canary-7f3a")
    text = to.read_text()
    exchange = json.loads(text)["exchange"]
    assert "canary" not in text
    assert len(exchange["request_sha256"]) == len(exchange["response_sha256"]) == 64
    assert "request" not in exchange
    with pytest.raises(ConfigurationError, match="needs a ledger"):
        collect_receipts(keep_exchanges="hash")  # type: ignore[call-overload]


def test_file_is_of_its_owner_only(client: Client, tmp_path: Path) -> None:
    with collect_receipts(to=tmp_path / "r.jsonl", keep_exchanges=True):
        ask(client, "x")
    assert (tmp_path / "r.jsonl").stat().st_mode & 0o777 == 0o600


def test_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    """Log rotation."""
    ledger = open_ledger(tmp_path / "r.jsonl")
    ledger.record({"status": "verified", "model": "a"})
    (tmp_path / "r.jsonl").rename(tmp_path / "r.jsonl.1")
    ledger.record({"status": "verified", "model": "b"})
    assert [entry.receipt["model"] for entry in ledger.entries()] == ["b"]


class Broken:
    """A store that is away until it is mended."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.away = True
        self.kept: list[Any] = []

    def prepare(self) -> None:
        """Be there at first."""

    def append(self, entries: Sequence[Any]) -> None:
        """Take them, or be away."""
        if self.away:
            raise LedgerBusyError("away")
        self.kept += entries

    def entries(self, query: Any) -> Any:
        """Yield all."""
        yield from (entry for entry in self.kept if isinstance(entry, LedgerEntry))

    def left(self) -> list[Any]:
        raise AssertionError

    def settlements(self) -> dict[str, Any]:
        """Return none."""
        return {}

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("quick", [True, False], ids=["file", "database"])
def test_ledger_that_goes_away_loses_no_answer(
    net: Devnet, client: Client, quick: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer comes; no other call is begun until the receipt of the first one is written."""
    monkeypatch.setattr(ledger_module, "PATIENCE", 0.1)
    monkeypatch.setattr(ledger_module.Ticket.wait, "__defaults__", (0.1,))
    store = Broken(quick=quick)
    ledger = ledger_module.Ledger(store, "broken")
    with collect_receipts(to=ledger):
        answer = client.chat(MODEL, user("paid"))
        assert answer.receipt["status"] == "verified"
        before = net.stats().requests
        with pytest.raises(LedgerBusyError, match="Nothing was sent: a call that cannot leave its receipt is not made"):
            client.chat(MODEL, user("not asked"))
        assert net.stats().requests == before
        assert "The ledger cannot be written" in caplog.text
        store.away = False
        ledger.flush()
        client.chat(MODEL, user("asked again"))
    assert [entry.receipt["status"] for entry in store.kept] == ["verified", "verified"]
    assert store.kept[0].receipt == answer.receipt


def test_leaving_tells_of_what_is_not_written(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module.Ticket.wait, "__defaults__", (0.05,))
    monkeypatch.setattr(ledger_module.Ledger.flush, "__defaults__", (0.05,))
    store = Broken(quick=False)
    with (
        pytest.raises(LedgerBusyError, match="1 receipts are not written"),
        collect_receipts(to=ledger_module.Ledger(store, "b")),
    ):
        ask(client, "x")
    store.away = False


def test_disk_that_is_full_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written of a line before the disk was full is taken back, and the line is tried again later."""
    to = tmp_path / "r.jsonl"
    ledger = open_ledger(to)
    ledger.record({"status": "verified", "model": "a"})
    real = os.write

    def full(file: int, data: Any) -> int:
        real(file, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    ticket = ledger.record({"status": "verified", "model": "b"})
    monkeypatch.setattr(os, "write", real)
    assert not ticket.written
    assert to.read_bytes().count(b"\n") == 1
    assert to.read_bytes().endswith(b"\n")
    ledger.flush()
    assert [entry.receipt["model"] for entry in ledger.entries()] == ["a", "b"]


def test_database_of_another_version_is_refused(tmp_path: Path) -> None:
    to = f"sqlite:///{tmp_path / 'r.db'}"
    open_ledger(to).prepare()
    with sqlite3.connect(tmp_path / "r.db") as db:
        db.execute("UPDATE og_ledger SET version = 9")
    db.close()
    ledger = ledger_module.Ledger(SqlLedger(to), "again")
    with pytest.raises(ConfigurationError, match="has version 9 of its tables, expected 1"):
        list(ledger.entries())


def test_url_shows_no_password() -> None:
    ledger = open_ledger("postgresql://me:canary-secret@127.0.0.1:1/x")
    with pytest.raises(LedgerBusyError) as caught:
        ledger.prepare()
    for shown in (repr(ledger), str(caught.value), ledger.name):
        assert "canary-secret" not in shown
        assert "127.0.0.1" in shown


@sized("calls", small=2_000, full=100_000)
def test_memory_does_not_grow_with_calls(tmp_path: Path, calls: int) -> None:
    """Neither writing nor reading nor summing up holds more than a page of entries."""
    import tracemalloc

    ledger = open_ledger(f"sqlite:///{tmp_path / 'r.db'}")
    receipt: dict[str, Any] = {
        "status": "verified",
        "model": "openai/gpt-5",
        "payment": {"payment_hash": "0x1", "max_amount": "7"},
    }

    def write(number: int) -> None:
        for _ in range(number // 100):
            tickets = [ledger.record(receipt) for _ in range(100)]
            assert all(ticket.wait() for ticket in tickets)

    write(1_000)
    tracemalloc.start()
    write(calls)
    totals = ledger.totals()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (totals.calls, totals.authorized) == (calls + 1_000, 7)
    assert grown < 2_000_000

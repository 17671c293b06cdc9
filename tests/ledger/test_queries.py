"""Every kind of ledger answers every question alike; `verify` and the command line read them all."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from og_integrations import cli, collect_receipts
from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError
from og_integrations.ledger import Ledger, LedgerEntry, open_ledger
from og_integrations.verify import Verifier, sources_in
from tests.ledger.conftest import ask

WALLET = "0xAbC0000000000000000000000000000000000001"


def entry(number: int) -> LedgerEntry:
    """Return one of ten calls that differ in everything."""
    payment = {"payer": WALLET, "payment_hash": f"0x{number // 5}", "max_amount": str(10**17)} if number else None
    receipt: dict[str, Any] = {
        "status": "unverified" if number % 4 == 3 else "verified",
        "model": "openai/gpt-5" if number % 2 else "anthropic/claude_x%",
        "request_hash": f"{number:064x}",
        "payment": payment,
        "cost": {"cost_opg": "25"} if number == 1 else None,
        "estimate": {"cost_opg": "7"} if number in (1, 2) else None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    tags = ("even", "all") if number % 2 == 0 else ("all",)
    return LedgerEntry(receipt=receipt, at=1_000.0 + number, run=f"run-{number // 3}", tags=tags)


@pytest.fixture
def ledger(to: str) -> Ledger:
    made = open_ledger(to)
    tickets = [made.add(entry(number)) for number in range(10)]
    assert all(ticket.wait() for ticket in tickets)
    return made


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, range(10)),
        ({"since": 1_003, "until": 1_006.0}, [3, 4, 5]),
        ({"since": datetime(1970, 1, 1, 0, 16, 48, tzinfo=UTC)}, [8, 9]),
        ({"wallet": WALLET.upper().replace("0X", "0x")}, range(1, 10)),
        ({"model": "openai/gpt-5"}, [1, 3, 5, 7, 9]),
        ({"model": "gpt-5"}, [1, 3, 5, 7, 9]),
        ({"model": "claude_x%"}, [0, 2, 4, 6, 8]),
        ({"model": "claude-xy"}, []),
        ({"tag": "even"}, [0, 2, 4, 6, 8]),
        ({"tag": "eve"}, []),
        ({"status": "unverified"}, [3, 7]),
        ({"payment": "0x1"}, [5, 6, 7, 8, 9]),
        ({"run": "run-1"}, [3, 4, 5]),
        ({"request_hashes": [f"{n:064x}" for n in (2, 7, 99)]}, [2, 7]),
        ({"any_tag": ["even", "other"], "until": 1_005}, [0, 2, 4]),
        ({"any_tag": []}, []),
        ({"tag": "even", "status": "verified", "until": 1_005}, [0, 2, 4]),
    ],
)
def test_entries_are_found(ledger: Ledger, wishes: Any, expected: Any) -> None:
    found = list(ledger.entries(**wishes))
    assert [int(each.at) - 1_000 for each in found] == list(expected)
    for each in found:
        wanted = entry(int(each.at) - 1_000)
        assert (each.receipt, each.tags, each.run) == (wanted.receipt, wanted.tags, wanted.run)


def test_entry_written_twice_is_kept_once(tmp_path: Path) -> None:
    """A connection that breaks after the commit makes the writer try again."""
    ledger = open_ledger(f"sqlite:///{tmp_path / 'r.db'}")
    same = entry(4)
    for _ in range(2):
        assert ledger.add(same).wait()
    assert [each.tags for each in ledger.entries()] == [("even", "all")]


def test_costs_are_named_as_what_they_are(ledger: Ledger) -> None:
    """Reported and estimated are never added up; settled is what the chain said last."""
    ledger.note_settlement("0x0", "pending")
    ledger.note_settlement("0x0", "settled", 31, "0xabc")
    totals = ledger.totals()
    assert (totals.calls, totals.verified, totals.tokens_in, totals.tokens_out) == (10, 8, 30, 20)
    assert (totals.authorizations, totals.authorized) == (2, 2 * 10**17)
    assert (totals.reported, totals.reported_calls) == (25, 1)
    assert (totals.estimated, totals.estimated_calls) == (7, 1)
    assert (totals.settled, totals.settlements) == (31, 1)
    assert "0.2 OPG at most, by 2 authorizations" in str(totals)
    assert ledger.settlements()["0x0"].transaction == "0xabc"
    assert len(list(ledger.entries())) == 10


def test_time_without_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="without a time zone"):
        list(open_ledger(tmp_path / "r.jsonl").entries(since=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_verify_reads_ledgers(net: Devnet, client: Client, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each entry is a source; notes on payments are none, and what was not kept cannot be verified."""
    with collect_receipts(to=to, keep_exchanges=True) as recording:
        first, _ = ask(client, "one"), ask(client, "two")
        recording.ledger.note_settlement(first["payment"]["payment_hash"], "settled", 5)
    trust = Verifier.tee_ids([net.enclaves[0].tee_id])
    verdicts = [verdict.status for _, verdict in trust.verify_many(sources_in(to))]
    assert verdicts == ["verified", "verified"]
    assert cli.main(["verify", "--tee-id", net.enclaves[0].tee_id, "--json", to]) == 0
    assert [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()] == verdicts
    with collect_receipts(to=to, keep_exchanges="hash"):
        ask(client, "three")
    assert cli.main(["verify", "--trust-file-key", to]) == 2
    assert "the ledger kept only hashes of the exchange" in capsys.readouterr().out


def test_verify_says_which_ledger_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "--trust-file-key", "sqlite:///no/such/folder/x.db"]) == 2
    assert "The ledger sqlite:///no/such/folder/x.db is away" in capsys.readouterr().err

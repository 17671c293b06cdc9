"""A process that is killed at any moment loses the call in flight at most; many processes share one ledger."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from og_integrations.devnet import Devnet
from og_integrations.ledger import open_ledger
from tests.sizes import sized

ASKING = """
import sys
from og_integrations import Client, collect_receipts
with Client() as client, collect_receipts(to=sys.argv[1], keep_exchanges=True):
    for number in range(10_000):
        answer = client.chat("openai/gpt-5-mini", [{"role": "user", "content": f"question {number} " + "x" * 20_000}])
        print(answer.receipt["tee_signature"], flush=True)
"""


@sized("kills", small=1, full=30)
def test_killed_process_loses_the_call_in_flight_at_most(
    net: Devnet, to: str, kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if to.startswith("memory:"):
        to = f"local://{tmp_path / 'objects'}"
    for name, value in net.environment().items():
        monkeypatch.setenv(name, value)
    told: list[str] = []
    rng = random.Random(to[-9:])
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", ASKING, to], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told.append(process.stdout.readline().strip())
            time.sleep(rng.random() * 0.15)
            process.send_signal(signal.SIGKILL)
            # The last line may be cut, too.
            told += [line.strip() for line in process.stdout if line.endswith("\n")]
    kept = [entry.receipt["tee_signature"] for entry in open_ledger(to).entries(status="verified")]
    assert len(kept) == len(set(kept))
    assert set(told) <= set(kept)
    assert len(kept) <= len(told) + kills


WRITING = """
import sys
from og_integrations.ledger import open_ledger
to, name = sys.argv[1:]
ledger = open_ledger(to)
tickets = [ledger.record({"status": "verified", "model": f"{name}-{n}", "filler": "x" * 5_000}) for n in range(100)]
assert all(ticket.wait(50) for ticket in tickets)
"""


def test_many_processes_write_one_ledger(to: str, tmp_path: Path) -> None:
    """No line is mixed up with another one, and none is lost; whoever comes first makes the tables."""
    if to.startswith("memory:"):
        to = f"local://{tmp_path / 'objects'}"
    processes = [subprocess.Popen([sys.executable, "-c", WRITING, to, str(name)]) for name in range(3)]
    assert [process.wait(50) for process in processes] == [0, 0, 0]
    found = sorted(entry.receipt["model"] for entry in open_ledger(to).entries())
    assert found == sorted(f"{name}-{n}" for name in range(3) for n in range(100))


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    """What a process was writing when the machine stopped."""
    file = tmp_path / "r.jsonl"
    ledger = open_ledger(file)
    ledger.record({"status": "verified", "model": "a"})
    whole = file.read_bytes()
    with file.open("ab") as end:
        end.write(whole[: len(whole) // 2])
    ledger.record({"status": "verified", "model": "b"})
    assert [entry.receipt["model"] for entry in ledger.entries()] == ["a", "b"]
    assert [json.loads(line)["receipt"]["model"] for line in file.read_bytes().splitlines()[::2]] == ["a", "b"]

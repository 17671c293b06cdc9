"""
`python -m benchmarks.job`: whether a call's cost and memory stay flat from a night job's first prompt to its last.

A process of its own asks `--prompts` prompts (100,000 unless you say otherwise) as `og-integrations batch` does, and
keeps each receipt with its exchange in a ledger. The devnet that answers and signs runs beside it and takes most of the
machine, so the seconds say little; the CPU of a call and the memory are those of the job's own process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import keep, markdown_table
from benchmarks.worker import memory
from og_integrations.devnet import Devnet
from og_integrations.networks import OPG

PROMPTS, PARTS = 100_000, 10
MODEL = "openai/gpt-5.2"
HEADS = [
    "ledger", "prompts", "authorizations", "ms of CPU a call, second tenth", "last tenth",
    "growth after the first tenth, MB", "s",
]  # fmt: skip


def ask(folder: Path, ledger: str, prompts: int) -> None:
    """Run the job, and print calls, CPU seconds and resident KB at the end of each part of it, as JSON Lines."""
    from og_integrations.jobs import BatchJob, Progress

    file = folder / "prompts.jsonl"
    with file.open("w") as lines:
        lines.writelines(
            json.dumps({"id": f"p{number}", "prompt": f"question {number}"}) + "\n" for number in range(prompts)
        )
    told = 0

    def note(progress: Progress) -> None:
        nonlocal told
        if progress.answered >= told:
            told += prompts // PARTS
            sys.stdout.write(json.dumps([progress.answered, time.process_time(), memory("VmRSS")]) + "\n")

    # The devnet's gateway asks for what all prompts cost, which is more than the default rules allow at a time.
    policy = {"max_per_authorization": "200"}
    out = folder / "answers.jsonl"
    done = BatchJob(file, model=MODEL, out=out, ledger=ledger, on_progress=note, spend_policy=policy).run()
    if not done.complete:
        raise SystemExit(str(done))


def _row(kind: str, folder: Path, ledger: str, prompts: int) -> list[str]:
    with Devnet(cap=prompts * OPG // 1_000) as net:
        began = time.monotonic()
        command = (sys.executable, "-m", "benchmarks.job", "--in", str(folder), "--ledger", ledger)
        said = subprocess.run(  # noqa: S603
            [*command, "--prompts", str(prompts)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ) | net.environment(),
        ).stdout
        took, stats = time.monotonic() - began, net.stats()
    marks = [json.loads(line) for line in said.splitlines()]
    (first, second), (before, last) = marks[1:3], marks[-2:]

    def cost(one: list[float], other: list[float]) -> str:
        return f"{(other[1] - one[1]) / (other[0] - one[0]) * 1e3:.2f}"

    assert stats.charges == prompts, stats  # noqa: S101
    growth = (last[2] - first[2]) / 1024
    calls = [kind, f"{prompts:,}", f"{stats.payments}", cost(first, second), cost(before, last)]
    return [*calls, f"{growth:.0f}", f"{took:.0f}"]


def measure_job(prompts: int) -> str:
    """Return the table, in Markdown."""
    rows = []
    for kind, name in (("JSON Lines", "receipts.jsonl"), ("SQLite", "receipts.db")):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            ledger = str(folder / name) if kind == "JSON Lines" else f"sqlite:///{folder / name}"
            sys.stderr.write(f"  job: {kind}\n")
            rows.append(_row(kind, folder, ledger, prompts))
            # A row takes a quarter of an hour: the next one may fail.
            sys.stderr.write(f"  {' | '.join(rows[-1])}\n")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    said = f"16 at once; {os.cpu_count()} cores, load average {load:.1f} at the end."
    return f"{markdown_table(HEADS, rows)}\n{said}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--keep", action="store_true", help="put the table into README.md")
    parser.add_argument("--in", dest="folder", help=argparse.SUPPRESS)
    parser.add_argument("--ledger", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.folder:
        ask(Path(chosen.folder), chosen.ledger, chosen.prompts)
    else:
        table = measure_job(chosen.prompts)
        if chosen.keep:
            keep("job", table)
        sys.stdout.write(table)

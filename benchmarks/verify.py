"""
`python -m benchmarks.verify`: what it takes to judge ten thousand saved receipts.

Each row is a process of its own, from its start to its end, with all the processes that it starts. Rounds go once
through all rows; shown are medians of them, and of the ratios within each: a host that gives our cores to others is
slower or faster for minutes. CPU time divided by the number of cores is what a machine with nothing else to do takes at
best. "By hand" is `benchmarks.floor`.
"""

import compileall
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import og_integrations
from benchmarks.table import keep
from tests.verify.many_receipts import TEE_ID, documents

FILES, ROUNDS = 10_000, 7


@dataclass(frozen=True, slots=True)
class Measured:
    """This is what it took to judge all files, in seconds: on the clock, and of CPU."""

    wall: float
    cpu: float


def _measure(source: Path, jobs: int | None) -> Measured:
    """Measure `verify` in so many processes, or the floor where `jobs` is None."""
    command = [sys.executable, "-m", "benchmarks.floor"]
    if jobs is not None:
        command = [sys.executable, "-m", "og_integrations", "verify", "--tee-id", TEE_ID, "--summary"]
        command += ["--jobs", str(jobs)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said = subprocess.run([*command, str(source)], check=True, capture_output=True, text=True).stdout  # noqa: S603
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said.startswith(f"{FILES} files: {FILES} verified"), said  # noqa: S101
    return Measured(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


Rows = dict[tuple[str, int | None], list[Measured]]
"""What was measured in each round, by the kind of source and the number of processes; None is the floor."""


def _times_by_hand(found: Rows, kind: str, jobs: int | None) -> float:
    return median(ours.cpu / floor.cpu for ours, floor in zip(found[kind, jobs], found[kind, None], strict=True))


def _times_as_fast(found: Rows, kind: str, jobs: int) -> float:
    return median(one.wall / ours.wall for one, ours in zip(found[kind, 1], found[kind, jobs], strict=True))


def _row(found: Rows, kind: str, jobs: int | None) -> str:
    wall, cpu = (median(getattr(one, name) for one in found[kind, jobs]) for name in ("wall", "cpu"))
    by = "by hand, 1" if jobs is None else str(jobs)
    cells = [f"{wall:.1f}", f"{cpu:.1f}", f"{cpu / FILES * 1e6:.0f}", f"{FILES / wall:,.0f}"]
    faster = "" if jobs in (None, 1) else f"{_times_as_fast(found, kind, jobs):.2f}"
    return f"| {' | '.join([kind, by, *cells, f'{_times_by_hand(found, kind, jobs):.2f}', faster])} |"


def _measure_all() -> Rows:
    """Return what `verify` took."""
    found: Rows = {}
    # As installing does; otherwise each process may compile anew what was changed.
    compileall.compile_dir(Path(og_integrations.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory() as place:
        folder, listed = Path(place) / "folder", Path(place) / "all.jsonl"
        folder.mkdir()
        with listed.open("w") as lines_of:
            for number, document in enumerate(documents(FILES)):
                text = json.dumps(document)
                lines_of.write(text + "\n")
                (folder / f"{number:05}.json").write_text(text)
        rows = [(kind, jobs) for kind in ("a folder of files", "JSON Lines") for jobs in (None, 1, 2)]
        for kind, jobs in rows * ROUNDS:
            sys.stderr.write(f"  verify: {kind}, {jobs or 'by hand'}\n")
            found.setdefault((kind, jobs), []).append(_measure(listed if kind == "JSON Lines" else folder, jobs))
    return found


def verify_ratios() -> dict[str, float]:
    """Return what must hold: CPU of one process ÷ that by hand, and how much faster two processes are."""
    found, ratios = _measure_all(), {}
    for kind in dict.fromkeys(kind for kind, _ in found):
        ratios[f"CPU ÷ by hand, {kind}"] = _times_by_hand(found, kind, 1)
        ratios[f"two processes, times as fast as one, {kind}"] = _times_as_fast(found, kind, 2)
    return ratios


def measure_verify() -> str:
    """Return the table, in Markdown."""
    found = _measure_all()
    lines = [
        "| `verify` of 10,000 receipts | processes | s | s of CPU | µs of CPU a file | files/s | ÷ by hand | faster |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *[_row(found, kind, jobs) for kind, jobs in found],
    ]
    load = f"Load average {os.getloadavg()[0]:.1f} at the end." if hasattr(os, "getloadavg") else ""
    return "\n".join([*lines, "", load]).rstrip() + "\n"


def write_verify(*, kept: bool) -> str:
    """Measure; return the table, and put it into README.md if it is to be `kept`."""
    text = measure_verify()
    if kept:
        keep("verify", text)
    return text


if __name__ == "__main__":
    sys.stdout.write(write_verify(kept="--keep" in sys.argv))

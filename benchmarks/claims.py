"""
`python -m benchmarks.claims`: authorizations per second that one budget takes, in a file and in PostgreSQL.

Each claim is durable before it returns, is held against a total and an hour, and is settled afterwards. All processes
of a row claim on one account, the worst there is: fifty workers that share a session claim once in its lifetime.
"""

import multiprocessing
import os
import re
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from og_integrations.client.stores import Entry, HoldState, Limits, open_store
from tests.postgres_server import MISSING, PostgresServer, find_programs

README = Path(__file__).parent / "README.md"
CLAIMS = 4_000
"""In all, however many processes make them."""
PROCESSES = (1, 8)
_BETWEEN = re.compile(r"(<!-- claims -->\n).*(<!-- end of claims -->)", re.DOTALL)


def _work(store: str, count: int, ready: Any, go: Any, results: Any) -> None:
    budget = open_store(store)
    assert budget is not None  # noqa: S101
    budget.totals(int(time.time()))
    ready.put(None)
    go.wait()
    took: list[tuple[float, float]] = []
    for _ in range(count):
        began = time.monotonic()
        entry = Entry(id=secrets.token_hex(16), amount=10**17, at=int(time.time()))
        budget.claim(entry, Limits(total=10**30, per_hour=10**30, amount=10**17))
        took.append((began, time.monotonic() - began))
        budget.move(entry.id, HoldState.SETTLED)
    results.put(took)


def _measure(store: str, processes: int) -> list[str]:
    """Return the cells of one row: claims/s of all, of the first and the last quarter, median and longest wait."""
    context = multiprocessing.get_context("spawn")
    ready, go, results = context.Queue(), context.Event(), context.Queue()
    given = (store, CLAIMS // processes, ready, go, results)
    workers = [context.Process(target=_work, args=given) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.get()
    go.set()
    took = sorted(one for _ in workers for one in results.get())
    for worker in workers:
        worker.join()
    quarter = len(took) // 4

    def rate(part: list[tuple[float, float]]) -> str:
        return f"{len(part) / (max(at + lasted for at, lasted in part) - part[0][0]):,.0f}"

    waits = [lasted for _, lasted in took]
    return [
        rate(took), rate(took[:quarter]), rate(took[-quarter:]), f"{statistics.median(waits) * 1e3:.2f}",
        f"{max(waits) * 1e3:.0f}",
    ]  # fmt: skip


@contextmanager
def _places() -> Iterator[dict[str, Any]]:
    """Yield, for each kind of store, what makes the name of a new one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places: dict[str, Any] = {"SQLite file": lambda: str(folder / f"{secrets.token_hex(4)}.sqlite")}
        programs = find_programs()
        if programs is None:
            sys.stderr.write(f"  {MISSING}\n")
        else:
            places["PostgreSQL"] = stack.enter_context(PostgresServer(programs)).new_database
        yield places


def measure_claims() -> str:
    """Return the table of claims, in Markdown."""
    lines = [
        "| one account | processes | claims/s | first quarter | last quarter | median wait, ms | longest wait, ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    with _places() as places:
        for kind, place in places.items():
            for processes in PROCESSES:
                sys.stderr.write(f"  claims: {kind}, {processes}\n")
                lines.append(f"| {kind} | {processes} | {' | '.join(_measure(place(), processes))} |")
    load = f"Load average {os.getloadavg()[0]:.1f} at the end." if hasattr(os, "getloadavg") else ""
    return "\n".join([*lines, "", f"{CLAIMS:,} claims a row. {load}"]).rstrip() + "\n"


def write_claims(*, kept: bool) -> str:
    """Measure; return the table, and put it into README.md if it is to be `kept`."""
    text = measure_claims()
    if kept:
        README.write_text(_BETWEEN.sub(lambda found: found[1] + text + found[2], README.read_text()))
    return text


if __name__ == "__main__":
    sys.stdout.write(write_claims(kept="--keep" in sys.argv))

"""
`python -m benchmarks.claims`: authorizations per second that one budget takes, in a file and in PostgreSQL.

Each claim is durable before it returns, and is held against a total and an hour; its entry stays, for the chain to be
asked about. Half of the rows note afterwards what became of each ("settled"), as a session does at its end. All
processes of a row claim on one account, the worst there is: fifty workers that share a session claim once in its
lifetime. The CPU of a claim (of all processes, the server included) and the time of a bare `fdatasync` say what the
machine gave while it was measured.
"""

import multiprocessing
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.table import keep
from og_integrations.client.stores import Entry, HoldState, Limits, open_store
from tests.money.test_limits import PERMIT
from tests.postgres_server import MISSING, PostgresServer, find_programs

CLAIMS = 4_000
"""In all, however many processes make them."""
PROCESSES = (1, 8)


def _work(store: str, count: int, settled: bool, ready: Any, go: Any, results: Any) -> None:
    budget = open_store(store)
    assert budget is not None  # noqa: S101
    budget.totals(int(time.time()))
    ready.put(None)
    go.wait()
    took: list[tuple[float, float]] = []
    used = time.process_time()
    for _ in range(count):
        began = time.monotonic()
        entry = Entry(id=secrets.token_hex(16), amount=10**17, at=int(time.time()), authorization=PERMIT)
        budget.claim(entry, Limits(total=10**30, per_hour=10**30, amount=10**17))
        took.append((began, time.monotonic() - began))
        if settled:
            budget.move(entry.id, HoldState.SETTLED)
    budget.totals(int(time.time()))
    results.put((took, time.process_time() - used))


def _measure(store: str, processes: int, settled: bool, server: int | None = None) -> list[str]:
    """
    Return the cells of one row: claims/s of all, of the first and the last quarter, median and longest wait, CPU.

    `server` is the process id of the database's first process.
    """
    context = multiprocessing.get_context("spawn")
    ready, go, results = context.Queue(), context.Event(), context.Queue()
    given = (store, CLAIMS // processes, settled, ready, go, results)
    workers = [context.Process(target=_work, args=given) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.get()
    used = 0.0 if server is None else _cpu_seconds(server)
    go.set()
    reported = [results.get() for _ in workers]
    used = sum(seconds for _, seconds in reported) + (0.0 if server is None else _cpu_seconds(server) - used)
    took = sorted(one for some, _ in reported for one in some)
    for worker in workers:
        worker.join()
    quarter = len(took) // 4

    def rate(part: list[tuple[float, float]]) -> str:
        return f"{len(part) / (max(at + lasted for at, lasted in part) - part[0][0]):,.0f}"

    waits = [lasted for _, lasted in took]
    return [
        rate(took), rate(took[:quarter]), rate(took[-quarter:]), f"{statistics.median(waits) * 1e3:.2f}",
        f"{max(waits) * 1e3:.0f}", f"{used / len(took) * 1e3:.2f}",
    ]  # fmt: skip


def _cpu_seconds(server: int) -> float:
    """Return the CPU seconds that a process, its living children and those that it has seen end have used."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            members = process.read_text().rpartition(")")[2].split()
            if int(process.parent.name) == server:
                ticks += sum(map(int, members[11:15]))
            elif int(members[1]) == server:
                ticks += sum(map(int, members[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _sync_ms() -> float:
    """Return the median milliseconds of a bare write of a block that waits for the disk."""
    took = []
    with tempfile.TemporaryFile() as file:
        for number in range(100):
            os.pwrite(file.fileno(), secrets.token_bytes(4_096), number * 4_096)
            began = time.monotonic()
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - began)
    return statistics.median(took) * 1e3


@contextmanager
def _places() -> Iterator[dict[str, tuple[Callable[[], str], int | None]]]:
    """Yield, for each kind of store, what makes the name of a new one, and the server's process id."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places: dict[str, tuple[Callable[[], str], int | None]] = {
            "SQLite file": (lambda: str(folder / f"{secrets.token_hex(4)}.sqlite"), None)
        }
        programs = find_programs()
        if programs is None:
            sys.stderr.write(f"  {MISSING}\n")
        else:
            server = stack.enter_context(PostgresServer(programs))
            places["PostgreSQL"] = (server.new_database, server.process_id)
        yield places


def measure_claims() -> str:
    """Return the table of claims, in Markdown."""
    columns = [
        "one account", "processes", "claims/s", "first quarter", "last quarter", "median wait, ms", "longest wait, ms",
        "CPU a claim, ms",
    ]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    with _places() as places:
        for kind, (place, server) in places.items():
            for processes, settled in product(PROCESSES, (False, True)):
                sys.stderr.write(f"  claims: {kind}, {processes}\n")
                cells = _measure(place(), processes, settled, server)
                lines.append(f"| {kind}{', each settled' * settled} | {processes} | {' | '.join(cells)} |")
    machine = f"a bare `fdatasync` takes {_sync_ms():.1f} ms, load average {os.getloadavg()[0]:.1f} at the end"
    return "\n".join([*lines, "", f"{CLAIMS:,} claims a row; {os.cpu_count()} cores, {machine}."]) + "\n"


def write_claims(*, kept: bool) -> str:
    """Measure; return the table, and put it into README.md if it is to be `kept`."""
    text = measure_claims()
    if kept:
        keep("claims", text)
    return text


if __name__ == "__main__":
    sys.stdout.write(write_claims(kept="--keep" in sys.argv))

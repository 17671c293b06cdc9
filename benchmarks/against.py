"""An older commit beside today's code, in one run: the ratio of the client's CPU time, row by row."""

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contestants import IMPORTS
from benchmarks.environments import checkout_of, cold_cpu, import_cpu, output_of
from benchmarks.processes import ReplayServer, WorkerProcess

PLAN = {
    "sync": 100,
    "asynchronous": 100,
    "together": 4,
    "stream": 4,
    "astream": 4,
}
OURS = {"client": "`Client`", "ours": "`ChatOpenGradient`"}
Ratios = dict[tuple[str, str], float]
_ASKED = "import json; from benchmarks.question import request; print(json.dumps(request()))"


async def against(revision: str, rounds: int) -> str:
    """
    Return a table of CPU time today ÷ CPU time of `revision`, over TLS, as Markdown.

    Both stand in each round one after the other, so that the machine's mood is the same for both; what is
    shown is the median of the rounds' ratios.
    """
    python, folder = await checkout_of(revision)
    ratios: Ratios = {}
    async with ReplayServer(json.loads(await output_of(python, "-c", _ASKED, folder=folder))) as server:
        place = server.place("tls")
        for name in OURS:
            new = WorkerProcess(sys.executable, name, place, server.plain)
            old = WorkerProcess(python, name, place, server.plain, folder)
            for what, times in PLAN.items():
                await server.prepare()
                seen = [await _cpu(old, new, what, times if number else 1) for number in range(rounds + 1)][1:]
                ratios[what, name] = statistics.median(after / before for before, after in seen)
            for worker in (new, old):
                await worker.stop()
            colds = [await _cold(name, python, folder, place.variables()) for _ in range(rounds)]
            ratios["cold", name] = statistics.median(after / before for before, after in colds)
    for name in OURS:
        imports = [await _imports(name, python, folder) for _ in range(rounds)]
        ratios["import", name] = statistics.median(after / before for before, after in imports)
    return "\n".join(_table(revision, ratios)) + "\n"


async def _cpu(old: WorkerProcess, new: WorkerProcess, what: str, times: int) -> tuple[float, float]:
    before, after = await old.measure(what, times), await new.measure(what, times)
    for answer in (before, after):
        if "error" in answer:
            raise RuntimeError(f"{what}: {answer['error']}")
    return before["cpu"], after["cpu"]


async def _cold(name: str, python: str, folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return what a fresh process with one call costs, in both."""
    return await cold_cpu(python, name, environment, folder), await cold_cpu(sys.executable, name, environment)


async def _imports(name: str, python: str, folder: Path) -> tuple[float, float]:
    return await import_cpu(python, IMPORTS[name], folder), await import_cpu(sys.executable, IMPORTS[name])


def _table(revision: str, ratios: Ratios) -> Iterator[str]:
    rows = [*PLAN, "import", "cold"]
    yield f"| CPU time today ÷ that of {revision} (TLS) | {' | '.join(rows)} |"
    yield f"| --- |{' --- |' * len(rows)}"
    for name, title in OURS.items():
        yield f"| {title} | {' | '.join(f'{ratios[row, name]:.2f}' for row in rows)} |"

"""
`python -m benchmarks`: one run, one replay server, everybody in turn, and the table in README.md.

The machine is noisy, so nobody is measured alone: in each round every contestant makes a few calls,
and what counts is the median of the rounds and its ratio to the others.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterable, Mapping

import og_integrations
from benchmarks.against import against
from benchmarks.attestation import write_attestation
from benchmarks.claims import write_claims
from benchmarks.contestants import CONTESTANTS, IMPORTS
from benchmarks.environments import cold_cpu, import_cpu, python_of, versions
from benchmarks.plot import write_plot
from benchmarks.processes import ReplayServer, WorkerProcess
from benchmarks.question import Place
from benchmarks.table import VERIFYING, Results, Versions, write_goals, write_tables
from benchmarks.verify import verify_ratios, write_verify

PER_CALL = {"sync": 100, "asynchronous": 100, "together": 4}
PER_CHUNK = {"stream": 4, "astream": 4}
RATIOS = {"sum ratio": ("httpx", "nothing"), "ratio": ("bare",)}
FRESH_PROCESSES = 15
"""Cold starts differ by a tenth from one to the next."""
CROWDING = ("client", "ours")
CROWD = {"few": 32, "crowd": 1000, "many": 2000}
ANSWER_SECONDS, PLACES = 1.0, 100
GROWING = ("client", "ours", "nothing")
OF_RECEIPTS = {"growth_of_receipts": ("http", 10_000), "growth_with_sink": ("http", 10_000)}
GROWTH = {"growth_of_calls": ("http", 10_000), "growth_of_stream": ("tls", 100_000)} | OF_RECEIPTS


async def run(names: list[str], rounds: int, *, brief: bool) -> Results:
    """Measure everybody, and return the medians by (measurement, contestant)."""
    results: Results = {}
    async with ReplayServer() as server:
        for transport, plan in (("http", PER_CALL), ("tls", PER_CALL | PER_CHUNK)):
            place = server.place(transport)
            workers = {name: WorkerProcess(await python_of(name), name, place, server.plain) for name in names}
            await _rounds(server, workers, plan, rounds, transport, results)
            if transport == "tls":
                await _once(workers, results)
            for worker in workers.values():
                await worker.stop()
        if not brief:
            await _fresh(names, server.place("tls"), results)
            await _crowds(server, [name for name in names if name in CROWDING], results)
            await _growth(server, [name for name in names if name in GROWING], results)
    return results


async def goals(rounds: int) -> Results:
    """Measure only what must hold: the ratios of README.md."""
    results: Results = {}
    async with ReplayServer() as server:
        place = server.place("tls")
        names = (*CROWDING, "bare")
        workers = {name: WorkerProcess(await python_of(name), name, place, server.plain) for name in names}
        await _rounds(server, workers, PER_CALL | PER_CHUNK, rounds, "tls", results)
        for worker in workers.values():
            await worker.stop()
        await _fresh((*CROWDING, "bare", "openai"), place, results)
        await _crowds(server, CROWDING, results)
        await _growth(server, CROWDING, results, {"growth_with_sink": OF_RECEIPTS["growth_with_sink"]})
    return results


async def _rounds(
    server: ReplayServer,
    workers: dict[str, WorkerProcess],
    plan: dict[str, int],
    rounds: int,
    transport: str,
    results: Results,
) -> None:
    for what, times in plan.items():
        await server.prepare()
        _say(f"{transport} {what}")
        alive = dict(workers)
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
        for number in range(rounds + 1):
            for name, worker in list(alive.items()):
                answer = await worker.measure(what, times if number else 1)
                if "error" in answer:
                    results[f"{transport} {what}", name] = str(answer["error"])
                    del alive[name]
                elif number:  # the first round only warms up
                    seen[name].append(answer)
        for column, key in (("", "value"), (" cpu", "cpu")):
            values = {name: [one[key] for one in seen[name]] for name in alive}
            results |= {
                (f"{transport} {what}{column}", name): statistics.median(found) for name, found in values.items()
            }
            for ratio, others in RATIOS.items():
                if {"ours", *others} <= values.keys():
                    # Round by round: the machine's mood is the same for all then.
                    rows = zip(values["ours"], *[values[name] for name in others], strict=True)
                    results[f"{transport} {what}{column}", ratio] = statistics.median(
                        ours / sum(floor) for ours, *floor in rows
                    )


async def _once(workers: dict[str, WorkerProcess], results: Results) -> None:
    for what, times in (("pieces", 1), ("peak", 1), ("checks", 1), ("cold_together", 1), ("cold_in_a_row", 10)):
        _say(what)
        for name, worker in workers.items():
            if what == "checks" and name not in VERIFYING:
                continue
            answer = await worker.measure(what, times)
            results[what, name] = answer.get("value", str(answer.get("error")))


async def _fresh(names: Iterable[str], place: Place, results: Results) -> None:
    """Imports and first answers, in processes that live for nothing else."""
    _say("fresh processes")
    imports: dict[str, list[float]] = {name: [] for name in names}
    colds: dict[str, list[float]] = {name: [] for name in names}
    cpus: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(FRESH_PROCESSES):
        for name in names:
            python = await python_of(name)
            try:
                imports[name].append(await import_cpu(python, IMPORTS[name]))
                start = time.perf_counter()
                cpus[name].append(await cold_cpu(python, name, place.variables()))
                colds[name].append((time.perf_counter() - start) * 1e3)
            except RuntimeError as exc:
                results["import", name] = results["cold", name] = str(exc)
    for what, seen in (("import", imports), ("cold", colds), ("cold cpu", cpus)):
        results |= {(what, name): statistics.median(values) for name, values in seen.items() if values}


async def _crowds(server: ReplayServer, names: Iterable[str], results: Results) -> None:
    """Calls that are all begun at once and answered after a while, as models do."""
    for name in names:
        await server.prepare()
        await server.delay(ANSWER_SECONDS)
        worker = WorkerProcess(await python_of(name), name, server.place("tls"), server.plain)
        seen: dict[str, dict[str, float]] = {}
        for what, calls in CROWD.items():
            _say(f"{calls} at once")
            await worker.measure("asynchronous", 1)
            seen[what] = await worker.measure("crowd", calls)
        await worker.stop()
        await server.delay(0)
        if any("error" in answer for answer in seen.values()):
            results["crowd", name] = str(seen)
            continue
        results["crowd", name] = seen["crowd"]["value"] / (CROWD["crowd"] / PLACES * ANSWER_SECONDS)
        results["crowd cpu", name] = seen["many"]["cpu"] / seen["few"]["cpu"]


async def _growth(
    server: ReplayServer, names: Iterable[str], results: Results, plan: Mapping[str, tuple[str, int]] = GROWTH
) -> None:
    for what, (transport, times) in plan.items():
        _say(what)
        for name in names:
            if what in OF_RECEIPTS and name not in CROWDING:
                continue
            await server.prepare()
            worker = WorkerProcess(await python_of(name), name, server.place(transport), server.plain)
            answer = await worker.measure(what, times)
            results[what, name] = answer.get("value", str(answer.get("error")))
            await worker.stop()


async def _versions(names: Iterable[str]) -> Versions:
    wanted = {
        "ours": ("langchain-core", "httpx"),
        "openai": ("langchain-openai", "openai", "langchain-core"),
        "llama": ("llama-index-core",),
        "llama_openai": ("llama-index-llms-openai", "openai", "llama-index-core"),
        "published": ("opengradient", "langchain-core"),
    }
    found = {
        name: dict(zip(wanted[name], await versions(name, *wanted[name]), strict=True))
        for name in names
        if name in wanted
    }
    # It is imported from this checkout, so that no environment has it installed.
    return {"ours": {"og-integrations": og_integrations.__version__} | found.pop("ours", {})} | found


def _say(what: str) -> None:
    sys.stderr.write(f"  {what}\n")


async def main() -> None:
    """Read the options, run, and print or keep the tables."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument(
        "--brief", action="store_true", help="no fresh processes, no growth; the README stays as it is"
    )
    options.add_argument("--only", nargs="+", choices=CONTESTANTS, help="who is measured; the README stays as it is")
    options.add_argument("--against", metavar="REVISION", help="our rows only, beside those of an older commit")
    options.add_argument("--goals", action="store_true", help="only the ratios that must hold")
    options.add_argument("--keep", action="store_true", help="with --goals: put them into the README")
    chosen = options.parse_args()
    if chosen.against:
        sys.stdout.write(await against(chosen.against, chosen.rounds))
        return
    if chosen.goals:
        results = await goals(chosen.rounds)
        verified = await asyncio.to_thread(verify_ratios)
        sys.stdout.write(write_goals(results, verified, kept=chosen.keep))
        return
    names = chosen.only or list(CONTESTANTS)
    # First, since an environment that lacks something would else be found out after all was measured.
    found = await _versions(names)
    results = await run(names, chosen.rounds, brief=chosen.brief)
    kept = not (chosen.only or chosen.brief)
    sys.stdout.write(write_tables(results, found, names, kept=kept))
    if kept:
        write_plot()
    if chosen.only is None:
        sys.stdout.write(await asyncio.to_thread(write_attestation, kept=kept))
        sys.stdout.write(await asyncio.to_thread(write_claims, kept=kept))
        sys.stdout.write(await asyncio.to_thread(write_verify, kept=kept))


asyncio.run(main())

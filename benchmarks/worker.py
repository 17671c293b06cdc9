"""
One contestant in a process of its own: reads what to measure from stdin, line by line, answers in JSON.

`python -m benchmarks.worker NAME`. Runs in every environment: only the standard library is imported, and on use
what a process with one call does not need, which is measured from its start.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.question import CHUNKS, Place

TOGETHER = 32
TURN_SECONDS = 0.3
"""What a contestant may take of a round: a round has to be over before the machine's mood changes."""
Result = dict[str, float]


class Worker:
    """Measures one contestant, which lives as long as the process; `cold` makes fresh ones."""

    def __init__(self, name: str, place: Place) -> None:
        self._make: Callable[[Place], Contestant] = CONTESTANTS[name]
        self._place = place
        self._contestant = self._make(place)
        self._runner = asyncio.Runner()

    def measure(self, what: str, times: int) -> Result:
        """Return the results of one kind of measurement, a method below."""
        method: Callable[[int], Result] = getattr(self, what)
        return method(times)

    def sync(self, times: int) -> Result:
        """Milliseconds per call, one after the other."""
        return _timed(self._contestant.call, times, unit=1e3)

    def asynchronous(self, times: int) -> Result:
        """Milliseconds per awaited call, one after the other."""
        return self._runner.run(_timed_async(self._contestant.acall, times, unit=1e3))

    def together(self, times: int) -> Result:
        """Milliseconds per call of 32 that run at once."""
        return self._runner.run(_timed_async(self._together, times, unit=1e3 / TOGETHER))

    def stream(self, times: int) -> Result:
        """Microseconds per piece of a stream."""
        return _timed(self._contestant.stream, times, unit=1e6 / CHUNKS)

    def astream(self, times: int) -> Result:
        """Microseconds per piece of an awaited stream."""
        return self._runner.run(_timed_async(self._contestant.astream, times, unit=1e6 / CHUNKS))

    def crowd(self, times: int) -> Result:
        """Seconds for `times` calls that are all begun at once, and milliseconds of CPU of each."""
        cpu, start = time.process_time(), time.perf_counter()
        self._runner.run(self._together(times))
        return {"value": time.perf_counter() - start, "cpu": (time.process_time() - cpu) / times * 1e3}

    def pieces(self, _times: int) -> Result:
        """How many pieces a stream has here: proof that it is not held back to its end."""
        return {"value": self._contestant.stream()}

    def cold_together(self, _times: int) -> Result:
        """Authorizations signed for 32 calls at once by a client that made none before."""
        before = self._authorizations()
        self._contestant = self._make(self._place)
        self._runner.run(self._together())
        return {"value": self._authorizations() - before}

    def cold_in_a_row(self, times: int) -> Result:
        """Authorizations signed for `times` synchronous calls of a client that made none before."""
        before = self._authorizations()
        self._contestant = self._make(self._place)
        for _ in range(times):
            self._contestant.call()
        return {"value": self._authorizations() - before}

    def growth_of_calls(self, times: int) -> Result:
        """KB by which `times` calls let the process grow, once it has made half as many."""
        for _ in range(times // 2):
            self._contestant.call()
        before = memory("VmRSS")
        for _ in range(times):
            self._contestant.call()
        return {"value": memory("VmRSS") - before}

    def growth_of_receipts(self, times: int) -> Result:
        """KB by which `times` calls let the process grow whose receipts are collected in a list."""
        from og_integrations import collect_receipts

        self._contestant.call()
        before = memory("VmRSS")
        with collect_receipts() as receipts:
            for _ in range(times):
                self._contestant.call()
            after = memory("VmRSS")
        if len(receipts) != times:
            raise RuntimeError(f"{len(receipts)} receipts of {times} calls")
        return {"value": after - before}

    def growth_with_sink(self, times: int) -> Result:
        """KB by which `times` calls let the process grow whose receipts go into a file, after as many such calls."""
        import tempfile

        from og_integrations import collect_receipts

        with tempfile.TemporaryDirectory() as folder, collect_receipts(to=f"{folder}/receipts.jsonl"):
            for _ in range(times):
                self._contestant.call()
            before = memory("VmRSS")
            for _ in range(times):
                self._contestant.call()
            return {"value": memory("VmRSS") - before}

    def checks(self, _times: int) -> Result:
        """How many steps of the verification passed in one call: proof that they are switched on here."""
        from og_integrations import collect_receipts

        with collect_receipts() as receipts:
            self._contestant.call()
        return {"value": sum(check["result"] == "pass" for check in receipts[0]["checks"])}

    def growth_of_stream(self, chunks: int) -> Result:
        """KB by which a stream of `chunks` pieces raises the peak, of a process that had one of 500."""
        self._contestant.stream()
        before = memory("VmHWM")
        self._contestant.stream(chunks)
        return {"value": memory("VmHWM") - before}

    def peak(self, _times: int) -> Result:
        """MB that the process had at most."""
        return {"value": memory("VmHWM") / 1024}

    async def _together(self, calls: int = TOGETHER) -> int:
        return sum(await asyncio.gather(*[self._contestant.acall() for _ in range(calls)]))

    def _authorizations(self) -> int:
        from http.client import HTTPConnection

        address = urlsplit(os.environ["BENCH_PLAIN"])
        connection = HTTPConnection(str(address.hostname), address.port)
        connection.request("GET", "/authorizations")
        seen = int(connection.getresponse().read())
        connection.close()
        return seen


def _timed(action: Callable[[], Any], times: int, unit: float) -> Result:
    clock = Clock(times, unit)
    while clock.runs():
        action()
    return clock.result()


async def _timed_async(action: Callable[[], Awaitable[Any]], times: int, unit: float) -> Result:
    clock = Clock(times, unit)
    while clock.runs():
        await action()
    return clock.result()


class Clock:
    """Times the turns of a loop: at most `times`, and not many more once `TURN_SECONDS` are over."""

    def __init__(self, times: int, unit: float) -> None:
        self._times, self._unit = times, unit
        self._cpu = time.process_time()
        self._marks = [time.perf_counter()]

    def runs(self) -> bool:
        """Return whether there is another turn; a turn ends where the next one is asked for."""
        self._marks.append(time.perf_counter())
        done = len(self._marks) - 2
        return done < self._times and not (done >= 3 and self._marks[-1] - self._marks[1] > TURN_SECONDS)

    def result(self) -> Result:
        """Return the median of the turns, and the CPU time of an average one."""
        import statistics

        cpu = time.process_time() - self._cpu
        walls = [end - start for start, end in pairwise(self._marks[1:])]
        return {"value": statistics.median(walls) * self._unit, "cpu": cpu / len(walls) * self._unit}


def memory(name: str) -> int:
    """Return the KB that the kernel gives as `name` of this process, such as VmRSS."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":"))


def main() -> None:
    """Measure until stdin ends; a failure is an answer too."""
    name, what = sys.argv[1], sys.argv[2:]
    place = Place.of(os.environ)
    if what == ["once"]:
        CONTESTANTS[name](place).call()
        return
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            worker = worker or Worker(name, place)
            answer: dict[str, Any] = worker.measure(**json.loads(line))
        except Exception as exc:  # noqa: BLE001 - a contestant that cannot do it is a row of the table
            answer = {"error": f"{type(exc).__name__}: {exc}"[:200]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

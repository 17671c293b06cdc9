"""
`make fuzz`: a hundred thousand damaged inputs for each target, in turn, and a verdict in one line.

A finding is any exception that is not ours, or a case that takes longer than `SLOW`. Each is shown
once, with the command that has it again.
"""

import argparse
import random
import sys
import time
import traceback
import warnings

from tests.fuzz.targets import TARGETS

SLOW = 2.0
"""Seconds (of CPU) for one case: far more than any input here deserves."""
_EACH, _ROUND = 100_000, 500


class Run:
    """What was found so far, by place."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.cases = 0
        self.slowest = 0.0
        self.findings: dict[tuple[str, str], str] = {}

    def take(self, name: str, number: int) -> None:
        """Run case `number` of target `name`."""
        target = TARGETS[name]
        data = target.case(random.Random(f"{self.seed} {name} {number}"))
        began = time.process_time()
        try:
            target.survives(data)
        except Exception as exc:  # noqa: BLE001 - any exception that arrives here is what we look for
            last = traceback.extract_tb(exc.__traceback__)[-1]
            place = f"{type(exc).__name__} at {last.filename}:{last.lineno}"
            self._found(name, number, place, "".join(traceback.format_exception(exc)[-6:]))
        took = time.process_time() - began
        self.slowest = max(self.slowest, took)
        if took > SLOW:
            self._found(name, number, "slow", f"{took:.1f} s for {len(data)} bytes")
        self.cases += 1

    def _found(self, name: str, number: int, place: str, detail: str) -> None:
        if (name, place) not in self.findings:
            again = f"python -m tests.fuzz --only {name} --seed {self.seed} --case {number}"
            self.findings[name, place] = again
            _say(f"\nFOUND {name}: {place}\n{detail}\nagain: {again}\n")


def main() -> int:
    """Return 0 if nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, help=f"in all (default: {_EACH:,} for each target)")
    parser.add_argument("--minutes", type=float, help="stop after that long, even if cases are left")
    parser.add_argument("--only", choices=TARGETS, action="append", help="this target; may be repeated")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--case", type=int, help="only the case of this number")
    arguments = parser.parse_args()
    warnings.simplefilter("error")
    names = arguments.only or list(TARGETS)
    run, began, number = Run(arguments.seed), time.monotonic(), 0
    wanted = _EACH * len(names) if arguments.cases is None else arguments.cases
    if arguments.case is not None:
        for name in names:
            run.take(name, arguments.case)
        wanted = 0
    while run.cases < wanted:
        for name in names:
            for case in range(number, min(number + _ROUND, number + wanted - run.cases)):
                run.take(name, case)
        number += _ROUND
        seconds = time.monotonic() - began
        if sys.stderr.isatty():
            _say(f"\r{run.cases:,} cases, {run.cases / seconds:,.0f} per second, {len(run.findings)} findings ")
        if arguments.minutes is not None and seconds > arguments.minutes * 60:
            break
    verdict = f"{len(run.findings)} FINDINGS" if run.findings else "nothing but our own errors came out"
    _say(
        f"\n{run.cases:,} cases over {len(names)} targets in {time.monotonic() - began:.0f} s, seed {run.seed}, "
        f"slowest {run.slowest * 1000:.0f} ms: {verdict}.\n"
    )
    return 1 if run.findings else 0


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

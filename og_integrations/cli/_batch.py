"""`og-integrations batch`: every prompt of a file, answered once, resumed after any interruption."""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

from og_integrations.cli._terminal import add_enclaves, count, enclave_policy_in, model, printable
from og_integrations.errors import ConfigurationError
from og_integrations.jobs._batch import ATTEMPTS, BatchJob, OnProgress, Progress
from og_integrations.networks import format_opg

FAILED, STOPPED, INTERRUPTED = 1, 3, 130
_EVERY = 10.0
"""Seconds between two lines of progress, where there is no terminal."""
_INTERRUPTED = "interrupted"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `batch`."""
    command.description = (
        "Ask every prompt of a file once, within the limits of the spend policy. Say the same again after any "
        "interruption, and it goes on; what has a verified answer is never paid again. Exit code: 0 all answered, 1 "
        "some are in the dead letters, 2 it could not be tried, 3 it stopped early (budget, wallet, kill switch), 130 "
        "it was interrupted."
    )
    command.epilog = "Who pays and where: OG_PRIVATE_KEY, OG_NETWORK, … (see docs/settings.md)."
    command.add_argument("prompts", help="JSON Lines (.jsonl) with `prompt` or `messages`, or a text a line")
    command.add_argument("--model", type=model, help="provider/name, for prompts that name none")
    command.add_argument("--out", required=True, metavar="FILE", help="JSON Lines of answers; added to, never replaced")
    command.add_argument("--ledger", metavar="TO", help="where receipts are kept (default: FILE.receipts.jsonl)")
    command.add_argument("--dead-letters", metavar="FILE", help="prompts without an answer (default: FILE.dead)")
    command.add_argument("--job", metavar="NAME", help="what it is called in the ledger (default: the path of --out)")
    command.add_argument("--concurrency", type=count, default=16, metavar="N", help="prompts at once (default: 16)")
    command.add_argument("--attempts", type=count, default=ATTEMPTS, metavar="N", help="tries of what was not charged")
    command.add_argument("--total", metavar="OPG", help="the most that may be authorized, as SpendPolicy.total")
    command.add_argument("--store", metavar="TO", help="where that is counted, as SpendPolicy.store")
    command.add_argument(
        "--again", action="store_true", help="ask also what failed in an earlier run and may have been paid then"
    )
    add_enclaves(command)
    command.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """Run the job, show how far it is on standard error, and return the exit code."""
    policy: dict[str, object] = {
        name: value for name, value in (("total", arguments.total), ("store", arguments.store)) if value is not None
    }
    with _progress(quiet=arguments.quiet) as show:
        job = BatchJob(
            arguments.prompts,
            out=arguments.out,
            model=arguments.model,
            ledger=arguments.ledger,
            dead_letters=arguments.dead_letters,
            job=arguments.job,
            concurrency=arguments.concurrency,
            attempts=arguments.attempts,
            again=arguments.again,
            on_progress=show,
            spend_policy=policy or None,
            enclave_policy=enclave_policy_in(arguments),
        )
        with _stopped_by_signals(job):
            progress = job.run()
    print(summary(progress))
    for place in (job.dead_letters,) if progress.failed else ():
        print(f"dead letters    {printable(str(place))}")
    return exit_code(progress)


def exit_code(progress: Progress) -> int:
    """Return what the command exits with."""
    if progress.stopped is not None:
        return INTERRUPTED if progress.stopped == _INTERRUPTED else STOPPED
    return 0 if progress.complete else FAILED


def summary(progress: Progress) -> str:
    """Return how a job ended, for a person."""
    lines = [
        f"answered        {progress.done} of {progress.total} prompts",
        f"of these        {progress.answered} now, {progress.recovered} from the ledger, {progress.earlier} before",
        f"failed          {progress.failed}",
        str(progress.totals),
    ]
    if progress.stopped is not None:
        lines.append(f"stopped early   {printable(progress.stopped)}")
    return "\n".join(lines)


def line_of(progress: Progress, left: float | None) -> str:
    """Return how far a job is, on one line."""
    spent = f"{format_opg(progress.totals.authorized)} OPG authorized"
    if progress.totals.reported_calls:
        spent += f", {format_opg(progress.totals.reported)} OPG reported"
    wait = "" if left is None else f", {left:.0f} s left"
    return f"{progress.done} of {progress.total} done, {progress.failed} failed, {spent}{wait}"


class _Pace:
    """The pace of a job, from which follows how long the rest takes."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def left(self, progress: Progress) -> float | None:
        """Return the seconds that the rest takes at this pace, None before there is one."""
        made = progress.answered + progress.failed
        rest = progress.total - progress.done - progress.failed
        return None if not made else rest * (time.monotonic() - self._began) / made


def _progress(*, quiet: bool) -> AbstractContextManager[OnProgress]:
    if quiet:
        return _silent()
    return _bar() if sys.stderr.isatty() else _lines()


@contextmanager
def _silent() -> Iterator[OnProgress]:
    yield lambda progress: None


@contextmanager
def _lines() -> Iterator[OnProgress]:
    pace, last = _Pace(), [0.0]

    def show(progress: Progress) -> None:
        now = time.monotonic()
        if now - last[0] >= _EVERY:
            last[0] = now
            print(line_of(progress, pace.left(progress)), file=sys.stderr, flush=True)

    yield show


@contextmanager
def _bar() -> Iterator[OnProgress]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError:
        with _lines() as show:
            yield show
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def show_bar(progress: Progress) -> None:
            said = line_of(progress, None).partition(" done, ")[2]
            bar.update(task, total=progress.total, completed=progress.done, description=said)

        yield show_bar


@contextmanager
def _stopped_by_signals(job: BatchJob) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the job in order, after what is on its way; a second one breaks off."""

    def stop(number: int, frame: FrameType | None) -> None:
        job.stop(_INTERRUPTED)
        signal.signal(number, signal.default_int_handler)
        print("Stopping: calls on their way are waited for. Once more breaks them off.", file=sys.stderr, flush=True)

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError as exc:  # not on the main thread
        raise ConfigurationError(
            f"A job as a command needs the main thread ({exc}); use og_integrations.jobs."
        ) from exc
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

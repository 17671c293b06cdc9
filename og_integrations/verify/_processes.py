"""
Many documents, judged by several processes: the one that was asked judges what the others have no time for.

Verdicts come in the order of the documents. A line of a file is named to the others by its place there, since its text
would have to be written into a pipe and read out of it.
"""

import multiprocessing
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from og_integrations.errors import ConfigurationError
from og_integrations.verify._bundle import Place, Source, read_places
from og_integrations.verify._verdict import Verdict, malformed

if TYPE_CHECKING:
    from multiprocessing.context import ForkContext, SpawnContext

Judge = Callable[[str | bytes], Verdict]
"""What judges a file by its path, or its bytes: the method of a verifier."""
_CHUNK, _OWN = 32, 8
"""Documents that are given away at once; those that are judged here before others are looked after again."""
_AHEAD = 16
"""Chunks that may wait for one before them, for each process."""


def verify_in_processes(
    verify: Judge, sources: Iterator[Source], jobs: int
) -> Generator[tuple[str, Verdict], None, None]:
    """
    Yield (name, verdict) of `sources`, in their order, as `verify` judges them; this is one of the `jobs` processes.

    Sources are read as they are needed. Raises `ConfigurationError` if a process ends before it is done.
    """
    context = _context()
    helpers = [_Helper(context, verify) for _ in range(jobs - 1)]
    waiting: deque[_Chunk] = deque()
    batch: list[Source] = []
    try:
        while batch := [*batch, *islice(sources, _CHUNK - len(batch))]:
            for helper in helpers:
                helper.collect_ready()
            idle = next((helper for helper in helpers if helper.takes(batch)), None)
            if idle is not None:
                waiting.append(idle.take(batch))
                batch = []
            else:
                own, batch = batch[:_OWN], batch[_OWN:]
                waiting.append(_Chunk(_names(own), [verify(source.saved) for source in own]))
            yield from _finished(waiting, most=_AHEAD * jobs)
        yield from _finished(waiting, most=0)
    finally:
        for helper in helpers:
            helper.stop()


@dataclass(slots=True)
class _Chunk:
    """Some documents that follow each other; the verdicts are None until all of them are there."""

    names: list[str]
    verdicts: list[Verdict] | None = None
    helper: "_Helper | None" = None


class _Helper:
    """A helper is a process that judges chunks, one after the other."""

    def __init__(self, context: "ForkContext | SpawnContext", verify: Judge) -> None:
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_help, args=(verify, theirs, self._pipe), daemon=True)
        self._process.start()
        theirs.close()
        self._under_way: deque[_Chunk] = deque()

    def takes(self, batch: list[Source]) -> bool:
        """Return whether it can be given `batch`: one more than is under way, or none if texts have to be sent."""
        # While we wait until a long text is taken, it may wait to be rid of verdicts: both would wait for ever.
        short = all(source.place is not None or isinstance(source.saved, str) for source in batch)
        return len(self._under_way) < (2 if short else 1)

    def take(self, batch: list[Source]) -> _Chunk:
        """Have `batch` judged. Raises `ConfigurationError` if the process has ended."""
        chunk = _Chunk(_names(batch), helper=self)
        self._under_way.append(chunk)
        try:
            self._pipe.send([source.place or source.saved for source in batch])
        except OSError:
            raise _ended() from None
        return chunk

    def collect_ready(self) -> None:
        """Take the verdicts that are there."""
        while self._under_way and wait([self._pipe], 0):
            self.collect()

    def collect(self) -> None:
        """Wait for the verdicts on the next chunk. Raises `ConfigurationError` if the process has ended."""
        try:
            self._under_way.popleft().verdicts = self._pipe.recv()
        except (EOFError, OSError):
            raise _ended() from None

    def stop(self) -> None:
        """End the process, whatever it does: whoever leaves early does not wait for what nobody will read."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _ended() -> ConfigurationError:
    return ConfigurationError("A process that judged files has ended before it was done; judge them again.")


def _finished(waiting: deque[_Chunk], *, most: int) -> Iterator[tuple[str, Verdict]]:
    """Yield what is judged and has nothing before it; wait for that if more than `most` chunks are there."""
    while waiting and (waiting[0].verdicts is not None or len(waiting) > most):
        chunk = waiting.popleft()
        while chunk.verdicts is None and chunk.helper is not None:
            chunk.helper.collect()
        yield from zip(chunk.names, chunk.verdicts or (), strict=True)


def _names(batch: list[Source]) -> list[str]:
    return [source.name for source in batch]


def _help(verify: Judge, pipe: Connection, theirs: Connection) -> None:
    # Ctrl-C reaches every process, and each would print a traceback; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # With this end open here, the end of the first process would never be seen, and this one stay for ever.
    theirs.close()
    verdicts: list[Verdict] | None = None
    while True:
        try:
            if verdicts is not None:
                pipe.send(verdicts)
            batch = pipe.recv()
        except (EOFError, OSError):
            # The first process has ended, however it did: nobody reads what is said any more.
            return
        verdicts = list(_verdicts(verify, batch))


def _verdicts(verify: Judge, batch: list[str | bytes | Place]) -> Iterator[Verdict]:
    for file, group in groupby(batch, lambda one: one.file if isinstance(one, Place) else None):
        if file is None:
            yield from (verify(saved) for saved in group if not isinstance(saved, Place))
            continue
        places = [place for place in group if isinstance(place, Place)]
        try:
            texts = read_places(file, places)
        except ConfigurationError as exc:
            yield from [malformed(exc)] * len(places)
        else:
            yield from map(verify, texts)


def _context() -> "ForkContext | SpawnContext":
    """Return how processes are started: forked, which costs no imports, or spawned where that is not safe."""
    # A forked child of a program with threads may find a lock held for ever, and macOS's own libraries have threads.
    if threading.active_count() == 1 and sys.platform == "linux":
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context("spawn")

"""
The one thread on which a store that blocks is used, so that no event loop ever stands still for it.

Its jobs are done in their order. A signal handler, or the garbage collector in the middle of anything, may add one:
`SimpleQueue.put` is re-entrant. So the kill switch works inside a claim, and an abandoned call's last word is noted
without waiting for itself.
"""

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from og_integrations._forking import survive_forks

T = TypeVar("T")
LAST_WORDS = 5.0
"""Seconds for which the end of the process waits for what was still to be noted."""


class _Job(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done = threading.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None

    def do(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as exc:
            self._error = exc
            if not isinstance(exc, Exception):
                raise
        finally:
            self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        return self._done.wait(timeout)

    def result(self) -> T:
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]


class StoreThread:
    """A thread that does what it is given, one after the other; a forked child has one of its own."""

    def __init__(self) -> None:
        self.begin_again()
        survive_forks(self)
        _LIVING.add(self)
        atexit.register(_flush, weakref.ref(self))

    def begin_again(self) -> None:
        """Leave the parent's thread, and what it had still to do, to the parent."""
        self._jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        self._lock = threading.RLock()
        self.at_work = threading.RLock()
        self._thread: threading.Thread | None = None

    def run(
        self, work: Callable[[], T], most: float | None = None, hung: Callable[[], BaseException] = TimeoutError
    ) -> T:
        """
        Return what `work` returns, done on the thread; on the thread itself, at once. Raises what it raises.

        What is not done after `most` seconds is left to the thread, and what `hung` returns is raised.
        """
        if self.is_mine():
            return work()
        job = _Job(work)
        self._put(job)
        if not job.wait(most):
            raise hung()
        return job.result()

    def later(self, work: Callable[[], object]) -> None:
        """Have `work` done after all that was given before, and do not wait for it."""
        self._put(_Job(work))

    def is_mine(self) -> bool:
        """Return whether the caller is on the thread."""
        return threading.current_thread() is self._thread

    def _put(self, job: "_Job[T]") -> None:
        self._jobs.put(job)  # type: ignore[arg-type]
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=_work, args=(self._jobs, self.at_work), name="og-store", daemon=True
                    )
                    weakref.finalize(self, self._jobs.put, None)
                    self._thread.start()


def _work(jobs: "SimpleQueue[_Job[object] | None]", at_work: threading.RLock) -> None:
    # It holds no store: one that nobody uses any more ends its thread.
    while (job := jobs.get()) is not None:
        with at_work:
            job.do()
        del job


_LIVING: "weakref.WeakSet[StoreThread]" = weakref.WeakSet()
_held: list[threading.RLock] = []
_forking = threading.RLock()


def _wait_for_jobs() -> None:
    # Two threads that fork at once would each wait for a lock that the other one holds, and give back the wrong ones.
    _forking.acquire()
    # SQLite keeps locks in the memory of a process: a child that is forked in the middle of a transaction would find
    # its parent's lock there, which nobody in the child ever releases, and wait for the file in vain.
    for thread in list(_LIVING):
        thread.at_work.acquire()
        _held.append(thread.at_work)


def _go_on() -> None:
    while _held:
        _held.pop().release()
    _forking.release()


# A child continues as the thread that forked, and so may release what that one has acquired.
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork either
    os.register_at_fork(before=_wait_for_jobs, after_in_parent=_go_on, after_in_child=_go_on)


def _flush(thread: "weakref.ref[StoreThread]") -> None:
    alive = thread()
    if alive is not None and alive._thread is not None:  # noqa: SLF001 - of this file
        last = _Job(lambda: None)
        alive._put(last)  # noqa: SLF001 - of this file
        last.wait(LAST_WORDS)

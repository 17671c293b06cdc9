"""
A gate lets a limited number of calls through at once; the others wait in the order in which they came.

It stands in front of the connections, so that waiting for one is no part of a call's `timeout`: a thousand calls at
once would otherwise time out before they began. A call holds its place from before it looks for an enclave until its
answer is read, so that nothing that it was told (a price, a session) grows old in the queue.

Nobody waits for ever: if none of those inside has moved for as long as their own waits on the network may take
(streams that are open and not read, for example), those who wait are told so.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from typing import Generic, TypeVar

from og_integrations.errors import ConnectionFailedError

W = TypeVar("W")
_PATIENCE = 1.0
"""Seconds after which a gate whose calls should have moved is given up."""
_LOOKS_EVERY = 5.0
"""Seconds after which a thread that waits at a gate looks whether a signal cut short what was to let it in."""


class _Places(Generic[W]):
    """Both kinds of gates have this: the places, who is `inside`, and who is `waiting` for one."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.inside: set[object] = set()
        self.waiting: deque[W] = deque()
        self._moves_until = 0.0

    @property
    def is_empty(self) -> bool:
        """Return whether nobody is inside, or waits."""
        return not self.inside and not self.waiting

    def moved(self, timeout: float) -> None:
        """Note that a call inside got on, and will again within `timeout` seconds."""
        until = time.monotonic() + timeout
        if until > self._moves_until:
            self._moves_until = until

    def _patience(self) -> float:
        """Return for how many seconds to wait before looking again. Raises `ConnectionFailedError` if it is in vain."""
        left = self._moves_until + _PATIENCE - time.monotonic()
        if left <= 0:
            error = ConnectionFailedError(
                f"All {self.places} places for calls at once (max_concurrency) are held by calls that do not move: "
                "nothing was sent. Read open streams to their end or close them, or allow more calls at once."
            )
            # Our own calls hold them all.
            error.blames_enclave = False
            raise error
        return left


class _Waiter:
    """A waiter is a call at a gate; `turn` is locked until its turn comes. Once in, or given up, it `is_over`."""

    __slots__ = ("call", "is_over", "turn")

    def __init__(self, call: object) -> None:
        self.call = call
        self.turn = threading.Lock()
        self.turn.acquire()
        self.is_over = False


class Gate(_Places[_Waiter]):
    """
    This gate is for threads. It is fair: a place that becomes free goes to the one who waits longest.

    A signal handler raises between any two steps (Ctrl-C in a notebook, a time limit of celery's). So who is inside is
    a set and no count: leaving is repeated without harm, and what was cut short goes on with the next who comes, leaves
    or looks.
    """

    def __init__(self, places: int) -> None:
        super().__init__(places)
        # Re-entrant: the garbage collector may finalize an abandoned stream on a thread that holds it.
        self._lock = threading.RLock()

    def enters(self, call: object, timeout: float) -> bool:
        """Return whether a place was free, which `call` has then; inside, each wait takes at most `timeout` seconds."""
        with self._lock:
            if self.waiting or len(self.inside) >= self.places:
                return False
            self.inside.add(call)
        self.moved(timeout)
        return True

    def wait(self, call: object, timeout: float) -> None:
        """Wait for a place for `call`, and take it. Raises `ConnectionFailedError` if those inside do not move."""
        mine, wait = _Waiter(call), 0.0
        try:
            self.waiting.append(mine)
            self._look()
            while not mine.turn.acquire(timeout=wait):
                wait = min(self._patience(), _LOOKS_EVERY)
                self._look()
        except BaseException:
            mine.is_over = True
            self.leave(call)
            raise
        mine.is_over = True
        self.moved(timeout)

    def leave(self, call: object) -> None:
        """Hand the place of `call`, if it has one, to the next one."""
        self.inside.discard(call)
        if self.waiting:  # whoever comes in this moment looks for himself
            self._look()

    def _look(self) -> None:
        waiting, inside = self.waiting, self.inside
        with self._lock:
            while waiting:
                first = waiting[0]
                if not first.is_over:
                    if first.call not in inside:
                        if len(inside) >= self.places:
                            return
                        inside.add(first.call)
                    # It was, if this was cut short before it was taken out of the queue.
                    with contextlib.suppress(RuntimeError):
                        first.turn.release()
                if waiting and waiting[0] is first:
                    waiting.popleft()


class AsyncGate(_Places[tuple[object, asyncio.Future[None]]]):
    """This gate is for one event loop, and as fair as a `Gate`."""

    def enters(self, call: object, timeout: float) -> bool:
        """Return whether a place was free, which `call` has then; inside, each wait takes at most `timeout` seconds."""
        if self.waiting or len(self.inside) >= self.places:
            return False
        self.inside.add(call)
        self.moved(timeout)
        return True

    async def wait(self, call: object, timeout: float) -> None:
        """Wait for a place for `call`, and take it. Raises `ConnectionFailedError` if those inside do not move."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((call, mine))
        try:
            while not mine.done():
                await asyncio.wait((mine,), timeout=self._patience())
        except BaseException:
            if mine.done():
                # The place came together with the cancellation: it goes on to the next one.
                self.leave(call)
            else:
                self.waiting.remove((call, mine))
            raise
        self.moved(timeout)

    def leave(self, call: object) -> None:
        """Hand the place of `call`, if it has one, to the next one."""
        if call not in self.inside:
            return
        self.inside.discard(call)
        if self.waiting:
            following, turn = self.waiting.popleft()
            self.inside.add(following)
            turn.set_result(None)

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


class _Queue(Generic[W]):
    """A queue holds the places of a gate, and who waits for one."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.waiting: deque[W] = deque()
        self._moves_until = 0.0

    def moved(self, timeout: float) -> None:
        """Note that a call inside has moved, and that it is to move again within `timeout` seconds."""
        self._moves_until = max(self._moves_until, time.monotonic() + timeout)

    def patience(self) -> float:
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


class Gate:
    """
    This gate is for threads. It is fair: a place that becomes free goes to the one who waits longest.

    A signal handler raises between any two steps (Ctrl-C in a notebook, a time limit of celery's). So who is inside is
    a set and no count: leaving is repeated without harm, and what was cut short goes on with the next who comes, leaves
    or looks.
    """

    def __init__(self, places: int) -> None:
        # Re-entrant: the garbage collector may finalize an abandoned stream on a thread that holds it.
        self._lock = threading.RLock()
        self._queue: _Queue[_Waiter] = _Queue(places)
        self._inside: set[object] = set()

    @property
    def is_empty(self) -> bool:
        """Return whether nobody is inside, or waits."""
        return not self._inside and not self._queue.waiting

    def enters(self, call: object, timeout: float) -> bool:
        """Return whether a place was free, which `call` has then; inside, each wait takes at most `timeout` seconds."""
        with self._lock:
            if self._queue.waiting or len(self._inside) >= self._queue.places:
                return False
            self._inside.add(call)
        self._queue.moved(timeout)
        return True

    def wait(self, call: object, timeout: float) -> None:
        """Wait for a place for `call`, and take it. Raises `ConnectionFailedError` if those inside do not move."""
        queue, mine, wait = self._queue, _Waiter(call), 0.0
        try:
            queue.waiting.append(mine)
            self._look()
            while not mine.turn.acquire(timeout=wait):
                wait = min(queue.patience(), _LOOKS_EVERY)
                self._look()
        except BaseException:
            mine.is_over = True
            self.leave(call)
            raise
        mine.is_over = True
        queue.moved(timeout)

    def moved(self, timeout: float) -> None:
        """Note that a call inside got on, and will again within `timeout` seconds."""
        self._queue.moved(timeout)

    def leave(self, call: object) -> None:
        """Hand the place of `call`, if it has one, to the next one."""
        self._inside.discard(call)
        self._look()

    def _look(self) -> None:
        waiting, inside = self._queue.waiting, self._inside
        if not waiting:
            return  # whoever comes in this moment looks for himself
        with self._lock:
            while waiting:
                first = waiting[0]
                if not first.is_over:
                    if first.call not in inside:
                        if len(inside) >= self._queue.places:
                            return
                        inside.add(first.call)
                    # It was, if this was cut short before it was taken out of the queue.
                    with contextlib.suppress(RuntimeError):
                        first.turn.release()
                if waiting and waiting[0] is first:
                    waiting.popleft()


class AsyncGate:
    """This gate is for one event loop, and as fair as a `Gate`."""

    def __init__(self, places: int) -> None:
        self._queue: _Queue[tuple[object, asyncio.Future[None]]] = _Queue(places)
        self._inside: set[object] = set()

    @property
    def is_empty(self) -> bool:
        """Return whether nobody is inside, or waits."""
        return not self._inside and not self._queue.waiting

    def enters(self, call: object, timeout: float) -> bool:
        """Return whether a place was free, which `call` has then; inside, each wait takes at most `timeout` seconds."""
        if self._queue.waiting or len(self._inside) >= self._queue.places:
            return False
        self._inside.add(call)
        self._queue.moved(timeout)
        return True

    async def wait(self, call: object, timeout: float) -> None:
        """Wait for a place for `call`, and take it. Raises `ConnectionFailedError` if those inside do not move."""
        queue = self._queue
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append((call, mine))
        try:
            while not mine.done():
                await asyncio.wait((mine,), timeout=queue.patience())
        except BaseException:
            if mine.done():
                # The place came together with the cancellation: it goes on to the next one.
                self.leave(call)
            else:
                queue.waiting.remove((call, mine))
            raise
        queue.moved(timeout)

    def moved(self, timeout: float) -> None:
        """Note that a call inside got on, and will again within `timeout` seconds."""
        self._queue.moved(timeout)

    def leave(self, call: object) -> None:
        """Hand the place of `call`, if it has one, to the next one."""
        if call not in self._inside:
            return
        self._inside.discard(call)
        if self._queue.waiting:
            following, turn = self._queue.waiting.popleft()
            self._inside.add(following)
            turn.set_result(None)

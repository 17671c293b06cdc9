"""
A gate lets a limited number of calls through at once; the others wait in the order in which they came.

It stands in front of the connections, so that waiting for one is no part of a call's `timeout`: a thousand calls at
once would otherwise time out before they began. A call holds its place from before it looks for an enclave until its
answer is read, so that nothing that it was told (a price, a session) grows old in the queue.

Nobody waits for ever: if none of those inside has moved for as long as their own waits on the network may take
(streams that are open and not read, for example), those who wait are told so.
"""

import asyncio
import threading
import time
from collections import deque
from typing import Generic, TypeVar

from og_integrations.errors import ConnectionFailedError

W = TypeVar("W")
_PATIENCE = 1.0
"""Seconds after which a gate whose calls should have moved is given up."""


class _Queue(Generic[W]):
    """The places of a gate, and who waits for one."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.free = places
        self.waiting: deque[W] = deque()
        self._moves_until = 0.0

    def takes(self, timeout: float) -> bool:
        """Return whether a place was free, which is taken then."""
        if not self.free:
            return False
        self.free -= 1
        self.moved(timeout)
        return True

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


class Gate:
    """A gate for threads. Fair: a place that becomes free goes to the one who waits longest."""

    def __init__(self, places: int) -> None:
        # Re-entrant: the garbage collector may finalize an abandoned stream on a thread that holds it.
        self._lock = threading.RLock()
        self._queue: _Queue[threading.Event] = _Queue(places)

    def enters(self, timeout: float) -> bool:
        """Return whether a place was free, and take it; inside, each wait takes at most `timeout` seconds."""
        with self._lock:
            return self._queue.takes(timeout)

    def wait(self, timeout: float) -> None:
        """Wait for a place, and take it. Raises `ConnectionFailedError` if those who are inside do not move."""
        queue = self._queue
        with self._lock:
            if queue.takes(timeout):
                return
            mine = threading.Event()
            queue.waiting.append(mine)
        try:
            while not mine.wait(queue.patience()):
                pass
        except BaseException:
            self._leave_queue(mine)
            raise
        queue.moved(timeout)

    def moved(self, timeout: float) -> None:
        """Note that a call inside got on, and will again within `timeout` seconds."""
        self._queue.moved(timeout)

    def leave(self) -> None:
        """Hand the place to the next one."""
        with self._lock:
            if self._queue.waiting:
                self._queue.waiting.popleft().set()
            else:
                self._queue.free += 1

    def _leave_queue(self, mine: threading.Event) -> None:
        with self._lock:
            if mine.is_set():
                self.leave()
            else:
                self._queue.waiting.remove(mine)


class AsyncGate:
    """A gate of one event loop, as fair as a `Gate`."""

    def __init__(self, places: int) -> None:
        self._queue: _Queue[asyncio.Future[None]] = _Queue(places)

    def enters(self, timeout: float) -> bool:
        """Return whether a place was free, and take it; inside, each wait takes at most `timeout` seconds."""
        return self._queue.takes(timeout)

    async def wait(self, timeout: float) -> None:
        """Wait for a place, and take it. Raises `ConnectionFailedError` if those who are inside do not move."""
        queue = self._queue
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.waiting.append(mine)
        try:
            while not mine.done():
                await asyncio.wait((mine,), timeout=queue.patience())
        except BaseException:
            if mine.done():
                # The place came together with the cancellation: it goes on to the next one.
                self.leave()
            else:
                queue.waiting.remove(mine)
            raise
        queue.moved(timeout)

    def moved(self, timeout: float) -> None:
        """Note that a call inside got on, and will again within `timeout` seconds."""
        self._queue.moved(timeout)

    def leave(self) -> None:
        """Hand the place to the next one."""
        if self._queue.waiting:
            self._queue.waiting.popleft().set_result(None)
        else:
            self._queue.free += 1

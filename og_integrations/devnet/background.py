"""A thread with an event loop of its own, for servers that tests in any loop, or none, talk to."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

_T = TypeVar("_T")


class BackgroundLoop:
    """
    Runs `opened` when the thread's loop starts and `closed` before it ends.

    `call` runs a function *on* the loop and waits for its result: state that only the loop touches
    needs no locks.
    """

    def __init__(self, opened: Callable[[], Awaitable[None]], closed: Callable[[], Awaitable[None]]) -> None:
        self._opened = opened
        self._closed = closed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread and return when `opened` is done. Raises `RuntimeError` if it failed."""
        started: concurrent.futures.Future[bool] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._live(started),), name="opengradient-devnet", daemon=True
        )
        self._thread.start()
        if not started.result():
            self._thread.join()
            raise RuntimeError("The devnet's servers could not be started; the thread printed the reason.")

    def stop(self) -> None:
        """Run `closed`, end the loop and join the thread. Does nothing if it is not running."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = self._loop = self._stop = None

    def call(self, function: Callable[[], _T]) -> _T:
        """Return what `function` returns, run on the loop; directly if the loop is not running."""
        if self._loop is None or threading.current_thread() is self._thread:
            return function()
        return asyncio.run_coroutine_threadsafe(_as_coroutine(function), self._loop).result()

    def run(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run `work` on the loop until it is done. Does nothing if the loop is not running."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    async def _live(self, started: "concurrent.futures.Future[bool]") -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            await self._opened()
            started.set_result(True)
        finally:
            if not started.done():
                started.set_result(False)
        await self._stop.wait()
        await self._closed()


async def _as_coroutine(function: Callable[[], _T]) -> _T:
    return function()

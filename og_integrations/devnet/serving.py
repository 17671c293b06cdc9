"""The devnet as a program: start, say so, wait for Ctrl-C."""

import signal
import time
from collections.abc import Callable
from types import FrameType

from og_integrations.devnet.local_network import Devnet

_LOOK_SECONDS = 0.1


def serve(net: Devnet, ready: Callable[[Devnet], None]) -> None:
    """
    Run `net` until SIGINT (Ctrl-C) or SIGTERM; call `ready` once it answers.

    For the main thread of a program. What the signals did before is restored at the end.
    """
    asked_to_stop: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        # Nothing that takes a lock: the handler may run while this very thread holds it.
        asked_to_stop.append(number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with net:
            ready(net)
            while not asked_to_stop:
                time.sleep(_LOOK_SECONDS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The time of the whole devnet: enclave timestamps, permit deadlines and idle sessions follow it."""

import time
from collections.abc import Callable


class Clock:
    """
    Seconds since the epoch, which a test may move forward.

    `source` is where time comes from (default: the machine's clock); `advance` adds to it.
    """

    def __init__(self, source: Callable[[], float] | None = None) -> None:
        self._source = source or time.time
        self.is_replaced: bool = source is not None
        self._ahead = 0.0

    def now(self) -> float:
        """Return the unix time in seconds, with fraction."""
        return self._source() + self._ahead

    def seconds(self) -> int:
        """Return the unix time in whole seconds, as permits and signatures hold it."""
        return int(self.now())

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self._ahead += seconds

"""
Whose turn it is to ask the chain what can be given back to a budget.

Many calls can meet the same limit at once. One of them asks, the others wait for its outcome; and if
nothing came of it, nobody asks again for a while.
"""

from collections.abc import Collection
from typing import Literal

from og_integrations.protocol.account import Lock

Turn = Literal["ask", "wait", "again", "done"]
REST = 30
"""Seconds for which nobody asks, after the chain had nothing to give back."""
LOST = 120
"""Seconds after which a turn is nobody's any more: its event loop was stopped in the middle, say."""


class AskingTurns:
    """The turns of one budget; made safe for threads by `lock`. `trouble` is why the last one could not ask."""

    def __init__(self, lock: Lock) -> None:
        self.trouble = ""
        self._lock = lock
        self._asking_since: int | None = None
        self._resting_since: int | None = None
        self._ended = 0
        self._in_vain: set[str] = set()

    def ended(self) -> int:
        """Return how many turns there were, for `take` to see whether there was one meanwhile."""
        return self._ended

    def take(self, now: int, ended: int) -> Turn:
        """
        Return what to do at unix time `now`: `"ask"` and then `end` or `leave`, `"wait"` and look again, or nothing.

        `ended` is what it was when the limit was met. `"again"`: another one got something since, which may do.
        """
        with self._lock:
            if _lasts(self._asking_since, LOST, now):
                return "wait"
            if _lasts(self._resting_since, REST, now):
                return "done"
            if self._ended != ended:
                return "again"
            self._asking_since = now
            return "ask"

    def end(self, now: int, *, gave_back: bool, in_vain: Collection[str] = (), trouble: str = "") -> None:
        """The one whose turn it was has asked; the chain could not explain the entries `in_vain`."""
        with self._lock:
            self._asking_since = None
            self._resting_since = None if gave_back else now
            self._ended += 1
            self._in_vain = set(in_vain)
            self.trouble = trouble

    def leave(self) -> None:
        """It was stopped before it knew, or had nothing to ask: another one may."""
        with self._lock:
            self._asking_since = None

    def was_in_vain(self, entry_id: str) -> bool:
        """Whether the chain could not explain that entry when it was asked last."""
        return entry_id in self._in_vain


def _lasts(since: int | None, seconds: int, now: int) -> bool:
    # A clock that was set back must not make this last for long.
    return since is not None and 0 <= now - since < seconds

"""
This module reads from the chain what old authorizations took, and gives back the rest (docs/protocol.md §7).

A sum of the `SpendPolicy` bounds what is authorized; most of it is never taken. So before a call is refused, the
chain is asked about the authorizations whose deadline is over, and the claim is made once more (`Reclaimer`). No lock
is held meanwhile, and nothing is signed before the claim stands.

What a scheme leaves on the chain, and how it is read, its authorizations know (`schemes.Authorization.explain`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from og_integrations.errors import BudgetExceededError, ConfigurationError, DiscoveryError
from og_integrations.protocol.payment._budget import Budget, Entry, Lock
from og_integrations.protocol.payment._flow import Pause, consulted
from og_integrations.protocol.payment._lease import Drawn
from og_integrations.protocol.payment.schemes._settlement import Reading

Turn = Literal["ask", "wait", "again", "done"]
REST = 30
"""Seconds for which nobody asks, after the chain had nothing to give back."""
LOST = 120
"""Seconds after which a turn is nobody's any more: its event loop was stopped in the middle, say."""


class AskingTurns:
    """
    The turns say who asks the chain what can be given back to one budget; `lock` makes them safe for threads.

    Many calls can meet the same limit at once. One of them asks, the others wait for its outcome; and if nothing came
    of it, nobody asks again for a while. `trouble` is why the last one could not ask.
    """

    def __init__(self, lock: Lock) -> None:
        self.trouble = ""
        self._lock = lock
        self._asking_since: int | None = None
        self._resting_since: int | None = None
        self._ended = 0
        self._ended_at: int | None = None
        self._in_vain: set[str] = set()

    def ended(self) -> int:
        """Return how many turns there were, for `take` to see whether there was one meanwhile."""
        return self._ended

    def ended_since(self, then: int) -> bool:
        """Return whether a turn ended at unix time `then` or later."""
        return self._ended_at is not None and self._ended_at >= then

    def take(self, now: int, ended: int) -> Turn:
        """
        Return what to do at unix time `now`: `"ask"` and then `end` or `leave`, `"wait"` and look again, or nothing.

        `ended` is what it was when the limit was met. `"again"`: another one got something since, which may do.
        """
        with self._lock:
            # A turn ends by itself after a while: a call whose event
            # loop was stopped would block all others for ever.
            if _lasts(self._asking_since, LOST, now):
                return "wait"
            if _lasts(self._resting_since, REST, now):
                return "done"
            # Another call got something back since the limit was met,
            # so the claim is worth another attempt without asking.
            if self._ended != ended:
                return "again"
            self._asking_since = now
            return "ask"

    def end(self, now: int, *, gave_back: bool, in_vain: Collection[str] = (), trouble: str = "") -> None:
        """Note that the one whose turn it was has asked; the chain could not explain the entries `in_vain`."""
        with self._lock:
            self._asking_since = None
            # Without a rest each of a hundred refused calls would ask the node about the same authorizations.
            self._resting_since = None if gave_back else now
            self._ended += 1
            self._ended_at = now
            self._in_vain = set(in_vain)
            self.trouble = trouble

    def leave(self) -> None:
        """Note that it was stopped before it knew, or had nothing to ask: another one may."""
        with self._lock:
            self._asking_since = None

    def was_in_vain(self, entry_id: str) -> bool:
        """Return whether the chain could not explain that entry when it was asked last."""
        return entry_id in self._in_vain


def _lasts(since: int | None, seconds: int, now: int) -> bool:
    # A clock that was set back must not make this last for long.
    return since is not None and 0 <= now - since < seconds


ASKING_POLL = 0.02
"""Seconds after which a call looks again whether another one has its answer."""


@dataclass(slots=True)
class Findings:
    """The findings are what asking the chain brought: how many entries were corrected, and why others could not be."""

    corrected: int = 0
    in_vain: dict[str, str] = field(default_factory=dict)


AskChain = Callable[[Sequence[Entry], Callable[[], bool], Findings], Reading[None]]
"""
Corrects, of these entries, those that the chain explains, until the function says that it is enough; notes
its findings as it goes. A generator of its own effects, which raises `ConfigurationError` or `DiscoveryError`.
"""


class Reclaimer:
    """A reclaimer makes claims on `budget`, and asks the chain where a limit stands in the way; see `_flow.Reclaim`."""

    def __init__(self, budget: Budget, clock: Callable[[], int], ask_chain: AskChain, lock: Lock) -> None:
        self.turns = AskingTurns(lock)
        self._budget = budget
        self._clock = clock
        self._ask_chain = ask_chain

    def __call__(self, attempt: Callable[[], Drawn], amount: int, began: int) -> Reading[Drawn]:
        """
        Return what `attempt` returns, which claims `amount` base units; make it again if the chain can help.

        The call that asks `began` at that unix time; once it is older than `REST`, what another one has found has to
        do for it. Raises what `attempt` raises; a `BudgetExceededError` says if the chain could not be asked.
        """
        trouble = None
        while trouble is None:
            try:
                return (yield from consulted(self._budget, attempt))
            except BudgetExceededError as exc:
                # Without the name of a limit there is no sum in which the chain could make room.
                if not exc.limit:
                    raise
                limit = exc.limit
            trouble = yield from self._ask(amount, limit, began)
        try:
            return (yield from consulted(self._budget, attempt))
        except BudgetExceededError as exc:
            if not trouble or not exc.limit:
                raise
            error = BudgetExceededError(
                f"{exc} Some of them are past their deadline, but go on counting, since the chain could not say what "
                f"was taken: {trouble}"
            )
            error.limit = exc.limit
            raise error from exc

    def _ask(self, amount: int, limit: str, began: int) -> Reading[str | None]:
        """Have the chain asked, by this call or another one; return why it could not be, None to look again."""
        turns, clock = self.turns, self._clock
        ended = turns.ended()
        if not (yield from self._overdue(limit)):
            return ""
        if clock() >= began + REST and turns.ended_since(began):
            # A slow node would otherwise keep each of many calls for as long as all those before it.
            return turns.trouble
        while (turn := turns.take(clock(), ended)) == "wait":
            yield Pause(ASKING_POLL)
        if turn == "again" and clock() < began + REST:
            # Whoever asked has stopped when it was enough for itself.
            return None
        if turn != "ask":
            return turns.trouble
        found, trouble = Findings(), ""
        try:
            # Looked up again: another call, or process, may just have corrected them.
            entries = yield from self._overdue(limit)
            if not entries:
                turns.leave()
                return ""
            yield from self._ask_chain(entries, lambda: self._budget.fits(amount, clock()), found)
            trouble = next(iter(found.in_vain.values()), "")
        except (ConfigurationError, DiscoveryError) as exc:
            trouble = str(exc)
        # A cancelled call must give its turn away, or all others wait until the turn is taken for lost.
        except BaseException:
            turns.leave()
            raise
        turns.end(clock(), gave_back=found.corrected > 0, in_vain=found.in_vain, trouble=trouble)
        return trouble

    def _overdue(self, limit: str) -> Reading[list[Entry]]:
        """Return what to ask about: the oldest first, since nodes forget; but last what they could not explain."""
        now = self._clock()
        found = yield from consulted(self._budget, lambda: self._budget.overdue(now, limit))
        return sorted(found, key=lambda entry: (self.turns.was_in_vain(entry.id), entry.at))

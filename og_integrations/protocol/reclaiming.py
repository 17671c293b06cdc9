"""
Giving back to a budget, when it is exhausted, what the chain says was not taken.

A sum of the `SpendPolicy` bounds what is authorized; most of it is never taken. So before a call is
refused, the chain is asked about the authorizations whose deadline is over, and the claim is made once
more. No lock is held meanwhile, and nothing is signed before the claim stands.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from og_integrations.errors import BudgetExceededError, ConfigurationError, DiscoveryError
from og_integrations.protocol.account import Entry
from og_integrations.protocol.asking_turns import REST
from og_integrations.protocol.budget import Budget
from og_integrations.protocol.effects import Pause

T = TypeVar("T")
ASKING_POLL = 0.02
"""Seconds after which a call looks again whether another one has its answer."""


@dataclass(slots=True)
class Findings:
    """What asking the chain brought: how many entries were corrected, and why others could not be."""

    corrected: int = 0
    in_vain: dict[str, str] = field(default_factory=dict)


AskChain = Callable[[Sequence[Entry], Callable[[], bool], Findings], Generator[Any, Any, None]]
"""
Corrects, of these entries, those that the chain explains, until the function says that it is enough; notes
its findings as it goes. A generator of its own effects, which raises `ConfigurationError` or `DiscoveryError`.
"""


def claim(
    attempt: Callable[[], T], budget: Budget, amount: int, clock: Callable[[], int], ask_chain: AskChain | None
) -> Generator[Any, Any, T]:
    """
    Return what `attempt` returns, which claims `amount` base units; make it again if the chain can help.

    Raises what `attempt` raises; a `BudgetExceededError` says if the chain could not be asked.
    """
    until, trouble = clock() + REST, None
    while trouble is None:
        try:
            return attempt()
        except BudgetExceededError as exc:
            if not exc.limit or ask_chain is None:
                raise
            limit = exc.limit
        trouble = yield from _reclaim(budget, amount, limit, until, clock, ask_chain)
    try:
        return attempt()
    except BudgetExceededError as exc:
        if not trouble or not exc.limit:
            raise
        error = BudgetExceededError(
            f"{exc} Some of them are past their deadline, but go on counting, since the chain could not say what was "
            f"taken: {trouble}"
        )
        error.limit = exc.limit
        raise error from exc


def _reclaim(
    budget: Budget, amount: int, limit: str, until: int, clock: Callable[[], int], ask_chain: AskChain
) -> Generator[Any, Any, str | None]:
    """Have the chain asked, by this call or another one; return why it could not be, None to look again."""
    turns = budget.asking
    ended = turns.ended()
    if not budget.overdue(clock(), limit):
        return ""
    while (turn := turns.take(clock(), ended)) == "wait":
        yield Pause(ASKING_POLL)
    if turn == "again" and clock() < until:
        # Whoever asked has stopped when it was enough for itself.
        return None
    if turn != "ask":
        return turns.trouble
    found, trouble = Findings(), ""
    try:
        # Looked up again: another call, or process, may just have corrected them.
        entries = budget.overdue(clock(), limit)
        if not entries:
            turns.leave()
            return ""
        yield from ask_chain(entries, lambda: budget.fits(amount, clock()), found)
        trouble = next(iter(found.in_vain.values()), "")
    except (ConfigurationError, DiscoveryError) as exc:
        trouble = str(exc)
    except BaseException:
        turns.leave()
        raise
    turns.end(clock(), gave_back=found.corrected > 0, in_vain=found.in_vain, trouble=trouble)
    return trouble

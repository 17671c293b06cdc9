"""
What the owner of a wallet can ask and say about its spending, in the words of both clients.
"""

from og_integrations.client.engine import Engine, now
from og_integrations.protocol.account import Account


class Spending:
    """Of whoever has an `engine`."""

    engine: Engine

    def spent(self) -> Account:
        """
        Return what the budget has authorized, in base units: sums that bound what can be taken; `settled` was.

        Printed, it is a report: sums, limits and what is left of them, in OPG. Sessions usually take less
        than they authorized; the rest comes back by itself where a limit is reached, and by
        `reconcile_spending`.
        """
        return self.engine.budget.spent(now())

    def stop_spending(self, reason: str = "stop_spending() was called") -> None:
        """
        The kill switch: from now on calls raise `SpendingStoppedError` and nothing is signed or sent.

        For everybody who shares the budget, other processes included. What left before cannot be
        called back, but is bounded by what `spent` says.
        """
        self.engine.budget.store.stop(reason)

    def resume_spending(self) -> None:
        """Allow spending again."""
        self.engine.budget.store.stop(None)

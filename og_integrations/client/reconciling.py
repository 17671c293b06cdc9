"""
Asking the chain what was really taken of what was authorized, and giving the rest back to the budget.

One node is believed as far as we can check it. It cannot give back what may still be taken: before the
deadline is over by our own clock nothing is, whatever the node says; nor what calls hold; nor what was
authorized on another network, whose chain id may be the same.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from og_integrations.client.chain_reads import check_chain
from og_integrations.client.rpc import Fetching
from og_integrations.client.settlement import find_settlement
from og_integrations.client.transport import server_of
from og_integrations.errors import ConnectionFailedError, ConnectionLostError, DiscoveryError
from og_integrations.networks import BASE, BASE_SEPOLIA, Network
from og_integrations.protocol.account import SKEW, BudgetStore, Entry
from og_integrations.protocol.budget import Budget
from og_integrations.protocol.permit2 import Permit2Authorization
from og_integrations.protocol.reclaiming import Findings
from og_integrations.protocol.settlement import SettlementStatus

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds for which a call waits for the chain; what was found by then stays found."""


def reconcile(budget: Budget, network: Network, now: int) -> Fetching[None]:
    """
    Correct each authorization of `budget` on `network` whose deadline is over and whose fate the chain knows.

    The rest stays. Raises `ConfigurationError` (wrong chain) or `DiscoveryError` (no node).
    """
    yield from check_chain(network.rpc_url, network.chain_id)
    waiting = [entry for entry in budget.store.entries() if _permit(entry, network, now) is not None]
    for done, entry in enumerate(waiting):
        try:
            with _unless_unknown(entry, Findings()):
                yield from _explain(budget.store, entry, network, now)
        except DiscoveryError as exc:
            raise DiscoveryError(
                f"{exc} {len(waiting) - done} of {len(waiting)} authorizations were not asked about and go on "
                "counting in full."
            ) from exc


@dataclass(frozen=True, slots=True)
class OverdueAsker:
    """How a call asks about what is overdue in `store`, until that is enough or took too long: an `AskChain`."""

    store: BudgetStore
    network: Network
    clock: Callable[[], int]

    def __call__(self, entries: Sequence[Entry], enough: Callable[[], bool], found: Findings) -> Fetching[None]:
        """Correct those of `entries` that the chain explains."""
        until = time.monotonic() + PATIENCE
        yield from check_chain(self.network.rpc_url, self.network.chain_id)
        for entry in entries:
            with _unless_unknown(entry, found):
                explaining = _explain(self.store, entry, self.network, self.clock())
                found.corrected += yield from _within(explaining, until, self.network.rpc_url)
            if time.monotonic() > until or enough():
                return


def _explain(store: BudgetStore, entry: Entry, network: Network, now: int) -> Fetching[bool]:
    permit = _permit(entry, network, now)
    if permit is None:
        return False
    found = yield from find_settlement(permit, network.rpc_url, skew=SKEW)
    if found.status is SettlementStatus.PENDING:
        return False
    store.correct(entry.id, found.amount)
    return True


def _permit(entry: Entry, network: Network, now: int) -> Permit2Authorization | None:
    """Return the permit of `entry` if a node of `network` can tell its fate at unix time `now`, else None."""
    permit = entry.authorization
    if not isinstance(permit, Permit2Authorization) or permit.chain_id != network.chain_id or not entry.overdue(now):
        return None
    # Older files did not note the network. Then only a real chain may answer: at worst it gives back what was
    # authorized on a devnet, and that is worth nothing.
    unknown = entry.network is None and network.name in (BASE.name, BASE_SEPOLIA.name)
    return permit if unknown or entry.network == network.identity else None


def _within(flow: Fetching[T], until: float, rpc_url: str) -> Fetching[T]:
    """
    Run `flow`, but begin nothing more after `until` (monotonic). Raises `DiscoveryError` then.

    A `yield from` that looks at the clock before each effect: whoever drives the caller performs them.
    """
    try:
        effect = next(flow)
        while True:
            if time.monotonic() > until:
                raise DiscoveryError(
                    f"The node {server_of(rpc_url)} took more than {PATIENCE:.0f} s to explain a payment."
                )
            try:
                reply = yield effect
            except BaseException as exc:  # noqa: BLE001 - the flow cleans up and passes it on
                effect = flow.throw(exc)
            else:
                effect = flow.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


@contextmanager
def _unless_unknown(entry: Entry, found: Findings) -> Iterator[None]:
    try:
        yield
    except DiscoveryError as exc:
        # This one cannot be explained now: it goes on counting in full.
        found.in_vain[entry.id] = str(exc)
        if isinstance(exc.__cause__, ConnectionFailedError | ConnectionLostError):
            # Whoever does not answer at all would keep us for each of them.
            raise

"""
Asking the chain what was really taken of what was authorized, and giving the rest back to the budget.

One node is believed as far as we can check it. It cannot give back what may still be taken: that is
judged by our clock as well as by its block's time, and what calls hold is left alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from og_integrations.client.chain_reads import check_chain
from og_integrations.client.rpc import Fetching
from og_integrations.client.settlement import find_settlement
from og_integrations.errors import DiscoveryError
from og_integrations.networks import Network
from og_integrations.protocol.account import SKEW, BudgetStore, Entry
from og_integrations.protocol.budget import Budget
from og_integrations.protocol.permit2 import Permit2Authorization
from og_integrations.protocol.reclaiming import AskChain, Findings
from og_integrations.protocol.settlement import SettlementStatus

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds for which a call waits for the chain; what was found by then stays found."""


def reconcile(budget: Budget, network: Network, now: int) -> Fetching[None]:
    """
    Correct each authorization of `budget` on `network` whose fate the chain knows; the rest stays.

    Raises `ConfigurationError` (wrong chain) or `DiscoveryError` (no node).
    """
    yield from check_chain(network.rpc_url, network.chain_id)
    for entry in budget.store.entries():
        with _unless_unknown(entry, Findings()):
            yield from _explain(budget.store, entry, network, now)


def overdue_asker(store: BudgetStore, network: Network, clock: Callable[[], int]) -> AskChain:
    """Return how a call asks about what is overdue in `store`, until that is enough or took too long."""

    def ask(entries: Sequence[Entry], enough: Callable[[], bool], found: Findings) -> Fetching[None]:
        started = time.monotonic()
        yield from check_chain(network.rpc_url, network.chain_id)
        for entry in entries:
            with _unless_unknown(entry, found):
                explaining = _explain(store, entry, network, clock())
                found.corrected += yield from _within(explaining, started + PATIENCE, network.rpc_url)
            if time.monotonic() > started + PATIENCE or enough():
                return

    return ask


def _explain(store: BudgetStore, entry: Entry, network: Network, now: int) -> Fetching[bool]:
    permit = entry.authorization
    if not isinstance(permit, Permit2Authorization) or permit.chain_id != network.chain_id or entry.in_use(now):
        return False
    found = yield from find_settlement(permit, network.rpc_url, skew=SKEW)
    # A used nonce is final at once; an unused one only when nobody can use it any more.
    final = found.status is not SettlementStatus.PENDING
    if not final or (found.status is SettlementStatus.UNUSED and not entry.overdue(now)):
        return False
    store.correct(entry.id, found.amount)
    return True


def _within(flow: Fetching[T], until: float, rpc_url: str) -> Fetching[T]:
    """Run `flow`, but begin nothing more after `until` (monotonic). Raises `DiscoveryError` then."""
    try:
        effect = next(flow)
        while True:
            if time.monotonic() > until:
                raise DiscoveryError(f"The node {rpc_url} took more than {PATIENCE:.0f} s to explain a payment.")
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

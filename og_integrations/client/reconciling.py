"""
Asking the chain what was really taken of what was authorized, and giving the rest back to the budget.
"""

from og_integrations.client.chain_reads import check_chain
from og_integrations.client.rpc import Fetching
from og_integrations.client.settlement import find_settlement
from og_integrations.errors import DiscoveryError
from og_integrations.networks import Network
from og_integrations.protocol.budget import Budget
from og_integrations.protocol.permit2 import Permit2Authorization
from og_integrations.protocol.settlement import SettlementStatus


def reconcile(budget: Budget, network: Network) -> Fetching[None]:
    """
    Correct each authorization of `budget` on `network` whose fate the chain knows; the rest stays.

    Raises `ConfigurationError` (wrong chain) or `DiscoveryError` (no node).
    """
    yield from check_chain(network.rpc_url, network.chain_id)
    for entry in budget.store.entries():
        permit = entry.authorization
        if not isinstance(permit, Permit2Authorization) or permit.chain_id != network.chain_id:
            continue
        try:
            found = yield from find_settlement(permit, network.rpc_url)
        except DiscoveryError:
            # This one cannot be explained now: it goes on counting in full.
            continue
        if found.status is not SettlementStatus.PENDING:
            budget.store.correct(entry.id, found.amount)

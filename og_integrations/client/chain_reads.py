"""
What is asked of a node of the payment chain: generators of `Fetch` effects, like `client.rpc`.
"""

from og_integrations.client.rpc import Fetching, eth_call, rpc
from og_integrations.client.transport import server_of
from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.networks import PERMIT2_ADDRESS, Network
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.erc20 import encode_allowance, encode_balance_of


def check_chain(rpc_url: str, chain_id: int) -> Fetching[None]:
    """Raise `ConfigurationError` if the node is of another chain than `chain_id`."""
    served = yield from quantity(rpc_url, "eth_chainId")
    if served != chain_id:
        raise ConfigurationError(
            f"The node {server_of(rpc_url)} serves chain {served}, expected {chain_id}. Nothing was sent. Check "
            "OG_RPC_URL and OG_NETWORK."
        )


def read_allowance(network: Network, owner: str) -> Fetching[int]:
    """Return how much of `owner`'s OPG Permit2 may take, in base units. Raises `DiscoveryError`."""
    return (yield from _read_token(network, encode_allowance(owner, PERMIT2_ADDRESS)))


def read_balance(network: Network, owner: str) -> Fetching[int]:
    """Return the OPG of `owner` in base units. Raises `DiscoveryError`."""
    return (yield from _read_token(network, encode_balance_of(owner)))


def read_block(rpc_url: str, block: str) -> Fetching[JsonObject]:
    """Return a block (`"latest"` or a 0x-hex number) without its transactions. Raises `DiscoveryError`."""
    found = yield from rpc(rpc_url, "eth_getBlockByNumber", [block, False])
    if not isinstance(found, dict):
        raise DiscoveryError(f"The node {server_of(rpc_url)} has no block {block}.")
    return found


def quantity(rpc_url: str, method: str, *params: object) -> Fetching[int]:
    """Call a method whose result is a number. Raises `DiscoveryError`."""
    return as_number((yield from rpc(rpc_url, method, list(params))), rpc_url)


def as_number(value: object, rpc_url: str) -> int:
    """Read a 0x-hex number of at most 256 bits. Raises `DiscoveryError`."""
    try:
        if not isinstance(value, str) or not value.startswith("0x") or len(value) > 66:
            raise ValueError(value)
        return int(value, 16)
    except ValueError as exc:
        raise DiscoveryError(
            f"The node {server_of(rpc_url)} answered {value!r:.40} where a number was expected."
        ) from exc


def _read_token(network: Network, data: str) -> Fetching[int]:
    result = yield from eth_call(network.rpc_url, network.token, data)
    if len(result) != 32:
        raise DiscoveryError(
            f"{network.token} is not the OPG token on the chain of {server_of(network.rpc_url)}. Check OG_NETWORK."
        )
    return int.from_bytes(result, "big")

"""
This module reads contracts, and the gateway's key, over plain JSON: one generator each; web3 is not needed to read.

A `Fetch` effect is answered with the body of the reply. `read` and `aread` run such a generator, and a `Reader` does so
over connections of its own.
"""

import json
from collections.abc import Generator
from typing import Self, TypeVar

from og_integrations._urls import NodeUrl, server_of, url_below
from og_integrations.client._runner import adrive, afetch, drive, fetch, unanswered
from og_integrations.client.channels._connections import AsyncConnections, SyncConnections
from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    MalformedReplyError,
)
from og_integrations.networks import PERMIT2_ADDRESS, Network
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.protocol.chain._abi import encode_allowance, encode_balance_of
from og_integrations.protocol.payment._flow import Fetch
from og_integrations.protocol.proof._enclave import Enclave

T = TypeVar("T")

Fetching = Generator[Fetch, bytes, T]
RECEIPT_TIMEOUT = 120.0
"""Seconds to wait for the receipt of a transaction."""
SETTING_OF_NODE = "OG_RPC_URL and OG_REGISTRY_RPC_URL name nodes, and `og-integrations doctor` asks each of them"


def eth_call(rpc_url: str, to: str, data: str) -> Fetching[bytes]:
    """Call a view of contract `to` with `data` (0x-hex); return the raw result. Raises `DiscoveryError`."""
    rpc_url = NodeUrl(rpc_url)
    result = yield from rpc(rpc_url, "eth_call", [{"to": to, "data": data}, "latest"])
    return decode_hex(result, rpc_url)


def rpc(rpc_url: str, method: str, params: list[object]) -> Fetching[object]:
    """Make one JSON-RPC call and return its result. Raises `DiscoveryError`."""
    rpc_url = NodeUrl(rpc_url)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    reply = yield from _fetch_json(rpc_url, body)
    if "result" not in reply:
        error = reply.get("error")
        message = error.get("message") if isinstance(error, dict) else "no result"
        raise DiscoveryError(f"The node {rpc_url} refused {method}: {shown(str(message), 200)}.")
    return reply["result"]


def fetch_signing_key(gateway_url: str, pinned_to: Enclave | None = None) -> Fetching[JsonObject]:
    """
    Ask a gateway for its own signing key, and what that has signed. Raises `DiscoveryError`.

    Over a connection `pinned_to` an enclave; without one the key is its own word (development only).
    """
    return (yield from _fetch_json(url_below(gateway_url, "/signing-key"), None, pinned_to))


def decode_hex(value: object, rpc_url: str) -> bytes:
    """Read 0x-hex data from a JSON-RPC result. Raises `DiscoveryError`."""
    rpc_url = NodeUrl(rpc_url)
    try:
        if not isinstance(value, str) or not value.startswith("0x"):
            raise ValueError(value)
        return bytes.fromhex(value[2:])
    except ValueError as exc:
        raise DiscoveryError(f"The node {rpc_url} answered something else than 0x-hex data.") from exc


def _fetch_json(url: str, body: bytes | None, pinned_to: Enclave | None = None) -> Fetching[JsonObject]:
    url = NodeUrl(url)
    try:
        return parse_json_object((yield Fetch(url, body, pinned_to)), f"The answer of {url}")
    except ConnectionFailedError as exc:
        # It says itself that nothing was sent.
        raise unanswered(f"{exc} Check the address and try again; {SETTING_OF_NODE}.") from exc
    except (ConnectionLostError, MalformedReplyError) as exc:
        raise unanswered(
            f"{exc} Nothing was sent to an enclave. Check the address and try again; {SETTING_OF_NODE}."
        ) from exc


def read(connections: SyncConnections, flow: Fetching[T]) -> T:
    """Return the result of `flow`; its exceptions pass."""
    return drive(flow, lambda effect: fetch(connections, effect))


async def aread(connections: AsyncConnections, flow: Fetching[T]) -> T:
    """Return the result of `flow` like `read`."""
    return await adrive(flow, lambda effect: afetch(connections, effect))


class Reader:
    """A reader runs `Fetching` flows over connections of its own, until the end of its `with`."""

    def __init__(self) -> None:
        self._connections = SyncConnections()

    def run(self, flow: Fetching[T]) -> T:
        """Return the result of `flow`. Raises `DiscoveryError`."""
        return read(self._connections, flow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connections.close()


def check_chain(rpc_url: str, chain_id: int) -> Fetching[None]:
    """Raise `ConfigurationError` if the node is of another chain than `chain_id`."""
    rpc_url = NodeUrl(rpc_url)
    served = yield from quantity(rpc_url, "eth_chainId")
    if served != chain_id:
        raise ConfigurationError(
            f"The node {rpc_url} serves chain {served}, expected {chain_id}. Nothing was sent. Check "
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
    rpc_url = NodeUrl(rpc_url)
    found = yield from rpc(rpc_url, "eth_getBlockByNumber", [block, False])
    if not isinstance(found, dict):
        raise DiscoveryError(f"The node {rpc_url} has no block {block}.")
    return found


def quantity(rpc_url: str, method: str, *params: object) -> Fetching[int]:
    """Call a method whose result is a number. Raises `DiscoveryError`."""
    rpc_url = NodeUrl(rpc_url)
    return as_number((yield from rpc(rpc_url, method, list(params))), rpc_url)


def as_number(value: object, rpc_url: str) -> int:
    """Read a 0x-hex number of at most 256 bits. Raises `DiscoveryError`."""
    rpc_url = NodeUrl(rpc_url)
    try:
        if not isinstance(value, str) or not value.startswith("0x") or len(value) > 66:
            raise ValueError(value)
        return int(value, 16)
    except ValueError as exc:
        raise DiscoveryError(f"The node {rpc_url} answered {value!r:.40} where a number was expected.") from exc


def _read_token(network: Network, data: str) -> Fetching[int]:
    result = yield from eth_call(network.rpc_url, network.token, data)
    if len(result) != 32:
        raise DiscoveryError(
            f"{network.token} is not the OPG token on the chain of {server_of(network.rpc_url)}. Check OG_NETWORK."
        )
    return int.from_bytes(result, "big")

"""
This module asks the chain what was really taken of an authorization, and gives the rest back to the budget.

docs/protocol.md §7 says where a settlement is found.

One node is believed as far as we can check it. It cannot give back what may still be taken: before the
deadline is over by our own clock nothing is, whatever the node says; nor what calls hold; nor what was
authorized on another network, whose chain id may be the same.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from og_integrations._urls import NodeUrl
from og_integrations.client import _telemetry
from og_integrations.client._settings import rpc_url_setting
from og_integrations.client.chain._jsonrpc import (
    Fetching,
    Reader,
    aread,
    as_number,
    check_chain,
    decode_hex,
    quantity,
    read_block,
    rpc,
)
from og_integrations.client.channels._connections import AsyncConnections
from og_integrations.errors import ConfigurationError, ConnectionFailedError, ConnectionLostError, DiscoveryError
from og_integrations.networks import BASE, BASE_SEPOLIA, NETWORKS, Network
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._budget import SKEW, Budget, BudgetStore, Entry
from og_integrations.protocol.payment._reconcile import Findings
from og_integrations.protocol.payment.schemes import Authorization
from og_integrations.protocol.payment.schemes._settlement import Mined, Settlement, SettlementStatus

BLOCK_SECONDS = 2
"""Base's rhythm, used to guess where to look; other chains only take more questions."""


def default_node(chain_id: int) -> str:
    """Return a public node of a known chain. Raises `ConfigurationError` for an unknown one."""
    for network in NETWORKS.values():
        if network.chain_id == chain_id:
            return network.rpc_url
    raise ConfigurationError(f"No node is known for chain {chain_id} of the receipt; give rpc_url (--rpc-url).")


def ask_settlement(authorization: Authorization, rpc_url: str | None) -> Settlement:
    """Return what the chain says of `authorization`; see `Receipt.settlement`."""
    flow = _asked(authorization, rpc_url)
    with Reader() as reader:
        return reader.run(flow)


async def aask_settlement(authorization: Authorization, rpc_url: str | None) -> Settlement:
    """Return what `ask_settlement` returns."""
    flow = _asked(authorization, rpc_url)
    connections = AsyncConnections()
    try:
        return await aread(connections, flow)
    finally:
        await connections.aclose()


def _asked(authorization: Authorization, rpc_url: str | None) -> Fetching[Settlement]:
    return find_settlement(authorization, rpc_url_setting(rpc_url) or default_node(authorization.chain_id))


def find_settlement(authorization: Authorization, rpc_url: str, *, skew: int = 0) -> Fetching[Settlement]:
    """
    Ask the node at `rpc_url`; see `Receipt.settlement`.

    Pending ends `skew` seconds after the deadline. Raises `ConfigurationError` or `DiscoveryError`.
    """
    node = NodeUrl(rpc_url)
    yield from check_chain(node, authorization.chain_id)
    return (yield from authorization.explain(NodeChain(node), skew))


class NodeChain:
    """This is a chain as one node tells of it; see `protocol.payment.schemes._settlement.Chain` for its methods."""

    def __init__(self, url: NodeUrl) -> None:
        self._url = url

    @property
    def name(self) -> str:
        """Return the node's address, without what may be secret in its URL."""
        return str(self._url)

    def newest(self) -> Fetching[tuple[int, int]]:
        """Return number and unix time of the newest block."""
        block = yield from read_block(self._url, "latest")
        return self.number(block.get("number")), self.number(block.get("timestamp"))

    def view(self, to: str, data: str, block: int) -> Fetching[bytes]:
        """Return what the contract `to` answers to a view."""
        return decode_hex((yield from rpc(self._url, "eth_call", [{"to": to, "data": data}, hex(block)])), self._url)

    def block_at(self, timestamp: int) -> Fetching[int]:
        """Return the number of the last block that is not younger than `timestamp`."""
        return (yield from block_at(self._url, timestamp))

    def logs(self, log_filter: JsonObject) -> Fetching[list[JsonObject]]:
        """Return the logs that an eth_getLogs filter finds."""
        return (yield from read_logs(self._url, log_filter))

    def mined(self, transaction_hash: str) -> Fetching[Mined]:
        """Return a transaction with its receipt."""
        transaction = yield from _object(self._url, "eth_getTransactionByHash", transaction_hash, "hash")
        receipt = yield from _object(self._url, "eth_getTransactionReceipt", transaction_hash, "transactionHash")
        return Mined(
            calldata=decode_hex(transaction.get("input"), self._url),
            logs=tuple(log for log in receipt.get("logs") or () if isinstance(log, dict)),
            block=self.number(receipt.get("blockNumber")),
            succeeded=receipt.get("status") == "0x1",
        )

    def number(self, word: object) -> int:
        """Read a number that the node wrote as 0x-hex."""
        return as_number(word, self._url)


def block_at(rpc_url: str, timestamp: int) -> Fetching[int]:
    """Return the number of the last block that is not younger than `timestamp` (0 if all are)."""
    high = yield from quantity(rpc_url, "eth_blockNumber")
    age = (yield from time_of(rpc_url, high)) - timestamp
    if age <= 0:
        return high
    # Step back in Base's rhythm until we are before it, then halve what lies between.
    low, step = high, age // BLOCK_SECONDS + 1
    while low > 0:
        low = max(0, low - step)
        if (yield from time_of(rpc_url, low)) <= timestamp:
            break
        high, step = low, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if (yield from time_of(rpc_url, middle)) <= timestamp:
            low = middle
        else:
            high = middle
    return low


def time_of(rpc_url: str, block: int) -> Fetching[int]:
    """Return the unix time of a block. Raises `DiscoveryError`."""
    return as_number((yield from read_block(rpc_url, hex(block))).get("timestamp"), rpc_url)


def read_logs(rpc_url: str, log_filter: JsonObject) -> Fetching[list[JsonObject]]:
    """Return the logs that an eth_getLogs filter finds, what is no object left out. Raises `DiscoveryError`."""
    rpc_url = NodeUrl(rpc_url)
    found = yield from rpc(rpc_url, "eth_getLogs", [log_filter])
    if not isinstance(found, list):
        raise DiscoveryError(f"The node {rpc_url} answered eth_getLogs with something else than a list.")
    return [log for log in found if isinstance(log, dict)]


def _object(rpc_url: str, method: str, tx_hash: str, hash_member: str) -> Fetching[JsonObject]:
    rpc_url = NodeUrl(rpc_url)
    found = yield from rpc(rpc_url, method, [tx_hash])
    if not isinstance(found, dict) or str(found.get(hash_member)).lower() != tx_hash.lower():
        raise DiscoveryError(f"The node {rpc_url} does not know the transaction {tx_hash} that it listed. Try again.")
    return found


T = TypeVar("T")
PATIENCE = 30.0
"""Seconds for which a call waits for the chain; what was found by then stays found."""


def reconcile(budget: Budget, network: Network, now: int) -> Fetching[None]:
    """
    Correct each authorization of `budget` on `network` whose deadline is over and whose fate the chain knows.

    The rest stays. Raises `ConfigurationError` (wrong chain) or `DiscoveryError` (no node).
    """
    yield from check_chain(network.rpc_url, network.chain_id)
    waiting = [entry for entry in budget.store.entries() if _explicable(entry, network, now) is not None]
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
    signed = _explicable(entry, network, now)
    if signed is None:
        return False
    found = yield from find_settlement(signed, network.rpc_url, skew=SKEW)
    if found.status is SettlementStatus.PENDING:
        return False
    store.correct(entry.id, found.amount)
    _telemetry.settled(found.amount, signed.payer, found.status.value)
    return True


def _explicable(entry: Entry, network: Network, now: int) -> Authorization | None:
    """Return what was signed of `entry` if a node of `network` can tell its fate at unix time `now`, else None."""
    signed = entry.authorization
    if signed is None or signed.chain_id != network.chain_id or not entry.overdue(now):
        return None
    # Older files did not note the network. Then only a real chain may answer: at worst it gives back what was
    # authorized on a devnet, and that is worth nothing.
    unknown = entry.network is None and network.name in (BASE.name, BASE_SEPOLIA.name)
    return signed if unknown or entry.network == network.identity else None


def _within(flow: Fetching[T], until: float, rpc_url: str) -> Fetching[T]:
    """
    Run `flow`, but begin nothing more after `until` (monotonic). Raises `DiscoveryError` then.

    A `yield from` that looks at the clock before each effect: whoever drives the caller performs them.
    """
    rpc_url = NodeUrl(rpc_url)
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
        if isinstance(exc.__cause__, ConnectionFailedError | ConnectionLostError):
            # Whoever does not answer at all would keep us for each of them.
            raise

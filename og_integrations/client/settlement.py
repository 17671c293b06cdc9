"""
Finding the settlement of an authorization on the chain (PROTOCOL §7).
"""

from og_integrations.client.chain_reads import as_number, check_chain, quantity, read_block
from og_integrations.client.rpc import Fetching, decode_hex, rpc
from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.networks import NETWORKS, PERMIT2_ADDRESS
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.permit2 import Permit2Authorization
from og_integrations.protocol.settlement import (
    Settlement,
    SettlementStatus,
    cancellation_filter,
    encode_nonce_bitmap,
    is_cancellation,
    nonce_is_used,
    settled_amount,
    transfer_filter,
)

BLOCK_SECONDS = 2
"""Base's rhythm, used to guess where to look; other chains only take more questions."""


def default_node(chain_id: int) -> str:
    """Return a public node of a known chain. Raises `ConfigurationError` for an unknown one."""
    for network in NETWORKS.values():
        if network.chain_id == chain_id:
            return network.rpc_url
    raise ConfigurationError(f"No node is known for chain {chain_id} of the receipt; give rpc_url (--rpc-url).")


def find_settlement(authorization: Permit2Authorization, rpc_url: str, *, skew: int = 0) -> Fetching[Settlement]:
    """
    Ask the node at `rpc_url`; see `Receipt.settlement`.

    Pending ends `skew` seconds after the deadline. Raises `ConfigurationError` or `DiscoveryError`.
    """
    yield from check_chain(rpc_url, authorization.chain_id)
    newest = yield from read_block(rpc_url, "latest")
    # At that very block: of the nodes behind one name, some are late, and "unused" must be final.
    number = hex(as_number(newest.get("number"), rpc_url))
    asked = {"to": PERMIT2_ADDRESS, "data": encode_nonce_bitmap(authorization)}
    bitmap = decode_hex((yield from rpc(rpc_url, "eth_call", [asked, number])), rpc_url)
    if not nonce_is_used(bitmap, authorization):
        # The block's time, not ours, is what the contract judges by.
        over = as_number(newest.get("timestamp"), rpc_url) > authorization.deadline + skew
        return Settlement(status=SettlementStatus.UNUSED if over else SettlementStatus.PENDING)
    window = yield from _window(rpc_url, authorization)
    found = yield from _settled(rpc_url, authorization, window)
    if found is None:
        found = yield from _cancelled(rpc_url, authorization, window)
    if found is None:
        raise DiscoveryError(
            f"The payment's nonce is used, but {rpc_url} shows neither settlement nor cancellation in blocks "
            f"{int(window['fromBlock'], 16)} to {int(window['toBlock'], 16)}, which is when it was valid. It was "
            "cancelled later, or the node keeps no old logs: try another one (--rpc-url)."
        )
    return found


def _settled(rpc_url: str, authorization: Permit2Authorization, window: JsonObject) -> Fetching[Settlement | None]:
    for tx_hash in (yield from _transactions(rpc_url, transfer_filter(authorization) | window)):
        transaction = yield from _object(rpc_url, "eth_getTransactionByHash", tx_hash, "hash")
        receipt = yield from _object(rpc_url, "eth_getTransactionReceipt", tx_hash, "transactionHash")
        logs = [log for log in receipt.get("logs") or () if isinstance(log, dict)]
        amount = settled_amount(authorization, decode_hex(transaction.get("input"), rpc_url), logs)
        block = as_number(receipt.get("blockNumber"), rpc_url)
        in_time = int(window["fromBlock"], 16) <= block <= int(window["toBlock"], 16)
        if amount is not None and in_time and receipt.get("status") == "0x1":
            return Settlement(
                status=SettlementStatus.SETTLED, amount=amount, transaction_hash=tx_hash, block_number=block
            )
    return None


def _cancelled(rpc_url: str, authorization: Permit2Authorization, window: JsonObject) -> Fetching[Settlement | None]:
    for log in (yield from _logs(rpc_url, cancellation_filter(authorization) | window)):
        if is_cancellation(log, authorization):
            return Settlement(
                status=SettlementStatus.CANCELLED,
                transaction_hash=str(log.get("transactionHash")),
                block_number=as_number(log.get("blockNumber"), rpc_url),
            )
    return None


def _window(rpc_url: str, authorization: Permit2Authorization) -> Fetching[JsonObject]:
    first = yield from _block_at(rpc_url, authorization.valid_after)
    last = yield from _block_at(rpc_url, authorization.deadline)
    return {"fromBlock": hex(first), "toBlock": hex(last)}


def _block_at(rpc_url: str, timestamp: int) -> Fetching[int]:
    """Return the number of the last block that is not younger than `timestamp` (0 if all are)."""
    high = yield from quantity(rpc_url, "eth_blockNumber")
    age = (yield from _time_of(rpc_url, high)) - timestamp
    if age <= 0:
        return high
    # Step back in Base's rhythm until we are before it, then halve what lies between.
    low, step = high, age // BLOCK_SECONDS + 1
    while low > 0:
        low = max(0, low - step)
        if (yield from _time_of(rpc_url, low)) <= timestamp:
            break
        high, step = low, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        if (yield from _time_of(rpc_url, middle)) <= timestamp:
            low = middle
        else:
            high = middle
    return low


def _time_of(rpc_url: str, block: int) -> Fetching[int]:
    return as_number((yield from read_block(rpc_url, hex(block))).get("timestamp"), rpc_url)


def _transactions(rpc_url: str, log_filter: JsonObject) -> Fetching[list[str]]:
    found = yield from _logs(rpc_url, log_filter)
    return list(dict.fromkeys(str(log.get("transactionHash")) for log in found))


def _logs(rpc_url: str, log_filter: JsonObject) -> Fetching[list[JsonObject]]:
    found = yield from rpc(rpc_url, "eth_getLogs", [log_filter])
    if not isinstance(found, list):
        raise DiscoveryError(f"The node {rpc_url} answered eth_getLogs with something else than a list.")
    return [log for log in found if isinstance(log, dict)]


def _object(rpc_url: str, method: str, tx_hash: str, hash_member: str) -> Fetching[JsonObject]:
    found = yield from rpc(rpc_url, method, [tx_hash])
    if not isinstance(found, dict) or str(found.get(hash_member)).lower() != tx_hash.lower():
        raise DiscoveryError(f"The node {rpc_url} does not know the transaction {tx_hash} that it listed. Try again.")
    return found

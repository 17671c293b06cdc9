"""
Where a receipt's hashes were published: the batch whose root is on the chain, and the blob that holds its tree.

Nothing leads from a receipt to its batch, so all batches of the two hours after it are looked through. What is found
proves that the signed statement existed when the block was made, and nothing about the answer: whoever publishes a
batch checks no signature. That nothing is found proves nothing: calls may be private, and what waits to be published
is lost when the publisher restarts (docs/protocol.md §7.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from og_integrations._urls import NodeUrl
from og_integrations.client.chain._jsonrpc import Fetching, as_number, decode_hex, quantity
from og_integrations.client.chain._settlement import block_at, read_logs, time_of
from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    VerificationError,
)
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import decode_values
from og_integrations.protocol.payment._flow import Fetch
from og_integrations.protocol.proof._inclusion import BATCH_TOPIC, Inclusion, find_inclusion
from og_integrations.receipt import Receipt

PUBLISHED_WITHIN = 2 * 60 * 60
"""Seconds after its signature in which a statement is published; batches are flushed every 15 minutes at the latest."""
_CLOCK_SKEW = 300
_MAX_BATCHES = 2000


class InclusionStatus(StrEnum):
    """What is known of a receipt's publication."""

    INCLUDED = "included"
    NOT_FOUND = "not found"
    BLOB_GONE = "blob gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBatch:
    """A batch as the chain has it: its root (32 bytes), the blob's id, and the block and transaction that hold it."""

    root: bytes
    blob_id: str
    block: int
    transaction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """
    What was found of a receipt's publication; only `INCLUDED` has a batch, its time (unix seconds) and the proof.

    `looked_at` is how many batches were looked at, `gone` how many of them have no blob any more.
    """

    status: InclusionStatus
    chain_id: int
    contract: str
    looked_at: int
    gone: int
    batch: PublishedBatch | None = None
    block_time: int | None = None
    inclusion: Inclusion | None = None

    def to_json(self) -> JsonObject:
        """Return it as plain JSON; `proof` is what is worth keeping, since blobs expire."""
        found: JsonObject = {
            "status": self.status.value,
            "chain_id": self.chain_id,
            "contract": self.contract,
            "batches": self.looked_at,
            "blobs_gone": self.gone,
        }
        if self.batch is None or self.inclusion is None:
            return found
        return found | {
            "transaction": self.batch.transaction,
            "block": self.batch.block,
            "block_time": self.block_time,
            "root": "0x" + self.batch.root.hex(),
            "leaf": "0x" + self.inclusion.leaf.hex(),
            "proof": ["0x" + node.hex() for node in self.inclusion.proof],
        }


def find_publication(receipt: Receipt, *, rpc_url: str, contract: str, aggregator: str) -> Fetching[Publication]:
    """
    Look for the batch that holds what `receipt` says was signed.

    `rpc_url` is a node of the chain with the `contract` that batches are published at, `aggregator` where their blobs
    are. Raises `ConfigurationError` for a receipt without a signature, `DiscoveryError` if node or aggregator cannot
    be asked.
    """
    rpc_url = NodeUrl(rpc_url)
    signed = _statement(receipt)
    chain_id = yield from quantity(rpc_url, "eth_chainId")
    batches = yield from _batches(rpc_url, contract, signed["timestamp"])
    gone = 0
    for batch in batches:
        blob = yield from _blob(aggregator, batch.blob_id)
        inclusion = None
        if blob is not None:
            try:
                inclusion = find_inclusion(blob, root=batch.root, **signed)
            except VerificationError:
                # Whatever stands under that name now, it is not the tree of this root.
                blob = None
        gone += blob is None
        if inclusion is not None:
            block_time = yield from time_of(rpc_url, batch.block)
            return Publication(
                status=InclusionStatus.INCLUDED,
                chain_id=chain_id,
                contract=contract,
                looked_at=len(batches),
                gone=gone,
                batch=batch,
                block_time=block_time,
                inclusion=inclusion,
            )
    status = InclusionStatus.BLOB_GONE if gone else InclusionStatus.NOT_FOUND
    return Publication(status=status, chain_id=chain_id, contract=contract, looked_at=len(batches), gone=gone)


def _statement(receipt: Receipt) -> JsonObject:
    signed: JsonObject = dict(  # noqa: C408 - of these names, only a receipt's own model may spell some as text
        tee_id=receipt.tee_id,
        request_hash=receipt.request_hash,
        output_hash=receipt.output_hash,
        signature=receipt.tee_signature,
        timestamp=receipt.tee_timestamp,
    )
    missing = [name for name, value in signed.items() if value is None]
    if missing:
        raise ConfigurationError(
            f"The receipt has no {', '.join(missing)}: nothing was signed that could have been published."
        )
    return signed


def _batches(rpc_url: NodeUrl, contract: str, signed_at: int) -> Fetching[list[PublishedBatch]]:
    first = yield from block_at(rpc_url, signed_at - _CLOCK_SKEW)
    last = yield from block_at(rpc_url, signed_at + PUBLISHED_WITHIN)
    wanted = {"address": contract, "topics": [BATCH_TOPIC], "fromBlock": hex(first), "toBlock": hex(last)}
    logs = yield from read_logs(rpc_url, wanted)
    if len(logs) > _MAX_BATCHES:
        raise DiscoveryError(
            f"The node {rpc_url} answered eth_getLogs with something else than at most {_MAX_BATCHES} logs."
        )
    return list(_published(logs, contract, rpc_url))


def _published(logs: list[JsonObject], contract: str, rpc_url: NodeUrl) -> Iterator[PublishedBatch]:
    for log in logs:
        match log:
            case {"address": str(address), "topics": [str(topic), str(root)], "data": str(data)}:
                if (address.lower(), topic.lower()) != (contract.lower(), BATCH_TOPIC):
                    continue
            case _:
                continue
        try:
            _, blob_id = decode_values(["uint256", "bytes"], decode_hex(data, rpc_url))
            name = blob_id.decode("ascii")
        except ValueError:
            # Its root is on the chain all the same, and nobody finds the blob.
            name = ""
        yield PublishedBatch(
            root=decode_hex(root, rpc_url),
            blob_id=name,
            block=as_number(log.get("blockNumber"), rpc_url),
            transaction=str(log.get("transactionHash")),
        )


def _blob(aggregator: str, blob_id: str) -> Fetching[bytes | None]:
    """Return the blob, None if it is not there any more. Raises `DiscoveryError` if nobody could be asked."""
    # The name comes from the chain, where anybody's contract may write one: it must not lead elsewhere.
    if not blob_id or not blob_id.replace("-", "").replace("_", "").isalnum():
        return None
    try:
        return (yield Fetch(f"{aggregator.rstrip('/')}/v1/blobs/{blob_id}"))
    except DiscoveryError:
        return None
    except (ConnectionFailedError, ConnectionLostError) as exc:
        raise DiscoveryError(f"{exc} Check the aggregator's address and try again.") from exc

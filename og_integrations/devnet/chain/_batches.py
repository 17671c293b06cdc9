"""
The hashes of answers are published in batches: a Merkle tree whose root is on the chain, and a blob that holds it.

The trees are OpenZeppelin's. A batch is flushed when it has 20 entries, after 5 minutes without a new one, and 15
minutes after its first one; until then it is in memory only. Blobs expire, roots stay (docs/protocol.md §7.2).
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._enclave import Proof
from og_integrations.devnet._http import Reply, Request
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.payment._x402 import checksum_address
from og_integrations.protocol.proof._inclusion import BATCH_TOPIC, leaf_of

_MOST, _IDLE, _AGE = 20, 5 * 60, 15 * 60
_BLOB_LIVES = 140 * 24 * 60 * 60
"""Seconds: ten epochs of two weeks."""


@dataclass(frozen=True, slots=True)
class _Published:
    root: bytes
    blob_id: str
    size: int
    block: int
    transaction: str
    expires_at: float


@dataclass(slots=True)
class Batches:
    """What waits to be published, what was, and the blobs; `block_number` is that of the chain."""

    clock: Clock
    block_number: Callable[[], int]
    contract: str = field(default_factory=lambda: checksum_address("0x" + secrets.token_hex(20)))
    _waiting: list[Proof] = field(default_factory=list)
    _began: float = 0.0
    _grew: float = 0.0
    _published: list[_Published] = field(default_factory=list)
    _blobs: dict[str, bytes] = field(default_factory=dict)

    def add(self, proof: Proof) -> None:
        """Let `proof` wait for the next batch."""
        self.flush_due()
        now = self.clock.now()
        if not self._waiting:
            self._began = now
        self._grew = now
        self._waiting.append(proof)
        if len(self._waiting) >= _MOST:
            self.flush()

    def flush_due(self) -> None:
        """Publish what waits, if its time has come."""
        now = self.clock.now()
        if self._waiting and (now - self._grew >= _IDLE or now - self._began >= _AGE):
            self.flush()

    def flush(self) -> None:
        """Publish what waits; nothing, if nothing does."""
        if not self._waiting:
            return
        dump = _dump(self._waiting)
        blob = json.dumps(dump).encode()
        blob_id = hashlib.sha256(blob).hexdigest()[:43]
        self._blobs[blob_id] = blob
        self._published.append(
            _Published(
                root=bytes.fromhex(dump["tree"][0][2:]),
                blob_id=blob_id,
                size=len(self._waiting),
                block=self.block_number(),
                transaction="0x" + secrets.token_hex(32),
                expires_at=self.clock.now() + _BLOB_LIVES,
            )
        )
        self._waiting = []

    def logs(self, first: int, last: int) -> list[JsonObject]:
        """Return the contract's events in these blocks, as a node lists them."""
        self.flush_due()
        return [
            {
                "address": self.contract,
                "topics": [BATCH_TOPIC, "0x" + batch.root.hex()],
                "data": _event_data(batch),
                "blockNumber": hex(batch.block),
                "transactionHash": batch.transaction,
            }
            for batch in self._published
            if first <= batch.block <= last
        ]

    async def handle(self, request: Request) -> Reply:
        """Answer one request to the aggregator: `GET /v1/blobs/<id>`."""
        name = request.path.removeprefix("/v1/blobs/")
        now = self.clock.now()
        living = {batch.blob_id for batch in self._published if now < batch.expires_at}
        if request.method != "GET" or name not in living:
            body = b'{"error":{"status":"NOT_FOUND","code":404,"message":"the requested blob was not found"}}'
            return Reply(status=404, headers=[("Content-Type", "application/json")], body=body)
        return Reply(status=200, headers=[("Content-Type", "application/octet-stream")], body=self._blobs[name])


def _event_data(batch: _Published) -> str:
    name = batch.blob_id.encode()
    words = [batch.size.to_bytes(32, "big"), (64).to_bytes(32, "big"), len(name).to_bytes(32, "big")]
    return "0x" + (b"".join(words) + name + bytes(-len(name) % 32)).hex()


def _dump(proofs: list[Proof]) -> JsonObject:
    """Return the tree over `proofs` as OpenZeppelin's `StandardMerkleTree.dump()` writes it."""
    leaves = [
        leaf_of(
            tee_id=proof.tee_id,
            request_hash=proof.request_hash.hex(),
            output_hash=proof.output_hash.hex(),
            signature=proof.signature_text,
            timestamp=proof.timestamp,
        )
        for proof in proofs
    ]
    order = sorted(range(len(leaves)), key=leaves.__getitem__)
    tree = [b""] * (2 * len(leaves) - 1)
    places = {}
    for rank, number in enumerate(order):
        places[number] = len(tree) - 1 - rank
        tree[places[number]] = leaves[number]
    for node in range(len(leaves) - 2, -1, -1):
        one, other = tree[2 * node + 1], tree[2 * node + 2]
        tree[node] = keccak(min(one, other) + max(one, other))
    values = [
        {
            "value": [
                proof.tee_id,
                "0x" + proof.request_hash.hex(),
                "0x" + proof.output_hash.hex(),
                "0x" + proof.signature.hex(),
                str(proof.timestamp),
            ],
            "treeIndex": places[number],
        }
        for number, proof in enumerate(proofs)
    ]
    return {
        "format": "standard-v1",
        "leafEncoding": ["bytes32", "bytes32", "bytes32", "bytes", "uint256"],
        "tree": ["0x" + node.hex() for node in tree],
        "values": values,
    }

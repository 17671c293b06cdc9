"""
This module finds a receipt in a published batch, and proves it against the root on the chain (docs/protocol.md §7.2).

Batches are OpenZeppelin's `StandardMerkleTree` over (teeId, inputHash, outputHash, signature, timestamp): leaves
are hashed twice and sorted, each node is the hash of its two children in ascending order. The dump of the whole
tree is published as a blob that expires, only its root stays on the chain. So the proof is worth keeping.

Inclusion adds a time by which the signed statement existed. Nothing checks a signature when a batch is published.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from og_integrations.errors import MalformedReplyError, VerificationError
from og_integrations.protocol._strict_json import parse_json_object
from og_integrations.protocol.chain._abi import uint_word
from og_integrations.protocol.chain._keccak import keccak

MAX_BLOB_BYTES = 8 * 1024 * 1024
"""A batch is published when it has 20 entries of about 1.2 kB."""
# Each node of a proof is hashed, so a proof without bound would be a way to keep a verifier busy.
MAX_PROOF = 64
"""No tree is deeper."""

BATCH_TOPIC = "0xc2aff8d8a10a4543baabf39bd9ff45e7fc3881d19098df350a3b7f339e911127"
"""Names the event `BatchSettlement(bytes32 indexed root, uint256, bytes blobId)` of a published batch."""

# Format and leaf encoding are those of OpenZeppelin's `StandardMerkleTree.dump()` (docs/protocol.md §7.2).
_FORMAT = "standard-v1"
_LEAF_ENCODING = ["bytes32", "bytes32", "bytes32", "bytes", "uint256"]
_WORD = re.compile(r"(?:0x)?[0-9a-f]{64}", re.IGNORECASE)
_BYTES = re.compile(r"0x(?:[0-9a-f]{2})*", re.IGNORECASE)
_TIME = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """An inclusion is a `leaf` (32 bytes) and the siblings on its way to the root, lowest first (32 bytes each)."""

    leaf: bytes
    proof: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """Return the root (32 bytes) to which leaf and proof lead."""
        node = self.leaf
        for sibling in self.proof:
            node = _parent(node, sibling)
        return node


def leaf_of(*, tee_id: str, request_hash: str, output_hash: str, signature: str, timestamp: int) -> bytes:
    """
    Return the leaf (32 bytes) of a signed statement, whose members are as in a receipt.

    Ids and hashes are hex, with 0x or without, `signature` is base64, `timestamp` unix seconds. Raises
    `VerificationError` (step `inclusion`).
    """
    try:
        # The leaf holds the raw bytes of the signature; without
        # validation stray characters would be dropped silently.
        signed = base64.b64decode(signature, validate=True)
    except (binascii.Error, TypeError, ValueError) as exc:
        raise _refused("the receipt's signature is not base64") from exc
    words = [_word(text, "the receipt") for text in (tee_id, request_hash, output_hash)]
    if type(timestamp) is not int or not 0 <= timestamp < 2**256:
        raise _refused("the receipt's time is no unix time")
    return _leaf(words, signed, timestamp)


def find_inclusion(
    blob: bytes, *, root: bytes, tee_id: str, request_hash: str, output_hash: str, signature: str, timestamp: int
) -> Inclusion | None:
    """
    Return the proof that the tree in `blob` with the given `root` (32 bytes) holds a statement; None if it does not.

    The statement's members are as in `leaf_of`. The whole tree is checked. Raises `VerificationError` (step
    `inclusion`) if `blob` is not that tree.
    """
    leaf = leaf_of(
        tee_id=tee_id, request_hash=request_hash, output_hash=output_hash, signature=signature, timestamp=timestamp
    )
    tree = _checked_tree(blob, root)
    first = len(tree) // 2  # where the leaves begin, the nodes above them being one fewer
    if leaf not in tree[first:]:
        return None
    at, proof = tree.index(leaf, first), []
    # The children of node i are 2i + 1 and 2i + 2, so an odd place has its sibling at its right.
    while at:
        proof.append(tree[at + 1 if at % 2 else at - 1])
        at = (at - 1) // 2
    return Inclusion(leaf, tuple(proof))


def verify_inclusion(
    inclusion: Inclusion,
    *,
    root: bytes,
    tee_id: str,
    request_hash: str,
    output_hash: str,
    signature: str,
    timestamp: int,
) -> None:
    """
    Check, without the blob, that `inclusion` is about this statement and leads to `root` (32 bytes).

    The statement's members are as in `leaf_of`. Raises `VerificationError` (step `inclusion`).
    """
    leaf = leaf_of(
        tee_id=tee_id, request_hash=request_hash, output_hash=output_hash, signature=signature, timestamp=timestamp
    )
    # The leaf is computed from the receipt again. A proof of another leaf would otherwise prove this receipt.
    if inclusion.leaf != leaf:
        raise _refused(f"the proof is about the leaf 0x{inclusion.leaf.hex():.64}, this receipt's is 0x{leaf.hex()}")
    # A node of another length could move bytes between the two children, and so forge a parent.
    if len(inclusion.proof) > MAX_PROOF or any(len(node) != len(leaf) for node in inclusion.proof):
        raise _refused(f"the proof is not made of at most {MAX_PROOF} hashes")
    if inclusion.root != root:
        raise _refused(f"the proof leads to the root 0x{inclusion.root.hex()}, expected 0x{root.hex():.64}")


def _checked_tree(blob: bytes, root: bytes) -> list[bytes]:
    if len(blob) > MAX_BLOB_BYTES:
        raise _refused(f"the blob has {len(blob)} bytes, expected at most {MAX_BLOB_BYTES}")
    try:
        dump = parse_json_object(blob, "The blob")
    except MalformedReplyError as exc:
        raise _refused(str(exc)) from exc
    if dump.get("format") != _FORMAT or dump.get("leafEncoding") != _LEAF_ENCODING:
        raise _refused(f"the blob is no tree of the format {_FORMAT} over signed statements")
    nodes, values = dump.get("tree"), dump.get("values")
    # A complete binary tree over n leaves has 2n - 1 nodes;
    # with any other count the places of leaves are not defined.
    if not isinstance(nodes, list) or not isinstance(values, list) or not values or len(nodes) != 2 * len(values) - 1:
        raise _refused("the blob's tree has not one leaf for each value")
    tree = [_word(node, "the blob's tree") for node in nodes]
    for at in range(len(values) - 1):
        # Every node is checked: a blob with one false node could place a leaf that the root never covered.
        if tree[at] != _parent(tree[2 * at + 1], tree[2 * at + 2]):
            raise _refused(f"node {at} of the blob's tree is not the hash of its children")
    # The blob is fetched from a store that anybody may write to, and only its root is on the chain.
    if tree[0] != root:
        raise _refused(f"the blob's tree has the root 0x{tree[0].hex()}, expected 0x{root.hex():.64}")
    leaves = {at: tree[at] for at in range(len(values) - 1, len(tree))}
    for value in values:
        at, leaf = _value(value)
        # Each leaf once: a value that points at another one, or above the leaves, stands for nothing.
        if leaves.pop(at, None) != leaf:
            raise _refused("a value of the blob does not give its leaf")
    return tree


def _value(entry: object) -> tuple[int, bytes]:
    """Return the place and the leaf of one of the blob's values."""
    match entry:
        case {
            "treeIndex": int(at),
            "value": [tee_id, request_hash, output_hash, str(signature), int() | str() as time],
        }:
            words = [_word(text, "a value of the blob") for text in (tee_id, request_hash, output_hash)]
        case _:
            raise _refused("a value of the blob has another form than a signed statement")
    # Pattern matching takes True for an int, and `bytes.fromhex` takes spaces, so both are looked at again.
    if isinstance(at, bool) or not _BYTES.fullmatch(signature) or not _TIME.fullmatch(str(time)):
        raise _refused("a value of the blob holds no place, no signature in hex, or no time")
    return at, _leaf(words, bytes.fromhex(signature[2:]), int(time))


def _leaf(words: Sequence[bytes], signature: bytes, timestamp: int) -> bytes:
    """Hash abi.encode(bytes32, bytes32, bytes32, bytes, uint256) twice, so that no inner node is ever a leaf."""
    # The ABI pads bytes to whole words, and the offset of 160 is the length of the five words of the head.
    padded = signature + bytes(-len(signature) % 32)
    head = b"".join(words) + uint_word(5 * 32) + uint_word(timestamp)
    return keccak(keccak(head + uint_word(len(signature)) + padded))


def _parent(one: bytes, other: bytes) -> bytes:
    # Pairs are sorted before hashing, so a proof need not say which sibling stands left or right.
    return keccak(min(one, other) + max(one, other))


def _word(text: object, where: str) -> bytes:
    if not isinstance(text, str) or not _WORD.fullmatch(text):
        raise _refused(f"{where} holds something else than 32 bytes in hex")
    return bytes.fromhex(text[-64:])


def _refused(detail: str) -> VerificationError:
    error = VerificationError(
        f"The batch proves nothing about this receipt: {detail}. This says nothing against the answer itself; look "
        "at the batch and its root again.",
        step="inclusion",
    )
    # The batch is published by the facilitator. An enclave must not be avoided for what another party published.
    error.blames_enclave = False
    return error

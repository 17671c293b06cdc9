"""
What a file's id says of its bytes: the model hub calls files by ids that models on chain are run by.

The hub calls files by IPFS CIDs (`Qm…`, later `b…`), which are made from the bytes, or by ids of 43 characters. One of
those may be the SHA-256 of the file, which is then proof, or the id of a blob in some store, which says nothing that
can be compared.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Literal

from og_integrations.protocol._redact import shown

CHUNK = 262_144
"""Bytes of a leaf, as `ipfs add` cuts files."""
_LINKS = 174
"""The most links of a node, as `ipfs add` makes them."""
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SHA256 = b"\x12\x20"
_DAG_PB, _RAW = 0x70, 0x55


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What came of comparing a file with its id: `result` is pass, fail or skip, and a skip is never a pass."""

    result: Literal["pass", "fail", "skip"]
    detail: str


class FileHash:
    """This takes in a file piece by piece, and says at its end which ids its bytes have."""

    def __init__(self) -> None:
        self.size: int = 0
        self._whole = hashlib.sha256()
        self._buffer = bytearray()
        self._leaves: list[_Node] = []
        self._raw_leaves: list[_Node] = []

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(data)
        self._whole.update(data)
        self._buffer += data
        while len(self._buffer) > CHUNK:
            self._add_leaf(bytes(self._buffer[:CHUNK]))
            del self._buffer[:CHUNK]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes, hex."""
        return self._whole.hexdigest()

    @property
    def cid(self) -> str:
        """The CID (version 0) of the file, as `ipfs add` makes it."""
        return _base58(_SHA256 + self._roots()[0])

    def check(self, file_id: str | None) -> FileCheck:
        """Compare the bytes with an id of any kind."""
        if not file_id:
            return FileCheck("skip", "the hub told no id")
        digests = self._digests_meant_by(file_id)
        if digests is not None:
            proven, expected = digests
            if expected in proven:
                return FileCheck("pass", f"the bytes give the CID {file_id}")
            return FileCheck("fail", f"the bytes do not give the CID {shown(file_id, 80)}: theirs is {self.cid}")
        if _base64url(file_id) == self._whole.digest():
            return FileCheck("pass", "the id is the SHA-256 of the bytes")
        return FileCheck("skip", "the id is of a kind that says nothing of the bytes, such as that of a blob")

    def _digests_meant_by(self, file_id: str) -> tuple[list[bytes], bytes] | None:
        """Return the digests that these bytes have in the form of a CID, and that of the CID; None for other ids."""
        parts = _read_cid(file_id)
        if parts is None:
            return None
        codec, digest = parts
        plain, raw = self._roots()
        # A dag-pb root may stand over leaves of either kind, and its CID does not say which: either one is proof.
        return ([self._whole.digest()] if codec == _RAW else [plain, raw]), digest

    def _roots(self) -> tuple[bytes, bytes]:
        """Return the digests of the roots of both kinds of trees: with leaves in dag-pb, and with raw ones."""
        pending = bytes(self._buffer)
        # An empty file has one empty leaf. Any other file with an empty leaf at its end would get another CID.
        last = [_leaf(pending)] if pending or not self._leaves else []
        last_raw = [_Node(hashlib.sha256(pending).digest(), _RAW, len(pending), len(pending))] if last else []
        return _root(self._leaves + last, version=0), _root(self._raw_leaves + last_raw, version=1)

    def _add_leaf(self, data: bytes) -> None:
        self._leaves.append(_leaf(data))
        self._raw_leaves.append(_Node(hashlib.sha256(data).digest(), _RAW, len(data), len(data)))


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of the tree: its digest and codec, how many bytes of the file are below it, and how many it takes."""

    digest: bytes
    codec: int
    content: int
    total: int


def _leaf(data: bytes) -> _Node:
    unixfs = b"\x08\x02" + (_field(2, data) if data else b"") + b"\x18" + _varint(len(data))
    return _node(b"", unixfs, len(data), 0)


def _node(links: bytes, unixfs: bytes, content: int, below: int) -> _Node:
    block = links + _field(1, unixfs)
    return _Node(hashlib.sha256(block).digest(), _DAG_PB, content, len(block) + below)


def _root(level: list[_Node], version: int) -> bytes:
    """Return the digest of the root of a balanced tree over `level`, whose links are CIDs of that version."""
    while len(level) > 1:
        level = [_parent(level[at : at + _LINKS], version) for at in range(0, len(level), _LINKS)]
    return level[0].digest


def _parent(children: list[_Node], version: int) -> _Node:
    links, sizes = b"", b""
    for child in children:
        # A CID of version 0 is the bare multihash.
        cid = (bytes([1, child.codec]) if version else b"") + _SHA256 + child.digest
        links += _field(2, _field(1, cid) + _field(2, b"") + b"\x18" + _varint(child.total))
        sizes += b"\x20" + _varint(child.content)
    content = sum(child.content for child in children)
    unixfs = b"\x08\x02\x18" + _varint(content) + sizes
    return _node(links, unixfs, content, sum(child.total for child in children))


def _field(number: int, data: bytes) -> bytes:
    """Return bytes as the field `number` of a protocol buffer."""
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_cid(text: str) -> tuple[int, bytes] | None:
    """Return codec and SHA-256 digest of a CID of either version, None for anything else."""
    if len(text) == 46 and text.startswith("Qm") and all(char in _BASE58 for char in text):
        number = 0
        for char in text:
            number = number * 58 + _BASE58.index(char)
        # 46 digits can spell a number of more than 34 bytes, for which `to_bytes` would raise an OverflowError.
        raw = number.to_bytes(34, "big") if number < 1 << 272 else b""
        return (_DAG_PB, raw[2:]) if raw[:2] == _SHA256 else None
    if len(text) == 59 and text[0] == "b":
        try:
            raw = base64.b32decode(text[1:].upper() + "=" * 6)
        except ValueError:
            return None
        known = raw[0] == 1 and raw[1] in (_DAG_PB, _RAW) and raw[2:4] == _SHA256
        return (raw[1], raw[4:]) if known else None
    return None


def _base64url(text: str) -> bytes | None:
    if len(text) != 43:
        return None
    try:
        return base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except ValueError:
        return None


def _base58(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return digits

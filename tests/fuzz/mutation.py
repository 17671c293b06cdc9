"""
Damage to what was captured: some bytes of it, or, if it is JSON or CBOR, some values anywhere inside.

Plain seeded chance, a hundred times faster per case than a property library; a case is known by its
number, so that it can be had again.
"""

import base64
import json
import random
from typing import Any

from og_integrations.protocol.proof import _cbor as cbor

PIECES = (
    b"", b"\0", b"\n", b"\n\n", b"\r\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"-1", b"0",
    b"1e999", b"NaN", b"9" * 400, b"0.5", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"data: ", b"[DONE]", b"\xef\xbb\xbf",
    b'{"a":' * 300, b"[" * 300, b"=", b"\x7f\xff\xff\xff", b"\xff" * 32, b"\0" * 31 + b"\x20",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63, 2**256, -(2**70), 10**400, 0.0, -0.5, 1e308, float("inf"),
    float("nan"), "", " ", "\0", "\ud800", "é", "0x", "0x00", "0x" + "f" * 64, "0x" + "F" * 40, "1e5", "-1", "1_000",
    "٣", "tool_calls", "stop", "assistant", "upto", "exact", "eip155:8453", "permit2", "eip3009", "a" * 3000, [], {},
    [[]], [None], [{}], {"": None}, ["a", "b"], {"type": "text", "text": "x"}, [{"type": "text", "text": "x"}],
    {"type": "function", "function": {"name": "f", "arguments": "{}"}},
)  # fmt: skip


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """Return `seed`, damaged."""
    if rng.random() < 0.5 and (structured := _structured(seed, rng)) is not None:
        return structured
    data = seed
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = _cut(data, rng)
    return data


def in_base64(mutate_json: bytes, rng: random.Random) -> bytes:
    """Return `mutate_json` damaged and then encoded, or the other way round."""
    if rng.random() < 0.8:
        return base64.b64encode(mutated(mutate_json, rng))
    return _cut(base64.b64encode(mutate_json), rng)


def in_document(document: bytes, rng: random.Random) -> bytes:
    """Return an attestation document with some bytes or some values damaged; now and then as an HTTP body."""
    how = rng.random()
    if how < 0.4:
        data = document
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    elif how < 0.7:
        parts: Any = cbor.decode(document.removeprefix(b"\xd2"))
        parts[2] = _cbor(_changed(cbor.decode(parts[2]), rng))
        data = _cbor(_changed(parts, rng) if rng.random() < 0.1 else parts)
    else:
        data = mutated(document, rng)
    return data if rng.random() < 0.9 else base64.b64encode(data) + rng.choice((b"", b"\n", b"\n", b"\r\n", b" "))


def _cbor(value: Any) -> bytes:
    """Return CBOR of `value`, also of what attestation documents may not hold."""
    if isinstance(value, dict):
        return cbor.encode_head(5, len(value)) + b"".join(_cbor(key) + _cbor(item) for key, item in value.items())
    if isinstance(value, list):
        return cbor.encode_head(4, len(value)) + b"".join(map(_cbor, value))
    if isinstance(value, str | bytes):
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return cbor.encode_head(3 if isinstance(value, str) else 2, len(data)) + data
    if isinstance(value, int) and not isinstance(value, bool):
        return cbor.encode_head(1, ~value % 2**64) if value < 0 else cbor.encode_head(0, value % 2**64)
    simple = {None: b"\xf6", False: b"\xf4", True: b"\xf5"}
    return simple[value] if value is None or isinstance(value, bool) else b"\xfb" + bytes(8)


def _cut(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    how = rng.randrange(6)
    if how == 0:
        return data[:start]
    if how == 1 and start < len(data):
        return data[:start] + bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 :]
    end = start + rng.randrange(40)
    if how == 2:
        return data[:start] + data[end:]
    if how == 3:
        return data[:end] + data[start:]
    if how == 4:
        source = rng.randrange(len(data) + 1)
        return data[:start] + data[source : source + 60] + data[end:]
    return data[:start] + rng.choice(PIECES) + data[start + rng.randrange(5) :]


def _structured(seed: bytes, rng: random.Random) -> bytes | None:
    """Damage values inside JSON, or inside one event of a stream of JSON; None if it is neither."""
    lines = seed.split(b"\n")
    at = rng.randrange(len(lines)) if seed.startswith(b"data: ") else None
    text = seed if at is None else lines[at].removeprefix(b"data: ")
    try:
        document = json.loads(text)
    except ValueError:
        return None
    for _ in range(rng.choice((1, 1, 2, 4))):
        document = _changed(document, rng)
    dumped = json.dumps(document, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
    if at is None:
        return dumped
    lines[at] = b"data: " + dumped
    return b"\n".join(lines)


def _changed(value: Any, rng: random.Random) -> Any:
    """Return `value` with one thing changed, the deeper the likelier."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        how = rng.random()
        if how < 0.1:
            return {other: item for other, item in value.items() if other != name}
        if how < 0.2:
            return value | {rng.choice(list(value)): value[name]}
        return value | {name: _changed(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        if rng.random() < 0.2:
            return value[:at] + value[at:] * rng.randrange(3)
        return [*value[:at], _changed(value[at], rng), *value[at + 1 :]]
    if isinstance(value, bytes) and rng.random() < 0.8:
        return _cut(value, rng)
    if isinstance(value, str) and rng.random() < 0.5:
        # Text may hold a document of its own: a tool's arguments, a saved body.
        return mutated(value.encode("utf-8", "surrogatepass"), rng).decode("utf-8", "replace")
    return rng.choice(VALUES)

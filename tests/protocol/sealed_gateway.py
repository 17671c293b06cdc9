"""The gateway's side of a sealed exchange, for tests: it opens requests and seals answers."""

import json
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from og_integrations.protocol.sealing import _hpke as hpke
from og_integrations.protocol.sealing.ohttp import KeyConfig

VECTORS = Path(__file__).parent.parent / "vectors" / "attestation"
SECRET = bytes(range(1, 33))
CONFIG = KeyConfig(7, X25519PrivateKey.from_private_bytes(SECRET).public_key().public_bytes_raw())
SIGNED_CONFIG = json.loads((VECTORS / "ohttp.json").read_text())["signed_configs"][0]["fields"]
NONCE = bytes(range(100, 132))
FINAL = b"final"


def opened(wire: bytes) -> tuple[hpke.Context, bytes]:
    """Return the context of a request that was sealed to `CONFIG`, and its plaintext."""
    context = hpke.setup_recipient(SECRET, wire[7:39], b"message/bhttp request\0" + wire[:7])
    return context, context.open(wire[39:])


def sealed(wire: bytes, plaintext: bytes) -> bytes:
    """Return `plaintext` as the whole answer to `wire`."""
    cipher, base = _cipher(wire, b"message/bhttp response")
    return NONCE + cipher.encrypt(base, plaintext, b"")


def sealed_stream(wire: bytes, chunks: Sequence[bytes], *, billing: bytes = b"", width: int = 0) -> bytes:
    """Return `chunks` as the streamed answer to `wire`; `billing` stands in clear before the final one."""
    cipher, base = _cipher(wire, b"message/bhttp chunked response")
    pieces = [NONCE]
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        body = cipher.encrypt(hpke.numbered_nonce(base, number), chunk, FINAL if last else b"")
        pieces += [billing, varint(0, width), body] if last else [varint(len(body), width), body]
    return b"".join(pieces)


def varint(number: int, width: int = 0) -> bytes:
    """Return `number` as a QUIC integer of at least `width` bytes (1, 2, 4 or 8)."""
    size = next(size for size in (1, 2, 4, 8) if size >= width and number < 1 << 8 * size - 2)
    return (number | (size.bit_length() - 1) << 8 * size - 2).to_bytes(size, "big")


def _cipher(wire: bytes, label: bytes) -> tuple[hpke.Cipher, bytes]:
    context, _ = opened(wire)
    key = hpke.extract(context.enc + NONCE, context.export(label, 32))
    return hpke.CHACHA20_POLY1305.cipher(hpke.expand(key, b"key", 32)), hpke.expand(key, b"nonce", 12)

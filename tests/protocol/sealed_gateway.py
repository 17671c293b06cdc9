"""The gateway's side of a sealed exchange, for tests: it opens requests and seals answers."""

import json
from collections.abc import Sequence
from pathlib import Path

from og_integrations.devnet._sealing import GatewayKey, varint
from og_integrations.protocol.sealing import _hpke as hpke

VECTORS = Path(__file__).parent.parent / "vectors" / "attestation"
SECRET = bytes(range(1, 33))
NONCE = bytes(range(100, 132))
KEY = GatewayKey(SECRET, 7, lambda: NONCE)
CONFIG = KEY.config
SIGNED_CONFIG = json.loads((VECTORS / "ohttp.json").read_text())["signed_configs"][0]["fields"]
FINAL = b"final"
__all__ = [
    "CONFIG",
    "FINAL",
    "NONCE",
    "SECRET",
    "SIGNED_CONFIG",
    "VECTORS",
    "opened",
    "sealed",
    "sealed_stream",
    "varint",
]


def opened(wire: bytes) -> tuple[hpke.Context, bytes]:
    """Return the context of a request that was sealed to `CONFIG`, and its plaintext."""
    context = hpke.setup_recipient(SECRET, wire[7:39], b"message/bhttp request\0" + wire[:7])
    return context, context.open(wire[39:])


def sealed(wire: bytes, plaintext: bytes) -> bytes:
    """Return `plaintext` as the whole answer to `wire`."""
    return KEY.open(wire).answer(plaintext)


def sealed_stream(wire: bytes, chunks: Sequence[bytes], *, billing: bytes = b"", width: int = 0) -> bytes:
    """Return `chunks` as the streamed answer to `wire`; `billing` stands in clear before the final one."""
    sealer = KEY.open(wire).stream()
    *first, last = chunks
    pieces = [sealer.chunk(chunk, width) for chunk in first]
    return b"".join([*pieces, sealer.final(last, billing=billing, width=width)])

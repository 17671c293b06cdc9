"""An enclave whose key we hold: it signs whatever a test wants, by the rules of docs/protocol.md §4."""

import base64
import json
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_hash.auto import keccak

from og_integrations.protocol.chat._wire import CHAT_PATH, Completion, TeeProof
from og_integrations.protocol.proof._enclave import Enclave
from og_integrations.protocol.proof._verification import TRUST_OF_SOURCE, Exchange

NOW = 1_795_178_000


@lru_cache(maxsize=1)
def key() -> rsa.RSAPrivateKey:
    """Return the one key of this test run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def enclave() -> Enclave:
    """Return the enclave of `key`."""
    der = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Enclave(tee_id="0x" + keccak(der).hex(), endpoint="https://enclave.example", public_key=der)


def sign(hashed_request: bytes, hashed_output: bytes, *, salt_length: int = 32) -> TeeProof:
    """Return the proof over these two texts, in the form that the gateway sends."""
    request_hash, output_hash = keccak(hashed_request), keccak(hashed_output)
    digest = keccak(request_hash + output_hash + NOW.to_bytes(32, "big"))
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt_length)
    return TeeProof(
        request_hash=request_hash.hex(),
        output_hash=output_hash.hex(),
        timestamp=NOW,
        signature=base64.b64encode(key().sign(digest, pss, hashes.SHA256())).decode(),
        tee_id=enclave().tee_id,
    )


def signed_exchange(request: dict[str, Any], hashed: dict[str, Any], answer: str = "hello", **changes: Any) -> Exchange:
    """Return an exchange about `request`, of which the enclave hashed the form `hashed`."""
    completion = Completion(
        text=answer,
        finish_reason="stop",
        model=request["model"],
        proof=sign(json.dumps(hashed, sort_keys=True).encode(), answer.encode()),
    )
    members: dict[str, Any] = {
        "path": CHAT_PATH,
        "wire": json.dumps(request).encode(),
        "completion": completion,
        "enclave": enclave(),
        "trust": TRUST_OF_SOURCE["registry"],
        "window": (NOW, NOW),
        "channel": "pinned",
    }
    return Exchange(**(members | changes))

"""
`python -m benchmarks.floor FILE_OR_FOLDER`: the least that anybody has to do to judge saved receipts, by hand.

It reads each file, decodes the three JSON documents in it, hashes thrice and checks the signature, of chats with plain
texts alone. It knows no enclave, compares no receipt and no payment, looks for no member that is named twice, and says
nothing of what failed.
"""

import base64
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from og_integrations.protocol.chain._keccak import keccak

_PSS, _SHA256 = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32), hashes.SHA256()
_HASHED = ("max_tokens", "stop", "tools", "response_format")


@cache
def _key(pem: str) -> RSAPublicKey:
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, RSAPublicKey)  # noqa: S101
    return key


def judge(document: bytes) -> None:
    """Raise if the enclave whose key is in the `document` has not signed what is in it."""
    exchange = json.loads(document)["exchange"]
    request, answer = json.loads(exchange["request"]), json.loads(exchange["response"])
    hashed = {
        "model": request["model"],
        "messages": request["messages"],
        "temperature": request.get("temperature", 0.0),
    }
    hashed |= {name: request[name] for name in _HASHED if request.get(name)}
    asked = keccak(json.dumps(hashed, sort_keys=True).encode())
    answered = keccak(answer["choices"][0]["message"]["content"].encode())
    assert asked.hex() == answer["tee_request_hash"] and answered.hex() == answer["tee_output_hash"]  # noqa: S101, PT018
    digest = keccak(asked + answered + answer["tee_timestamp"].to_bytes(32, "big"))
    _key(exchange["public_key_pem"]).verify(base64.b64decode(answer["tee_signature"]), digest, _PSS, _SHA256)


def _documents(source: Path) -> Iterator[bytes]:
    if source.is_dir():
        yield from (file.read_bytes() for file in sorted(source.iterdir()))
    else:
        with source.open("rb") as lines:
            yield from lines


if __name__ == "__main__":
    count = 0
    for one in _documents(Path(sys.argv[1])):
        judge(one)
        count += 1
    sys.stdout.write(f"{count} files: {count} verified\n")

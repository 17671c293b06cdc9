"""Saved receipts in any number, each truly signed by an enclave whose key we hold, and an auditor's folder of them."""

import base64
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_hash.auto import keccak

from og_integrations.protocol.chat._wire import CHAT_PATH
from og_integrations.protocol.proof._canonical import request_hash
from tests.protocol.own_enclave import enclave, key

_SAVED: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "evidence" / "complete.json").read_text()
)
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
TEE_ID = enclave().tee_id


def documents(count: int) -> Iterator[dict[str, Any]]:
    """Yield saved receipts as `Receipts.save` writes them of the default policy, each about another prompt."""
    request, response = json.loads(_SAVED["exchange"]["request"]), json.loads(_SAVED["exchange"]["response"])
    pem = key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    receipt = _SAVED["receipt"] | {"trust": "registry", "nonce": None, "tee_id": TEE_ID}
    receipt["enclave"] = receipt["enclave"] | {"public_key": enclave().public_key.hex()}
    text = response["choices"][0]["message"]["content"].encode()
    for number in range(count):
        asked = request | {"messages": [{"role": "user", "content": f"Is the balance of account {number} right?"}]}
        signed_at = _SAVED["receipt"]["tee_timestamp"] + number
        hashed, output = request_hash(CHAT_PATH, asked, "april"), keccak(text)
        digest = keccak(hashed + output + signed_at.to_bytes(32, "big"))
        proof = {
            "tee_request_hash": hashed.hex(),
            "tee_output_hash": output.hex(),
            "tee_timestamp": signed_at,
            "tee_signature": base64.b64encode(key().sign(digest, _PSS, hashes.SHA256())).decode(),
            "tee_id": TEE_ID,
        }
        exchange = _SAVED["exchange"] | {
            "request": json.dumps(asked),
            "response": json.dumps(response | proof),
            "tee_id": TEE_ID,
            "public_key_pem": pem,
        }
        told = {name.removeprefix("tee_") if "hash" in name else name: value for name, value in proof.items()}
        yield {"receipt": receipt | told, "exchange": exchange}


def lay_out(folder: Path) -> dict[str, list[str]]:
    """
    Lay 501 files out: 4 altered, 2 malformed, 100 doubled, the others once; return the names by what they are.

    The altered ones are a prompt, an answer, a receipt's hash and a payment's amount.
    """
    sound = list(documents(395))
    kinds: dict[str, list[str]] = {"altered": [], "malformed": [], "doubled": []}
    for number, document in enumerate(sound):
        (folder / f"call-{number:03}.json").write_text(json.dumps(document))
    for number, document in enumerate(sound[:100]):
        kinds["doubled"].append(f"copy-{number:03}.json")
        (folder / kinds["doubled"][-1]).write_text(json.dumps(document))
    for name, altered in zip(("prompt", "answer", "receipt", "payment"), map(deepcopy, sound[200:]), strict=False):
        kinds["altered"].append(f"{name}.json")
        if name == "payment":
            altered["receipt"]["payment"]["max_amount"] = "1"
        elif name == "receipt":
            altered["receipt"]["output_hash"] = "00" * 32
        else:
            member, old, new = {
                "prompt": ("request", "right?", "wrong?"),
                "answer": ("response", '"content": "', '"content": "No. '),
            }[name]
            assert old in altered["exchange"][member]
            altered["exchange"][member] = altered["exchange"][member].replace(old, new)
        (folder / kinds["altered"][-1]).write_text(json.dumps(altered))
    for name, text in {"junk.json": "junk", "cut.json": json.dumps(sound[0])[:2000]}.items():
        kinds["malformed"].append(name)
        (folder / name).write_text(text)
    return kinds

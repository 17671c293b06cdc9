"""All captures of the published gateway, replayed: the devnet must answer each in the same shape."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from og_integrations.devnet import Devnet, Script
from og_integrations.protocol.chain._keccak import keccak
from tests.devnet.bare_caller import CHAT, COMPLETION, Raw, raw_caller

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "gateway.json").read_text())["vectors"]
WITH_CALLS = "tool_calls"


@pytest.fixture(scope="module")
def sessions() -> Iterator[tuple[Raw, dict[str, str]]]:
    """Use the script that the captures were made with."""
    with Devnet(model=Script(plain="Hello from the fake upstream."), cap=10**20) as net, raw_caller(net) as raw:
        yield raw, {path: raw.session(path) for path in (CHAT, COMPLETION)}


def replayed(sessions: tuple[Raw, dict[str, str]], vector: dict[str, Any]) -> Any:
    raw, ids = sessions
    return raw.post(
        vector["request"].encode(),
        vector["path"],
        X_Upto_Session=ids[vector["path"]],
        X_SETTLEMENT_TYPE=vector["settlement_type"],
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_capture_is_answered_alike(sessions: tuple[Raw, dict[str, str]], vector: dict[str, Any]) -> None:
    """Status, content type, header names, body bytes up to what must differ, and the hashes."""
    reply = replayed(sessions, vector)
    assert reply.status_code == vector["status"]
    assert reply.headers["Content-Type"].partition(";")[0] == vector["content_type"]
    told = {name for name in reply.headers if name.startswith(("x-tee", "x-settlement"))}
    assert told == set(vector["response_headers"])
    assert reply.headers["X-Upto-Session"]
    if vector["content_type"] == "text/event-stream":
        ours, theirs = events_of(reply.text), events_of(vector["response"])
        assert [masked(event) for event in ours] == [masked(event) for event in theirs]
    else:
        assert masked(reply.text) == masked(vector["response"])


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_answer_is_really_signed(sessions: tuple[Raw, dict[str, str]], vector: dict[str, Any]) -> None:
    """Hashes are those of the capture, and the signature verifies with the enclave's public key alone."""
    raw, _ = sessions
    proof = proof_in(replayed(sessions, vector).text)
    if proof is None:
        assert proof_in(vector["response"]) is None
        return
    captured = proof_in(vector["response"])
    assert captured is not None
    assert proof["tee_request_hash"] == captured["tee_request_hash"]
    if WITH_CALLS not in vector["response"]:  # ids of calls are random, and hashed
        assert proof["tee_output_hash"] == captured["tee_output_hash"]
    digest = keccak(
        bytes.fromhex(proof["tee_request_hash"])
        + bytes.fromhex(proof["tee_output_hash"])
        + proof["tee_timestamp"].to_bytes(32, "big")
    )
    key = raw.net.enclaves[0].keys.signing_key.public_key()
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    key.verify(base64.b64decode(proof["tee_signature"], validate=True), digest, pss, hashes.SHA256())


def events_of(text: str) -> list[str]:
    *events, rest = text.split("\n\n")
    assert rest == ""
    return [event.removeprefix("data: ") for event in events]


def proof_in(text: str) -> dict[str, Any] | None:
    """Return the object that holds the proof: the body, or a stream's final event."""
    candidates = events_of(text) if text.startswith("data: ") else [text]
    found = [json.loads(item) for item in candidates if "tee_signature" in item]
    return found[0] if found else None


DIFFERING = {
    "id",
    "created",
    "tee_id",
    "tee_signature",
    "tee_timestamp",
    "data_settlement_transaction_hash",
    "data_settlement_blob_id",
    "settlement_job_id",
    "settlement_queue_nonce",
}


def masked(text: str) -> str:
    """Blank out keys, ids, times and signatures, keeping order, spacing and length of everything."""
    if not text.startswith("{"):
        return text
    hides_output = WITH_CALLS in text
    for name, value in walked(json.loads(text)):
        if name in DIFFERING or (hides_output and name == "tee_output_hash"):
            kept = json.dumps(value)
            text = text.replace(kept, "·" * len(kept))
    return text


def walked(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walked(item)

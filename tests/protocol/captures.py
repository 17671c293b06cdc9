"""The captured exchanges of `tests/vectors`, and how to judge them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from og_integrations.protocol.chat._answers import StreamAssembler, parse_completion
from og_integrations.protocol.chat._sse import SSEDecoder
from og_integrations.protocol.chat._wire import Completion, TeeProof
from og_integrations.protocol.proof._enclave import Enclave
from og_integrations.protocol.proof._verification import Exchange, TrustDecision

VECTORS = Path(__file__).parent.parent / "vectors"
_GATEWAY = json.loads((VECTORS / "gateway.json").read_text())
_PAYMENTS: list[dict[str, Any]] = json.loads((VECTORS / "payments.json").read_text())["vectors"]
PAYMENTS = [vector for vector in _PAYMENTS if vector["requirements"]["scheme"] == "upto"]
"""What published clients signed for offers as gateways make them; the file has others, of a scheme that none offers."""
BATCH: dict[str, Any] = json.loads((VECTORS / "batch_settlement.json").read_text())

_KEY = load_pem_public_key(_GATEWAY["public_key_pem"].encode())
ENCLAVE = Enclave(
    tee_id=_GATEWAY["tee_id"],
    endpoint="https://enclave.example",
    public_key=_KEY.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One exchange with the published gateway, its bodies as exact bytes."""

    name: str
    path: str
    wire: bytes
    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...]


CAPTURES = {
    vector["name"]: Capture(
        name=vector["name"],
        path=vector["path"],
        wire=vector["request"].encode(),
        status=vector["status"],
        content_type=vector["content_type"],
        body=vector["response"].encode(),
        headers=tuple(vector["response_headers"].items()),
    )
    for vector in _GATEWAY["vectors"]
}
REFUSED = ("developer-role", "json-object-anthropic", "missing-messages", "stop-empty-list", "unknown-model",
           "upstream-error")  # fmt: skip
"""Answered with an HTTP error."""
FAILED_STREAMS = ("individual-stream-error", "stream-error-event")
SIGNED = [c for c in CAPTURES.values() if c.name not in (*REFUSED, *FAILED_STREAMS)]
STREAMS = [c for c in SIGNED if c.content_type == "text/event-stream"]
TOOL_CALLS = [c for c in SIGNED if "tool-call" in c.name or "then-tool" in c.name]


def each(captures: Sequence[Capture]) -> pytest.MarkDecorator:
    """Run a test once per capture, as its argument `capture`."""
    return pytest.mark.parametrize("capture", captures, ids=lambda capture: capture.name)


def read_stream(pieces: Sequence[bytes]) -> Completion:
    """Read a stream that came in these pieces."""
    decoder, assembler = SSEDecoder(), StreamAssembler()
    for piece in pieces:
        for event in decoder.feed(piece):
            assembler.feed(event)
    assert decoder.at_rest
    return assembler.finish()


def read(capture: Capture) -> Completion:
    """Read the answer of `capture`, streamed or not."""
    if capture.content_type == "text/event-stream":
        return read_stream([capture.body])
    return parse_completion(capture.path, capture.body)


def exchange(capture: Capture | str = "plain", **changes: Any) -> Exchange:
    """Return what `verify_exchange` takes of `capture`, with `changes` to it; all in order by default."""
    found = CAPTURES[capture] if isinstance(capture, str) else capture
    completion = read(found)
    at = proof_of(completion).timestamp
    whole = Exchange(
        path=found.path,
        wire=found.wire,
        completion=completion,
        enclave=ENCLAVE,
        trust=TrustDecision("tee-id", "the enclave's id is the one that was asked for"),
        window=(at - 1, at + 1),
        channel="pinned",
    )
    return replace(whole, **changes)


def proof_of(completion: Completion) -> TeeProof:
    """Return the proof that is there."""
    assert completion.proof is not None
    return completion.proof


def altered(capture: Capture | str = "plain", *, proof: dict[str, Any] | None = None, **members: Any) -> Exchange:
    """Return the exchange of `capture` with some members of its answer, or of its proof, replaced."""
    original = exchange(capture)
    completion = replace(original.completion, **members)
    if proof is not None:
        completion = replace(completion, proof=replace(proof_of(completion), **proof))
    return replace(original, completion=completion)

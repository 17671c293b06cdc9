"""The attestation documents of `tests/vectors/attestation`, and how to judge them."""

import base64
import json
from typing import Any

from og_integrations.protocol.proof import _cbor as cbor
from og_integrations.protocol.proof._attestation import Attestation, AttestationPolicy, decode_body, verify_document
from tests.protocol.captures import VECTORS

FOLDER = VECTORS / "attestation"
_NITRO: dict[str, Any] = json.loads((FOLDER / "nitro.json").read_text())
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in _NITRO["cases"]}
DEFAULTS: dict[str, Any] = _NITRO["defaults"]
"""What a document is judged with unless its case says otherwise."""


def document_of(case_id: str) -> bytes:
    """Return the raw document of a case. Raises `AttestationError` if it is an HTTP body that holds none."""
    case = CASES[case_id]
    if "document_text" in case:
        return decode_body(case["document_text"].encode())
    return base64.b64decode(case["document"])


def arguments_of(case_id: str) -> dict[str, Any]:
    """Return the arguments of a case in the words of the vectors."""
    return {**DEFAULTS, **CASES[case_id].get("args", {})}


def attest(document: bytes, arguments: dict[str, Any] = DEFAULTS, **changes: Any) -> Attestation:
    """Verify `document` with the arguments of a case, and with `changes` to what `verify_document` takes."""
    builds = arguments["pcrs"]
    policy = AttestationPolicy(
        None if builds is None else [(build[0], build[1], build[2]) for build in builds],
        arguments["root_sha256"],
        arguments["max_age"],
        arguments["max_future"],
    )
    taken: dict[str, Any] = {
        "policy": policy,
        "now": arguments["now"],
        "nonce": None if arguments["nonce"] is None else bytes.fromhex(arguments["nonce"]),
        "tls_certificate": _decoded(arguments["tls_certificate"]),
        "signing_key": _decoded(arguments["signing_key"]),
    }
    return verify_document(document, **(taken | changes))


def attest_case(case_id: str) -> Attestation:
    """Verify the document of a case with its own arguments."""
    return attest(document_of(case_id), arguments_of(case_id))


SOUND = [
    document_of(case_id)
    for case_id, case in CASES.items()
    if case["expect"]["status"] == "verified" and not case.get("args")
]
"""Documents that pass every check with `DEFAULTS`."""


def payload_of(document: bytes) -> bytes:
    """Return the bytes of a sound document that are signed."""
    parts = cbor.decode(document.removeprefix(b"\xd2"))
    assert isinstance(parts, list)
    assert isinstance(parts[2], bytes)
    return parts[2]


_SIGNED = [payload_of(document) for document in SOUND]


def attest_damaged(data: bytes) -> None:
    """
    Judge what damage has made of a sound document, or of its HTTP body; raise what comes of it.

    It may only pass if every signed byte is as it was.
    """
    document = data if data[:1] >= b"\x80" else decode_body(data)
    attest(document)
    assert any(payload in document for payload in _SIGNED), "accepted, though it was altered"


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)

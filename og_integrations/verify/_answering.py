"""
This module answers the questions of the public vectors by our own verifier (docs/conformance.md), one by one.

Each kind of question goes to the very function that calls, files and commands are judged with.
"""

import base64
from collections.abc import Callable, Mapping

from og_integrations.errors import AttestationError, InvalidRequestError, VerificationError
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.protocol.proof._attestation import AttestationPolicy, decode_body, listed_builds, verify_document
from og_integrations.protocol.proof._canonical import nonce_place, request_hash, with_nonce
from og_integrations.protocol.proof._inclusion import find_inclusion
from og_integrations.verify._trust import FileKeyTrust, NobodyTrust, TeeIdTrust, TrustSource
from og_integrations.verify._vectors import ACCEPTED, UNCLAIMED, code_of
from og_integrations.verify._verifier import Verifier


def answer(question: JsonObject) -> JsonObject:
    """Return the answer to one question: id, status, step, code, and what was found."""
    judge = _JUDGES.get(question["kind"])
    if judge is None:
        return {"id": question["id"], "status": UNCLAIMED, "step": None, "code": None}
    status, step, found = judge(question)
    code = code_of(question["kind"], status, step)
    return {"id": question["id"], "status": status, "step": step, "code": code, "found": found}


_Answer = tuple[str, str | None, JsonObject]


def _file(question: JsonObject) -> _Answer:
    verdict = _verifier(question["trust"]).verify(question["file"].encode("utf-8", "surrogatepass"))
    return verdict.status, verdict.step, {}


def _verifier(trust: Mapping[str, object]) -> Verifier:
    match trust:
        case {"measurements": list(builds), "root_sha256": list(roots)}:
            return Verifier(_source(trust), AttestationPolicy(listed_builds(builds), roots))
        case _:
            return Verifier(_source(trust))


def _source(trust: Mapping[str, object]) -> TrustSource:
    match trust:
        case {"tee_ids": list(ids)}:
            return TeeIdTrust(ids)
        case {"file_key": True}:
            return FileKeyTrust()
        case _:
            return NobodyTrust()


def _document(question: JsonObject) -> _Answer:
    try:
        if "document_text" in question:
            document = decode_body(question["document_text"].encode())
        else:
            document = base64.b64decode(question["document"])
        builds = question["pcrs"]
        found = verify_document(
            document,
            policy=AttestationPolicy(
                None if builds is None else [(build[0], build[1], build[2]) for build in builds],
                question["root_sha256"],
                question["max_age"],
                question["max_future"],
            ),
            now=question["now"],
            nonce=None if question["nonce"] is None else bytes.fromhex(question["nonce"]),
            tls_certificate=_decoded(question["tls_certificate"]),
            signing_key=_decoded(question["signing_key"]),
        )
    except AttestationError as exc:
        return "malformed" if exc.step == "encoding" else "failed", exc.step, {}
    return ACCEPTED if found.verified else "undecided", None, {}


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _nonce(question: JsonObject) -> _Answer:
    path, request, nonce = question["path"], question["request"], question["nonce"]
    found: JsonObject = {}
    if question["task"] == "carry":
        try:
            request = with_nonce(path, request, nonce)
        except InvalidRequestError:
            return "failed", "place", {}
        found["request"] = request
    place = nonce_place(path, request, nonce)
    return (ACCEPTED, None, found | {"place": place}) if place is not None else ("failed", "place", {})


def _inclusion(question: JsonObject) -> _Answer:
    root = bytes.fromhex(question["root"].removeprefix("0x"))
    try:
        found = find_inclusion(question["blob"].encode(), root=root, **question["receipt"])
    except VerificationError:
        return "failed", "batch", {}
    if found is None:
        return "undecided", "absent", {}
    return ACCEPTED, None, {"leaf": "0x" + found.leaf.hex(), "proof": ["0x" + node.hex() for node in found.proof]}


def _hash(question: JsonObject) -> _Answer:
    request = parse_json_object(question["request"].encode(), "The request")
    return ACCEPTED, None, {"hash": request_hash(question["path"], request, question["rule"]).hex()}


_JUDGES: dict[str, Callable[[JsonObject], _Answer]] = {
    "verify": _file,
    "receipt": _file,
    "attestation": _document,
    "nonce": _nonce,
    "inclusion": _inclusion,
    "hash": _hash,
}

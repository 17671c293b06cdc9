"""The in-toto Statement of a verified receipt, checked with in-toto's and securesystemslib's own classes."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import SSlibKey

from og_integrations.cli import main
from og_integrations.verify._statement import SigningKey

EVIDENCE = Path(__file__).parent.parent / "vectors" / "evidence" / "complete.json"
DOCUMENT: dict[str, Any] = json.loads(EVIDENCE.read_text())
TEE_ID: str = DOCUMENT["exchange"]["tee_id"]
_INDEX = json.loads((EVIDENCE.parent.parent / "conformance.json").read_text())
PINNED: dict[str, Any] = next(case["trust"] for case in _INDEX["cases"] if case["id"] == "whole/evidence")
BUILD = {f"PCR{number}": pcr for number, pcr in enumerate(PINNED["measurements"][0])}
ROOT = ("--root-sha256", PINNED["root_sha256"][0])
BY_ID = ("--tee-id", TEE_ID, *ROOT)
KEYS: dict[str, SigningKey] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "p-256": ec.generate_private_key(ec.SECP256R1()),
}


def pem(key: Any, encryption: KeySerializationEncryption | None = None) -> bytes:
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return data


def exported(tmp_path: Path, key: Any, file: Path = EVIDENCE, *flags: str) -> dict[str, Any]:
    (tmp_path / "key.pem").write_bytes(pem(key))
    target = tmp_path / "statement.json"
    given = flags or BY_ID
    assert main(["export", str(file), "--key", str(tmp_path / "key.pem"), *given, "--output", str(target)]) == 0
    envelope: dict[str, Any] = json.loads(target.read_text())
    return envelope


@pytest.mark.parametrize("kind", KEYS)
def test_others_read_and_verify_it(kind: str, tmp_path: Path) -> None:
    """The envelope by securesystemslib, the statement by in-toto's own classes; another key does not verify it."""
    # Imported here: its generated module is loaded once, and not by whoever only collects this file.
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    written = exported(tmp_path, KEYS[kind])
    public = KEYS[kind].public_key()
    key_id = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    envelope = Envelope.from_dict(json.loads(json.dumps(written)))
    assert envelope.payload_type == "application/vnd.in-toto+json"
    assert list(envelope.verify([SSlibKey.from_crypto(public, keyid=key_id)], 1)) == [key_id]
    other = SSlibKey.from_crypto(ed25519.Ed25519PrivateKey.generate().public_key(), keyid=key_id)
    with pytest.raises(VerificationError):
        envelope.verify([other], 1)
    statement = Statement.copy_from_pb(Parse(envelope.payload, statement_pb2.Statement()))
    statement.validate()
    assert statement.pb.predicate_type == "urn:og-integrations:inference-receipt:v1"


def test_what_it_says(tmp_path: Path) -> None:
    """Hashes of the exact bodies and of the file, what the enclave signed, and neither prompt nor answer."""
    written = exported(tmp_path, KEYS["ed25519"])
    payload = base64.b64decode(written["payload"])
    assert b"solvent" not in payload
    statement = json.loads(payload)
    receipt, exchange = DOCUMENT["receipt"], DOCUMENT["exchange"]
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert digests == {name: hashlib.sha256(exchange[name].encode()).hexdigest() for name in ("request", "response")}
    said = statement["predicate"]
    assert said["evidence"] == {
        "name": "complete.json",
        "digest": {"sha256": hashlib.sha256(EVIDENCE.read_bytes()).hexdigest()},
    }
    assert said["tee"]["signature"] == receipt["tee_signature"]
    assert said["payment"]["paymentHash"] == receipt["payment"]["payment_hash"]
    assert said["nonce"] == receipt["nonce"]
    assert said["enclave"] == {"teeId": TEE_ID, "platform": "aws-nitro", "trust": "tee-id", "measurements": BUILD}
    assert said["inclusion"] == DOCUMENT["inclusion"]
    assert {check["id"]: check["result"] for check in said["checks"]}["signature"] == "pass"


def test_level_of_trust_is_that_of_the_verdict(tmp_path: Path) -> None:
    """Pinned builds make it "measured"; measurements are left out where no document was judged."""
    builds = tmp_path / "builds.json"
    builds.write_text(json.dumps([BUILD]))
    written = exported(tmp_path, KEYS["ed25519"], EVIDENCE, "--measurements", str(builds), *ROOT)
    assert json.loads(base64.b64decode(written["payload"]))["predicate"]["enclave"]["trust"] == "measured"
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "receipt.json").write_text(json.dumps({name: DOCUMENT[name] for name in ("receipt", "exchange")}))
    written = exported(plain, KEYS["ed25519"], plain / "receipt.json", "--tee-id", TEE_ID)
    enclave = json.loads(base64.b64decode(written["payload"]))["predicate"]["enclave"]
    assert enclave == {"teeId": TEE_ID, "platform": "aws-nitro", "trust": "tee-id"}


@pytest.mark.parametrize(
    ("change", "flags", "said"),
    [
        (("solvent", "bankrupt"), BY_ID, "is failed (request-hash): only what is verified is signed."),
        (
            ("", ""),
            ("--tee-id", "0x" + "11" * 32, *ROOT),
            "is failed (enclave-trusted): only what is verified is signed.",
        ),
        (("", ""), (), "is failed (attestation): only what is verified is signed."),
        (("{", "["), BY_ID, "not JSON"),
    ],
)
def test_nothing_unverified_is_signed(
    change: tuple[str, str], flags: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, key, target = tmp_path / "evidence.json", tmp_path / "key.pem", tmp_path / "statement.json"
    file.write_text(EVIDENCE.read_text().replace(*change) if change[0] else EVIDENCE.read_text())
    key.write_bytes(pem(KEYS["ed25519"]))
    assert main(["export", str(file), "--key", str(key), *flags, "--output", str(target)]) == 2
    assert said in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)), "of another kind"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "of another kind"),
        (pem(KEYS["ed25519"], BestAvailableEncryption(b"x")), "is encrypted"),
        (b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", "holds no private key"),
        (b"secret", "holds no private key"),
    ],
    ids=["rsa", "p-384", "encrypted", "broken", "none"],
)
def test_key_that_cannot_sign(key: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The flag and the reason are named, and nothing of the key."""
    (tmp_path / "key.pem").write_bytes(key)
    assert main(["export", str(EVIDENCE), "--key", str(tmp_path / "key.pem"), *BY_ID]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert "--key" in told.err
    assert "secret" not in told.err + told.out


def test_it_is_printed_and_a_file_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(tmp_path, KEYS["ed25519"])
    arguments = ["export", str(EVIDENCE), "--key", str(tmp_path / "key.pem"), *BY_ID]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["payloadType"] == "application/vnd.in-toto+json"
    assert main([*arguments, "--output", str(tmp_path / "statement.json")]) == 2
    assert "nothing there was changed" in capsys.readouterr().err

"""Evidence: a stranger with the file and the pinned builds, and no network, finds out everything that was signed."""

import asyncio
import base64
import json
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.cli import main
from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet._attestation import STRANGERS_BUILD
from og_integrations.errors import ConfigurationError
from og_integrations.networks import DEVNET, Network
from og_integrations.protocol.proof._inclusion import leaf_of
from og_integrations.verify import Verdict, Verifier, evidence_of
from og_integrations.verify._bundle import parse_document
from og_integrations.verify._trust import NobodyTrust, TeeIdTrust
from tests.client.ways_to_ask import MODEL, user
from tests.sizes import examples


class Saved:
    """One saved call, sealed, the root and the builds with which it is judged, and a devnet that has ended."""

    def __init__(self, file: Path, net: Devnet) -> None:
        self.file = file
        self.document: dict[str, Any] = json.loads(file.read_text())
        self.root = net.authority.root_sha256
        self.builds = [net.enclaves[0].build]
        self.verifier = Verifier.measured(self.builds, root_sha256=[self.root])

    def judged(self, document: dict[str, Any]) -> Verdict:
        return self.verifier.verify(json.dumps(document).encode())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    with Devnet(generation="newest") as net, collect_receipts(keep_exchanges=True) as receipts:
        options: dict[str, Any] = {"enclave_policy": net.enclave_policy(), "channel": "ohttp"}
        with Client(private_key=net.private_key, network=net.network, **options) as client:
            client.chat(MODEL, user("Are we solvent?"))
        (file,) = receipts.save(tmp_path_factory.mktemp("evidence"))
        found = Saved(file, net)
    receipt = found.document["receipt"]
    leaf = leaf_of(
        tee_id=receipt["tee_id"],
        request_hash=receipt["request_hash"],
        output_hash=receipt["output_hash"],
        signature=receipt["tee_signature"],
        timestamp=receipt["tee_timestamp"],
    )
    found.document["inclusion"] = {"root": "0x" + leaf.hex(), "leaf": "0x" + leaf.hex(), "proof": []}
    return found


def results(verdict: Verdict) -> dict[str, str]:
    return {check.id: check.result for check in verdict.checks}


def test_stranger_says_verified(saved: Saved) -> None:
    """Nothing is asked of anybody: the devnet has ended. Each part has its verdict, and what is missing its name."""
    verdict = saved.judged(saved.document)
    assert (verdict.status, verdict.step) == ("verified", None)
    found = results(verdict)
    passed = {"signature", "enclave-trusted", "attestation", "receipt", "payment-hash", "nonce", "hpke", "inclusion"}
    assert {name for name, result in found.items() if result == "pass"} >= passed
    (missing,) = [check.detail for check in verdict.checks if check.id == "evidence"]
    assert missing == "not in the file: payment"
    assert saved.document["format"] == "og-evidence/1"
    assert saved.document["nonce"]["place"] == "response_format"


def test_saved_file_is_evidence(saved: Saved) -> None:
    assert saved.verifier.verify(saved.file).verified


def test_command_line(saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builds = tmp_path / "builds.json"
    builds.write_text(json.dumps([dict(zip(("PCR0", "PCR1", "PCR2"), saved.builds[0], strict=True))]))
    flags = ["--root-sha256", saved.root]
    assert main(["verify", str(saved.file), "--measurements", str(builds), *flags]) == 0
    assert main(["verify", str(saved.file), *flags]) == 2
    assert main(["verify", str(saved.file)]) == 1
    said = capsys.readouterr().out
    assert f"{saved.file}: undecided (enclave-trusted)" in said
    assert f"{saved.file}: failed (attestation)" in said  # the devnet's root is not AWS's
    builds.write_text(json.dumps([list(STRANGERS_BUILD)]).replace("[[", "[").replace("]]", "]"))
    assert main(["verify", str(saved.file), "--measurements", str(builds), *flags]) == 2


@pytest.mark.parametrize("redact", [False, True])
def test_evidence_command(saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str], redact: bool) -> None:
    target = tmp_path / "evidence.json"
    flags = ["--redact"] * redact
    assert main(["evidence", str(saved.file), *flags, "--output", str(target)]) == 0
    assert main(["evidence", str(saved.file), *flags]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(target.read_text())
    assert ("Are we solvent?" in target.read_text()) is not redact
    assert main(["evidence", str(saved.file), "--output", str(target)]) == 2
    assert "nothing there was changed" in capsys.readouterr().err


def test_without_pinned_builds_or_a_registry_it_is_undecided(saved: Saved) -> None:
    from og_integrations.protocol.proof._attestation import AttestationPolicy
    from og_integrations.verify._trust import NobodyTrust

    verifier = Verifier(NobodyTrust(), AttestationPolicy(None, [saved.root]))
    verdict = verifier.verify(json.dumps(saved.document).encode())
    assert (verdict.status, verdict.step) == ("undecided", "enclave-trusted")
    assert results(verdict)["attestation"] == "pass"
    (detail,) = [check.detail for check in verdict.checks if check.id == "enclave-trusted"]
    assert "any AWS customer can make a genuine document" in detail


@pytest.mark.parametrize(
    ("part", "step"),
    [
        ("attestation", "attestation"),
        ("attestation.document", "attestation"),
        ("attestation.nonce", "attestation"),
        ("attestation.received_at", "attestation"),
        ("attestation.tls_certificate", "attestation"),
        ("receipt", "receipt"),
    ],
)
def test_missing_part_is_named_and_undecided(saved: Saved, part: str, step: str) -> None:
    document = deepcopy(saved.document)
    outer, _, inner = part.partition(".")
    if inner:
        del document[outer][inner]
    else:
        del document[outer]
    verdict = saved.judged(document)
    assert (verdict.status, verdict.step) == ("undecided", step)
    assert part in " ".join(check.detail for check in verdict.checks if check.result == "skip")


@pytest.mark.parametrize("part", ["nonce", "hpke", "inclusion"])
def test_missing_addition_is_named(saved: Saved, part: str) -> None:
    """What it adds is not there; the rest stands."""
    verdict = saved.judged({name: value for name, value in saved.document.items() if name != part})
    assert verdict.verified
    assert part in next(check.detail for check in verdict.checks if check.id == "evidence")


@pytest.mark.parametrize("member", ["key_config", "signature"])
def test_missing_member_of_the_sealed_channels_key_is_named(saved: Saved, member: str) -> None:
    document = deepcopy(saved.document)
    del document["hpke"][member]
    verdict = saved.judged(document)
    (said,) = [check for check in verdict.checks if check.id == "hpke"]
    assert (verdict.status, said.result) == ("failed", "fail")
    assert f"(hpke.{member})" in said.detail


def test_redacted_form_holds_neither_prompt_nor_answer(saved: Saved) -> None:
    """The enclave's signature over two hashes and a time is still checked; what they are of cannot be."""
    redacted = evidence_of(saved.document, redact=True)
    text = json.dumps(redacted)
    assert "Are we solvent?" not in text
    assert json.loads(saved.document["exchange"]["response"])["choices"][0]["message"]["content"] not in text
    verdict = saved.judged(redacted)
    assert (verdict.status, verdict.step) == ("undecided", "request-hash")
    found = results(verdict)
    assert {found[name] for name in ("signature", "enclave", "enclave-trusted", "attestation", "inclusion")} == {"pass"}
    assert (found["request-hash"], found["output-hash"]) == ("skip", "skip")
    redacted["receipt"]["output_hash"] = "00" * 32
    assert (saved.judged(redacted).status, saved.judged(redacted).step) == ("failed", "signature")
    assert saved.judged(evidence_of(saved.document)).verified


BASE64 = ("attestation.document", "attestation.tls_certificate", "receipt.tee_signature", "hpke.key_config")
HEX = ("attestation.nonce", "receipt.request_hash", "receipt.output_hash", "nonce.value", "inclusion.root")


@examples(150)
@given(st.sampled_from((*BASE64, *HEX, "hpke.signature")), st.integers(min_value=0), st.integers(1, 255))
def test_one_changed_byte_of_any_signed_part(saved: Saved, part: str, at: int, change: int) -> None:
    document = deepcopy(saved.document)
    outer, _, inner = part.partition(".")
    text = document[outer][inner]
    prefix = "0x" if text.startswith("0x") else ""
    data = bytearray(bytes.fromhex(text.removeprefix("0x")) if part in HEX else base64.b64decode(text))
    data[at % len(data)] ^= change
    document[outer][inner] = prefix + data.hex() if part in HEX else base64.b64encode(data).decode()
    verdict = saved.judged(document)
    assert not verdict.verified
    assert verdict.status == "failed"


@examples(100)
@given(
    st.sampled_from(("prompt", "answer", "tee_timestamp", "inclusion.leaf", "inclusion.proof")), st.integers(0, 2**60)
)
def test_one_changed_character_of_what_was_signed(saved: Saved, part: str, at: int) -> None:
    """The question, the answer and the time by a character each, and the way to the batch's root by a bit."""
    document = deepcopy(saved.document)
    exchange = document["exchange"]
    if part == "prompt":
        exchange["request"] = exchange["request"].replace("Are we solvent?", _altered("Are we solvent?", at))
    elif part == "answer":
        response = json.loads(exchange["response"])
        message = response["choices"][0]["message"]
        message["content"] = _altered(message["content"], at)
        exchange["response"] = json.dumps(response)
    elif part == "tee_timestamp":
        response = json.loads(exchange["response"])
        response["tee_timestamp"] ^= 1 << at % 50
        exchange["response"] = json.dumps(response)
    elif part == "inclusion.leaf":
        document["inclusion"]["leaf"] = hex(int(document["inclusion"]["leaf"], 16) ^ 1 << at % 255)
    else:
        document["inclusion"]["proof"].insert(0, "0x" + at.to_bytes(64, "big")[-32:].hex())
    assert document != saved.document
    assert saved.judged(document).status == "failed"


def _altered(text: str, at: int) -> str:
    """Return `text` with another letter at one place."""
    place = at % len(text)
    return text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]


@pytest.mark.parametrize("member", ["request", "response", "public_key_pem", "tee_id"])
def test_changed_exchange(saved: Saved, member: str) -> None:
    document = deepcopy(saved.document)
    text = document["exchange"][member]
    changes = {
        "request": ("solvent", "bankrupt"),
        "response": ('"content": "', '"content": "x'),
        "tee_id": ("0x", "0x1"),
    }
    document["exchange"][member] = text.replace(*changes.get(member, ("M", "N")))
    assert document["exchange"][member] != text
    assert not saved.judged(document).verified


def test_another_ones_document_beside_a_good_exchange(saved: Saved) -> None:
    """Genuine, and about another key: somebody with an AWS account has measured something."""
    with Devnet() as other, collect_receipts(keep_exchanges=True) as receipts:
        with Client(private_key=other.private_key, network=other.network, enclave_policy=other.enclave_policy()) as one:
            one.chat(MODEL, user("hi"))
        root = other.authority.root_sha256
        theirs = json.loads(receipts.save(saved.file.parent / "other")[0].read_text())
    verifier = Verifier.measured(saved.builds, root_sha256=[root])
    mixed = saved.document | {"attestation": theirs["attestation"]}
    verdict = verifier.verify(json.dumps(mixed).encode())
    assert (verdict.status, results(verdict)["attestation"]) == ("failed", "fail")


def test_other_build_is_refused_and_a_source_is_heard_too(saved: Saved) -> None:
    other = Verifier.measured([STRANGERS_BUILD], root_sha256=[saved.root])
    assert other.verify(saved.file).step == "enclave-trusted"
    both = Verifier.measured(saved.builds, root_sha256=[saved.root], trust=TeeIdTrust(["0x" + "ab" * 32]))
    assert (both.verify(saved.file).status, both.verify(saved.file).step) == ("failed", "enclave-trusted")


def test_plain_receipt_with_pinned_builds_is_undecided(saved: Saved) -> None:
    plain = {name: saved.document[name] for name in ("receipt", "exchange")}
    assert (saved.judged(plain).status, saved.judged(plain).step) == ("undecided", "attestation")


@pytest.mark.parametrize(
    "document",
    [
        {"format": "og-evidence/2"},
        {"format": 5, "exchange": {}},
        {"format": "og-evidence/1"},
        {"format": "og-evidence/1", "exchange": {"path": "/x"}},
    ],
)
def test_what_is_no_evidence(saved: Saved, document: dict[str, Any]) -> None:
    assert saved.judged(document).status == "malformed"
    with pytest.raises(ConfigurationError):
        parse_document(json.dumps(document).encode())


@pytest.mark.parametrize("part", ["attestation", "nonce", "hpke", "inclusion", "payment", "receipt"])
@pytest.mark.parametrize("value", [5, "text", [], {}, [1], {"proof": 5}, {"value": 5}, {"document": "!"}])
def test_junk_in_a_part(saved: Saved, part: str, value: object) -> None:
    """A stranger may have written anything; it is never verified because of it, and nothing breaks."""
    verdict = saved.judged(saved.document | {part: value})
    assert part == "payment" or not verdict.verified


def test_redacted_form_is_judged_by_whoever_vouches(saved: Saved) -> None:
    """A source that knows the enclave passes, one that knows others fails, one that cannot be asked leaves it open."""
    redacted = json.dumps(evidence_of(saved.document, redact=True)).encode()
    tee_id = saved.document["exchange"]["tee_id"]
    away = Verifier.registry(Network(**{**asdict(DEVNET), "registry_rpc_url": "http://127.0.0.1:9"}))
    found = {
        word: results(verifier.verify(redacted))["enclave-trusted"]
        for word, verifier in {
            "pass": Verifier.tee_ids([tee_id]),
            "fail": Verifier.tee_ids(["0x" + "00" * 32]),
            "skip": away,
        }.items()
    }
    assert found == {word: word for word in found}


@pytest.mark.parametrize("member", ["request_hash", "output_hash", "tee_timestamp", "tee_signature", "tee_id"])
def test_redacted_form_without_a_part_of_the_proof_fails(saved: Saved, member: str) -> None:
    redacted = evidence_of(saved.document, redact=True)
    redacted["receipt"][member] = None
    verdict = saved.judged(redacted)
    assert (verdict.status, verdict.step) == ("failed", "proof")
    inclusion = next(check for check in verdict.checks if check.id == "inclusion")
    assert (inclusion.result, inclusion.detail) == ("skip", "the file holds no proof to look for")


@pytest.mark.parametrize("member", ["tee_signature", "request_hash"])
def test_redacted_form_whose_signature_is_no_base64_or_hash_no_hex_fails(saved: Saved, member: str) -> None:
    redacted = evidence_of(saved.document, redact=True)
    redacted["receipt"][member] = "no such thing"
    assert saved.judged(redacted).step == "signature"


@pytest.mark.parametrize(
    ("member", "value", "says"),
    [
        ("document", "!", "attestation.document is not base64"),
        ("document", "AB==", "not base64 in its canonical spelling"),
        ("nonce", "xyz", "attestation.nonce is not hex"),
    ],
)
def test_text_of_a_part_that_cannot_be_read_is_named(saved: Saved, member: str, value: str, says: str) -> None:
    document = deepcopy(saved.document)
    document["attestation"][member] = value
    verdict = saved.judged(document)
    assert (verdict.status, results(verdict)["attestation"]) == ("failed", "fail")
    assert says in " ".join(check.detail for check in verdict.checks)


def test_nonce_beside_a_request_that_is_no_json_fails(saved: Saved) -> None:
    document = deepcopy(saved.document)
    document["exchange"]["request"] = "{"
    assert results(saved.judged(document))["nonce"] == "fail"


def test_judging_asynchronously_is_the_same(saved: Saved) -> None:
    """Of each source of trust, also where the registry cannot be asked, and of what cannot be read."""
    data = json.dumps(saved.document).encode()
    away = Verifier.registry(Network(**{**asdict(DEVNET), "registry_rpc_url": "http://127.0.0.1:9"}))
    tee_id = saved.document["exchange"]["tee_id"]
    for verifier in (
        saved.verifier,
        Verifier.tee_ids([tee_id]),
        Verifier.unsafe_file_key(),
        Verifier(NobodyTrust()),
        away,
    ):
        for held in (data, b"{"):
            assert asyncio.run(verifier.averify(held)) == verifier.verify(held)

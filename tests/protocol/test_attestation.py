"""An enclave's own document, judged from the pinned root down: verdict, step, and the words that users see."""

import base64
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

from og_integrations import errors
from og_integrations.errors import AttestationError, ConfigurationError
from og_integrations.protocol.proof import _cbor as cbor
from og_integrations.protocol.proof._attestation import (
    AWS_ROOT_G1_SHA256,
    STEPS,
    Attestation,
    AttestationPolicy,
    decode_body,
    read_measurements,
)
from tests.fuzz.mutation import in_document
from tests.fuzz.targets import only_ours
from tests.protocol.check_results import results
from tests.protocol.documents import (
    CASES,
    DEFAULTS,
    SOUND,
    attest,
    attest_case,
    attest_damaged,
    document_of,
    payload_of,
)

PCRS: list[str] = DEFAULTS["pcrs"][0]
BUILD = (PCRS[0], PCRS[1], PCRS[2])


def verdict_on(case_id: str) -> tuple[str, str | None, tuple[Any, ...]]:
    """Return status, step and checks in the words of the vectors."""
    try:
        found = attest_case(case_id)
    except AttestationError as exc:
        return "malformed" if exc.step == "encoding" else "failed", exc.step, exc.checks
    return "verified" if found.verified else "undecided", None, found.checks


@pytest.mark.parametrize("case_id", CASES)
def test_vector(case_id: str) -> None:
    """Each document is judged as its vector says, and refused at that step."""
    expect = CASES[case_id]["expect"]
    status, step, checks = verdict_on(case_id)
    if expect["status"] != "either":
        assert status == expect["status"]
        assert step in (expect["step"], *expect.get("also", ()))
    assert tuple(check.id for check in checks) == STEPS


def refused(case_id: str, step: str, said: str) -> AttestationError:
    """Check that a document is refused at `step` with a message for the user, and return the error."""
    with pytest.raises(AttestationError, match=said) as caught:
        attest_case(case_id)
    assert str(caught.value).startswith(f"The attestation document is refused: {step}: ")
    assert "Do not trust the enclave that showed it" in str(caught.value)
    assert caught.value.step == step
    return caught.value


@pytest.mark.parametrize(
    ("case_id", "step", "said"),
    [
        ("encoding/html", "encoding", "the body is not one line of base64"),
        ("encoding/large", "encoding", "the document has 44563 bytes, expected at most 32768"),
        ("encoding/trailing-copy", "encoding", "3603 bytes stand behind the end"),
        ("header/alg-es256", "header", r"the protected header is a10126, expected a1013822 \(ES384\)"),
        ("header/unprotected-x5chain", "header", "the unprotected header is not empty: nobody signed it"),
        ("document/nonce-twice", "document", "a map has the same key twice"),
        ("document/pcr-length-shift", "document", "PCR0 has not 48 bytes"),
        ("chain/own-root", "chain", "the first certificate is a90b8f.*, none of the 1 pinned roots"),
        ("chain/attacker-root-in-bundle", "chain", "certificate 2 of 6 is not signed by the certificate before it"),
        ("chain/swapped", "chain", "certificate 2 of 5 names another issuer than the certificate before it"),
        ("chain/leaf-expired", "chain", "the leaf was not valid at the document's time"),
        ("chain/zonal-trailing", "chain", "certificate 3 of 5 cannot be read"),
        ("chain/leaf-is-instance", "chain", "the leaf belongs to an authority"),
        ("chain/leaf-no-digital-signature", "chain", "the leaf may not sign data"),
        (
            "chain/instance-critical-extension",
            "chain",
            "the critical extension 1.3.6.1.4.1.55555.1, which is not known",
        ),
        ("chain/pathlen-zonal-0", "chain", "certificate 3 of 5 allows 0 authorities below it, there are 1"),
        ("signature/payload-bit", "signature", "not signed by its own leaf certificate, or was altered"),
        ("time/age-301", "time", "made at 2026-11-18 11:01:39 UTC, 301 s ago, expected at most 300"),
        ("time/future-61", "time", "which is 61 s ahead of the clock here, expected at most 60"),
        ("nonce/absent", "nonce", "answers another question: nonce none, expected 13c3587bac133ee3a905901dfb502bff"),
        ("debug/all-zero", "debug", "PCR0 is all zero: the enclave runs in debug mode, and its operator can read it"),
        ("measurements/other-build", "measurements", "pcr hash 0xe92b.* is none of the 1 that are pinned"),
        ("binding/sync-20", "binding", "'user_data' has 20 bytes, expected the 68 of two hashes"),
        ("binding/app-slot-zero", "binding", "the enclave has not registered its signing key"),
        ("binding/peer-shows-other-certificate", "binding", "for another TLS certificate: someone may be in between"),
    ],
)
def test_message(case_id: str, step: str, said: str) -> None:
    """Each kind of refusal says what was found and what was expected."""
    refused(case_id, step, said)


def test_failed_step_leaves_the_later_ones_open() -> None:
    """What came before passed, what comes after is a skip: never a pass."""
    checks = refused("nonce/other", "nonce", "another question").checks
    rest = dict.fromkeys(STEPS[STEPS.index("nonce") + 1 :], "skip")
    assert results(checks) == dict.fromkeys(STEPS[:6], "pass") | {"nonce": "fail"} | rest
    assert checks[-1].detail == "not reached: nonce failed"


def test_refused_enclave_is_rejected_before_anything_is_sent() -> None:
    """Who catches what a policy rejects catches this as well; the next enclave is tried, this one not again."""
    error = refused("debug/all-zero", "debug", "debug mode")
    assert isinstance(error, errors.EnclaveRejectedError)
    assert (error.blames_enclave, error.is_retryable) == (True, False)


def test_sound_document_says_what_it_holds() -> None:
    found = attest_case("ok/definite-map")
    assert found.verified
    assert found.measurements == BUILD
    assert (found.timestamp, found.module_id) == (1_795_000_000_123, "i-0123456789abcdef0-enc0123456789abcdef")
    assert [check.result for check in found.checks] == ["pass"] * 10


@pytest.mark.parametrize(
    ("now", "said"),
    [(1_795_000_011, "11 s before it was judged"), (1_794_999_990, "10 s ahead of the clock that judged it")],
)
def test_time_says_how_old_the_document_is(now: int, said: str) -> None:
    assert attest(SOUND[0], now=now).checks[5].detail == f"made at 2026-11-18 11:06:40 UTC, {said}"


@pytest.mark.parametrize(
    ("changes", "step", "said"),
    [
        ({"nonce": None}, "nonce", "the document may be a recorded one"),
        (
            {"policy": AttestationPolicy(None, DEFAULTS["root_sha256"])},
            "measurements",
            "any AWS customer can make such",
        ),
        ({"tls_certificate": None}, "binding", "TLS certificate not given"),
        ({"signing_key": None}, "binding", "signing key not given"),
        ({"tls_certificate": None, "signing_key": None}, "binding", "TLS certificate and signing key not given"),
    ],
)
def test_what_is_not_given_is_never_a_pass(changes: dict[str, Any], step: str, said: str) -> None:
    found = attest(SOUND[0], **changes)
    (skipped,) = [check for check in found.checks if check.result != "pass"]
    assert (skipped.id, skipped.result, found.verified) == (step, "skip", False)
    assert said in skipped.detail


@pytest.mark.parametrize("missing", ["tls_certificate", "signing_key"])
def test_one_wrong_key_is_refused_though_the_other_is_not_known(missing: str) -> None:
    given: dict[str, Any] = {"tls_certificate": b"another", "signing_key": b"another", missing: None}
    with pytest.raises(AttestationError, match="someone may be in between"):
        attest(SOUND[0], **given)


def test_empty_nonce_asks_for_nothing() -> None:
    """A nonce that was lost on the way must not make a document without one fresh."""
    with pytest.raises(AttestationError, match=r"nonce none, expected one\."):
        attest(document_of("nonce/empty"), nonce=b"")


def test_registry_has_to_list_the_same_build() -> None:
    """A genuine document of another build is no proof for what the registry lists."""
    listed = attest(SOUND[0]).pcr_hash
    assert attest(SOUND[0], pcr_hash=listed[2:].upper()).verified
    with pytest.raises(AttestationError, match="but the registry lists 0x0000") as caught:
        attest(SOUND[0], pcr_hash="0x" + "00" * 32)
    assert caught.value.step == "measurements"


def test_only_verify_document_makes_an_attestation() -> None:
    with pytest.raises(AttestationError, match="made by verify_document only"):
        Attestation(checks=(), measurements=BUILD, timestamp=1, module_id="i-1", seal=None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "canonical spelling"),
        (b"\n", "canonical spelling"),
        (b"AAAA\n\n", "one line of base64"),
        (b"AAAA\r\n", "one line of base64"),
        (b" AAAA", "one line of base64"),
        (b"AAA", "one line of base64"),
        (b"AAA=\nAAAA", "one line of base64"),
        (b"AAB=", "canonical spelling"),
        (b"AA-_", "one line of base64"),
        ("ÄÄÄÄ".encode(), "one line of base64"),
        (b"A" * 70_000, "the body has 70000 bytes, expected at most 65536"),
    ],
)
def test_body_is_one_strict_line(body: bytes, said: str) -> None:
    """One document has one spelling, so that nobody sees another one than we do."""
    with pytest.raises(AttestationError, match=said) as caught:
        decode_body(body)
    assert (caught.value.step, len(caught.value.checks)) == ("encoding", 10)


def test_body_is_read() -> None:
    assert decode_body(base64.b64encode(SOUND[0]) + b"\n") == decode_body(base64.b64encode(SOUND[0])) == SOUND[0]


def test_root_of_aws_is_pinned_by_default() -> None:
    assert AttestationPolicy(None).roots == {AWS_ROOT_G1_SHA256}
    with pytest.raises(AttestationError, match="none of the 1 pinned roots"):
        attest(SOUND[0], policy=AttestationPolicy([BUILD]))


def test_policy_reads_upper_case() -> None:
    policy = AttestationPolicy(
        [(PCRS[0].upper(), "0x" + PCRS[1], PCRS[2])], [root.upper() for root in DEFAULTS["root_sha256"]]
    )
    assert attest(SOUND[0], policy=policy).verified


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"root_sha256": AWS_ROOT_G1_SHA256}, "root_sha256 is a text, expected a list"),
        ({"root_sha256": ["ab"]}, "root_sha256 holds 'ab', expected 64 hex digits"),
        ({"measurements": [BUILD[:2]]}, r"not of the form \(PCR0, PCR1, PCR2\)"),
        ({"measurements": [(*BUILD[:2], "00" * 47)]}, "PCR2 holds .*, expected 96 hex digits"),
        ({"measurements": [(*BUILD[:2], None)]}, "PCR2 holds None"),
        ({"measurements": "f" * 96}, r"not of the form \(PCR0, PCR1, PCR2\)"),
        ({"max_age": -1}, "max_age is no number of seconds"),
        ({"max_future": 1.5}, "max_future is no number of seconds"),
    ],
)
def test_policy_that_means_nothing(arguments: dict[str, Any], said: str) -> None:
    """A slip in a list of fingerprints is told at once, and not by an enclave that is refused."""
    with pytest.raises(ConfigurationError, match=said):
        AttestationPolicy(**({"measurements": None} | arguments))


def entry(build: tuple[str, str, str] = BUILD) -> dict[str, str]:
    return {"HashAlgorithm": "Sha384 { ... }", "PCR0": build[0], "PCR1": build[1], "PCR2": build[2]}


@pytest.mark.parametrize(
    "document",
    [
        entry(),
        [entry()],
        {"EnclaveName": "gateway", "MemoryMiB": 4096, "Measurements": entry()},
        [{"Measurements": entry()}],
    ],
)
def test_measurements_are_read_in_every_form(document: object) -> None:
    """One build or many, alone or as `nitro-cli` describes an enclave."""
    assert read_measurements(document) == [BUILD]


@pytest.mark.parametrize("document", [None, "PCR0", [None], {"Measurements": []}, {"PCR0": PCRS[0]}, [entry(), {}]])
def test_measurements_that_are_none(document: object) -> None:
    with pytest.raises(ConfigurationError, match="PCR"):
        read_measurements(document)


def test_empty_list_of_measurements_accepts_nobody() -> None:
    """A list that lost its entries must not open the door."""
    assert read_measurements([]) == []
    with pytest.raises(AttestationError, match="is none of the 0 that are pinned"):
        attest(SOUND[0], policy=AttestationPolicy([], DEFAULTS["root_sha256"]))


def accepted_by_cryptography(document: bytes) -> bool:
    """Ask the chain verifier of `cryptography`, which looks for a path itself."""
    claims: Any = cbor.decode(payload_of(document))
    root, *between = map(x509.load_der_x509_certificate, claims["cabundle"])
    constraints = ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, Criticality.AGNOSTIC, lambda policy, certificate, extension: None
    )
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(datetime.fromtimestamp(claims["timestamp"] / 1000, UTC).replace(tzinfo=None))
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=constraints)
        .build_client_verifier()
    )
    chain = verifier.verify(x509.load_der_x509_certificate(claims["certificate"]), between).chain
    return len(chain) == len(claims["cabundle"]) + 1


def test_another_verifier_agrees_about_sound_chains() -> None:
    assert all(map(accepted_by_cryptography, SOUND))


@pytest.mark.parametrize("part", range(8))
def test_damaged_documents(part: int) -> None:
    """10,000 in all: none is accepted unless every signed byte is intact, and nothing but our own errors comes out."""
    rng = random.Random(f"documents {part}")
    for _ in range(1250):
        only_ours(attest_damaged, in_document(rng.choice(SOUND), rng))

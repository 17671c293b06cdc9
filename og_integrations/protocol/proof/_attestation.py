"""
This module verifies AWS Nitro attestation documents, step by step (docs/protocol.md §9).

A document is a COSE_Sign1 message (RFC 9052 §4.4) about a CBOR map, signed by the hypervisor's key, whose
certificate leads to AWS's root in the order in which the document lists it. `verify_document` is the only maker
of an `Attestation`. It raises `AttestationError` at the first step that fails. A step that cannot be judged
because its argument is missing is a `skip`, and a skip is never a pass.

A genuine document alone says little: any AWS customer gets one for a program of his own. What the enclave runs
is said by its measurements PCR0, PCR1 and PCR2, and only a list that the owner pinned gives them a meaning.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.utils import CryptographyDeprecationWarning

from og_integrations.errors import AttestationError
from og_integrations.protocol._redact import shown
from og_integrations.protocol.proof import _cbor as cbor
from og_integrations.protocol.proof._enclave import normalize_hash
from og_integrations.protocol.proof._measurements import (
    AWS_ROOT_G1_SHA256,
    AttestationPolicy,
    Measurements,
    listed_builds,
    pcr_hash_of,
    read_measurements,
)
from og_integrations.protocol.proof._verification import CheckLog, StepError, TrustDecision
from og_integrations.receipt import Check

__all__ = [
    "AWS_ROOT_G1_SHA256",
    "Attestation",
    "AttestationPolicy",
    "Measurements",
    "STEPS",
    "decode_body",
    "listed_builds",
    "measurements_in",
    "pcr_hash_of",
    "read_measurements",
    "trust_of",
    "verify_document",
]

STEPS = (
    "encoding",
    "header",
    "document",
    "chain",
    "signature",
    "time",
    "nonce",
    "debug",
    "measurements",
    "binding",
)
"""The ids of all checks of a document, in the order in which they are made."""

MAX_BODY_BYTES = 64 * 1024
MAX_DOCUMENT_BYTES = 32 * 1024
"""Real documents have 4.4 to 7.5 kB."""

_ES384 = b"\xa1\x01\x38\x22"  # {1: -35}, which is the only algorithm that Nitro signs with
_TAGGED, _ARRAY_OF_4 = b"\xd2", 0x84
_SIGNATURE_BYTES = 96
_PCR_BYTES = 48
# Real bundles hold four certificates. Without a bound, a
# document of 32 KiB could cost dozens of signature checks.
_MAX_BUNDLE = 8
_MAX_STRING = 1024  # 512 are documented for some members; real hardware signs this much
_SHA256_HEAD = b"\x12\x20"  # nitriding writes its two hashes as multihashes
_SLOT_BYTES = 34
# RFC 5280 §4.2: whoever meets a critical extension that it does not process must refuse the certificate.
_PROCESSED = (x509.BasicConstraints.oid, x509.KeyUsage.oid)
# Attestation demands this object, so that no other code can build one that looks verified.
_SEAL = object()

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,  # where warnings are errors
)
"""These are the errors that `cryptography` raises for bytes that are no certificate, or one that it does not know."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """
    An attestation holds what a document says that no check refused. Only `verify_document` makes one.

    `timestamp` is the document's own time in unix milliseconds, `module_id` AWS's name of the enclave. `verified`
    is true only if each of `checks` is a pass.
    """

    checks: tuple[Check, ...]
    measurements: Measurements
    timestamp: int
    module_id: str
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise AttestationError("An Attestation is made by verify_document only.", step="document")

    @property
    def verified(self) -> bool:
        """Return whether every check passed."""
        return all(check.result == "pass" for check in self.checks)

    @property
    def pcr_hash(self) -> str:
        """Return what a registry lists for these measurements: 0x-hex keccak256(PCR0‖PCR1‖PCR2)."""
        return pcr_hash_of(self.measurements)


def trust_of(attestation: Attestation) -> TrustDecision:
    """
    Return how far the enclave of `attestation` is believed: "measured", "attested", or not at all.

    "attested" is a document that passed everything but the comparison with a pinned build. Any AWS customer gets one
    for a program of his own, so that it is no proof against a node that lies about which enclaves there are.
    """
    made = datetime.fromtimestamp(attestation.timestamp // 1000, UTC)
    signed = f"AWS signed, {made:%Y-%m-%d %H:%M:%S} UTC, that this key and certificate are of"
    build = f"(pcr hash {attestation.pcr_hash})"
    open_steps = [check.id for check in attestation.checks if check.result != "pass"]
    if not open_steps:
        document = Check("attestation", "pass", f"{signed} a pinned build {build}")
        return TrustDecision("measured", "AWS vouches for the enclave, which runs a pinned build", document=document)
    if open_steps == ["measurements"]:
        anybody = "no build is pinned, and any AWS customer can make such a document"
        document = Check("attestation", "pass", f"{signed} an enclave; {anybody} {build}")
        return TrustDecision("attested", f"AWS vouches for an enclave with this key; {anybody}", document=document)
    judged = f"the attestation document could not be judged in full: {', '.join(open_steps)}"
    return TrustDecision(None, judged, answered=False, document=Check("attestation", "skip", judged))


def decode_body(body: bytes) -> bytes:
    """
    Return the document in the body of a `GET /enclave/attestation`: one line of strict base64.

    Raises `AttestationError` (step `encoding`).
    """
    with _log().step("encoding"):
        return _decoded(body)


def measurements_in(document: bytes) -> Measurements:
    """
    Return what `document` says that its enclave runs. Nothing is checked: `verify_document` does that.

    Raises `AttestationError` (step `document`) for what is no document.
    """
    with _log().step("document"):
        return _claims(_message(document).payload).measurements


def verify_document(
    document: bytes,
    *,
    policy: AttestationPolicy,
    now: int,
    nonce: bytes | None,
    tls_certificate: bytes | None,
    signing_key: bytes | None,
    pcr_hash: str | None = None,
) -> Attestation:
    """
    Check that `document` is a genuine, fresh attestation of an enclave that `policy` accepts.

    `now` is in unix seconds. `nonce` is what the document was asked for with, `tls_certificate` the DER of the
    certificate to which its connection is pinned, `signing_key` the DER (SubjectPublicKeyInfo) of the RSA key that
    signs answers, `pcr_hash` (0x-hex) what a registry lists for this enclave. Each may be None if it is not known:
    its step is then a skip, except for `pcr_hash`, which not every enclave has.

    Raises `AttestationError`; its `step` is one of `STEPS` and its `checks` hold all verdicts.
    """
    log = _log()
    with log.step("encoding"):
        # (1): four parts, and nothing that another reader could see differently.
        message = _message(document)
        log.passed(f"COSE_Sign1 of {len(document)} bytes")
    with log.step("header"):
        # (2): the document does not choose how it is verified.
        _check_header(message)
        log.passed("ES384, and nothing else is asked for")
    with log.step("document"):
        # (3): each member has the kind and size that AWS documents.
        claims = _claims(message.payload)
        log.passed(f"of enclave {shown(claims.module_id, 80)}")
    with log.step("chain"):
        # (4): the pinned root speaks for the key, through certificates that were valid at the document's time.
        key = _leaf_key(claims, policy)
        log.passed(f"{len(claims.cabundle)} certificates from the pinned root to the leaf")
    with log.step("signature"):
        # (5): that key signed these very bytes.
        _check_signature(key, message)
        log.passed("ECDSA P-384 with SHA-384")
    with log.step("time"):
        # (6): it was made just now.
        log.passed(_judge_time(claims.timestamp, now, policy))
    with log.step("nonce"):
        # (7): it was made for us, and not recorded.
        _judge_nonce(claims.nonce, nonce, log)
    with log.step("debug"):
        # (8): nobody can look into the enclave.
        _judge_debug(claims.measurements, log)
    with log.step("measurements"):
        # (9): it runs a build that the owner pinned.
        _judge_measurements(claims.measurements, policy, pcr_hash, log)
    with log.step("binding"):
        # (10): it holds the key behind the connection, and the key that signs answers.
        _judge_binding(claims.user_data, tls_certificate, signing_key, log)
    return Attestation(tuple(log.checks), claims.measurements, claims.timestamp, claims.module_id, seal=_SEAL)


class _Message(NamedTuple):
    protected: bytes
    unprotected: dict[int | str, cbor.Value]
    payload: bytes
    signature: bytes


class _Claims(NamedTuple):
    module_id: str
    timestamp: int
    measurements: Measurements
    certificate: bytes
    cabundle: list[bytes]
    user_data: bytes | None
    nonce: bytes | None


class _Certificate(NamedTuple):
    """A certificate was signed by the one before it; `valid` is (first, last) in unix milliseconds."""

    key: ec.EllipticCurvePublicKey
    valid: tuple[int, int]
    is_authority: bool
    path_length: int | None
    signs_certificates: bool
    signs_data: bool


def _log() -> CheckLog:
    return CheckLog(STEPS, _refused)


def _refused(step: str, detail: str) -> AttestationError:
    return AttestationError(
        f"The attestation document is refused: {step}: {detail}. Do not trust the enclave that showed it; a client "
        "sends such an enclave no prompt and no payment.",
        step=step,
    )


def _decoded(body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise StepError(f"the body has {len(body)} bytes, expected at most {MAX_BODY_BYTES}")
    # The enclave's daemon ends its line with a line feed; nothing
    # else around the base64 is accepted (docs/protocol.md §9.1).
    line = body.removesuffix(b"\n")
    try:
        document = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise StepError("the body is not one line of base64") from exc
    # Python's decoder takes padding bits of any value: one document would have many spellings.
    if not document or base64.b64encode(document) != line:
        raise StepError("the body is not one line of base64 in its canonical spelling")
    return document


def _message(document: bytes) -> _Message:
    if len(document) > MAX_DOCUMENT_BYTES:
        raise StepError(f"the document has {len(document)} bytes, expected at most {MAX_DOCUMENT_BYTES}")
    # RFC 9052 §4.2 makes the tag of COSE_Sign1 optional, and the hypervisor leaves it out.
    untagged = document.removeprefix(_TAGGED)
    if untagged[:1] != bytes([_ARRAY_OF_4]):
        raise StepError("the document is no COSE_Sign1 message, expected an array of four parts")
    try:
        parts = cbor.decode(untagged)
    except ValueError as exc:
        raise StepError(f"the document is not the CBOR that Nitro makes: {exc}") from exc
    match parts:
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            return _Message(protected, unprotected, payload, signature)
        case _:
            raise StepError("the document's four parts are not bytes, a map, bytes and bytes")


def _check_header(message: _Message) -> None:
    # Were the document to name its own algorithm, a forger could choose one that he can satisfy.
    if message.protected != _ES384:
        raise StepError(f"the protected header is {message.protected[:16].hex()}, expected {_ES384.hex()} (ES384)")
    if message.unprotected:
        raise StepError("the unprotected header is not empty: nobody signed it")
    # The signature is split at byte 48 later: of another length, r and s would be read from the wrong places.
    if len(message.signature) != _SIGNATURE_BYTES:
        raise StepError(f"the signature has {len(message.signature)} bytes, expected {_SIGNATURE_BYTES}")


def _claims(payload: bytes) -> _Claims:
    try:
        members = cbor.decode(payload)
    except ValueError as exc:
        raise StepError(f"the payload is not the CBOR that Nitro makes: {exc}") from exc
    # Unknown members are let through, since AWS signs them like the others (docs/protocol.md §9.1).
    if not isinstance(members, dict) or not all(isinstance(name, str) for name in members):
        raise StepError("the payload is no map with texts as keys")
    module_id, timestamp, bundle = members.get("module_id"), members.get("timestamp"), members.get("cabundle")
    if members.get("digest") != "SHA384":
        raise StepError("'digest' is not SHA384")
    if not isinstance(module_id, str) or not 1 <= len(module_id.encode()) <= 256:
        raise StepError("'module_id' is no text of 1 to 256 bytes")
    # Numbers of 2^53 and more are refused because readers in JavaScript would round them to another time.
    if not isinstance(timestamp, int) or not 0 < timestamp < 2**53:
        raise StepError("'timestamp' is no time, expected unix milliseconds")
    if not isinstance(bundle, list) or not 1 <= len(bundle) <= _MAX_BUNDLE:
        raise StepError(f"'cabundle' is no list of 1 to {_MAX_BUNDLE} certificates")
    _optional(members, "public_key")  # of a legal size, and never read: nitriding leaves a dummy there
    return _Claims(
        module_id=module_id,
        timestamp=timestamp,
        measurements=_measurements(members.get("pcrs")),
        certificate=_string(members.get("certificate"), "certificate", least=1),
        cabundle=[_string(entry, "cabundle", least=1) for entry in bundle],
        user_data=_optional(members, "user_data"),
        nonce=_optional(members, "nonce"),
    )


def _measurements(value: object) -> Measurements:
    if not isinstance(value, dict):
        raise StepError("'pcrs' is no map")
    for index, pcr in value.items():
        if not isinstance(index, int) or not 0 <= index < 32:
            raise StepError("'pcrs' has a key that is no number from 0 to 31")
        # Of another length, two builds could have the same bytes one after the other, and so the same pcr hash.
        if not isinstance(pcr, bytes) or len(pcr) != _PCR_BYTES:
            raise StepError(f"PCR{index} has not {_PCR_BYTES} bytes")
    # The registry's pcrHash is made of these three registers
    # (docs/protocol.md §1.2); the others are not compared.
    if not {0, 1, 2} <= value.keys():
        raise StepError("one of PCR0, PCR1 and PCR2 is missing")
    return value[0].hex(), value[1].hex(), value[2].hex()


def _optional(members: dict[int | str, cbor.Value], name: str) -> bytes | None:
    value = members.get(name)
    return None if value is None else _string(value, name, least=0)


def _string(value: object, name: str, *, least: int) -> bytes:
    if not isinstance(value, bytes) or not least <= len(value) <= _MAX_STRING:
        raise StepError(f"'{name}' has something else than {least} to {_MAX_STRING} bytes")
    return value


def _leaf_key(claims: _Claims, policy: AttestationPolicy) -> ec.EllipticCurvePublicKey:
    """Walk from the pinned root to the leaf, in the given order: a path is never searched."""
    # The bundle comes from the enclave itself, so its first
    # certificate proves nothing until it equals the pinned one.
    fingerprint = hashlib.sha256(claims.cabundle[0]).hexdigest()
    if fingerprint not in policy.roots:
        raise StepError(f"the first certificate is {fingerprint}, none of the {len(policy.roots)} pinned roots")
    # No path is searched: `cryptography`'s own verifier accepts
    # swapped and repeated certificates, which this order refuses.
    chain = [*claims.cabundle, claims.certificate]
    issuer: bytes | None = None
    for position, der in enumerate(chain, 1):
        name = "the leaf" if position == len(chain) else f"certificate {position} of {len(chain)}"
        try:
            certificate = _certificate(der, issuer)
        except StepError as exc:
            raise StepError(f"{name} {exc}") from exc
        # The document's own time counts, because a leaf lives for
        # three hours and saved documents are judged much later.
        if not certificate.valid[0] <= claims.timestamp <= certificate.valid[1]:
            raise StepError(f"{name} was not valid at the document's time")
        _check_role(certificate, name, below=len(chain) - 1 - position)
        issuer = der
    return certificate.key


# An enclave is asked anew every hour, and of its chain only the leaf has changed. What fails is not kept.
@lru_cache(maxsize=256)
def _certificate(der: bytes, issuer: bytes | None) -> _Certificate:
    """Return the certificate `der` if `issuer` signed it; None: it is the pinned root, which nobody has to sign."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        if issuer is not None:
            if certificate.signature_algorithm_oid != x509.SignatureAlgorithmOID.ECDSA_WITH_SHA384:
                raise StepError("is not signed with ECDSA and SHA-384")
            authority = x509.load_der_x509_certificate(issuer)
            # Two authorities can hold one key, so the name is
            # compared as well as the signature (RFC 5280 §6.1.3).
            if certificate.issuer != authority.subject:
                raise StepError("names another issuer than the certificate before it")
            certificate.verify_directly_issued_by(authority)
        key, extensions = certificate.public_key(), certificate.extensions
        for extension in extensions:
            if extension.critical and extension.oid not in _PROCESSED:
                raise StepError(f"has the critical extension {extension.oid.dotted_string}, which is not known here")
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except InvalidSignature as exc:
        raise StepError("is not signed by the certificate before it") from exc
    except x509.ExtensionNotFound as exc:
        raise StepError("lacks the extension basicConstraints or keyUsage") from exc
    except _UNREADABLE as exc:
        raise StepError(f"cannot be read ({type(exc).__name__})") from exc
    # A leaf on a weaker curve would let its holder sign documents that ES384 was meant to protect.
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise StepError("has no key on the curve P-384")
    return _Certificate(
        key=key,
        valid=(int(first.timestamp()) * 1000, int(last.timestamp()) * 1000),
        is_authority=constraints.ca,
        path_length=constraints.path_length,
        signs_certificates=usage.key_cert_sign,
        signs_data=usage.digital_signature,
    )


def _check_role(certificate: _Certificate, name: str, below: int) -> None:
    """Check what `certificate` may do, with so many authorities `below` it; -1 for the leaf (RFC 5280 §4.2.1.9)."""
    if below < 0:
        if certificate.is_authority:
            raise StepError(f"{name} belongs to an authority, expected an enclave's")
        if not certificate.signs_data:
            raise StepError(f"{name} may not sign data")
        return
    # Otherwise any enclave could issue certificates to others.
    if not certificate.is_authority or not certificate.signs_certificates:
        raise StepError(f"{name} may not issue certificates")
    # The instance's authority has a path length of 0: it may
    # issue the leaf, but no authority that issues other leaves.
    if certificate.path_length is not None and certificate.path_length < below:
        raise StepError(f"{name} allows {certificate.path_length} authorities below it, there are {below}")


def _check_signature(key: ec.EllipticCurvePublicKey, message: _Message) -> None:
    # The received bytes are verified, and never an encoding of our own.
    signed = b"\x84\x6aSignature1" + b"".join(map(cbor.encode_bytes, (message.protected, b"", message.payload)))
    # COSE writes r ‖ s (RFC 9053 §2.1) and `cryptography` takes DER, so the halves are encoded anew.
    r, s = (int.from_bytes(half, "big") for half in (message.signature[:48], message.signature[48:]))
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as exc:
        raise StepError("the document is not signed by its own leaf certificate, or was altered") from exc


def _judge_time(timestamp: int, now: int, policy: AttestationPolicy) -> str:
    age = now - timestamp // 1000
    # Within the certificates' validity, so there is such a date.
    made = f"made at {datetime.fromtimestamp(timestamp // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    # A recorded document may describe a build that was replaced since, or a key that an operator has learned.
    if age > policy.max_age:
        raise StepError(f"{made}, {age} s ago, expected at most {policy.max_age}")
    # A time in the future would let a document be recorded now and shown as fresh later.
    if timestamp > (now + policy.max_future) * 1000:
        raise StepError(f"{made}, which is {-age} s ahead of the clock here, expected at most {policy.max_future}")
    return (
        f"{made}, {age} s before it was judged" if age >= 0 else f"{made}, {-age} s ahead of the clock that judged it"
    )


def _judge_nonce(found: bytes | None, asked: bytes | None, log: CheckLog) -> None:
    if asked is None:
        log.skipped("no nonce was given: the document may be a recorded one")
        return
    # An empty nonce would equal the empty nonce of any recorded document.
    if not asked or found is None or not hmac.compare_digest(found, asked):
        got = "none" if not found else found[:32].hex()
        raise StepError(f"the document answers another question: nonce {got}, expected {asked[:32].hex() or 'one'}")
    log.passed("the nonce that was asked for")


def _judge_debug(measurements: Measurements, log: CheckLog) -> None:
    for index, pcr in enumerate(measurements):
        # A debug enclave has all-zero registers. The check stands
        # before the pinned list, so that no list can allow one.
        if not pcr.strip("0"):
            raise StepError(f"PCR{index} is all zero: the enclave runs in debug mode, and its operator can read it")
    log.passed("not in debug mode")


def _judge_measurements(found: Measurements, policy: AttestationPolicy, listed: str | None, log: CheckLog) -> None:
    pcr_hash = pcr_hash_of(found)
    # A difference means that the registry's entry describes another build than the one that answers.
    if listed is not None and normalize_hash(listed) != pcr_hash:
        raise StepError(f"the build's pcr hash is {pcr_hash}, but the registry lists {shown(listed, 80)}")
    if policy.builds is None:
        log.skipped(f"no measurements are pinned, and any AWS customer can make such a document (pcr hash {pcr_hash})")
        return
    # The triple is compared as a whole: PCR1 is the same in
    # every published build, so one register alone says nothing.
    if found not in policy.builds:
        raise StepError(f"the build with pcr hash {pcr_hash} is none of the {len(policy.builds)} that are pinned")
    log.passed(f"a pinned build (pcr hash {pcr_hash})")


def _judge_binding(user_data: bytes | None, certificate: bytes | None, key: bytes | None, log: CheckLog) -> None:
    if user_data is None or len(user_data) != 2 * _SLOT_BYTES:
        raise StepError(f"'user_data' has {len(user_data or b'')} bytes, expected the {2 * _SLOT_BYTES} of two hashes")
    missing = []
    # Without these two hashes a genuine document could be relayed by a server in between that holds neither key.
    for start, name, given in ((0, "TLS certificate", certificate), (_SLOT_BYTES, "signing key", key)):
        head, digest = user_data[start : start + 2], user_data[start + 2 : start + _SLOT_BYTES]
        if head != _SHA256_HEAD:
            raise StepError(f"'user_data' holds no SHA-256 of the {name}")
        # A hash that is all zero was never registered, so it binds no key at all (docs/protocol.md §9.2).
        if not any(digest):
            raise StepError(f"the enclave has not registered its {name}")
        if given is None:
            missing.append(name)
        elif not hmac.compare_digest(hashlib.sha256(given).digest(), digest):
            raise StepError(f"the document was made for another {name}: someone may be in between")
    if missing:
        log.skipped(f"{' and '.join(missing)} not given: the document may belong to another connection")
    else:
        log.passed("made for this TLS certificate and this signing key")

"""
The devnet's AWS: a root of its own, the chain below it, and the documents that its enclaves show (docs/protocol.md §9).

Everything is as on the real hardware, P-384 keys, ECDSA-SHA384, lifetimes and the fields of a document, except for
the root: a client accepts it only if it is told to (`Devnet.enclave_policy`).
"""

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from og_integrations.devnet._clock import Clock
from og_integrations.protocol.proof import _cbor as cbor

Build = tuple[str, str, str]
"""PCR0, PCR1 and PCR2 in hex."""
PUBLISHED_BUILD: Build = (
    "f2945c350e80c9431649dd691cb4ecebc11174c0201e22c151b0b11c0aa41074174b57cc17343444380f212baaf5752c",
    "4b4d5b3661b3efc12920900c80e126e4ce783c522de6c02a2a5bf7af3a2b9327b86776f188e4be1c1c404a129dbda493",
    "01d8b4615e5dc0417d57713b6d8d2c3b0ab3ec3e1848658c116a2986da35b47c04001c8acbea57858446d0bf0a35de68",
)
"""What the devnet's enclaves run: the measurements that the gateway's source published on 31 March 2026."""


def build_called(name: str) -> Build:
    """Return a build that is made up; PCR1 is the same in all, since it is that of the build tool's kernel."""
    image, application = (hashlib.sha384(f"{name} {part}".encode()).hexdigest() for part in ("image", "application"))
    return image, PUBLISHED_BUILD[1], application


STRANGERS_BUILD = build_called("somebody else's")
"""What an enclave runs that somebody else has made."""

_DAY = 24 * 60 * 60
_LEAF_SECONDS = 3 * 60 * 60
_MULTIHASH = b"\x12\x20"
_PROTECTED = bytes.fromhex("a1013822")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """
    What a document says before it is signed; faults change it.

    `measured_at` is in unix milliseconds. `certificate` and `signing_key` are the DER whose hashes stand in
    `user_data`. With `foreign` a root of an attacker stands first in its bundle, and signs.
    """

    measurements: Build
    measured_at: int
    nonce: bytes
    certificate: bytes
    signing_key: bytes
    foreign: bool = False


class Authority:
    """An authority is a root certificate with the chain below it, made when used and renewed as AWS does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._issued: _Chain | None = None
        self._issued_at = 0

    @cached_property
    def _root(self) -> "_Issued":
        key = ec.generate_private_key(ec.SECP384R1())
        return _issue("aws.nitro-enclaves.invalid", key, None, self._clock.seconds(), 30 * 365 * _DAY, path_length=None)

    @property
    def root_sha256(self) -> str:
        """Return the fingerprint of its root, hex, which takes the place of AWS's."""
        return hashlib.sha256(self._root.der).hexdigest()

    def document(self, claims: Claims) -> bytes:
        """Return the document that says `claims`, signed by a leaf that was valid at their time."""
        chain = self._chain(claims.measured_at // 1000)
        payload: dict[int | str, cbor.Value] = {
            "module_id": "i-0devnet000000000-enc0devnet00000000",
            "digest": "SHA384",
            "timestamp": claims.measured_at,
            "pcrs": _registers(claims.measurements),
            "certificate": chain.leaf.der,
            "cabundle": [issued.der for issued in chain.authorities],
            "public_key": b"dummy",
            "user_data": b"".join(
                _MULTIHASH + hashlib.sha256(der).digest() for der in (claims.certificate, claims.signing_key)
            ),
            "nonce": claims.nonce,
        }
        return _signed(cbor.encode(payload), chain.leaf.key)

    def _chain(self, at: int) -> "_Chain":
        if self._issued is None or not self._issued_at <= at < self._issued_at + _LEAF_SECONDS:
            self._issued, self._issued_at = _chain_of(self._root, at), at
        return self._issued


def body_of(document: bytes) -> bytes:
    """Return what a gateway answers: one line of base64."""
    return base64.b64encode(document) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issued:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    authorities: list[_Issued]
    leaf: _Issued


def _chain_of(root: _Issued, at: int) -> _Chain:
    """Return the regional, zonal and instance authorities below `root` and a leaf, as AWS issues them, from `at` on."""
    authorities = [root]
    for name, path_length, days in (("regional", 2, 20), ("zonal", 1, 6), ("instance", 0, 1)):
        key = ec.generate_private_key(ec.SECP384R1())
        authorities.append(_issue(name, key, authorities[-1], at, days * _DAY, path_length=path_length))
    key = ec.generate_private_key(ec.SECP384R1())
    return _Chain(authorities=authorities, leaf=_issue("leaf", key, authorities[-1], at, _LEAF_SECONDS))


def _issue(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: _Issued | None,
    at: int,
    seconds: int,
    *,
    path_length: int | None = -1,
) -> _Issued:
    """Return a certificate that `issuer` signs (None: itself); a path length of -1 makes a leaf."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    authority = path_length != -1
    usage = {
        "digital_signature": not authority,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "key_cert_sign": authority,
        "crl_sign": authority,
        "encipher_only": False,
        "decipher_only": False,
    }
    begin = dt.datetime.fromtimestamp(at, dt.UTC)
    constraints = x509.BasicConstraints(ca=authority, path_length=path_length if authority else None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Documents of a minute ago, or of an enclave whose clock is a little behind, are of the same chain.
        .not_valid_before(begin - dt.timedelta(hours=12 if authority else 0))
        .not_valid_after(begin + dt.timedelta(seconds=seconds))
        .add_extension(constraints, critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
    )
    return _Issued(key=key, certificate=builder.sign(key if issuer is None else issuer.key, hashes.SHA384()))


def _registers(build: Build) -> cbor.Value:
    registers: dict[int | str, cbor.Value] = {index: bytes(48) for index in range(16)}
    return registers | {index: bytes.fromhex(pcr) for index, pcr in enumerate(build)}


def _signed(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    to_sign = cbor.encode(["Signature1", _PROTECTED, b"", payload])
    r, s = decode_dss_signature(key.sign(to_sign, ec.ECDSA(hashes.SHA384())))
    return cbor.encode([_PROTECTED, {}, payload, r.to_bytes(48, "big") + s.to_bytes(48, "big")])

"""
An enclave has keys, signs outputs, and shows a certificate (docs/protocol.md §1, §4).

It signs an `Output`; the answer carries the `Proof`, and a stream is a series of `StreamEvent`s.
"""

import base64
import datetime as dt
import json
import secrets
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from og_integrations.devnet._attestation import PUBLISHED_BUILD, Build, Claims
from og_integrations.devnet._clock import Clock
from og_integrations.devnet._sealing import GatewayKey
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._sse import DONE, encode_event
from og_integrations.protocol.chat._wire import ToolCall
from og_integrations.protocol.payment._x402 import checksum_address
from og_integrations.protocol.proof._attestation import pcr_hash_of
from og_integrations.protocol.proof._canonical import signed_digest
from og_integrations.protocol.proof._enclave import OHTTP_SUITE, Enclave, key_config_digest, tee_id_of

_SALT_BYTES = 32
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_SALT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the enclave states about one answer; hashes are raw bytes, `timestamp` unix seconds."""

    tee_id: str
    request_hash: bytes
    output_hash: bytes
    timestamp: int
    signature: bytes

    @property
    def signature_text(self) -> str:
        """Return the signature as an answer carries it."""
        return base64.b64encode(self.signature).decode()

    def fields(self) -> JsonObject:
        """Return the `tee_*` members of an answer, in the order of a stream's final event."""
        return {
            "tee_signature": self.signature_text,
            "tee_timestamp": self.timestamp,
            "tee_request_hash": self.request_hash.hex(),
            "tee_output_hash": self.output_hash.hex(),
            "tee_id": self.tee_id,
        }


def new_signing_key() -> rsa.RSAPrivateKey:
    """Return a new RSA-2048 key, as real enclaves have. It takes about 100 ms, so tests may replace this function."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class EnclaveKeys:
    """These are a signing key (RSA-2048), an X25519 key, and a TLS key (P-256) with its certificate, made when used."""

    @cached_property
    def signing_key(self) -> rsa.RSAPrivateKey:
        """Return the key that is "born in the enclave"."""
        return new_signing_key()

    @cached_property
    def public_key(self) -> bytes:
        """Return DER SubjectPublicKeyInfo of the signing key."""
        return self.signing_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @cached_property
    def public_key_pem(self) -> str:
        """Return the same as PEM, as `/signing-key` shows it."""
        pem = self.signing_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return pem.decode()

    @cached_property
    def tee_id(self) -> str:
        """Return keccak256 of the public key, 0x-hex."""
        return tee_id_of(self.public_key)

    @cached_property
    def sealing(self) -> GatewayKey:
        """Return the key that sealed requests are opened with."""
        return GatewayKey()

    @cached_property
    def key_config_signature(self) -> bytes:
        """Return what the signing key says about the key of sealed requests."""
        return self.signing_key.sign(self._key_config_digest(), _PSS, hashes.SHA256())

    def _key_config_digest(self) -> bytes:
        key = self.sealing.listed
        return key_config_digest(self.public_key, (key.key_id, *OHTTP_SUITE), key.public_key, key.blob)

    def key_config_document(self) -> JsonObject:
        """Return the member `hpke` of `/signing-key`: the key of sealed requests, signed."""
        key, (kem, kdf, aead) = self.sealing.listed, OHTTP_SUITE
        return {
            "key_id": key.key_id,
            "kem_id": kem,
            "kdf_id": kdf,
            "aead_id": aead,
            "public_key": key.public_key.hex(),
            "key_config": base64.b64encode(key.blob).decode(),
            "tee_id": self.tee_id,
            "signature": base64.b64encode(self.key_config_signature).decode(),
            "signature_hash": self._key_config_digest().hex(),
        }

    @cached_property
    def _tls(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        # As in the real enclaves the name is not where it is reached: only the certificate counts.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "enclave.opengradient.invalid")])
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("enclave.opengradient.invalid")]), critical=False)
        )
        return key, builder.sign(key, hashes.SHA256())

    @property
    def certificate(self) -> bytes:
        """Return the DER leaf certificate to pin."""
        return self._tls[1].public_bytes(serialization.Encoding.DER)

    def tls_context(self) -> ssl.SSLContext:
        """Return a server context that shows `certificate`."""
        key, certificate = self._tls
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The ssl module takes keys from files only; this one lives for the next two lines.
        with tempfile.TemporaryDirectory(prefix="og-devnet-") as folder:
            chain = Path(folder, "chain.pem")
            chain.touch(mode=0o600)
            chain.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                + certificate.public_bytes(serialization.Encoding.PEM)
            )
            context.load_cert_chain(chain)
        return context

    def sign(self, request_hash: bytes, output_hash: bytes, timestamp: int) -> Proof:
        """Sign one answer (docs/protocol.md §4). `timestamp` is in unix seconds."""
        digest = signed_digest(request_hash, output_hash, timestamp)
        signature = self.signing_key.sign(digest, _PSS, hashes.SHA256())
        return Proof(
            tee_id=self.tee_id,
            request_hash=request_hash,
            output_hash=output_hash,
            timestamp=timestamp,
            signature=signature,
        )


STRANGER = EnclaveKeys()
"""The keys of an enclave that is on no network: faults pass them off as those of one that is."""


def random_address() -> str:
    """Return an address that nobody has the key of."""
    return checksum_address("0x" + secrets.token_hex(20))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEnclave:
    """
    This is one enclave of the devnet. `endpoint` is its URL; `payment_address` is paid for its answers.

    `wallet_address` is the hot wallet that `/signing-key` shows; nothing is paid to it. `build` is what it runs:
    the published one of April's gateway, and of other generations a made-up one. `takes_sealed` says whether it has an
    OHTTP key.
    """

    keys: EnclaveKeys
    endpoint: str
    payment_address: str
    wallet_address: str
    started_at: int
    build: Build = PUBLISHED_BUILD
    takes_sealed: bool = False

    @property
    def tee_id(self) -> str:
        """Return its id, 0x-hex."""
        return self.keys.tee_id

    def entry(self) -> Enclave:
        """Return what the registry says about it."""
        return Enclave(
            tee_id=self.keys.tee_id,
            endpoint=self.endpoint,
            public_key=self.keys.public_key,
            certificate=self.keys.certificate,
            pcr_hash=pcr_hash_of(self.build),
            payment_address=self.payment_address,
            owner=self.wallet_address,
            registered_at=self.started_at,
            last_heartbeat_at=self.started_at,
            ohttp=self.keys.sealing.listed if self.takes_sealed else None,
        )

    def claims(self, nonce: bytes, clock: Clock) -> Claims:
        """Return what its attestation document says now, if it was asked for with `nonce`."""
        return Claims(
            measurements=self.build,
            measured_at=int(clock.now() * 1000),
            nonce=nonce,
            certificate=self.keys.certificate,
            signing_key=self.keys.public_key,
        )

    def signing_key_document(self, clock: Clock) -> JsonObject:
        """Return the answer of `GET /signing-key`."""
        return {
            "enclave_info": {"instance_type": "tee-enabled", "platform": "aws-nitro", "version": "1.0.0"},
            "measurements": None,
            "public_key": self.keys.public_key_pem,
            "tee_id": self.keys.tee_id,
            "timestamp": dt.datetime.fromtimestamp(clock.now(), dt.UTC).isoformat(),
            "wallet_address": self.wallet_address,
        } | ({"hpke": self.keys.key_config_document()} if self.takes_sealed else {})


STOP, TOOL_CALLS = "stop", "tool_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """
    One answer. Text beside tool calls is sent but not signed (docs/protocol.md §4).

    `calls` are as they are sent; `signed_calls`, if given, are what the enclave signs instead: the
    calls re-assembled from a stream whose fragments have no index.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    signed_calls: tuple[ToolCall, ...] | None = None

    @property
    def finish_reason(self) -> str:
        """Return why the model stopped; the gateway never says `length`."""
        return TOOL_CALLS if self.calls else STOP


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """This is one server-sent event. `compact`: as re-encoded by the payment layer, without blanks."""

    value: JsonObject | str
    compact: bool = False

    def encode(self) -> bytes:
        """Return its bytes."""
        if isinstance(self.value, str):
            return encode_event(self.value)
        return encode_event(json.dumps(self.value, separators=(",", ":") if self.compact else None))


END_OF_STREAM = StreamEvent(DONE)


def tool_calls_json(calls: Sequence[ToolCall]) -> list[JsonObject]:
    """Return `calls` as a message holds them."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]

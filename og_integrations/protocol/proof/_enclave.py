"""
This module holds what is known about an enclave, and the rules by which one is accepted (docs/protocol.md §1).

An `Enclave` is what the registry (or, in development, the gateway itself) says about one TEE.
`EnclavePolicy` is the owner's opinion about it. `endpoint` and `payment_address` are claims of the
operator and are not attested by anything.
"""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv6Address
from typing import Any, Literal, NamedTuple, Self

from og_integrations.errors import ConfigurationError, EnclaveRejectedError
from og_integrations.protocol._redact import shown
from og_integrations.protocol.chain._abi import uint_word
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.proof._measurements import (
    AWS_ROOT_G1_SHA256,
    AttestationPolicy,
    Measurements,
    listed_builds,
    pcr_hash_of,
)

ZERO_ADDRESS = "0x" + "00" * 20
DEBUG_PCR_HASH = "0xcd2e66bf0b91eeedc6c648ae9335a78d7c9a4ab0ef33612a824d91cdc68a4f21"
"""Hash of all-zero PCRs: an enclave in debug mode, whose memory its operator can read."""
KNOWN_PCR_HASH = "0xb4c9585138438b60a72e11257b3c8a96d20c621e53d016f27657285361f77e87"
"""The one published measurement of the gateway (docs/protocol.md §1); pass it in `allowed_pcr_hashes`."""
_EXPECTED = (
    "enclave_policy is not valid; expected lists of texts as allowed_pcr_hashes and allowed_tee_ids, "
    "attestation='require', and measurements as (PCR0, PCR1, PCR2)."
)
LLM_PROXY = 0
"""The registry's `teeType` of LLM gateways."""

OHTTP_SUITE = (0x0020, 0x0001, 0x0003)
"""X25519, HKDF-SHA256 and ChaCha20-Poly1305: the only one that requests are sealed with."""
_KEY_CONFIG = keccak(b"OPENGRADIENT_TEE_OHTTP_CONFIG_V1")
# No user, query or fragment: the path of a call is put behind it. Labels as DNS and Python's codec take them.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_ENDPOINT = re.compile(
    rf"https://(?:\[(?P<ipv6>[^][]*)\]|{_LABEL}(?:\.{_LABEL}){{0,31}}\.?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]{0,200})?"
)


def tee_id_of(public_key: bytes) -> str:
    """Return the id (0x + 64 hex) of the enclave whose signing key is this DER SubjectPublicKeyInfo."""
    # The registry and the gateway use the same rule (docs/protocol.md §1.2), so an id proves which key it names.
    return "0x" + keccak(public_key).hex()


def key_config_digest(signing_key: bytes, ids: Sequence[int], public_key: bytes, key_config: bytes) -> bytes:
    """
    Return the 32 bytes that an enclave's `signing_key` (DER) signs about its OHTTP key (docs/protocol.md §1.2).

    `ids` are those of the key, of KEM, KDF and AEAD; `key_config` is the blob that names them again.
    """
    # The id is computed from the signing key: an id that is read could bind the key to another enclave.
    words = [bytes.fromhex(tee_id_of(signing_key)[2:]), *map(uint_word, ids)]
    return keccak(b"".join([_KEY_CONFIG, *words, keccak(public_key), keccak(key_config)]))


def normalize_hash(text: str) -> str:
    """Return an enclave id or PCR hash in lower case with 0x: registry, web3 and gateway spell them differently."""
    lowered = text.lower()
    return lowered if lowered.startswith("0x") else "0x" + lowered


class OhttpKey(NamedTuple):
    """
    An OHTTP key is the X25519 key to which requests for an enclave are sealed: its id (0 to 255) and 32 bytes.

    `signed` says whether the entry holds a signature of it by the enclave's own key. Without one, it is the word of
    whoever answered for the registry.
    """

    key_id: int
    public_key: bytes
    signed: bool

    @property
    def blob(self) -> bytes:
        """Return its key config (RFC 9458 §3.1) with our suite only, as gateways publish and sign it."""
        kem, *suite = (number.to_bytes(2, "big") for number in OHTTP_SUITE)
        return bytes([self.key_id]) + kem + self.public_key + b"\0\4" + b"".join(suite)


class SignedConfig(NamedTuple):
    """A signed config is a key config (RFC 9458 §3.1), with the signature of it by the enclave's RSA key."""

    key_config: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclave:
    """
    An enclave is one TEE. `public_key` is the DER of its RSA signing key, `certificate` the DER of its TLS leaf.

    `source` says who vouches for it: `"registry"` (the chain), `"endpoint"` (the gateway itself: a
    development setting, no attestation at all) or `"file"` (the key in a saved exchange).
    Times are unix seconds. A certificate may be empty where `source` is not the registry. `ohttp` is the key that
    the registry lists for sealed requests, None if there is none that can be used; `ohttp_config` is its config with
    the enclave's signature, where the registry lists that, too.
    """

    tee_id: str
    endpoint: str
    public_key: bytes
    certificate: bytes = b""
    pcr_hash: str = ""
    payment_address: str = ZERO_ADDRESS
    owner: str = ZERO_ADDRESS
    tee_type: int = LLM_PROXY
    enabled: bool = True
    registered_at: int = 0
    last_heartbeat_at: int = 0
    source: str = "registry"
    ohttp: OhttpKey | None = None
    ohttp_config: SignedConfig | None = field(default=None, repr=False)

    @property
    def pinned(self) -> bool:
        """Return whether connections to it are TLS with nobody but the holder of its certificate."""
        return bool(self.certificate) and self.endpoint.startswith("https://")


def check_endpoint(enclave: Enclave) -> None:
    """
    Raise `EnclaveRejectedError` if `enclave` cannot be connected to safely; no policy can allow that.

    An operator writes what he likes into the registry: one broken entry must not be in the way of the
    others. A gateway that the user names by URL is his own business.
    """
    if enclave.source == "registry" and not _is_endpoint(enclave.endpoint):
        raise EnclaveRejectedError(
            f"Enclave {enclave.tee_id} is listed with the endpoint '{shown(enclave.endpoint, 80)}', expected "
            "https://host[:port]: prompts would travel in clear, or not at all."
        )


def _is_endpoint(text: str) -> bool:
    found = _ENDPOINT.fullmatch(text)
    # A port beyond 65535 passes the pattern, and would raise an OverflowError only when a socket is opened.
    if found is None or not 0 < int(found["port"] or 443) < 65536:
        return False
    try:
        # A scope id names an interface of this machine, so a
        # stranger could point connections into the local network.
        return found["ipv6"] is None or IPv6Address(found["ipv6"]).scope_id is None
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclavePolicy:
    """
    A policy says which enclaves may see a prompt. Every rule that is given must hold; None means no rule.

    By default any enclave of the registry is accepted, except one in debug mode. An *empty* list
    accepts nobody: a list that lost its entries must not open the door.

    `allowed_pcr_hashes`: 0x-hex keccak256(PCR0‖PCR1‖PCR2). `allowed_tee_ids`: 0x-hex ids.

    These two, and the registry itself, are the word of whoever answers for it. With `attestation="require"` the
    enclave shows a document that AWS signed before it is sent anything (docs/protocol.md §9), and with `measurements`
    that document has to be of one of these builds: (PCR0, PCR1, PCR2) in hex, or objects with these names. Naming
    measurements requires the document. `attestation_roots` are the SHA-256 fingerprints (hex, of the DER) of the roots
    to accept instead of AWS's, which a devnet needs.

    Raises `ConfigurationError` for a list that is a text or holds something else, and for measurements or roots that
    nobody would look at.
    """

    allowed_pcr_hashes: Iterable[str] | None = None
    allowed_tee_ids: Iterable[str] | None = None
    attestation: Literal["registry", "require"] | None = None
    measurements: Iterable[Measurements | Mapping[str, str]] | None = None
    attestation_roots: Iterable[str] | None = None
    _pcr_hashes: frozenset[str] | None = field(init=False, repr=False, default=None)
    _tee_ids: frozenset[str] | None = field(init=False, repr=False, default=None)
    _documents: AttestationPolicy | None = field(init=False, repr=False, default=None)
    _measured: frozenset[str] | None = field(init=False, repr=False, compare=False, default=None)

    def __new__(cls, **members: object) -> Self:
        """Raise `ConfigurationError` for a member that it does not have: a rule that is misspelt would be none."""
        known = [item.name for item in fields(cls) if item.init]
        for name in members.keys() - set(known):
            close = get_close_matches(name, known, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else f" Expected one of {', '.join(known)}."
            raise ConfigurationError(f"{_EXPECTED} It has no member {name!r}.{meant}")
        return object.__new__(cls)  # `super()` does not know a class with slots

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pcr_hashes", _hashes("allowed_pcr_hashes", self.allowed_pcr_hashes))
        object.__setattr__(self, "_tee_ids", _hashes("allowed_tee_ids", self.allowed_tee_ids))
        if self.attestation not in (None, "registry", "require"):
            raise ConfigurationError(
                f"EnclavePolicy.attestation is {self.attestation!r:.60}, expected 'registry' or 'require'."
            )
        # Builds are compared with a document alone: if none were asked for, pinned ones would protect nobody.
        if self.attestation is None and self.measurements is not None:
            object.__setattr__(self, "attestation", "require")
        if self.attestation == "require":
            self._require_documents()
        elif self.measurements is not None or self.attestation_roots is not None:
            # They would be read by nobody, while whoever wrote them believes to be protected by them.
            raise ConfigurationError(
                "EnclavePolicy has measurements or attestation_roots, and asks for no attestation: say "
                "attestation='require'."
            )

    def _require_documents(self) -> None:
        """Read the members about documents, once, so that what is written wrongly is known before any call."""
        if self.attestation_roots is not None and not isinstance(self.attestation_roots, str):
            object.__setattr__(self, "attestation_roots", tuple(self.attestation_roots))
        if self.measurements is not None:
            object.__setattr__(self, "measurements", listed_builds(self.measurements))
        roots = (AWS_ROOT_G1_SHA256,) if self.attestation_roots is None else self.attestation_roots
        documents = AttestationPolicy(self.measurements, roots)  # type: ignore[arg-type]
        object.__setattr__(self, "_documents", documents)
        if documents.builds is not None:
            object.__setattr__(self, "_measured", frozenset(map(pcr_hash_of, documents.builds)))

    @property
    def documents(self) -> AttestationPolicy | None:
        """Return what an enclave's document has to show before it is sent anything; None: none is asked for."""
        return self._documents

    @classmethod
    def of(cls, value: "EnclavePolicy | Mapping[str, Any] | None") -> "EnclavePolicy":
        """Return `value`, or its fields, as a policy. Raises `ConfigurationError`."""
        if isinstance(value, EnclavePolicy):
            return value
        if value is not None and not isinstance(value, Mapping):
            raise ConfigurationError(f"enclave_policy is a {type(value).__name__}, expected an EnclavePolicy.")
        try:
            return cls(**(value or {}))
        except (AttributeError, TypeError) as exc:
            raise ConfigurationError(_EXPECTED) from exc

    def check(self, enclave: Enclave) -> None:
        """Raise `EnclaveRejectedError` with the rule that `enclave` breaks."""
        # This comes first: an entry whose key and id disagree
        # would let one enclave answer in the name of another.
        if tee_id_of(enclave.public_key) != enclave.tee_id:
            raise EnclaveRejectedError(
                f"Enclave {enclave.tee_id} is listed with a signing key whose id is "
                f"{tee_id_of(enclave.public_key)}; the registry's answer was altered or is broken."
            )
        if enclave.tee_type != LLM_PROXY:
            raise EnclaveRejectedError(
                f"Enclave {enclave.tee_id} is of type {enclave.tee_type}, expected {LLM_PROXY}: it serves no models."
            )
        if not enclave.enabled:
            raise EnclaveRejectedError(f"Enclave {enclave.tee_id} is disabled in the registry.")
        # Debug mode is refused before the owner's list is read, so that no list can allow it by mistake.
        if normalize_hash(enclave.pcr_hash) == DEBUG_PCR_HASH:
            raise EnclaveRejectedError(
                f"Enclave {enclave.tee_id} runs in debug mode (all-zero PCRs): its operator can read prompts."
            )
        if self._pcr_hashes is not None and normalize_hash(enclave.pcr_hash) not in self._pcr_hashes:
            raise EnclaveRejectedError(
                f"Enclave {enclave.tee_id} runs code with pcr_hash {enclave.pcr_hash or 'unknown'}, expected "
                f"one of {len(self._pcr_hashes)} in EnclavePolicy.allowed_pcr_hashes."
            )
        if self._tee_ids is not None and enclave.tee_id not in self._tee_ids:
            raise EnclaveRejectedError(
                f"Enclave {enclave.tee_id} is not one of {len(self._tee_ids)} in EnclavePolicy.allowed_tee_ids."
            )
        if self._documents is not None and not enclave.pinned:
            raise EnclaveRejectedError(
                f"The gateway {shown(enclave.endpoint, 80)} has no certificate to pin, so that no attestation document "
                "can be about its connection: EnclavePolicy(attestation='require') needs an enclave of the registry."
            )
        # The document says more, but who lists another build need not be asked for it.
        if self._measured is not None and normalize_hash(enclave.pcr_hash) not in self._measured:
            raise EnclaveRejectedError(
                f"Enclave {enclave.tee_id} runs code with pcr_hash {enclave.pcr_hash or 'unknown'}, expected that of "
                f"one of {len(self._measured)} in EnclavePolicy.measurements."
            )


class UnsafeAcceptAnyEnclave(EnclavePolicy):
    """
    This policy accepts every enclave that can be connected to, also one in debug mode. Insecure; warns on each check.

    It is meant for experiments with enclaves that one runs oneself.
    """

    def check(self, enclave: Enclave) -> None:
        """Accept `enclave`, loudly."""
        warnings.warn(f"Enclave {enclave.tee_id} is accepted without any check.", stacklevel=2)


def _hashes(name: str, given: Iterable[str] | None) -> frozenset[str] | None:
    if isinstance(given, str):
        # Each of its letters would be an id, and nobody has that one.
        raise ConfigurationError(f"EnclavePolicy.{name} is a text, expected a list of texts.")
    return None if given is None else frozenset(map(normalize_hash, given))

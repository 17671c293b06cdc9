"""
This module encrypts to somebody's public key: HPKE in base mode (RFC 9180) with X25519 and HKDF-SHA256.

A `Context` is what both ends of one message share. `setup_sender` makes it from the recipient's public key,
`setup_recipient` makes the same one from the recipient's private key and the `enc` that the sender put in front.
`cryptography` has HPKE since version 46, without the exporter, which the keys of OHTTP's answers come from.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from og_integrations.errors import SealedChannelError

KEM_ID = 0x0020
"""DHKEM(X25519, HKDF-SHA256)."""
KDF_ID = 0x0001
"""HKDF-SHA256."""
KEY_LENGTH = 32
"""Bytes of an X25519 key, private or public, and of `enc`."""
TAG_LENGTH = 16
NONCE_LENGTH = 12


class Cipher(Protocol):
    """A cipher is a keyed AEAD, as `cryptography` makes them."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite names the AEAD beside the fixed KEM and KDF: its registered id, the bytes of its key, and its class."""

    aead_id: int
    key_length: int
    cipher: Callable[[bytes], Cipher]

    @property
    def suite_id(self) -> bytes:
        """Return the ten bytes that bind every derived key to the suite (RFC 9180 §5.1)."""
        return b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (KEM_ID, KDF_ID, self.aead_id))


CHACHA20_POLY1305 = Suite(0x0003, 32, ChaCha20Poly1305)
"""The suite of the network."""


class Context:
    """
    A context seals messages in one direction, or opens them, and exports further secrets.

    `enc` (32 bytes) is the ephemeral public key. Everything else in it is secret, so it shows nothing and is
    not pickled.
    """

    __slots__ = ("_base_nonce", "_cipher", "_exporter_secret", "_sequence", "enc", "suite")

    def __init__(self, shared_secret: bytes, enc: bytes, info: bytes, suite: Suite) -> None:
        """Derive the key schedule of base mode (RFC 9180 §5.1), with no pre-shared key."""
        suite_id = suite.suite_id
        # The leading zero is the number of base mode; the
        # pre-shared key and its id are empty in it (RFC 9180 §5.1).
        hashed_id = _labeled_extract(suite_id, b"", b"psk_id_hash", b"")
        schedule = b"\0" + hashed_id + _labeled_extract(suite_id, b"", b"info_hash", info)
        secret = _labeled_extract(suite_id, shared_secret, b"secret", b"")
        self.suite: Suite = suite
        self.enc: bytes = enc
        self._cipher = suite.cipher(_labeled_expand(suite_id, secret, b"key", schedule, suite.key_length))
        self._base_nonce = _labeled_expand(suite_id, secret, b"base_nonce", schedule, NONCE_LENGTH)
        self._exporter_secret = _labeled_expand(suite_id, secret, b"exp", schedule, 32)
        # RFC 9180 §5.2 counts the messages: a nonce that is used twice with one key reveals both plaintexts.
        self._sequence = 0

    def seal(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Return the next message encrypted, with its tag; `associated` is authenticated, not encrypted."""
        return self._cipher.encrypt(self._next_nonce(), plaintext, associated)

    def open(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        """Return the next message decrypted. Raises `SealedChannelError` if it is not the sender's."""
        try:
            return self._cipher.decrypt(self._next_nonce(), ciphertext, associated)
        except InvalidTag:
            # The library's exception is dropped: it holds nothing useful, and its frames hold the key.
            raise SealedChannelError("The sealed message does not open with this key.") from None

    def export(self, label: bytes, length: int) -> bytes:
        """Return `length` secret bytes that only both ends can derive, named by `label` (RFC 9180 §5.3)."""
        return _labeled_expand(self.suite.suite_id, self._exporter_secret, b"sec", label, length)

    def _next_nonce(self) -> bytes:
        nonce = numbered_nonce(self._base_nonce, self._sequence)
        self._sequence += 1
        return nonce

    def __repr__(self) -> str:
        return f"<Context of AEAD {self.suite.aead_id}>"

    def __reduce__(self) -> str:
        raise SealedChannelError("An HPKE context is not pickled: its keys would be.")


def setup_sender(
    recipient: bytes, info: bytes, *, ephemeral: bytes | None = None, suite: Suite = CHACHA20_POLY1305
) -> Context:
    """
    Return the context of a message to the holder of the public key `recipient` (32 bytes).

    `info` binds what both ends must agree on. `ephemeral` is the secret of this message (32 bytes): left out, it
    is made by `cryptography`, and it must never be used twice. Raises `SealedChannelError` for a key of low order.
    """
    private = X25519PrivateKey.generate() if ephemeral is None else _private_key(ephemeral)
    enc = private.public_key().public_bytes_raw()
    # Both public keys go into the derivation (RFC 9180 §4.1),
    # so a changed `enc` gives another key and does not open.
    return Context(_shared_secret(private, recipient, enc + recipient), enc, info, suite)


def setup_recipient(private: bytes, enc: bytes, info: bytes, *, suite: Suite = CHACHA20_POLY1305) -> Context:
    """
    Return the context of a message that came with `enc`, for the holder of `private` (32 bytes).

    Raises `SealedChannelError` if `enc` is no key, or one of low order.
    """
    key = _private_key(private)
    return Context(_shared_secret(key, enc, enc + key.public_key().public_bytes_raw()), enc, info, suite)


def check_public_key(key: bytes) -> None:
    """Raise `SealedChannelError` unless `key` is an X25519 public key that keeps what is sealed to it secret."""
    # A point of low order gives zero for every secret, so any secret finds it.
    _agree(_private_key(bytes(range(KEY_LENGTH))), key)


def extract(salt: bytes, secret: bytes) -> bytes:
    """Return HKDF-Extract with SHA-256 (RFC 5869 §2.2)."""
    return hmac.digest(salt, secret, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes of HKDF-Expand with SHA-256 (RFC 5869 §2.3)."""
    expanded = block = b""
    while len(expanded) < length:
        # The counter is one byte (RFC 5869 §2.3), so at most 255
        # blocks exist; every length asked for here fits into one.
        block = hmac.digest(key, block + info + bytes([len(expanded) // 32 + 1]), "sha256")
        expanded += block
    return expanded[:length]


def numbered_nonce(base: bytes, number: int) -> bytes:
    """Return the nonce of message `number`: `base`, with the number's bits flipped in it."""
    return (int.from_bytes(base, "big") ^ number).to_bytes(len(base), "big")


def _shared_secret(private: X25519PrivateKey, peer: bytes, kem_context: bytes) -> bytes:
    # The KEM has a suite id of its own (RFC 9180 §4.1), different from the ten bytes of the whole suite.
    suite_id = b"KEM" + KEM_ID.to_bytes(2, "big")
    extracted = _labeled_extract(suite_id, b"", b"eae_prk", _agree(private, peer))
    return _labeled_expand(suite_id, extracted, b"shared_secret", kem_context, 32)


def _agree(private: X25519PrivateKey, peer: bytes) -> bytes:
    if len(peer) != KEY_LENGTH:
        raise SealedChannelError(f"An X25519 key has {len(peer)} bytes, expected {KEY_LENGTH}. Nothing was sealed.")
    try:
        # `cryptography` raises for an all-zero secret, as RFC 9180 §7.1.4 demands.
        return private.exchange(X25519PublicKey.from_public_bytes(peer))
    except ValueError:
        raise SealedChannelError(
            "The X25519 key is of low order: everybody can read what is sealed to it. Nothing was sealed or sent; "
            "use another enclave."
        ) from None


def _private_key(secret: bytes) -> X25519PrivateKey:
    if len(secret) != KEY_LENGTH:
        raise SealedChannelError(f"An X25519 secret has {len(secret)} bytes, expected {KEY_LENGTH}.")
    return X25519PrivateKey.from_private_bytes(secret)


def _labeled_extract(suite_id: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    # The label and suite id keep a key of one use from ever equalling a key of another (RFC 9180 §4).
    return extract(salt, b"HPKE-v1" + suite_id + label + secret)


def _labeled_expand(suite_id: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info, length)

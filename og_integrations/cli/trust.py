"""
Who says that an enclave's key is genuine: the three answers that `verify` takes, and none.

A verdict is a `Vouch`; `trust` is None if nobody vouches, and `detail` says why.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.protocol.proof.enclave import Enclave, EnclavePolicy, normalize_hash
from og_integrations.protocol.proof.verification import Trust

if TYPE_CHECKING:
    from og_integrations.cli.registry_reader import RegistryReader

_TEE_ID = re.compile(r"0x[0-9a-f]{64}")


class Vouch(NamedTuple):
    """
    Whether an enclave is believed, and why (not); `enclave` is its entry in the registry, if that was asked.

    `asked` is False if who was to say could not be asked: then nothing is known, which is no no.
    """

    trust: Trust | None
    detail: str
    enclave: Enclave | None = None
    asked: bool = True


TrustSource = Callable[[str], Vouch]
"""Enclave id (0x-hex, of the key in the file) -> whether it is believed."""


def trust_nobody(tee_id: str) -> Vouch:
    """Nothing was said about whom to believe."""
    return Vouch(None, f"nobody vouches for {tee_id}; say --tee-id, --registry or --trust-file-key")


def trust_file_key(tee_id: str) -> Vouch:
    """The key in the file is believed: this proves that the file is consistent, not who made it."""
    return Vouch("file-key", "the key in the file is believed, as asked for")


def trust_ids(ids: list[str]) -> TrustSource:
    """The enclaves with these ids are believed. Raises `ConfigurationError` for what is no id."""
    believed = {normalize_hash(tee_id) for tee_id in ids}
    for tee_id in ids:
        if not _TEE_ID.fullmatch(normalize_hash(tee_id)):
            raise ConfigurationError(f"--tee-id {tee_id!r} is no enclave id, expected 0x and 64 hex digits.")

    def vouch(tee_id: str) -> Vouch:
        if tee_id in believed:
            return Vouch("tee-id", "the enclave's id is the one given by --tee-id")
        return Vouch(None, f"signed by {tee_id}, expected {' or '.join(sorted(believed))} (--tee-id)")

    return vouch


def trust_registry(reader: "RegistryReader") -> TrustSource:
    """
    The enclaves that the registry lists are believed, unless it has disabled them.

    One that is merely not active any more still vouches for what it signed: enclaves are replaced
    all the time, receipts are kept.
    """
    known: dict[str, Vouch] = {}

    def ask(tee_id: str) -> Vouch:
        try:
            enclave = reader.enclave(tee_id)
            if enclave is None:
                return Vouch(None, f"the TEERegistry {reader.address} does not list {tee_id}")
            EnclavePolicy(allowed_tee_ids=[tee_id]).check(enclave)
            active = "active now" if reader.is_active(tee_id) else "not active any more"
        except DiscoveryError as exc:
            return Vouch(None, str(exc), asked=exc.answered)
        return Vouch("registry", f"the TEERegistry lists this enclave ({active})", enclave)

    def vouch(tee_id: str) -> Vouch:
        if tee_id not in known:
            known[tee_id] = ask(tee_id)
        return known[tee_id]

    return vouch

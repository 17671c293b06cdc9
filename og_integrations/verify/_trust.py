"""
Who says that an enclave's key is genuine: the sources of a `TrustDecision` about a saved exchange.

A source is asked for the id of the key in the file, before anything else is judged.
"""

import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.networks import Network
from og_integrations.protocol.proof._enclave import Enclave, EnclavePolicy, normalize_hash
from og_integrations.protocol.proof._registry import decode_bool, decode_enclave, encode_get_tee, encode_is_active
from og_integrations.protocol.proof._verification import TrustDecision

if TYPE_CHECKING:
    from og_integrations.client.chain._jsonrpc import Fetching

_TEE_ID = re.compile(r"0x[0-9a-f]{64}")
_REMEMBERED_SECONDS = 3600.0
_UNANSWERED_SECONDS = 30.0
"""A registry that is away is not waited for again with each of many files."""


class TrustSource(Protocol):
    """A source of trust says of an enclave's id (0x-hex, of the key in a file) whether its key is believed."""

    def decide(self, tee_id: str) -> TrustDecision:
        """Return the decision about the enclave `tee_id`."""
        ...

    async def adecide(self, tee_id: str) -> TrustDecision:
        """Return what `decide` returns."""
        ...


_OF_FILE = TrustDecision("file-key", "the key in the file is believed, as asked for")
_OF_ID = TrustDecision("tee-id", "the enclave's id is one of those that were given")


class NobodyTrust:
    """Nobody is believed, since nothing was said about whom to believe."""

    def decide(self, tee_id: str) -> TrustDecision:
        """Return that, and what can be said."""
        told = f"nobody vouches for {tee_id}; say --tee-id, --registry, --measurements or --trust-file-key"
        return TrustDecision(None, told, nobody=True)

    async def adecide(self, tee_id: str) -> TrustDecision:
        """Return what `decide` returns."""
        return self.decide(tee_id)


class FileKeyTrust:
    """The key in the file is believed: this proves that the file is consistent, not who made it."""

    def decide(self, tee_id: str) -> TrustDecision:
        """Return that it is believed."""
        return _OF_FILE

    async def adecide(self, tee_id: str) -> TrustDecision:
        """Return what `decide` returns."""
        return self.decide(tee_id)


class TeeIdTrust:
    """The enclaves with certain ids are believed. Raises `ConfigurationError` for what is no id."""

    def __init__(self, ids: Iterable[str]) -> None:
        given = [ids] if isinstance(ids, str) else list(ids)
        self._believed = {normalize_hash(tee_id) for tee_id in given}
        for tee_id in given:
            if not _TEE_ID.fullmatch(normalize_hash(tee_id)):
                raise ConfigurationError(f"{tee_id!r} is no enclave id, expected 0x and 64 hex digits.")

    def decide(self, tee_id: str) -> TrustDecision:
        """Return whether `tee_id` is one of the ids."""
        if tee_id in self._believed:
            return _OF_ID
        return TrustDecision(None, f"signed by {tee_id}, expected {' or '.join(sorted(self._believed)) or 'nobody'}")

    async def adecide(self, tee_id: str) -> TrustDecision:
        """Return what `decide` returns."""
        return self.decide(tee_id)


class RegistryTrust:
    """
    The enclaves that the TEERegistry lists and the policy accepts are believed, unless the registry has disabled them.

    One that is merely not active any more still vouches for what it signed: enclaves are replaced all the time,
    receipts are kept. Answers are remembered for an hour. Raises `ConfigurationError` for an unknown network or a
    malformed address.
    """

    def __init__(
        self,
        network: str | Network | None = None,
        *,
        registry_rpc_url: str | None = None,
        registry_address: str | None = None,
        policy: EnclavePolicy | None = None,
    ) -> None:
        # Loaded for this alone, here and below: who asks nobody needs no client, and starts in half the time.
        from og_integrations.client._settings import keyless_settings

        settings = keyless_settings(
            network=network, registry_rpc_url=registry_rpc_url, registry_address=registry_address
        )
        self._address = settings.network.registry_address
        self._url = settings.network.registry_rpc_url
        self._policy = policy or EnclavePolicy()
        self._known: dict[str, tuple[float, TrustDecision]] = {}

    def decide(self, tee_id: str) -> TrustDecision:
        """Ask the registry about `tee_id`, unless it was asked before."""
        if (known := self._remembered(tee_id)) is not None:
            return known
        from og_integrations.client.chain._jsonrpc import Reader

        with Reader() as reader:
            return self._remember(tee_id, reader.run(self._ask(tee_id)))

    async def adecide(self, tee_id: str) -> TrustDecision:
        """Return what `decide` returns."""
        if (known := self._remembered(tee_id)) is not None:
            return known
        from og_integrations.client.chain._jsonrpc import aread
        from og_integrations.client.channels._connections import AsyncConnections

        connections = AsyncConnections()
        try:
            return self._remember(tee_id, await aread(connections, self._ask(tee_id)))
        finally:
            await connections.aclose()

    def _ask(self, tee_id: str) -> "Fetching[TrustDecision]":
        try:
            enclave, active = yield from self._read(tee_id)
            if enclave is None:
                return TrustDecision(None, f"the TEERegistry {self._address} does not list {tee_id}")
            # A node may answer with another enclave's entry.
            EnclavePolicy(allowed_tee_ids=[tee_id]).check(enclave)
            self._policy.check(enclave)
        except DiscoveryError as exc:
            return TrustDecision(None, str(exc), answered=exc.answered)
        now = "active now" if active else "not active any more"
        return TrustDecision("registry", f"the TEERegistry lists this enclave ({now})", enclave)

    def _read(self, tee_id: str) -> "Fetching[tuple[Enclave | None, bool]]":
        """Return the registry's entry, and whether it hands this enclave out now."""
        from og_integrations.client.chain._jsonrpc import eth_call

        enclave = decode_enclave((yield from eth_call(self._url, self._address, encode_get_tee(tee_id))))
        if enclave is None:
            return None, False
        return enclave, decode_bool((yield from eth_call(self._url, self._address, encode_is_active(tee_id))))

    def _remembered(self, tee_id: str) -> TrustDecision | None:
        until, decision = self._known.get(tee_id, (0.0, None))
        return decision if time.monotonic() < until else None

    def _remember(self, tee_id: str, decision: TrustDecision) -> TrustDecision:
        seconds = _REMEMBERED_SECONDS if decision.answered else _UNANSWERED_SECONDS
        self._known[tee_id] = (time.monotonic() + seconds, decision)
        return decision

"""
The directory says which enclave to talk to: found in the registry, accepted by the policy, left when bad.

Reads are generators of effects, so that one text serves both clients. While one call refreshes, the others go on
with what is known; at a cold start one call reads the registry and the others wait for it. The lock is never held
across a yield.
"""

import base64
import random
import threading
from collections.abc import Callable, Collection, Generator
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from og_integrations._forking import survive_forks
from og_integrations._urls import url_below
from og_integrations.client import _telemetry
from og_integrations.client._call import Target
from og_integrations.client._evidence import Attested, read_document
from og_integrations.client._learned import build_of
from og_integrations.client._settings import Settings
from og_integrations.client.chain._jsonrpc import Fetching, eth_call, fetch_signing_key
from og_integrations.client.channels._channel import UNPINNED, destination_of
from og_integrations.client.channels._tls import pinned_context
from og_integrations.errors import (
    AttestationError,
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    EnclaveRejectedError,
    HostRefusedError,
    OpenGradientError,
    SealedChannelError,
)
from og_integrations.protocol.payment._flow import Fetch, Pause
from og_integrations.protocol.payment._x402 import Route
from og_integrations.protocol.proof._enclave import (
    LLM_PROXY,
    ZERO_ADDRESS,
    Enclave,
    EnclavePolicy,
    OhttpKey,
    SignedConfig,
    check_endpoint,
    tee_id_of,
)
from og_integrations.protocol.proof._measurements import AttestationPolicy
from og_integrations.protocol.proof._registry import decode_enclaves, encode_get_active_tees

if TYPE_CHECKING:
    from og_integrations.client.channels._sealed import Sealing

REFRESH_AFTER = 300
"""Seconds after which the registry is read again."""
COOL_DOWN = 60
"""Seconds for which an enclave that could not be reached is not chosen."""
RETRY_AFTER = 0.2
"""Seconds after which a node that failed is asked once more."""
READING_POLL = 0.02
"""Seconds after which a call looks again whether another one has read the registry, or an enclave's document."""
ATTESTED_FOR = 3600
"""Seconds after which an enclave is asked again for its attestation document."""
MAX_AGE = 3600
"""Seconds for which a list serves while the registry cannot be read: who blocks it must not undo a revocation."""
T = TypeVar("T")
Reading = Generator[Fetch | Pause, Any, T]


class Directory:
    """
    A directory knows the enclaves in use by one client.

    One enclave serves all calls until it fails, so that one session pays for them; with `spread` the
    calls take turns. `hosts` are the only ones to choose from, in lower case; None: any. `pick` chooses among
    equals; it is an argument so that tests can decide. With `sealing` only enclaves with an OHTTP key serve.
    """

    def __init__(
        self,
        settings: Settings,
        policy: EnclavePolicy,
        pick: Callable[[list[Enclave]], Enclave] = random.choice,
        *,
        spread: bool = False,
        hosts: Collection[str] | None = None,
        sealing: "Sealing | None" = None,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._documents = policy.documents
        self._pick = pick
        self._spread = spread
        self._hosts = hosts
        self._sealing = sealing
        self._signed_keys: dict[tuple[str, bytes], SignedConfig] = {}
        self._turn = 0
        self._last_turns: dict[str, int] = {}
        self._listed: dict[str, Enclave] = {}
        self._known_payees = frozenset(address.lower() for address in settings.network.payees) - {ZERO_ADDRESS}
        self._listed_payees = self._known_payees
        self._targets: dict[tuple[str, str], Target] = {}
        self._reading: _Reading | None = None
        self._refresh_at = 0.0
        self._read_at = 0.0
        self._cooling: dict[str, float] = {}
        self._refused: dict[str, AttestationError] = {}
        self._attested: dict[_Shown, tuple[float, Attested]] = {}
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Choose anew, under a lock that nobody holds."""
        self._lock = threading.Lock()
        self._reading = None
        self._asking: dict[_Shown, _Reading] = {}
        self._current: str | None = None

    def choose(self, now: float, avoid: Collection[str] = ()) -> Reading[Enclave]:
        """
        Return the enclave to use at `now` (seconds, of a clock that is never set), none whose id is in `avoid`.

        The same one as long as the registry lists it and it answers, or each in its turn. Raises
        `DiscoveryError`.
        """
        while True:
            with self._lock:
                cold = not self._listed or now >= self._read_at + MAX_AGE
                awaited = self._reading if cold else None
                if not cold and now < self._refresh_at:
                    return self._choose(now, avoid)
                if awaited is None:
                    # Set before reading, so that calls meanwhile do not all read it too.
                    self._refresh_at = now + REFRESH_AFTER
                    self._reading = own = _Reading()
            if awaited is not None:
                yield from awaited.wait()
                continue
            yield from self._read_cold(own, now) if cold else self._refresh(own, now)
            with self._lock:
                return self._choose(now, avoid)

    def target(self, enclave: Enclave, path: str) -> Target:
        """Return the endpoint `path` of `enclave`, made once for all calls until the registry is read again."""
        with self._lock:
            known = self._targets.get((enclave.tee_id, path))
            if known is None or known.enclave is not enclave:
                known = self._targets[enclave.tee_id, path] = self._new_target(enclave, path)
            return known

    def sealing_key(self, enclave: Enclave) -> Fetching[tuple[OhttpKey, str, SignedConfig]]:
        """
        Return the OHTTP key of `enclave`, where its signature of it was seen ("registry" or "enclave"), and that.

        An enclave is asked once, over its pinned connection. Raises `SealedChannelError`; nothing was sealed then.
        """
        key = enclave.ohttp
        if key is None:
            raise unsealable(f"Enclave {enclave.tee_id} lists no OHTTP key")
        if enclave.ohttp_config is not None:
            return key, "registry", enclave.ohttp_config
        known = self._signed_keys.get((enclave.tee_id, key.public_key))
        if known is None:
            known = yield from _ask_for_key(enclave, key)
            self._signed_keys[enclave.tee_id, key.public_key] = known
        return key, "enclave", known

    def attest(self, enclave: Enclave, now: float) -> Reading[Attested | None]:
        """
        Return what `enclave` has shown of itself, at `now` (seconds, of a clock that is never set).

        It is asked by one call when its certificate is first used, and an hour later; the others wait for that. None
        if the policy asks for no document. Raises `AttestationError`, or `ConnectionFailedError`.
        """
        policy = self._documents
        if policy is None:
            return None
        # Whoever lists a known certificate beside another key, or another build, has shown nothing yet.
        shown = enclave.certificate, enclave.public_key, enclave.pcr_hash
        while True:
            with self._lock:
                known = self._attested.get(shown)
                if known is not None and now < known[0]:
                    return known[1]
                awaited = self._asking.get(shown)
                if awaited is None:
                    own = self._asking[shown] = _Reading()
            if awaited is None:
                return (yield from self._ask_for_document(own, enclave, shown, now, policy))
            yield from awaited.wait()

    def _ask_for_document(
        self, own: "_Reading", enclave: Enclave, shown: "_Shown", now: float, policy: AttestationPolicy
    ) -> Reading[Attested]:
        try:
            found = yield from read_document(enclave, policy)
        except (AttestationError, ConnectionFailedError) as exc:
            own.failure = exc
            raise
        finally:
            own.ended = True
            with self._lock:
                if self._asking.get(shown) is own:
                    del self._asking[shown]
        with self._lock:
            self._attested = {key: known for key, known in self._attested.items() if now < known[0]}
            self._attested[shown] = now + ATTESTED_FOR, found
            self._refused.pop(enclave.tee_id, None)
        return found

    def refuse(self, enclave: Enclave, why: AttestationError, now: float) -> None:
        """Leave `enclave`, which has not shown what it had to; as long as there is no other, calls hear `why`."""
        with self._lock:
            self._refused[enclave.tee_id] = why
        self.leave(enclave, now)

    def leave(self, enclave: Enclave, now: float) -> None:
        """
        Choose another one than `enclave`, which could not be reached, until its cool-down is over.

        The registry is read again at the next choice: it may be retired, or have a new certificate.
        """
        if self._settings.gateway_url is not None:
            # There is no other one, and whoever names it restarts it while developing.
            return
        with self._lock:
            self._refresh_at = min(self._refresh_at, now)
            self._cooling[enclave.tee_id] = now + COOL_DOWN
            if self._current == enclave.tee_id:
                self._current = None
        _telemetry.enclave_left(enclave)

    def distrust(self, enclave: Enclave, now: float) -> None:
        """Leave `enclave`, which lied or did not do its part, like one that is away, if there is another."""
        with self._lock:
            others = (tee_id for tee_id in self._listed if tee_id != enclave.tee_id)
            if all(self._cooling.get(tee_id, 0) > now for tee_id in others):
                return
        self.leave(enclave, now)

    def has_other(self, tried: Collection[str]) -> bool:
        """Return whether an enclave is listed that was not tried."""
        with self._lock:
            return any(tee_id not in tried for tee_id in self._listed)

    def payees(self, enclave: Enclave) -> frozenset[str]:
        """
        Return whom an offer of `enclave` may ask to pay, in lower case; empty if nobody has said.

        Any enclave of the registry, since their operators share wallets; but not without a word of its own.
        """
        own = enclave.payment_address.lower()
        if enclave.source != "registry" or own == ZERO_ADDRESS:
            return self._known_payees
        return self._listed_payees | {own}

    def _new_target(self, enclave: Enclave, path: str) -> Target:
        signer, sealing = self._settings.signer, self._sealing
        relay = sealing.relay if sealing is not None else None
        destination = UNPINNED if relay is not None else destination_of(enclave)
        if sealing is not None:
            from og_integrations.protocol.sealing._ohttp import OHTTP_PATH

            # A session is for one endpoint, and sealed requests have their own.
            path = OHTTP_PATH
        return Target(
            enclave=enclave,
            build=build_of(enclave),
            route=Route(
                payer=signer.address if signer is not None else "",
                network=self._settings.network.caip2,
                tee_id=enclave.tee_id,
                path=path,
                host=host_of(enclave.endpoint),
                payees=self.payees(enclave),
            ),
            url=relay.url if relay is not None else url_below(enclave.endpoint, path),
            destination=destination,
            whom=relay.name if relay is not None else f"the gateway {enclave.endpoint}",
            channel="sealed" if sealing is not None else destination.channel,
        )

    def _choose(self, now: float, avoid: Collection[str]) -> Enclave:
        if not self._spread and self._current is not None and self._current not in avoid:
            return self._listed[self._current]
        candidates = [enclave for tee_id, enclave in self._listed.items() if tee_id not in avoid]
        rested = [enclave for enclave in candidates if self._cooling.get(enclave.tee_id, 0) <= now]
        if not rested and candidates and all(enclave.tee_id in self._refused for enclave in candidates):
            raise copy(self._refused[candidates[0].tee_id])
        if not rested:
            raise DiscoveryError(
                f"All {len(self._listed)} enclaves known were tried and could not be reached, or were left less "
                f"than {COOL_DOWN} s ago. Nothing was sent; try again later."
            )
        chosen = self._pick(self._longest_unused(rested))
        self._turn += 1
        self._last_turns[chosen.tee_id] = self._turn
        self._current = chosen.tee_id
        return chosen

    def _longest_unused(self, enclaves: list[Enclave]) -> list[Enclave]:
        # By the last turn, not by the number of turns: one that is new would have to catch up alone.
        oldest = min(self._last_turns.get(enclave.tee_id, 0) for enclave in enclaves)
        return [enclave for enclave in enclaves if self._last_turns.get(enclave.tee_id, 0) == oldest]

    def _read_cold(self, own: "_Reading", now: float) -> Reading[None]:
        """Read the registry for all calls that wait for it, a second time if the node failed; share what happens."""
        try:
            try:
                found = yield from read_enclaves(self._settings)
            except DiscoveryError as exc:
                if not _may_answer(exc):
                    raise
                yield Pause(RETRY_AFTER)
                found = yield from read_enclaves(self._settings)
            self._accept(found, now)
        except OpenGradientError as exc:
            own.failure = exc
            with self._lock:
                self._refresh_at = 0.0
            raise
        finally:
            self._end(own)

    def _refresh(self, own: "_Reading", now: float) -> Reading[None]:
        try:
            found = yield from read_enclaves(self._settings)
        except DiscoveryError:
            # The registry is away; the enclaves it listed before are still attested.
            return
        finally:
            self._end(own)
        self._accept(found, now)

    def _end(self, own: "_Reading") -> None:
        own.ended = True
        with self._lock:
            if self._reading is own:
                self._reading = None

    def _accept(self, found: list[Enclave], now: float) -> None:
        try:
            accepted = accepted_enclaves(found, self._policy, self._hosts, sealed=self._sealing is not None)
        except (DiscoveryError, HostRefusedError):
            # The registry did answer, so enclaves missing from it are revoked: drop the old list.
            self._hold({}, now)
            raise
        self._hold(accepted, now)

    def _hold(self, accepted: dict[str, Enclave], now: float) -> None:
        with self._lock:
            for tee_id, enclave in accepted.items():
                before = self._listed.get(tee_id)
                if before is not None and _where(before) != _where(enclave):
                    # Renewed or moved, which may be why it could not be reached.
                    self._cooling.pop(tee_id, None)
                    self._refused.pop(tee_id, None)
            self._listed = accepted
            self._read_at = now
            addresses = {enclave.payment_address.lower() for enclave in accepted.values()}
            self._listed_payees = self._known_payees | (addresses - {ZERO_ADDRESS})
            self._targets.clear()
            if self._current not in accepted:
                self._current = None


_Shown = tuple[bytes, bytes, str]
"""What a document was about: the certificate, the signing key and the pcr hash that was listed."""


class _Reading:
    """A read of the registry, or of an enclave's document, that several calls wait for."""

    def __init__(self) -> None:
        self.ended = False
        self.failure: OpenGradientError | None = None

    def wait(self) -> Reading[None]:
        """Return when the read has ended. Raises what it raised; one that was cancelled is left to others."""
        while not self.ended:
            yield Pause(READING_POLL)
        if self.failure is not None:
            raise copy(self.failure) from self.failure


def _may_answer(exc: DiscoveryError) -> bool:
    """Return whether a node that failed is asked again: it reset the connection, or was busy, but did not stall."""
    lost = exc.__cause__
    return not exc.answered and not (isinstance(lost, ConnectionLostError) and lost.timed_out)


def _where(enclave: Enclave) -> tuple[str, bytes]:
    return enclave.endpoint, enclave.certificate


def read_enclaves(settings: Settings) -> Fetching[list[Enclave]]:
    """
    Return what the registry lists, maybe nothing, or the one gateway that was named.

    Raises `DiscoveryError` if it could not be read.
    """
    if settings.gateway_url is not None:
        return [(yield from _read_endpoint(settings.gateway_url))]
    network = settings.network
    data = yield from eth_call(network.registry_rpc_url, network.registry_address, encode_get_active_tees(LLM_PROXY))
    return decode_enclaves(data)


def accepted_enclaves(
    found: list[Enclave], policy: EnclavePolicy, hosts: Collection[str] | None = None, *, sealed: bool = False
) -> dict[str, Enclave]:
    """
    Return those that can be connected to safely, that `policy` accepts and that are on `hosts` (any, if None), by id.

    With `sealed` only those that list an OHTTP key.

    Raises `DiscoveryError` if none was found, `EnclaveRejectedError` if none is accepted, `HostRefusedError` if
    none of those is there.
    """
    if not found:
        raise DiscoveryError(
            f"The registry lists no usable enclave of type {LLM_PROXY}. Check OG_REGISTRY_ADDRESS, or wait until one "
            "is registered; `og-integrations doctor` shows what it says."
        )
    accepted: dict[str, Enclave] = {}
    rejections: list[OpenGradientError] = []
    for enclave in found:
        try:
            check_endpoint(enclave)
            policy.check(enclave)
            if sealed and enclave.ohttp is None:
                raise EnclaveRejectedError(
                    f"Enclave {enclave.tee_id} is listed without an OHTTP key, so nothing can be sealed for it. Use "
                    "channel='pinned', or ask again later."
                )
            if enclave.certificate:
                pinned_context(enclave.certificate)
        except (EnclaveRejectedError, ConnectionFailedError) as exc:
            rejections.append(exc)
        else:
            accepted[enclave.tee_id] = enclave
    if not accepted:
        raise EnclaveRejectedError(
            f"{len(found)} enclaves were found and the policy accepts none of them. The first: {rejections[0]}"
        )
    allowed = {tee_id: item for tee_id, item in accepted.items() if hosts is None or host_of(item.endpoint) in hosts}
    if not allowed:
        raise HostRefusedError(
            f"None of the {len(accepted)} enclaves found is on a host of SpendPolicy.hosts, expected one of "
            f"{sorted(hosts or ())}. Nothing was sent to them."
        )
    return allowed


@lru_cache(maxsize=256)
def host_of(endpoint: str) -> str:
    """Return the host name of a gateway's URL, which `SpendPolicy.hosts` is about; of no URL, all of it."""
    try:
        return urlsplit(endpoint).hostname or endpoint
    except ValueError:
        return endpoint


def unsealable(problem: str) -> SealedChannelError:
    """Return the error of an enclave to whose key nothing may be sealed."""
    error = SealedChannelError(f"{problem}. Nothing was sealed or sent; use another enclave.")
    error.nothing_sent = True
    return error


def _ask_for_key(enclave: Enclave, listed: OhttpKey) -> Fetching[SignedConfig]:
    """Return the signed config of the key `listed`, shown by `enclave` itself. Raises `SealedChannelError`."""
    try:
        shown = (yield from fetch_signing_key(enclave.endpoint, enclave)).get("hpke")
    except DiscoveryError as exc:
        raise unsealable(
            f"The registry lists the OHTTP key of enclave {enclave.tee_id} without a signature, and the enclave does "
            f"not show one: {exc}"
        ) from exc
    fields = shown if isinstance(shown, dict) else {}
    from og_integrations.protocol.sealing._ohttp import check_signed_config

    config = check_signed_config(fields, enclave.public_key)
    if (config.key_id, config.public_key) != (listed.key_id, listed.public_key):
        raise unsealable(
            f"The registry lists another OHTTP key of enclave {enclave.tee_id} than the enclave has signed"
        )
    return SignedConfig(*(base64.b64decode(fields[name]) for name in ("key_config", "signature")))


def _read_endpoint(gateway_url: str) -> Fetching[Enclave]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    reply = yield from fetch_signing_key(gateway_url)
    pem = reply.get("public_key")
    try:
        loaded = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else b"")
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise DiscoveryError(f"{gateway_url}/signing-key holds no PEM public key.") from exc
    key = loaded.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    address = reply.get("wallet_address")
    return Enclave(
        tee_id=tee_id_of(key),
        endpoint=url_below(gateway_url, ""),
        public_key=key,
        payment_address=address if isinstance(address, str) else "",
        source="endpoint",
    )

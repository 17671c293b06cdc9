"""
This module holds what an owner pins: the builds that may run, and the roots that may vouch for them.

A build is (PCR0, PCR1, PCR2), 96 hex digits each. A registry lists the keccak256 of the three, one after the other.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from og_integrations.errors import ConfigurationError
from og_integrations.protocol._redact import shown
from og_integrations.protocol.chain._keccak import keccak

AWS_ROOT_G1_SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
"""SHA-256 of the DER of AWS's root certificate for Nitro enclaves ("G1", valid until 2049)."""

Measurements = tuple[str, str, str]
"""PCR0, PCR1 and PCR2 of one build, 96 lower-case hex digits each."""

_PCR_BYTES = 48
_HEX = {32: re.compile(r"[0-9a-f]{64}"), 48: re.compile(r"[0-9a-f]{96}")}


@dataclass(frozen=True, slots=True)
class AttestationPolicy:
    """
    A policy says what a document has to show.

    `measurements` are the builds that may run, as (PCR0, PCR1, PCR2) in hex; None: the owner has pinned none, and
    no document is fully verified. `root_sha256` are the SHA-256 fingerprints (hex, of the DER) of the roots that may
    stand first. `max_age` and `max_future` (seconds) bound the document's time. An *empty* list accepts nothing.

    Raises `ConfigurationError` for what is no fingerprint, no measurement or no number of seconds.
    """

    measurements: Iterable[Measurements] | None
    root_sha256: Collection[str] = (AWS_ROOT_G1_SHA256,)
    max_age: int = 300
    max_future: int = 60
    _builds: frozenset[Measurements] | None = field(init=False, repr=False, compare=False, default=None)
    _roots: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        if isinstance(self.root_sha256, str):
            # Each of its letters would be a fingerprint, and no root has that one.
            raise ConfigurationError("AttestationPolicy.root_sha256 is a text, expected a list of texts.")
        # A bool is an int to Python: `True` would be read as one second.
        for name in ("max_age", "max_future"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ConfigurationError(f"AttestationPolicy.{name} is no number of seconds, expected 0 or more.")
        roots = frozenset(_hex(root, 32, "AttestationPolicy.root_sha256") for root in self.root_sha256)
        object.__setattr__(self, "_roots", roots)
        if self.measurements is not None:
            builds = tuple(_build(build) for build in self.measurements)
            object.__setattr__(self, "measurements", builds)
            object.__setattr__(self, "_builds", frozenset(builds))

    @property
    def builds(self) -> frozenset[Measurements] | None:
        """Return the pinned builds, spelled as in `Attestation.measurements`; None if there is no list."""
        return self._builds

    @property
    def roots(self) -> frozenset[str]:
        """Return the pinned fingerprints in lower case."""
        return self._roots


def pcr_hash_of(measurements: Measurements) -> str:
    """Return 0x-hex keccak256(PCR0‖PCR1‖PCR2), under which a registry lists a build."""
    return "0x" + keccak(bytes.fromhex("".join(measurements))).hex()


def listed_builds(given: object) -> tuple[Measurements, ...]:
    """
    Return a list of builds, each (PCR0, PCR1, PCR2) or an object with these names, spelled in one way.

    Raises `ConfigurationError`.
    """
    # A text or an object can be iterated, too: it would be read letter by letter, or as its members' names.
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ConfigurationError("measurements is no list, expected a list of (PCR0, PCR1, PCR2).")
    return tuple(
        build
        for entry in given
        for build in (read_measurements(entry) if isinstance(entry, Mapping) else [_build(entry)])
    )


def read_measurements(document: object) -> list[Measurements]:
    """
    Return the builds that a parsed JSON document lists, as (PCR0, PCR1, PCR2).

    It is an object with the members PCR0, PCR1 and PCR2, or one that holds such an object as `Measurements` (the
    gateway's `measurements.txt`, as `nitro-cli` prints it), or a list of these. Raises `ConfigurationError`.
    """
    found: list[Measurements] = []
    for entry in document if isinstance(document, list) else [document]:
        # The gateway's file and `nitro-cli` wrap the registers in `Measurements`; a list written by hand may not.
        inner = entry.get("Measurements", entry) if isinstance(entry, Mapping) else None
        if not isinstance(inner, Mapping):
            raise ConfigurationError("A list of measurements holds something else than objects with PCR0, PCR1, PCR2.")
        found.append(_build(tuple(inner.get(name) for name in ("PCR0", "PCR1", "PCR2"))))
    return found


def _build(given: object) -> Measurements:
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise ConfigurationError("An entry of measurements is not of the form (PCR0, PCR1, PCR2).")
    pcr0, pcr1, pcr2 = (_hex(pcr, _PCR_BYTES, f"PCR{index}") for index, pcr in enumerate(given))
    return pcr0, pcr1, pcr2


def _hex(given: object, size: int, name: str) -> str:
    lowered = given.lower().removeprefix("0x") if isinstance(given, str) else ""
    if not _HEX[size].fullmatch(lowered):
        raise ConfigurationError(f"{name} holds {shown(repr(given), 120)}, expected {2 * size} hex digits.")
    return lowered

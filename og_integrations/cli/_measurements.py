"""
`og-integrations measurements`: what the enclaves of the network run, from their own documents, and the file to pin.

Every enclave that the registry lists is asked for its attestation document over a connection pinned to its listed
certificate. Nothing is paid, and no prompt is sent.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from og_integrations.cli._evidence import write_new
from og_integrations.cli._terminal import add_roots, builds_in, one_line, roots_in
from og_integrations.client._directory import accepted_enclaves, read_enclaves
from og_integrations.client._evidence import read_document
from og_integrations.client._settings import keyless_settings
from og_integrations.client.chain._jsonrpc import Reader
from og_integrations.errors import OpenGradientError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.proof._enclave import Enclave, EnclavePolicy
from og_integrations.protocol.proof._measurements import (
    AttestationPolicy,
    Measurements,
    pcr_hash_of,
)

_REGISTERS = ("PCR0", "PCR1", "PCR2")
_DAY = 24 * 60 * 60


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `measurements`."""
    command.description = (
        "Show PCR0, PCR1, PCR2, pcr hash and age of every active enclave, as AWS signed them. Nothing is paid. Exit "
        "code: 0 all have shown a document (of a build of --known, if that is given), 1 one has not."
    )
    command.epilog = (
        "That AWS signed a document says nothing about who wrote the program: compare a build with one that you made "
        "of its source before you pin it."
    )
    command.add_argument(
        "--known", metavar="FILE", help="builds to compare with: a list, or a gateway repository's measurements.txt"
    )
    command.add_argument(
        "--write", metavar="FILE", help="write the builds found (with --known: those of them that are known) to pin"
    )
    add_roots(command)
    command.add_argument("--json", action="store_true", help="one JSON line per enclave")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out about one enclave; `problem` says why there are no `measurements`."""

    enclave: Enclave
    measurements: Measurements | None
    problem: str = ""

    def to_json(self, known: frozenset[Measurements] | None) -> JsonObject:
        """Return it as a line of JSON; `known` are the builds to compare with, if there are any."""
        registers = dict(zip(_REGISTERS, self.measurements or (None,) * 3, strict=True))
        age = int(time.time()) - self.enclave.registered_at if self.enclave.registered_at else None
        return {
            "tee_id": self.enclave.tee_id,
            "endpoint": self.enclave.endpoint,
            **registers,
            "build": pcr_hash_of(self.measurements) if self.measurements else None,
            "listed_build": self.enclave.pcr_hash,
            "age_seconds": age,
            "known": None if known is None else self.measurements in known,
            "problem": self.problem or None,
        }


def run(arguments: argparse.Namespace) -> int:
    """Ask every enclave, show what it runs, and write the file to pin."""
    listed = builds_in("--known", arguments.known)
    known = None if listed is None else frozenset(listed)
    found: list[Found] = []
    for item in _asked(AttestationPolicy(None, roots_in(arguments))):
        found.append(item)
        line = item.to_json(known)
        if arguments.json:
            print(json.dumps(line), flush=True)
        else:
            _show(line)
    builds = {item.measurements for item in found if item.measurements is not None}
    if arguments.write is not None:
        pinned = sorted(builds if known is None else builds & known)
        lines = [dict(zip(_REGISTERS, build, strict=True)) for build in pinned]
        write_new(arguments.write, json.dumps(lines, indent=2) + "\n")
        if not arguments.json:
            print(f"{len(lines)} builds in {one_line(arguments.write)}: EnclavePolicy(measurements=json.load(open(…)))")
    good = builds if known is None else builds & known
    return 0 if all(item.measurements in good for item in found) else 1


def _asked(policy: AttestationPolicy) -> Iterator[Found]:
    with Reader() as reader:
        enclaves = accepted_enclaves(reader.run(read_enclaves(keyless_settings())), EnclavePolicy())
        for enclave in enclaves.values():
            try:
                yield Found(enclave, reader.run(read_document(enclave, policy)).attestation.measurements)
            except OpenGradientError as exc:
                yield Found(enclave, None, str(exc))


def _show(line: JsonObject) -> None:
    age = "unknown" if line["age_seconds"] is None else f"{line['age_seconds'] / _DAY:.1f} days"
    print(f"{line['tee_id']}  {one_line(line['endpoint'])}  registered {age} ago")
    if line["problem"]:
        print(f"  ✗ {one_line(line['problem'])}")
        return
    for name in _REGISTERS:
        print(f"  {name}      {line[name]}")
    said = {None: "", True: "  known", False: "  NOT among the known builds"}[line["known"]]
    print(f"  pcr hash  {line['build']}{said}")

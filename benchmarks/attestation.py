"""
`python -m benchmarks.attestation`: what it costs to have an enclave show what it runs, in a first call and later ones.

Each row is the median of fresh processes, which take turns, so that the machine's mood is the same for all: one client,
one first call, and a hundred more of the same client. CPU is that of the client's process alone; that of the first
call has in it what is imported on first use. Requests are counted by the devnet that answers: everything that it was
asked over HTTP, the registry's node included, until the first answer, and for all later ones.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

from benchmarks.table import keep, markdown_table
from og_integrations.devnet import Devnet

FRESH_PROCESSES, LATER_CALLS = 15, 100
LEVELS = ("registry", "attested", "measured")
HEADS = [
    "trust", "connections of a first call", "requests", "ms of CPU to its answer", "more than without",
    f"requests of {LATER_CALLS} later calls", "µs of CPU a later call", "÷ without",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process took: seconds of CPU to its first answer and for each later one, and what it asked for both."""

    first: float
    later: float
    connections: int
    requests: int
    requests_later: int


_ASK = f"""
import json, sys, time
from og_integrations import EnclavePolicy
from og_integrations.client import Client
began = time.process_time()
policy = EnclavePolicy(**json.loads(sys.argv[1]))
messages = [{{"role": "user", "content": "Say pong."}}]
with Client(enclave_policy=policy) as client:
    trust = client.chat("openai/gpt-5.4-mini", messages).receipt["trust"]
    print(json.dumps([time.process_time() - began, trust]), flush=True)
    input()
    began = time.process_time()
    for _ in range({LATER_CALLS}):
        client.chat("openai/gpt-5.4-mini", messages)
    print((time.process_time() - began) / {LATER_CALLS})
"""
"""The fresh process. It imports nothing of the devnet, which would make imports free that a caller pays for."""


def _measure(net: Devnet, level: str) -> Measured:
    policy: dict[str, object] = {}
    if level != "registry":
        policy = {"attestation": "require", "attestation_roots": [net.authority.root_sha256]}
    if level == "measured":
        policy["measurements"] = [enclave.build for enclave in net.enclaves]
    command = [sys.executable, "-c", _ASK, json.dumps(policy)]
    connections, before = net.stats().connections, _requests(net)
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ) | net.environment()
    ) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        first, found = json.loads(process.stdout.readline())
        assert found == level, found  # noqa: S101
        connections, between = net.stats().connections - connections, _requests(net)
        process.stdin.write("\n")
        process.stdin.flush()
        later = json.loads(process.stdout.readline())
    return Measured(first, later, connections, between - before, _requests(net) - between)


def _requests(net: Devnet) -> int:
    stats = net.stats()
    return stats.requests + stats.attestations + sum(stats.rpc_calls.values())


def measure_attestation() -> str:
    """Return the table, in Markdown."""
    seen: dict[str, list[Measured]] = {level: [] for level in LEVELS}
    with Devnet() as net:
        for number in range(FRESH_PROCESSES + 1):
            for level in LEVELS:
                sys.stderr.write(f"  attestation: {level}\n")
                found = _measure(net, level)
                if number:  # the first round only warms up
                    seen[level].append(found)
    rows = []
    for level, found_here in seen.items():
        pairs = list(zip(found_here, seen["registry"], strict=True))
        more = statistics.median(one.first - without.first for one, without in pairs) * 1e3
        ratio = statistics.median(one.later / without.later for one, without in pairs)
        rows.append([
            level,
            f"{statistics.median(one.connections for one in found_here):.0f}",
            f"{statistics.median(one.requests for one in found_here):.0f}",
            f"{statistics.median(one.first for one in found_here) * 1e3:.0f}",
            "" if level == "registry" else f"{more:.0f}",
            f"{statistics.median(one.requests_later for one in found_here):.0f}",
            f"{statistics.median(one.later for one in found_here) * 1e6:.0f}",
            "" if level == "registry" else f"{ratio:.2f}",
        ])  # fmt: skip
    load = f", load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    said = f"Medians of {FRESH_PROCESSES} fresh processes a row; {os.cpu_count()} cores{load}."
    return f"{markdown_table(HEADS, rows)}\n{said}\n"


def write_attestation(*, kept: bool) -> str:
    """Measure; return the table, and put it into README.md if it is to be `kept`."""
    text = measure_attestation()
    if kept:
        keep("attestation", text)
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="put the table into README.md")
    sys.stdout.write(write_attestation(kept=parser.parse_args().keep))

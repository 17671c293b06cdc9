"""
`python -m benchmarks.verify`: what it takes to judge ten thousand saved receipts, and an enclave's own document.

Each row is a process of its own, from its start to its end, with all the processes that it starts. CPU time divided by
the number of cores is what a machine with nothing else to do takes at best.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import keep
from tests.verify.many_receipts import TEE_ID, documents

FILES, FRESH_PROCESSES = 10_000, 5


def _measure(source: Path, jobs: int) -> list[str]:
    """Return the cells of one row: seconds, seconds of CPU, and both per file."""
    command = [sys.executable, "-m", "og_integrations", "verify", "--tee-id", TEE_ID, "--summary"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    said = subprocess.run(  # noqa: S603
        [*command, "--jobs", str(jobs), str(source)], check=True, capture_output=True, text=True
    ).stdout
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said.startswith(f"{FILES} files: {FILES} verified"), said  # noqa: S101
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [f"{wall:.1f}", f"{cpu:.1f}", f"{cpu / FILES * 1e6:.0f}"]


_FIRST = """
import time
import og_integrations.client, og_integrations.protocol.proof._verification
began = time.process_time()
import og_integrations.protocol.proof.attestation
imported = time.process_time()
from tests.protocol.documents import SOUND, attest
judging = time.process_time()
attest(SOUND[0])
print((imported - began) * 1e3, (time.process_time() - judging) * 1e3)
"""


def _document() -> tuple[float, float]:
    """Return the ms of CPU that the first document of a process takes: for imports, and to be judged."""
    seen = []
    for _ in range(FRESH_PROCESSES):
        said = subprocess.run([sys.executable, "-c", _FIRST], check=True, capture_output=True, text=True)  # noqa: S603
        seen.append([float(number) for number in said.stdout.split()])
    imports, judged = zip(*seen, strict=True)
    return statistics.median(imports), statistics.median(judged)


def measure_verify() -> str:
    """Return the table, in Markdown."""
    lines = [
        "| `verify` of 10,000 receipts | processes | s | s of CPU | µs of CPU a file |",
        "| --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as place:
        folder, listed = Path(place) / "folder", Path(place) / "all.jsonl"
        folder.mkdir()
        with listed.open("w") as lines_of:
            for number, document in enumerate(documents(FILES)):
                text = json.dumps(document)
                lines_of.write(text + "\n")
                (folder / f"{number:05}.json").write_text(text)
        for kind, source in (("a folder of files", folder), ("JSON Lines", listed)):
            for jobs in (1, 2):
                sys.stderr.write(f"  verify: {kind}, {jobs}\n")
                lines.append(f"| {kind} | {jobs} | {' | '.join(_measure(source, jobs))} |")
    load = f"Load average {os.getloadavg()[0]:.1f} at the end." if hasattr(os, "getloadavg") else ""
    imports, judged = _document()
    first = (
        f"The first attestation document of a process takes {judged:.0f} ms of CPU, and {imports:.0f} ms for imports "
        "that no other call needs, beside one round trip; a warm call judges none."
    )
    return "\n".join([*lines, "", f"{first} {load}"]).rstrip() + "\n"


def write_verify(*, kept: bool) -> str:
    """Measure; return the table, and put it into README.md if it is to be `kept`."""
    text = measure_verify()
    if kept:
        keep("verify", text)
    return text


if __name__ == "__main__":
    sys.stdout.write(write_verify(kept="--keep" in sys.argv))

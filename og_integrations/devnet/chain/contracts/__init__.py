"""
The devnet's own contracts, in Vyper: the OPG token, the x402 `upto` proxy and the TEERegistry.

They stand in for the real ones at the real addresses. Permit2 is not among them: it is the real one
(`devnet.chain.evm`).
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from og_integrations.errors import ConfigurationError

NAMES = ("OPG", "UptoProxy", "TEERegistry")
_HERE = Path(__file__).parent


@lru_cache
def runtime_codes(cache: Path) -> dict[str, bytes]:
    """
    Return name -> runtime bytecode, compiled once per version of the sources and kept in `cache`.

    Raises `ConfigurationError` if Vyper is missing or fails.
    """
    sources = [_HERE / f"{name}.vy" for name in NAMES]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    kept = cache / f"contracts-{digest}.hex"
    if not kept.exists():
        text = _compile(sources)
        cache.mkdir(parents=True, exist_ok=True)
        made = cache / f"{kept.name}.{os.getpid()}"  # several processes may be at it
        made.write_text(text)
        made.replace(kept)
    codes = [bytes.fromhex(line.removeprefix("0x")) for line in kept.read_text().split()]
    return dict(zip(NAMES, codes, strict=True))


def _compile(sources: list[Path]) -> str:
    if importlib.util.find_spec("vyper") is None:
        raise ConfigurationError('The devnet\'s contracts need Vyper: pip install "og-integrations[evm]".')
    # A process of its own: the compiler raises the recursion limit and warns about its own parser.
    command = [sys.executable, "-m", "vyper", "-f", "bytecode_runtime", *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our files
    if done.returncode:
        raise ConfigurationError(f"Vyper could not compile the devnet's contracts: {done.stderr[-300:]}")
    return done.stdout

"""
What `Devnet(evm="anvil")` needs from npm: an EVM node, and Permit2's real bytecode.

Both are fetched by the ordinary npm client on first use, in fixed versions, into a folder of this
Python environment. Nothing of them is part of this package.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from og_integrations.errors import ConfigurationError
from og_integrations.protocol.canonical import keccak

ANVIL = "@foundry-rs/anvil@1.7.1"
PERMIT2 = "@uniswap/v4-periphery@1.0.3"
"""The package (MIT) that ships Permit2's runtime as text, for Uniswap's own tests."""
_PERMIT2_SOURCE = "package/lib/permit2/test/utils/DeployPermit2.sol"
_PERMIT2_HASH = "a1ad0529565c2520"
"""First 16 hex of the runtime's keccak."""
_TIMEOUT = 50.0


def default_folder() -> Path:
    """Return where things are kept: with the Python environment, and gone when that is."""
    return Path(sys.prefix) / "share" / "og-integrations"


def fetch_anvil(folder: Path | None = None) -> Path:
    """
    Return the anvil binary: one on the PATH, the one fetched before, or fetched now.

    Raises `ConfigurationError`.
    """
    if found := shutil.which("anvil"):
        return Path(found)
    system = platform.system().lower().replace("windows", "win32")
    machine = "arm64" if platform.machine().lower() in {"aarch64", "arm64"} else "amd64"
    target = (folder or default_folder()) / "node_modules"
    binary = (
        target / "@foundry-rs" / f"anvil-{system}-{machine}" / "bin" / ("anvil.exe" if os.name == "nt" else "anvil")
    )
    if not binary.exists():
        with _workshop(target.parent) as place:
            _npm("install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", place, ANVIL)
            _keep(Path(place) / "node_modules", target)
    if not binary.exists():
        raise ConfigurationError(f"npm has no anvil for {system}-{machine}. Install Foundry, so that `anvil` is found.")
    return binary


def fetch_permit2(folder: Path | None = None) -> bytes:
    """Return the runtime bytecode of Permit2, as on every real chain. Raises `ConfigurationError`."""
    target = (folder or default_folder()) / "DeployPermit2.sol"
    if not target.exists():
        with _workshop(target.parent) as place:
            _npm("pack", "--silent", "--pack-destination", place, PERMIT2)
            (archive,) = Path(place).glob("*.tgz")
            with tarfile.open(archive) as tar:
                member = tar.extractfile(_PERMIT2_SOURCE)
                text = member.read() if member else b""
            (Path(place) / target.name).write_bytes(text)
            _keep(Path(place) / target.name, target)
    for digits in re.findall(r'hex"([0-9a-f]{1000,})"', target.read_text()):
        code = bytes.fromhex(digits)
        if keccak(code).hex().startswith(_PERMIT2_HASH):
            return code
    raise ConfigurationError(f"{target} does not hold the expected bytecode of Permit2. Delete it and try again.")


def _workshop(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    # Beside its destination, so that `_keep` is one rename; several processes may be at it.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder)
    except OSError as exc:
        raise ConfigurationError(f"{folder} cannot be written ({exc.strerror}); use a virtual environment.") from exc


def _keep(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # Another process was faster, and its result is as good.
        if not target.exists():
            raise


def _npm(*arguments: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError("The EVM node comes from npm, which is not installed. Install Node.js, or Foundry.")
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [npm, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ConfigurationError(f"npm {arguments[0]} {arguments[-1]} took more than {_TIMEOUT:.0f} s.") from exc
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.strip()), "nothing")
        raise ConfigurationError(f"npm {arguments[0]} {arguments[-1]} failed ({said.strip()[:200]}).")

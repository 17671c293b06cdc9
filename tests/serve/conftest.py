"""`og-integrations serve` as a process of its own, in front of a devnet."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path

import pytest

from og_integrations.devnet import Devnet


@dataclass(frozen=True)
class Served:
    """Where a server listens, and the key that it made (empty with a file of keys)."""

    url: str
    key: str


@contextmanager
def served(net: Devnet, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """Run the command until the `with` ends, as an operator does."""
    command = [sys.executable, "-m", "og_integrations", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command,
        env=environ | net.environment() | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url, second = process.stdout.readline().strip(), process.stdout.readline().strip()
        yield Served(url.removeprefix("OPENAI_BASE_URL="), second.removeprefix("OPENAI_API_KEY="))
    finally:
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert said == ""


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "keys.json"


def new_key(file: Path, name: str, *arguments: str) -> str:
    """Have the command make a key, and return what it showed."""
    command = [sys.executable, "-m", "og_integrations", "serve", "--keys", str(file), "--new-key", name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

"""What every test starts from: an environment in which nothing of the developer's is set, and keys that are ready."""

import functools
import itertools
import os
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from og_integrations.devnet import _enclave as enclave
from tests.postgres_server import MISSING, PostgresServer, find_programs
from tests.sizes import SPARE_KEYS, load_profiles

load_profiles()

FOREIGN = ("OG_", "OPENGRADIENT_", "LANGSMITH_", "LANGCHAIN_")
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}
MOST_WORKERS = 8
"""Each worker imports both frameworks and has devnets of its own: more of them cost memory and save little."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `--numprocesses=auto` starts: one per core, and two on a single one."""
    return min(max(2, os.cpu_count() or 2), MOST_WORKERS)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can spend a developer's money, trace to LangSmith, or leave through a proxy."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name.lower() in PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def enclaves_start_fast() -> Iterator[None]:
    """Let all enclaves of this process go round in a few RSA keys: making one takes longer than most tests."""
    # Before that: a fault that passes a key of the round off as a stranger's is none for the enclave that has it.
    assert enclave.STRANGER.public_key
    new_key, turns = enclave.new_signing_key, itertools.cycle(range(SPARE_KEYS))

    @functools.cache
    def key_of(turn: int) -> rsa.RSAPrivateKey:
        return new_key()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enclave, "new_signing_key", lambda: key_of(next(turns)))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of this process; each takes a database of its own."""
    programs = find_programs()
    if programs is None:
        pytest.skip(MISSING)
    with PostgresServer(programs) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres.new_database()

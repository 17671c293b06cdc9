"""One devnet for the tests of ledgers, and the kinds of ledgers that each promise holds for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from og_integrations.client import Client
from og_integrations.devnet import Devnet
from tests.client.ways_to_ask import MODEL, user

KINDS = ("file", "sqlite", "postgres", "objects")


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def client(net: Devnet) -> Iterator[Client]:
    with Client(private_key=net.private_key, network=net.network) as made:
        yield made


@pytest.fixture(params=KINDS)
def to(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The name of a new, empty ledger, of each kind in turn."""
    names: dict[str, Callable[[], Any]] = {
        "file": lambda: str(tmp_path / "receipts.jsonl"),
        "sqlite": lambda: f"sqlite:///{tmp_path / 'receipts.db'}",
        "postgres": lambda: request.getfixturevalue("database"),
        "objects": lambda: f"memory://{uuid4().hex}/receipts",
    }
    return str(names[request.param]())


def ask(client: Client, text: str, **options: Any) -> Any:
    """Ask once, and return the answer's receipt."""
    return client.chat(MODEL, user(text), **options).receipt

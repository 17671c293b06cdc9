"""One devnet for all tests of the command line, and its environment for each of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet


@pytest.fixture(scope="session")
def network() -> Iterator[Devnet]:
    """The whole network, started once."""
    with Devnet() as net:
        yield net


@pytest.fixture
def environment(network: Devnet, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `devnet` says to export, exported."""
    for name, value in network.environment().items():
        monkeypatch.setenv(name, value)
    return network.environment()


@pytest.fixture(scope="session")
def saved_text(network: Devnet, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One receipt with its exchange, as `Receipts.save` writes it."""
    settings: dict[str, Any] = {"private_key": network.private_key, "network": network.network}
    with collect_receipts(keep_exchanges=True) as receipts, Client(**settings) as client:
        client.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}])
    (file,) = receipts.save(tmp_path_factory.mktemp("saved"))
    return file.read_text("utf-8")


@pytest.fixture
def saved(saved_text: str) -> Any:
    """The same, to tamper with."""
    return json.loads(saved_text)


@pytest.fixture
def receipt_file(saved_text: str, tmp_path: Path) -> Path:
    """The same, as a file."""
    file = tmp_path / "receipt.json"
    file.write_text(saved_text)
    return file

"""A few saved calls on one devnet, and the folder that an auditor is handed."""

import json
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet
from tests.cli.conftest import environment, network

__all__ = ["environment", "network"]
HOSTILE = "Is it </script><script>alert(1)</script><img src=x onerror=alert(2)> \u2028 solvent? \u202e"
Document = dict[str, Any]


@pytest.fixture(scope="session")
def documents(network: Devnet) -> list[Document]:
    """Twelve calls, the first with a prompt that would run in a careless page."""
    settings: dict[str, Any] = {"private_key": network.private_key, "network": network.network}
    with collect_receipts(keep_exchanges=True) as receipts, Client(**settings) as client:
        for number in range(12):
            said = HOSTILE if number == 0 else f"Invoice {number}?"
            client.chat("openai/gpt-5-mini", [{"role": "user", "content": said}])
    pairs = zip(receipts, receipts.exchanges, strict=True)
    return [{"receipt": receipt, "exchange": exchange} for receipt, exchange in pairs]


def altered(document: Document, how: str) -> Document:
    """Return `document` with one of the four things altered that an auditor has to find."""
    copy: Document = json.loads(json.dumps(document))
    exchange, receipt = copy["exchange"], copy["receipt"]
    if how == "request-hash":
        exchange["request"] = exchange["request"].replace("Invoice", "Envoice")
    elif how == "output-hash":
        reply = json.loads(exchange["response"])
        reply["choices"][0]["message"]["content"] += " Pay now."
        exchange["response"] = json.dumps(reply)
    elif how == "payment-hash":
        receipt["payment"]["max_amount"] = "1"
    else:
        receipt["tee_timestamp"] += 1
    return copy


ALTERED = ("request-hash", "output-hash", "payment-hash", "receipt")


def hand_over(folder: Path, documents: list[Document], calls: int, copies: int) -> None:
    """Write `calls` files, of which four are altered, and beside them two that are none, and `copies` of good ones."""
    for number in range(calls):
        document = documents[number % len(documents)]
        if number in range(1, 5):
            document = altered(document, ALTERED[number - 1])
        (folder / f"{number:05}.json").write_text(json.dumps(document))
    (folder / "junk</script>.json".replace("/", "")).write_text("junk</script>")
    (folder / "half.json").write_text(json.dumps(documents[0])[:900])
    for number in range(copies):
        (folder / f"copy-{number:05}.json").write_text(json.dumps(documents[5 + number % 7]))


@pytest.fixture
def desk(documents: list[Document], tmp_path: Path) -> Path:
    """Twelve calls of which four are altered, two files that are none, and three copies."""
    folder = tmp_path / "desk"
    folder.mkdir()
    hand_over(folder, documents, 12, 3)
    return folder

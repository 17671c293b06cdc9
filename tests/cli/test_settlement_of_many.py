"""`settlement` of many receipts: each payment is asked about once, and what cannot be read stops nothing."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client import Client, collect_receipts
from og_integrations.client.chain import _settlement as settlement
from og_integrations.client.chain._jsonrpc import Fetching
from og_integrations.devnet import Devnet
from og_integrations.protocol.payment.schemes._settlement import Settlement
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization


@pytest.fixture(scope="module")
def net() -> Any:
    """A network whose chain nobody else asks."""
    with Devnet() as devnet:
        yield devnet


@pytest.fixture(scope="module")
def desk(net: Devnet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six calls of two wallets, one receipt without a payment, and junk."""
    folder: Path = tmp_path_factory.mktemp("desk")
    with collect_receipts() as receipts:
        for _ in range(2):
            with Client(private_key=net.new_wallet(opg=10**18).private_key, network=net.network) as client:
                for number in range(3):
                    client.chat("openai/gpt-5-mini", [{"role": "user", "content": f"hi {number}"}])
    for number, receipt in enumerate(receipts):
        (folder / f"{number}.json").write_text(json.dumps(receipt))
    (folder / "unpaid.jsonl").write_text(json.dumps(receipts[0] | {"payment": None}) + "\n")
    (folder / "zjunk.json").write_text("junk")
    return folder


def test_each_payment_is_asked_about_once(
    net: Devnet, desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, find = [], settlement.find_settlement

    def noted(signed: Permit2Authorization, rpc_url: str) -> Fetching[Settlement]:
        asked.append(signed)
        return find(signed, rpc_url)

    monkeypatch.setattr(settlement, "find_settlement", noted)
    assert main(["settlement", str(desk), "--rpc-url", net.rpc_url]) == 2
    out, err = capsys.readouterr()
    assert len(asked) == 2
    assert out.count("  receipts     3, the first is ") == 2
    assert out.splitlines()[-2:] == [
        "2 payments of 6 receipts: 2 pending",
        "1 receipts without a payment, 1 that cannot be read",
    ]
    assert f"{desk}/zjunk.json: not JSON" in err


def test_programs_get_a_line_per_payment(net: Devnet, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settlement", "--json", *(str(desk / f"{n}.json") for n in range(6)), "--rpc-url", net.rpc_url]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["status"], line["files"]) for line in lines] == [
        ("pending", [str(desk / f"{n}.json") for n in range(3)]),
        ("pending", [str(desk / f"{n}.json") for n in range(3, 6)]),
    ]
    receipt = json.loads((desk / "0.json").read_text())
    assert lines[0]["payment"] == receipt["payment"]["payment_hash"]


def test_chain_that_is_away_is_said(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    files = [str(desk / f"{n}.json") for n in range(4)]
    assert main(["settlement", *files, "--rpc-url", f"http://127.0.0.1:{port}"]) == 1
    out, err = capsys.readouterr()
    assert out == "2 payments of 4 receipts: 2 not found out\n"
    assert err.count("No connection") == 2

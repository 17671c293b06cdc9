"""`infer`, `workflow`, and what `verify` and `settlement` say of receipts of models on chain."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._inference import ModelNode
from og_integrations.devnet.chain.models import FOLDER, VOLATILITY
from og_integrations.onchain import OnchainClient, ReceiptJudge
from og_integrations.verify import Verifier
from tests.onchain.test_inference import CANDLES
from tests.onchain.test_workflows import deploy

DATA = json.dumps(CANDLES)
FILE = str(FOLDER / "volatility.onnx")
KEYS = ("OG_PRIVATE_KEY", "OPENGRADIENT_PRIVATE_KEY", "OG_ONCHAIN_PRIVATE_KEY")


@pytest.fixture
def environment(evm: Devnet, models: ModelNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `devnet` says to export, with a wallet of one's own."""
    for name, value in (evm.environment() | {"OG_ONCHAIN_PRIVATE_KEY": evm.new_wallet().private_key}).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def keyless(evm: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same without any key."""
    for name, value in evm.environment().items():
        monkeypatch.setenv(name, value)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def saved(chain: OnchainClient, tmp_path: Path) -> Path:
    """A receipt as `Receipts.save` writes it."""
    with collect_receipts(keep_exchanges=True) as receipts:
        chain.infer(VOLATILITY, CANDLES)
    (file,) = receipts.save(tmp_path / "saved")
    return file


@pytest.mark.usefixtures("environment")
def test_infer_shows_outputs_and_receipt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Progress is on standard error; the receipt can be kept and judged."""
    assert main(["infer", VOLATILITY, "-d", DATA, "--model-file", FILE, "--save", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Y = [0.02250000275671482]\n\nstatus")
    assert re.search(r"^sent        0x[0-9a-f]{64}$", err, re.MULTILINE)
    assert "mined       after" in err
    (file,) = tmp_path.iterdir()
    assert f"receipt     {file}" in err
    assert main(["verify", "--registry", str(file)]) == 0


@pytest.mark.usefixtures("environment")
def test_infer_says_all_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What is written with many digits is sent with them; a hash is resumed."""
    (tmp_path / "in.json").write_text(DATA)
    assert main(["infer", VOLATILITY, "-f", str(tmp_path / "in.json"), "--mode", "TEE", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["output"] == {"Y": [0.02250000275671482]}
    assert first["receipt"]["onchain"]["mode"] == "TEE"
    assert main(["infer", "--resume", first["transaction_hash"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == first["output"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["infer"], 2, "Which model?"),
        (["infer", "m"], 2, "inputs are missing"),
        (["infer", "m", "-d", "{"], 2, "inputs are no JSON"),
        (["infer", "m", "-d", "[1]"], 2, "no JSON object"),
        (["infer", "m", "-d", '{"x": [NaN]}'], 2, "Nothing was sent"),
        (["infer", "m", "-f", "/nowhere"], 2, "cannot be read"),
        (["infer", "m", "-d", "{}", "--max-cost", "much"], 2, "--max-cost: 'much' is no amount"),
        (["infer", "QmNothing", "-d", "{}"], 1, "Model not found: QmNothing"),
        (["infer", VOLATILITY, "-d", DATA, "--max-gas", "1"], 1, "Nothing was sent. Raise max_gas"),
        (["infer", "--resume", "0x" + "ab" * 32], 1, "does not know the transaction"),
        (["workflow", "read", "0x12"], 2, "is no address"),
        (["workflow", "read", "0x" + "0b" * 20], 1, "There is no workflow"),
        (["workflow", "new", "m", "x", "--base", "A", "--quote", "B", "--types", "open,shut"], 2, "no candle types"),
        (["workflow"], 2, "required: new|run|read|history"),
    ],
)
def test_commands_fail_honestly(command: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The published one exits with 0 after almost every failure."""
    try:
        found = main(command)
    except SystemExit as exc:
        found = int(str(exc.code))
    out, err = capsys.readouterr()
    assert (found, out) == (code, "")
    assert says in err


@pytest.mark.usefixtures("environment")
def test_infer_in_doubt_says_how_to_go_on(
    models: ModelNode, arm: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    arm("changed_result")
    assert main(["infer", VOLATILITY, "-d", DATA.replace("101.5", "131.5")]) == 1
    assert "differs from the one that the precompile gave" in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_workflow_from_new_to_history(capsys: pytest.CaptureFixture[str]) -> None:
    new = ["workflow", "new", VOLATILITY, "open_high_low_close", "--base", "ETH", "--quote", "USD"]
    assert main([*new, "--every", "3600", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["schedule_transaction_hash"].startswith("0x")
    address = made["address"]
    assert main(["workflow", "read", address]) == 0
    assert capsys.readouterr().out == "It has not run yet.\n"
    assert main(["workflow", "run", address, "--json"]) == 0
    ran = json.loads(capsys.readouterr().out)
    assert main(["workflow", "read", address, "--max-age", "600"]) == 0
    assert f"of block {ran['block']}" in capsys.readouterr().out
    assert main(["workflow", "history", address, "-n", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"address": address, "results": [ran["output"]]}


def test_reading_needs_no_key(chain: OnchainClient, keyless: None, capsys: pytest.CaptureFixture[str]) -> None:
    address = deploy(chain)
    chain.run_workflow(address)
    assert main(["workflow", "read", address]) == 0
    assert main(["workflow", "history", address]) == 0
    assert main(["workflow", "run", address]) == 2
    assert "OG_ONCHAIN_PRIVATE_KEY" in capsys.readouterr().err


def test_verify_reads_the_receipt_again_from_the_chain(
    saved: Path, keyless: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --registry nothing is asked, and nothing is proven."""
    assert main(["verify", "--registry", "--model-file", FILE, str(saved)]) == 0
    out = capsys.readouterr().out
    assert f"{saved}: verified" in out
    assert re.search(r"pass recomputed\s+the model's file gives the same", out)
    assert main(["verify", str(saved)]) == 2
    assert "only a node of the chain can confirm: say --registry" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("member", "value"),
    [("output_hash", "00" * 32), ("model", "other"), ("onchain.sender", "0x" + "0b" * 20), ("onchain.gas_used", 1)],
)
def test_forged_receipt_fails(
    saved: Path, keyless: None, capsys: pytest.CaptureFixture[str], member: str, value: object
) -> None:
    document = json.loads(saved.read_text())
    *outer, name = member.split(".")
    place: Any = document["receipt"]
    for part in outer:
        place = place[part]
    place[name] = value
    saved.write_text(json.dumps(document))
    assert main(["verify", "--registry", str(saved)]) == 1
    assert f"{member} differ on the chain" in capsys.readouterr().out


def test_verdicts_on_what_proves_nothing(evm: Devnet, saved: Path, tmp_path: Path) -> None:
    """A node that is away decides nothing; an unknown transaction, and a receipt that says "unverified", fail."""
    receipt = json.loads(saved.read_text())["receipt"]
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        away = ReceiptJudge(evm.network, rpc_url=f"http://127.0.0.1:{busy.getsockname()[1]}")
        assert away(receipt).status == "undecided"
    judge = ReceiptJudge(evm.network)
    assert judge(receipt).verified
    assert judge(receipt | {"status": "unverified"}).status == "failed"
    unknown = receipt | {"onchain": receipt["onchain"] | {"transaction_hash": "0x" + "ab" * 32}}
    assert (judge(unknown).status, judge(unknown).step) == ("failed", "transaction")
    assert judge(receipt | {"onchain": None}).status == "malformed"
    verifier = Verifier.unsafe_file_key().with_onchain(judge)
    (tmp_path / "alone.json").write_text(json.dumps(receipt))
    assert verifier.verify(tmp_path / "alone.json").verified


def test_settlement_tells_what_became_of_the_transaction(
    saved: Path, keyless: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["settlement", str(saved)]) == 0
    assert capsys.readouterr().out.startswith("mined: the model was run, and its gas paid\n  transaction  0x")
    assert main(["settlement", str(saved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "mined"
    document = json.loads(saved.read_text())
    document["receipt"]["onchain"]["transaction_hash"] = "0x" + "ab" * 32
    (tmp_path / "unknown.json").write_text(json.dumps(document))
    assert main(["settlement", str(saved), str(tmp_path / "unknown.json")]) == 0
    assert "unknown: the node does not know it (yet)" in capsys.readouterr().out

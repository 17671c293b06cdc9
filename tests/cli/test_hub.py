"""`hub` and `twins` at the command line: what is shown, what is not, and exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.devnet import Devnet

TWIN = "0x1abd463fd6244be4a1dc0f69e0b70cd5"


@pytest.fixture(scope="module")
def shared_net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        devnet.open_services()
        yield devnet


@pytest.fixture
def net(shared_net: Devnet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Devnet]:
    for name, value in shared_net.environment().items():
        monkeypatch.setenv(name, value)
    yield shared_net
    shared_net.clear_faults()


def test_model_goes_up_and_comes_back(net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(b"\x08\x07" * 400_000)

    def ran(*arguments: str) -> tuple[int, Any, str]:
        code = main(["hub", *arguments, "--json"])
        out = capsys.readouterr()
        return code, json.loads(out.out), out.err

    assert ran("create", "by-hand", "-d", "x") == (0, {"model": "by-hand", "version": "1.00"}, "")
    code, sent, told = ran("upload", str(file), "by-hand", "1.00")
    assert (code, sent["check"], sent["size"]) == (0, "pass", 800_000)
    assert told.splitlines()[-1] == "sent net.onnx  800000 of 800000 bytes  100 %"
    assert ran("version", "by-hand", "--major", "-n", "y")[1]["version"] == "2.00"
    listed = [{"name": "net.onnx", "size": 800_000, "file_id": sent["file_id"]}]
    assert ran("list", "by-hand", "1.00") == (0, {"files": listed}, "")
    (tmp_path / "got").mkdir()
    code, got, _ = ran("download", "by-hand", "1.00", "net.onnx", "--to", str(tmp_path / "got"))
    assert (code, got["sha256"]) == (0, sent["sha256"])
    assert (tmp_path / "got" / "net.onnx").read_bytes() == file.read_bytes()
    assert main(["hub", "list", "by-hand", "1.00"]) == 0
    assert capsys.readouterr().out == f"name net.onnx  size 800000  file_id {sent['file_id']}\n"


def test_failures_have_honest_exit_codes(net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(b"weights")
    assert main(["hub", "create", "failing"]) == 0
    for fault, arguments, code in (
        ("hub_down", ["list", "failing", "1.00"], 1),
        ("truncated_upload", ["upload", str(file), "failing", "1.00"], 1),
        (None, ["upload", str(tmp_path / "absent"), "failing", "1.00"], 2),
        (None, ["list", "a/b", "1.00"], 2),
        (None, ["list", "absent", "1.00"], 1),
    ):
        if fault is not None:
            net.inject(fault)
        assert main(["hub", *arguments]) == code, arguments
        net.clear_faults()
    said = capsys.readouterr().err
    assert "FileMismatchError: The model hub says that it got 3 bytes" in said


def test_what_is_missing_is_named(
    net: Devnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OG_MODEL_HUB_PASSWORD")
    monkeypatch.delenv("OG_TWINS_API_KEY")
    assert main(["hub", "create", "m"]) == 2
    assert "password (OG_MODEL_HUB_PASSWORD) is not given" in capsys.readouterr().err
    assert main(["twins", "chat", TWIN, "hi"]) == 2
    assert "set OG_TWINS_API_KEY" in capsys.readouterr().err


def test_password_is_asked_for_at_a_terminal(
    net: Devnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is never a flag, and never shown."""
    password = net.environment()["OG_MODEL_HUB_PASSWORD"]
    monkeypatch.delenv("OG_MODEL_HUB_PASSWORD")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: password)
    assert main(["hub", "create", "typed"]) == 0
    out = capsys.readouterr()
    assert password not in out.out + out.err


def test_twin_answers_with_its_receipt(net: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["twins", "chat", TWIN, "hi"]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("Ada: you said 'hi'\n")
    assert "unverified" in out.out
    assert main(["twins", "chat", TWIN, "hi", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["text"], found["receipt"]["kind"]) == ("Ada: you said 'hi'", "twin")
    net.inject("twin_down")
    assert main(["twins", "chat", TWIN, "hi"]) == 1
    assert main(["twins", "chat", "a/b", "hi"]) == 2

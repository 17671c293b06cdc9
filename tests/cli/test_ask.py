"""`ask` on the devnet: the answer, its receipt, and what is said when it does not work."""

import builtins
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.devnet import Devnet

MODEL = "openai/gpt-5.4-mini"
pytestmark = pytest.mark.usefixtures("environment")


def test_answer_comes_with_its_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    """The text first, then what a person wants to know, within 80 columns."""
    assert main(["ask", "Say hello."]) == 0
    out = capsys.readouterr().out
    answer, _, receipt = out.partition("\n\n")
    assert answer == "You said: Say hello."
    assert [line.split()[0] for line in receipt.splitlines()] == [
        "status",
        "model",
        "enclave",
        "vouched",
        "authorized",
        "payment",
        "settlement",
        "cost",
        "not",
    ]
    assert "verified" in receipt
    assert all(len(line) <= 80 for line in out.splitlines())


def test_individual_shows_its_transaction(capsys: pytest.CaptureFixture[str]) -> None:
    """The only mode that has a transaction hash at once."""
    assert main(["ask", "Say hello.", "--stream", "--settlement-mode", "individual"]) == 0
    assert "transaction   0x" in capsys.readouterr().out


def test_settle_individual_stays_private(capsys: pytest.CaptureFixture[str]) -> None:
    """The old name that sounds like the opposite of what it means."""
    assert main(["ask", "Say hello.", "--settlement-mode", "SETTLE_INDIVIDUAL"]) == 0
    assert "settlement    private" in capsys.readouterr().out


def test_sealed_question_goes_through_the_relay_and_needs_no_wallet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That of the environment; its receipt tells of no payment."""
    with Devnet(generation="newest") as net:
        for name, value in net.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("OG_PRIVATE_KEY")
        assert main(["ask", "Say hello.", "--channel", "ohttp", "--save", str(tmp_path)]) == 0
        assert net.journal.exchanges[-1].relayed
    assert capsys.readouterr().out.startswith("You said: Say hello.\n")
    (file,) = tmp_path.glob("*.json")
    receipt = json.loads(file.read_text())["receipt"]
    assert (receipt["channel"], receipt["payment"]) == ("sealed", None)


def test_sealed_question_to_gateways_that_open_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Say hello.", "--channel", "ohttp"]) == 1
    assert "OHTTP key" in capsys.readouterr().err


def test_saved_receipts_are_kept_and_verified(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each goes into a file of its own that `verify` takes; the older one stays."""
    folder = tmp_path / "new" / "receipts"
    assert main(["ask", "one", "--save", str(folder)]) == 0
    assert main(["ask", "two", "--save", str(folder), "--stream"]) == 0
    files = sorted(folder.iterdir())
    prompts = [json.loads(json.loads(file.read_text())["exchange"]["request"])["messages"] for file in files]
    assert [messages[0]["content"] for messages in prompts] == ["one", "two"]
    capsys.readouterr()
    assert main(["verify", "--registry", *map(str, files)]) == 0


def test_saved_receipt_is_named_as_a_shell_takes_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The line is there to be copied."""
    assert main(["ask", "hi", "--save", str(tmp_path / "my receipts")]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert shlex.split(line.partition("og-integrations ")[2])[-1] == str(tmp_path / "my receipts" / "receipt-001.json")


def test_prompt_may_come_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`echo hi | og-integrations ask -`."""
    monkeypatch.setattr("sys.stdin.read", lambda: "from a pipe")
    assert main(["ask", "-"]) == 0
    assert capsys.readouterr().out.startswith("You said: from a pipe\n")


@pytest.mark.parametrize(
    ("prompt", "piped", "says"),
    [
        ("", "", "the prompt is empty"),
        (" \t\n", "", "the prompt is empty"),
        ("-", "", "standard input held no text"),
        ("-", "\n", "standard input held no text"),
        ("caf\udce9", "", "no UTF-8 text"),  # Latin-1, as Python reads it
        ("-", "caf\udce9", "no UTF-8 text"),
    ],
)
def test_ask_nothing_is_not_paid(
    prompt: str,
    piped: str,
    says: str,
    network: Devnet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unset variable, a command before the pipe that failed, a file that is no text: exit code 2."""
    monkeypatch.setattr("sys.stdin.read", lambda: piped)
    before = network.stats().requests
    assert main(["ask", prompt]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert network.stats().requests == before


def test_answer_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A model's escapes are shown, not obeyed."""
    assert main(["ask", "red: \x1b[31m"]) == 0
    assert capsys.readouterr().out.startswith("You said: red: \\x1b[31m\n")


def test_receipt_is_shown_without_rich(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour is an extra."""
    real_import = builtins.__import__

    def no_rich(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ModuleNotFoundError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_rich)
    assert main(["ask", "Say hello."]) == 0
    assert "\nstatus        verified (not judged: attestation)\n" in capsys.readouterr().out


def test_receipt_on_a_terminal_dims_names_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be read stands out."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["ask", "Say hello."]) == 0
    out = capsys.readouterr().out
    assert "\x1b[2mstatus        \x1b[0m\x1b[1;32mverified (not judged: attestation)\x1b[0m\n" in out
    assert "\x1b[2mmodel         \x1b[0manthropic/claude-sonnet-4-6\n" in out


def test_refused_answer_is_an_error_and_kept(
    network: Devnet, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A wrong signature: nothing is shown as an answer, and the evidence is saved, where it says."""
    network.inject("bad_signature", times=1)
    assert main(["ask", "Say hello.", "--save", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (file,) = tmp_path.iterdir()
    kept, said = err.splitlines()
    assert kept == f"The failed call's receipt: {file}"
    assert said.startswith("og-integrations: VerificationError: The answer is not proven: signature")
    assert main(["verify", "--registry", "--json", str(file)]) == 1
    assert json.loads(capsys.readouterr().out)["step"] == "signature"


@pytest.mark.parametrize(
    ("flags", "environment_change", "message"),
    [
        (["--settlement-mode", "privat"], {}, "Unknown settlement mode"),
        ([], {"OG_PRIVATE_KEY": ""}, "set OG_PRIVATE_KEY"),
        ([], {"OG_NETWORK": "moon"}, "Unknown network"),
    ],
)
def test_wrong_settings_are_said_plainly(
    flags: list[str],
    environment_change: dict[str, str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2 and one sentence: nothing was tried."""
    for name, value in environment_change.items():
        monkeypatch.setenv(name, value)
    assert main(["ask", "hi", *flags]) == 2
    assert message in capsys.readouterr().err


def test_unknown_model_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    """The gateway has the last word about models."""
    assert main(["ask", "hi", "--model", "openai/gpt-99"]) == 1
    assert "GatewayError" in capsys.readouterr().err


def test_unwritable_folder_is_said_before_paying(
    network: Devnet, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A path that is a file: nothing is asked, since its receipt would be lost."""
    (tmp_path / "file").write_text("")
    before = network.stats().requests
    assert main(["ask", "hi", "--save", str(tmp_path / "file")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "could not be saved" in err
    assert network.stats().requests == before


def test_cut_stream_ends_its_line_before_the_error(network: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal the error would stand behind half an answer."""
    network.inject("cut_stream", times=1)
    assert main(["ask", "a question of several words", "--stream"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("You")
    assert out.endswith("\n")
    assert err.startswith("og-integrations: StreamCutError")


@pytest.mark.parametrize("command", ["ask", "batch"])
def test_pinned_builds_are_asked_and_nobody_else(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the file that `measurements` writes; an enclave that a lying node invents sees no prompt."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Say hello.\n")
    out, builds = str(tmp_path / "answers.jsonl"), str(tmp_path / "builds.json")
    asking = {"ask": ["ask", "Say hello."], "batch": ["batch", str(prompts), "--model", MODEL, "--out", out]}[command]
    with Devnet() as net:
        for name, value in net.environment().items():
            monkeypatch.setenv(name, value)
        roots = ["--root-sha256", net.authority.root_sha256]
        assert main(["measurements", *roots, "--write", builds]) == 0
        pinned = [*asking, "--measurements", builds, *roots]
        net.inject("lying_node")
        assert main(pinned) != 0
        assert net.journal.exchanges == []
        dead = "".join(file.read_text() for file in tmp_path.glob("*.dead"))
        assert "no prompt and no payment" in dead + capfd.readouterr().err
        net.clear_faults()
        assert main(pinned) == 0
        assert net.stats().attestations > 0

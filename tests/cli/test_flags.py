"""Values that no flag takes: the error names what a shell user typed, nothing is tried, and the exit code is 2."""

from pathlib import Path

import pytest

from og_integrations.cli import main
from og_integrations.devnet import Devnet

NOT_TYPED = ("min_allowance", "approve_amount", "rpc_url", "upstream is", "model is", "TEE_LLM")


def refused(*command: str) -> int:
    """Run `command` to its exit code, whether argparse or the command refuses."""
    try:
        return main(command)
    except SystemExit as exc:
        return int(str(exc.code))


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["approve", "--allowance", "x"], "--allowance: 'x' is not an amount of OPG"),
        (["approve", "--allowance", "-1"], "--allowance: '-1' OPG is negative"),
        (["approve", "--allowance", "0.01"], "--allowance is 0.01 OPG, expected at least 0.1"),
        (["approve", "--amount", "much"], "--amount: 'much' is not an amount of OPG"),
        (
            ["approve", "--allowance", "1", "--amount", "0.5"],
            "--amount is 0.5 OPG, expected at least --allowance, 1 OPG",
        ),
        (["approve", "--timeout", "0"], "--timeout: '0' is no time to wait"),
        (["ask", "hi", "--model", ""], "--model: '' is no model"),
        (["ask", "hi", "--save", ""], "--save: '' is no folder; the current one is ."),
        (["ask", "hi", "--settlement-mode", "x"], "Unknown settlement mode 'x'"),
        (["doctor", "--model", " "], "--model: ' ' is no model"),
        (["devnet", "--port", "0" * 6 + "65536"], "is no port"),
        (["devnet", "--enclaves", "00011000"], "is no number of gateways"),
        (["devnet", "--opg", "1e400"], "--opg: '1e400' OPG is more than any chain can count"),
        (["devnet", "--upstream", "localhost:11434"], "--upstream: this is no address"),
        (["devnet", "--upstream", "http://"], "--upstream: this is no address"),
        (["devnet", "--upstream", "http://[::1"], "--upstream: this is no address"),
        (["devnet", "--fault", "bad_signature:"], "--fault bad_signature:: TIMES is ''"),
        (["devnet", "--fault", "bad_signature:0"], "--fault bad_signature:0: TIMES is '0'"),
        (["settlement", "file", "--rpc-url", "node"], "--rpc-url: this is no address"),
        (["verify", "file", "--tee-id", "x"], "--tee-id 'x' is no enclave id"),
    ],
)
def test_flag_with_bad_value_is_named(
    command: list[str], says: str, network: Devnet, capsys: pytest.CaptureFixture[str]
) -> None:
    """No argument of a Python function is mentioned: nobody can type it."""
    before = network.stats().requests
    assert refused(*command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert not [word for word in NOT_TYPED if word in err]
    assert network.stats().requests == before


ABBREVIATED = [
    "verify --trust f",
    "approve --all 1",
    "ask hi --str",
    "doctor --js",
    "settlement --rpc f",
    "devnet --gen x",
]


@pytest.mark.parametrize("line", ABBREVIATED)
def test_abbreviated_flag_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--trust` would be `--trust-file-key` until there is another flag that begins so."""
    assert refused(*line.split()) == 2
    assert "unrecognized arguments: --" in capsys.readouterr().err


def test_settlement_of_no_receipt_names_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One of many in a loop."""
    file = tmp_path / "other.json"
    file.write_text("{}")
    assert main(["settlement", str(file)]) == 2
    assert f"{file}: This is no receipt" in capsys.readouterr().err

"""`og-integrations approve`: shows, asks, and sends only after a yes."""

from collections.abc import Callable

import pytest

from og_integrations.cli import main
from og_integrations.devnet import Devnet, Wallet
from og_integrations.networks import OPG

Use = Callable[[Wallet], None]


@pytest.fixture
def use(evm: Devnet, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Make a wallet the one of the environment."""

    def set_environment(wallet: Wallet) -> None:
        for name, value in (evm.environment() | {"OG_PRIVATE_KEY": wallet.private_key}).items():
            monkeypatch.setenv(name, value)

    return set_environment


def test_without_a_yes_nothing_is_sent(evm: Devnet, use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no terminal to ask in: it shows what it would do, and what that costs."""
    wallet = evm.new_wallet(opg=5 * OPG, allowance=0)
    use(wallet)
    assert main(["approve"]) == 2
    out, err = capsys.readouterr()
    assert "asked       0.1 OPG for one authorization" in out
    assert "to approve  0.2 OPG" in out
    assert "gas         at most 0.0" in out
    assert "say the same with --yes" in err  # "approve --yes" alone would forget `--amount`
    assert evm.chain.allowance(wallet.address) == 0


@pytest.mark.parametrize(("answer", "allowed"), [("y", 4 * OPG), ("", 0), ("no", 0)])
def test_terminal_is_asked(evm: Devnet, use: Use, monkeypatch: pytest.MonkeyPatch, answer: str, allowed: int) -> None:
    """Only a yes is one."""
    wallet = evm.new_wallet(allowance=0)
    use(wallet)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert main(["approve", "--allowance", "2"]) == (0 if allowed else 1)
    assert evm.chain.allowance(wallet.address) == allowed


def test_yes_sends_it_and_shows_progress(evm: Devnet, use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    """Sent, mined, visible; the second time there is nothing to do."""
    wallet = evm.new_wallet(allowance=0)
    use(wallet)
    assert main(["approve", "--yes", "--amount", "3"]) == 0
    out = capsys.readouterr().out
    assert "\nsent        0x" in out
    assert "\nmined       after" in out
    assert "\nallowed now 3 OPG\n" in out
    assert evm.chain.allowance(wallet.address) == 3 * OPG
    assert main(["approve", "--yes"]) == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_wallet_without_opg_is_said_plainly(evm: Devnet, use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the fix."""
    use(evm.new_wallet(opg=0, allowance=0))
    assert main(["approve", "--yes"]) == 1
    assert "ApprovalError: The wallet" in capsys.readouterr().err

"""`approve` that sends nothing: what it says, and that a script hears of it. What it sends: tests/money."""

from typing import Any

import pytest

from og_integrations.cli import _approve as approve
from og_integrations.cli import main
from og_integrations.client import Client
from og_integrations.client.chain._approval import ApprovalPlan
from og_integrations.client.chain._jsonrpc import Fetching
from og_integrations.devnet import Devnet
from og_integrations.networks import OPG

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something is to be sent (what, only a real EVM can tell), and sending it fails the test."""

    def plan(*amounts: Any) -> Fetching[ApprovalPlan]:
        yield from ()
        return ApprovalPlan(owner="0x" + "11" * 20, allowance=0, balance=5 * OPG, amount=2 * OPG, transaction={})

    def send(*amounts: Any, **options: Any) -> None:
        raise AssertionError("it was sent")

    monkeypatch.setattr(approve, "plan_approval", plan)
    monkeypatch.setattr(Client, "ensure_opg_approval", send)


@pytest.mark.usefixtures("planned")
def test_approve_without_terminal_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """`approve && start-agent` in a script: the agent must not start."""
    assert main(["approve"]) == 2
    out, err = capsys.readouterr()
    assert "to approve  2 OPG" in out
    assert "Nothing was sent" in err
    assert "say the same with --yes" in err  # "approve --yes" alone would forget `--amount`


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize("answer", ["", "no", EOFError])
def test_approve_declined_fails(
    answer: str | type[EOFError], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A "no", and Ctrl-D, which is one: nothing is allowed, and no traceback."""

    def typed(question: str) -> str:
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", typed)
    assert main(["approve"]) == 1
    assert capsys.readouterr().out.endswith("\nNothing was sent.\n")


@pytest.mark.parametrize(("cap", "wanted"), [(OPG // 10, "0.1"), (5 * OPG, "5"), (OPG // 20, "0.1")])
def test_approve_asks_the_gateway_how_much_it_needs(
    cap: int, wanted: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is assumed, nothing is paid; less than any gateway needs is not approved."""
    planned: list[Any] = []

    def plan(_settings: Any, *amounts: Any) -> Fetching[ApprovalPlan]:
        planned.extend(amounts)
        yield from ()
        return ApprovalPlan(owner="0x" + "11" * 20, allowance=5 * OPG)

    monkeypatch.setattr(approve, "plan_approval", plan)
    with Devnet(cap=cap) as asking:
        for name, value in asking.environment().items():
            monkeypatch.setenv(name, value)
        assert main(["approve"]) == 0
        assert (asking.stats().requests, asking.stats().signatures) == (1, 0)
    assert planned == [wanted, None]
    out = capsys.readouterr().out
    assert f"at least {wanted} OPG are allowed" in out
    assert "OPG for one authorization, by a gateway" in out


def test_approve_without_a_gateway_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then `--allowance` says how much."""
    with Devnet() as away:
        for name, value in away.environment().items():
            monkeypatch.setenv(name, value)
        away.inject("dead_registry")
        assert main(["approve"]) == 1
    assert "DiscoveryError" in capsys.readouterr().err

"""`doctor` on the devnet: what is fine, what is not, and what to do about it. It never pays."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.devnet import Devnet, Wallet
from og_integrations.networks import OPG


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devnet]:
    """A devnet of one's own, and its environment."""
    with Devnet() as devnet:
        for name, value in devnet.environment().items():
            monkeypatch.setenv(name, value)
        yield devnet


@pytest.fixture
def checks(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run it and return its checks by name."""

    def run(*flags: str, failed: set[str]) -> dict[str, dict[str, str]]:
        assert main(["doctor", "--json", *flags]) == bool(failed)
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {check["id"] for check in found if check["result"] == "fail"} == failed
        return {check["id"]: check for check in found}

    return run


def use(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OG_PRIVATE_KEY", wallet.private_key)


def test_healthy_network_is_ready(net: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line has a mark; nothing was signed or asked of a gateway."""
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("\nReady.\n")
    assert {line.split()[1] for line in out.splitlines()[:-2]} == {
        "versions",
        "model",
        "settings",
        "key",
        "chain",
        "clock",
        "opg",
        "allowance",
        "gas",
        "enclaves",
        "certificate",
    }
    assert net.private_key not in out
    assert (net.stats().requests, net.stats().signatures) == (0, 0)
    assert net.stats().handshakes == 1


def test_missing_wallet_is_the_only_complaint(net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not need one is checked all the same."""
    monkeypatch.delenv("OG_PRIVATE_KEY")
    found = checks(failed={"key"})
    assert "set OG_PRIVATE_KEY" in found["key"]["detail"]
    assert found["opg"]["result"] == "skip"
    assert found["certificate"]["result"] == "pass"


@pytest.mark.parametrize(
    ("owned", "failed", "fix"),
    [
        ({"opg": 0}, {"opg"}, "send OPG"),
        ({"allowance": OPG // 20}, {"allowance"}, "og-integrations approve"),
        ({"allowance": 0, "native": 0}, {"allowance", "gas"}, "send ETH"),
    ],
)
def test_empty_wallet_is_told_what_it_needs(
    net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch, owned: dict[str, int], failed: set[str], fix: str
) -> None:
    """Gas only where an approval is to be sent."""
    use(net.new_wallet(**owned), monkeypatch)
    found = checks(failed=failed)
    assert any(fix in found[name]["detail"] for name in failed)


def test_malformed_key_is_said_without_showing_it(net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come first; nothing after them can be looked at."""
    monkeypatch.setenv("OG_PRIVATE_KEY", "0x1234secret")
    found = checks(failed={"settings"})
    assert "expected 64 hex digits" in found["settings"]["detail"]
    assert "secret" not in json.dumps(found)


def test_wrong_chain_is_detected(net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node of Base, and the network Base Sepolia."""
    monkeypatch.setenv("OG_NETWORK", "base-sepolia")
    found = checks(failed={"chain"})
    assert "serves chain 8453, expected 84532" in found["chain"]["detail"]
    assert found["allowance"]["result"] == "skip"


def test_unreachable_registry_is_told_apart_from_the_payment_chain(
    net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes, two checks."""
    monkeypatch.setenv("OG_REGISTRY_RPC_URL", "http://127.0.0.1:9")
    found = checks(failed={"enclaves"})
    assert found["opg"]["result"] == "pass"
    assert found["certificate"]["result"] == "skip"


def test_wrong_certificate_is_seen_in_the_handshake(net: Devnet, checks: Any) -> None:
    """Someone in between."""
    net.inject("wrong_certificate")
    assert "another certificate" in checks(failed={"certificate"})["certificate"]["detail"]


def test_wrong_clock_is_detected(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour off: enclaves' timestamps would be refused."""
    with Devnet(clock=lambda: time.time() + 3600) as late:
        for name, value in late.environment().items():
            monkeypatch.setenv(name, value)
        found = checks(failed={"clock"})
    assert "behind the chain's newest block" in found["clock"]["detail"]


def test_unknown_model_is_a_skip(net: Devnet, checks: Any) -> None:
    """The gateway has the last word."""
    assert checks("--model", "openai/gpt-99", failed=set())["model"]["result"] == "skip"


def test_gateway_by_url_is_not_called_attested(net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to pin; that is a skip and never a pass."""
    with Devnet(tls=False) as plain:
        monkeypatch.setenv("OG_GATEWAY_URL", plain.enclaves[0].endpoint)
        assert "not attested" in checks(failed=set())["certificate"]["detail"]

"""`doctor` on the devnet: what is fine, what is not, and what to do about it. It never pays."""

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client._probes import probe
from og_integrations.devnet import Devnet, Fault, Wallet
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
    """Every line has a mark; a gateway was asked for its price, and nothing was signed."""
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
        "generation",
        "price",
    }
    assert net.private_key not in out
    assert (net.stats().requests, net.stats().signatures, net.stats().handshakes) == (1, 0, 3)


def test_price_is_what_the_gateway_asks_for(net: Devnet, checks: Any) -> None:
    """Asked by a prompt that says nothing, without a payment, and nothing is left behind."""
    found = checks(failed=set())["price"]["detail"]
    pay_to = net.enclaves[0].payment_address
    assert found == f"at most 0.1 OPG authorized for the next calls (settled by use), payTo {pay_to}, valid 300 s"
    (exchange,) = net.journal.exchanges
    assert (exchange.prompt, exchange.paid_by, exchange.status) == ("ping", "nothing", 402)
    assert net.verdict().clean


def test_needed_amounts_are_those_of_the_offer(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that asks for half an OPG needs that much to be owned and allowed."""
    with Devnet(cap=OPG // 2) as dear:
        for name, value in dear.environment().items():
            monkeypatch.setenv(name, value)
        use(dear.new_wallet(opg=OPG // 5, allowance=OPG // 4), monkeypatch)
        found = checks(failed={"opg", "allowance"})
    assert "at most 0.5 OPG" in found["price"]["detail"]
    assert "owns 0.2 OPG, and the gateway asks to authorize 0.5: send OPG" in found["opg"]["detail"]
    assert "take 0.25 OPG, and the gateway asks to authorize 0.5: run `og" in found["allowance"]["detail"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("offer_over_cap", r"expected at most 5 OPG (SpendPolicy.max_per_authorization). Nothing was signed."),
        ("other_pay_to", "the registry's payment addresses. Nothing was signed. If you trust it, allow it in"),
        ("other_scheme", "asks for scheme exact, expected one of ['upto']"),
        ("missing_offer", "asks for payment without an offer"),
        ("garbage_offer", "is not base64 of JSON"),
    ],
)
def test_offer_that_would_be_refused_is_said(net: Devnet, checks: Any, fault: str, said: str) -> None:
    """By the rules that hold where nothing is configured, and before anybody paid."""
    net.inject(fault)
    found = checks(failed={"price"})
    assert said in found["price"]["detail"]
    assert found["opg"]["result"] == "pass"
    assert net.stats().signatures == 0


def test_gateway_that_is_ill_is_said(net: Devnet, checks: Any) -> None:
    """It answers, but not with an offer."""
    net.inject(Fault(name="ill", about="", offer_reply=lambda reply: dataclasses.replace(reply, status=503)))
    assert "answered HTTP 503 to an unpaid request" in checks(failed={"price"})["price"]["detail"]


def test_price_is_not_asked_over_a_wrong_channel(checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two enclaves one shows a wrong certificate: the other one is asked."""
    with Devnet(enclaves=2) as two:
        for name, value in two.environment().items():
            monkeypatch.setenv(name, value)
        two.inject("wrong_certificate", enclave=two.enclaves[0])
        for _ in range(4):
            assert "at most 0.1 OPG" in checks(failed={"certificate"})["price"]["detail"]
        assert {exchange.enclave for exchange in two.journal.exchanges} == {two.enclaves[1].tee_id}


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


@pytest.mark.parametrize("name", ["OG_RPC_URL", "OG_REGISTRY_RPC_URL", "OG_GATEWAY_URL"])
def test_unreadable_address_is_named_by_its_variable(
    name: str, net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its value, which may hold a key."""
    monkeypatch.setenv(name, "node.example/secret")
    found = checks(failed={"settings"})
    assert found["settings"]["detail"].startswith(f"{name} is no address of a server")
    assert "secret" not in json.dumps(found)


def test_wrong_chain_is_detected(net: Devnet, checks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node of Base, and the network Base Sepolia."""
    monkeypatch.setenv("OG_NETWORK", "base-sepolia")
    found = checks(failed={"chain", "price"})
    assert "network eip155:8453, expected one of ['eip155:84532']" in found["price"]["detail"]
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
    found = checks(failed={"certificate"})
    assert "another certificate" in found["certificate"]["detail"]
    assert found["price"]["result"] == "skip"
    assert net.stats().requests == 0


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
        found = checks(failed=set())
        assert "not attested" in found["certificate"]["detail"]
        assert found["price"]["result"] == "skip"


@pytest.mark.parametrize(
    ("generation", "facts", "looks", "follows"),
    [
        (
            "april",
            "/health says version 1.0.0, no key for sealed requests, no web search",
            "looks like april (the published build, by its measurement)",
            "refused before they are paid for",
        ),
        (
            "reduced",
            "and 4 providers, a key for sealed requests, no web search",
            "looks like verbatim, reduced or effort",
            "answers say what they cost, there is no web search, channel='ohttp' works",
        ),
        (
            "newest",
            "and 4 providers, a key for sealed requests, asks for payment of a web search",
            "looks like search or newer",
            "web searches work",
        ),
    ],
)
def test_generation_that_was_found_is_said_with_what_follows(
    generation: str, facts: str, looks: str, follows: str
) -> None:
    with Devnet(generation=generation) as net:
        found = probe(net.enclaves[0].entry())
        assert found.facts.endswith(facts)
        assert looks == f"looks like {found.generation}"
        assert follows in found.consequences
        assert net.stats().payments == 0


def test_gateway_whose_free_pages_are_away_is_no_generation() -> None:
    with Devnet(generation="reduced") as net:
        gone = net.enclaves[0].entry()
    found = probe(gone)
    assert found.generation.startswith("unknown")
    assert found.facts == "/health does not answer, /v1/ohttp/config away, /v1/web_search away"

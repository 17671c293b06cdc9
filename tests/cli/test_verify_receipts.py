"""`verify` on saved receipts: what they claim is compared with their exchange, and with the chain."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from og_integrations.cli import main
from og_integrations.devnet import Devnet
from og_integrations.protocol.proof._enclave import DEBUG_PCR_HASH
from og_integrations.verify import Verifier
from og_integrations.verify._coverage import Claims, payment_check

Saved = dict[str, Any]


def judged(saved: Saved) -> tuple[str, str | None, dict[str, str]]:
    verdict = Verifier.unsafe_file_key().verify(json.dumps(saved).encode())
    return verdict.status, verdict.step, {check.id: check.result for check in verdict.checks}


def test_saved_receipt_is_verified(saved: Saved) -> None:
    """The two checks that only a receipt has come last and pass; what they leave out follows."""
    status, step, results = judged(saved)
    assert (status, step) == ("verified", None)
    assert list(results.items())[-3:] == [("receipt", "pass"), ("payment-hash", "pass"), ("not-covered", "skip")]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("status", "unverified"),
        ("request_hash", "00" * 32),
        ("output_hash", None),
        ("tee_timestamp", 1.0),
        ("tee_signature", "AAAA"),
        ("tee_id", "0x" + "00" * 32),
        ("model", "openai/gpt-5"),
        ("model", 5),
        ("version", 2),
        ("unsigned", []),
        ("hash_rule", "reduced"),
        ("hash_rule", None),
        ("enclave", None),
        ("enclave", {"public_key": "00"}),
    ],
)
def test_receipt_of_another_exchange_fails(member: str, value: object, saved: Saved) -> None:
    """A true exchange does not lend its proof to a receipt that says something else."""
    saved["receipt"][member] = value
    status, step, results = judged(saved)
    assert (status, step, results["receipt"]) == ("failed", "receipt", "fail")
    assert results["signature"] == "pass"


PAYMENT_TAMPERINGS: dict[str, tuple[str, object]] = {
    "amount": ("max_amount", "1"),
    "amount as number": ("max_amount", 10**17),
    "amount with a zero": ("max_amount", "0100000000000000000"),
    "amount huge": ("max_amount", "9" * 10_000),
    "amount over uint256": ("max_amount", str(2**256)),
    "payee": ("pay_to", "0x" + "11" * 20),
    "payee too long": ("pay_to", "0x" + "11" * 32),
    "payee a number": ("pay_to", 7),
    "facilitator": ("facilitator", None),
    "spender": ("spender", "0x" + "11" * 20),
    "nonce": ("nonce", "1"),
    "deadline": ("deadline", 1),
    "deadline negative": ("deadline", -1),
    "deadline huge": ("deadline", 10**100),
    "time as truth": ("valid_after", True),
    "network": ("network", "eip155:1"),
    "network a list": ("network", []),
    "hash": ("payment_hash", "0x" + "00" * 32),
    "hash missing": ("payment_hash", None),
    "hash of nobody": ("payment_hash_source", "edited"),
    "scheme": ("scheme", "exact"),
}


@pytest.mark.parametrize("tampering", PAYMENT_TAMPERINGS)
def test_payment_that_does_not_recompute_fails(tampering: str, saved: Saved) -> None:
    """The payment hash binds every field of the authorization."""
    member, value = PAYMENT_TAMPERINGS[tampering]
    saved["receipt"]["payment"][member] = value
    status, step, results = judged(saved)
    assert (status, results["payment-hash"]) == ("failed", "fail")
    assert step == ("receipt" if member == "payment_hash_source" else "payment-hash")


@pytest.mark.parametrize(
    ("payment", "unsigned"),
    [(None, []), ({"payment_hash_source": "x-processing-hash"}, ["settlement"])],
)
def test_payment_that_cannot_recompute_is_a_skip(payment: object, unsigned: list[str], saved: Saved) -> None:
    """No payment, or a hash of the gateway's own making: nothing to say, and not a pass."""
    saved["receipt"]["payment"] = payment
    saved["receipt"]["unsigned"] = sorted(saved["receipt"]["unsigned"] + unsigned)
    status, _, results = judged(saved)
    assert (status, results["payment-hash"]) == ("verified", "skip")


def test_receipt_beside_an_unproven_answer_is_a_skip(saved: Saved) -> None:
    """There is nothing to compare it with."""
    saved["exchange"]["response"] = "{}"
    status, step, results = judged(saved)
    assert (status, step, results["receipt"]) == ("failed", "shape", "skip")


def test_receipt_beside_an_answer_without_proof_is_a_skip(saved: Saved) -> None:
    answer = json.loads(saved["exchange"]["response"])
    saved["exchange"]["response"] = json.dumps({name: answer[name] for name in answer if not name.startswith("tee_")})
    status, step, results = judged(saved)
    assert (status, step, results["receipt"]) == ("failed", "proof", "skip")


@pytest.mark.parametrize("spelt", ["Application/JSON", "application/json; charset=utf-8", " application/json "])
def test_content_type_is_read_as_http_means_it(spelt: str, saved: Saved) -> None:
    """Whoever saved the exchange may have kept the whole header."""
    saved["exchange"]["content_type"] = spelt
    assert judged(saved)[0] == "verified"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON, data=st.data())
def test_any_receipt_has_a_verdict(value: object, data: st.DataObject, saved_text: str) -> None:
    """Whatever a receipt holds, `verify` answers."""
    saved = json.loads(saved_text)
    where = saved["receipt"] if data.draw(st.booleans()) else saved["receipt"]["payment"]
    where[data.draw(st.sampled_from(sorted(where)))] = value
    Verifier.unsafe_file_key().verify(json.dumps(saved).encode())
    payment_check(Claims({"payment": value}))


Fault = Callable[[Devnet], None]


def registry_report(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["verify", "--registry", "--json", str(file)])
    report = json.loads(capsys.readouterr().out)
    (trusted,) = [check for check in report["checks"] if check["id"] == "enclave-trusted"]
    return code, trusted["result"], trusted["detail"]


@pytest.mark.usefixtures("environment")
def test_registry_vouches_for_its_enclaves(receipt_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The chain lists the enclave that signed."""
    assert registry_report(receipt_file, capsys) == (0, "pass", "the TEERegistry lists this enclave (active now)")


@pytest.mark.usefixtures("environment")
def test_registry_needs_no_key(
    receipt_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger can verify; a key that is not needed is not even read."""
    monkeypatch.setenv("OG_PRIVATE_KEY", "not a key")
    assert registry_report(receipt_file, capsys)[0] == 0


def test_another_registry_does_not_vouch(
    receipt_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An enclave that nobody registered proves nothing about itself."""
    with Devnet() as other:
        for name, value in other.environment().items():
            monkeypatch.setenv(name, value)
        code, result, detail = registry_report(receipt_file, capsys)
    assert (code, result) == (1, "fail")
    assert "does not list" in detail


@pytest.fixture
def _no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv("OG_REGISTRY_RPC_URL", f"http://127.0.0.1:{port}")


@pytest.mark.usefixtures("_no_registry")
def test_registry_that_is_away_does_not_vouch(receipt_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be asked is not a pass, and does not say that the receipt is bad."""
    code, result, detail = registry_report(receipt_file, capsys)
    assert (code, result) == (2, "skip")
    assert "No connection" in detail
    assert main(["verify", "--registry", str(receipt_file)]) == 2
    said = capsys.readouterr().out
    assert "undecided (enclave-trusted)" in said
    assert "failed" not in said


@pytest.mark.usefixtures("_no_registry")
def test_forged_receipt_fails_also_where_the_registry_is_away(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both before the registry would have been asked, and after."""
    for member, changed in (("exchange", {"request": "{}"}), ("receipt", {"tee_timestamp": 1})):
        file = tmp_path / f"{member}.json"
        file.write_text(json.dumps(saved | {member: saved[member] | changed}))
        assert main(["verify", "--registry", str(file)]) == 1
        assert f"{file}: failed" in capsys.readouterr().out


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("fault", ["dead_registry", "garbage_registry"])
def test_registry_whose_node_is_broken_leaves_it_undecided(
    fault: str, network: Devnet, receipt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """503, or HTML as of a captive portal."""
    network.inject(fault, times=1)
    assert registry_report(receipt_file, capsys)[:2] == (2, "skip")


def test_retired_enclave_keeps_its_word(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enclaves come and go, receipts stay; a debug enclave never vouches."""
    from og_integrations.client import Client, collect_receipts

    with Devnet() as net:
        for name, value in net.environment().items():
            monkeypatch.setenv(name, value)
        with collect_receipts(keep_exchanges=True) as receipts, Client() as client:
            client.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}])
        (file,) = receipts.save(tmp_path)
        net.retire(net.enclaves[0])
        assert registry_report(file, capsys) == (0, "pass", "the TEERegistry lists this enclave (not active any more)")
        (entry,) = net.chain.enclaves
        object.__setattr__(entry, "pcr_hash", DEBUG_PCR_HASH)
        code, result, detail = registry_report(file, capsys)
    assert (code, result) == (1, "fail")
    assert "debug mode" in detail

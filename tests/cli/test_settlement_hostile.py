"""Receipts from strangers: the command says what is wrong with them, and believes none of their words."""

import json
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client import Client, Receipt, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

GONE = ...
ADDRESS = "0x" + "99" * 20


def changed(receipt: Any, **members: Any) -> Any:
    """Return `receipt` with members of its payment replaced, or gone."""
    payment = {name: value for name, value in (receipt["payment"] | members).items() if value is not GONE}
    return receipt | {"payment": payment}


def renamed(receipt: Any, **members: Any) -> Any:
    """The same, with the hash that then fits."""
    found = changed(receipt, **members)
    payment = found["payment"]
    signed = Permit2Authorization(
        chain_id=8453, payer=payment["payer"], token=payment["asset"], amount=int(payment["max_amount"]),
        spender=payment["spender"], nonce=int(payment["nonce"]), deadline=payment["deadline"],
        pay_to=payment["pay_to"], facilitator=payment["facilitator"], valid_after=payment["valid_after"],
    )  # fmt: skip
    return changed(found, payment_hash="0x" + signed.digest().hex())


def settlement(receipt: Any, net: Devnet, folder: Path) -> int:
    file = folder / "hostile.json"
    file.write_text(json.dumps(receipt))
    return main(["settlement", str(file), "--rpc-url", net.rpc_url])


@pytest.fixture
def recent(network: Devnet) -> Any:
    """The receipt of a call made now: an older one's session may be over, and a chain without logs cannot say more."""
    with (
        collect_receipts() as receipts,
        Client(private_key=network.new_wallet().private_key, network=network.network) as client,
    ):
        client.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}])
    return receipts[0]


@pytest.mark.parametrize(
    "members",
    [
        {"payment_hash": GONE}, {"payment_hash": None}, {"payment_hash": "0x" + "ab" * 32}, {"payment_hash": 7},
        {"payment_hash": "somebody else's"}, {"payment_hash_source": GONE},
        {"max_amount": 1e17}, {"max_amount": " 100_000 "}, {"max_amount": True}, {"max_amount": -1},
        {"max_amount": 10**17}, {"max_amount": "0x10"}, {"max_amount": "9" * 5000}, {"max_amount": "1" + "0" * 16},
        {"nonce": True}, {"nonce": "-1"}, {"nonce": 5}, {"nonce": GONE}, {"nonce": "1"},
        {"deadline": True}, {"deadline": "1795000000"}, {"deadline": 2**300}, {"deadline": -1}, {"deadline": 1.5},
        {"valid_after": -5}, {"valid_after": None}, {"valid_after": 0},
        {"network": 5}, {"network": "eip155:-1"}, {"network": "eip155:" + "9" * 30}, {"network": "8453"},
        {"network": "eip155:84532"}, {"network": "eip155:08453"}, {"network": GONE},
        {"facilitator": "zz"}, {"facilitator": 5}, {"facilitator": "0x12"}, {"facilitator": None}, {"facilitator": ...},
        {"facilitator": ADDRESS}, {"pay_to": ADDRESS}, {"pay_to": []}, {"payer": "0x" + "zz" * 20},
        {"payer": GONE}, {"spender": ["a"]}, {"spender": ""}, {"spender": ADDRESS}, {"asset": ADDRESS}, {"asset": None},
    ],
    ids=str,
)  # fmt: skip
def test_receipt_that_was_changed_is_refused(
    members: dict[str, Any], saved: Any, network: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a word of why, exit code 2; never by a traceback, and never by an answer of the chain."""
    receipt = changed(saved["receipt"], **members)
    assert settlement(receipt, network, tmp_path) == 2
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    assert "receipt" in err
    with pytest.raises(ConfigurationError):
        _ = Receipt(receipt).authorization


@pytest.mark.parametrize("payment", [None, [1], "x", {}, {"spender": 1}])
def test_receipt_without_payment_is_refused(payment: Any, saved: Any, network: Devnet, tmp_path: Path) -> None:
    assert settlement(saved["receipt"] | {"payment": payment}, network, tmp_path) == 2


def test_unknown_contract_is_refused_whatever_the_hash(
    saved: Any, network: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It could emit anything."""
    assert settlement(renamed(saved["receipt"], spender=ADDRESS), network, tmp_path) == 2
    assert "is no payment to a gateway" in " ".join(capsys.readouterr().err.split())


def test_unknown_token_is_not_called_opg(
    recent: Any, network: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody can make a token, and take all of it."""
    assert settlement(renamed(recent, asset=ADDRESS), network, tmp_path) == 0
    out = capsys.readouterr().out
    assert f"0 of {10**17} base units of the unknown token {ADDRESS} authorized" in out
    assert "OPG" not in out


def test_name_that_a_gateway_gave_is_not_repeated(
    recent: Any, network: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shown is the hash of what was signed, which the chain was asked about."""
    named = changed(recent, payment_hash="0x" + "ab" * 32, payment_hash_source="x-processing-hash")
    assert settlement(named, network, tmp_path) == 0
    out = capsys.readouterr().out
    assert recent["payment"]["payment_hash"] in out
    assert "abab" not in out

"""Payments that this package signs, judged by the real Permit2; and their settlement, found again."""

import asyncio
import dataclasses
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client import Receipt, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._evm import call_data
from og_integrations.devnet.paywall._facilitator import FACILITATOR_ADDRESS
from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.networks import OPG, PERMIT2_ADDRESS, format_opg
from og_integrations.protocol.payment.schemes._settlement import SettlementStatus
from og_integrations.verify import Verifier
from tests.money.recorded_payments import MODEL, Paid, chain_of, pay


def settle(net: Devnet, paid: Paid, taken: int, *, sender: str = FACILITATOR_ADDRESS, **changed: Any) -> str | None:
    """Settle by hand; return the contracts' word against it, None if it went through."""
    authorization = dataclasses.replace(paid.authorization, **changed)
    return chain_of(net).settle(authorization, taken, paid.signature, sender=sender).error


def test_conversation_is_settled_for_exactly_its_cost(evm: Devnet) -> None:
    """A LangChain conversation in one session: one transaction, one base unit neither more nor less."""
    wallet = evm.new_wallet(opg=OPG)
    settings: dict[str, Any] = {"private_key": wallet.private_key, "network": evm.network}
    before = evm.stats().charged
    with collect_receipts() as receipts:
        model = ChatOpenGradient(model=MODEL, **settings)
        for question in ("one", "two", "three"):
            model.invoke(question)
    cost = evm.stats().charged - before
    (settlement,) = [item for item in evm.settle_all() if item.payer == wallet.address]
    assert len({receipt["payment"]["payment_hash"] for receipt in receipts}) == 1
    assert settlement.error is None
    assert (OPG - evm.chain.balance(wallet.address), evm.chain.balance(settlement.pay_to)) == (cost, cost)
    found = Receipt(receipts[0]).settlement(evm.rpc_url)
    assert (found.status, found.amount) == (SettlementStatus.SETTLED, cost)
    assert found.transaction_hash == settlement.transaction_hash


def test_signature_pays_once(evm: Devnet) -> None:
    """A replay is refused by the nonce."""
    paid = pay(evm, evm.new_wallet())
    assert settle(evm, paid, 5) is None
    assert settle(evm, paid, 5) == "InvalidNonce()"


def test_settling_is_refused_beyond_what_was_signed(evm: Devnet) -> None:
    """More, by someone else, to someone else, of another cap, later: none of it; then as signed."""
    paid = pay(evm, evm.new_wallet())
    stranger = "0x00000000000000000000000000000000000000aa"
    assert settle(evm, paid, paid.authorization.amount + 1) == "AmountExceedsPermitted()"
    assert settle(evm, paid, 1, sender=stranger) == "UnauthorizedFacilitator()"
    assert settle(evm, paid, 1, sender=stranger, facilitator=stranger) == "InvalidSigner()"
    assert settle(evm, paid, 1, pay_to=stranger) == "InvalidSigner()"
    assert settle(evm, paid, 1, amount=2 * paid.authorization.amount) == "InvalidSigner()"
    assert settle(evm, paid, 1, deadline=paid.authorization.deadline + 1) == "InvalidSigner()"
    assert settle(evm, paid, 0) == "InvalidAmount()"
    assert settle(evm, paid, paid.authorization.amount) is None


def test_late_settlement_is_refused_and_the_payment_unused(own_evm: Devnet) -> None:
    """Pending until the deadline, then unused for ever."""
    paid = pay(own_evm, own_evm.new_wallet())
    assert Receipt(paid.receipt).settlement(own_evm.rpc_url).status is SettlementStatus.PENDING
    chain_of(own_evm).passed(400)
    assert settle(own_evm, paid, 1) == f"SignatureExpired({paid.authorization.deadline})"
    assert Receipt(paid.receipt).settlement(own_evm.rpc_url).status is SettlementStatus.UNUSED


def test_settlement_is_found_among_others_and_long_after(own_evm: Devnet) -> None:
    """Same payer, same payee; a day of blocks later; synchronously or not."""
    wallet = own_evm.new_wallet()
    first, second = pay(own_evm, wallet), pay(own_evm, wallet)
    assert first.authorization.pay_to == second.authorization.pay_to
    assert settle(own_evm, first, 7) is None
    assert settle(own_evm, second, 8) is None
    node = chain_of(own_evm).node
    node.rpc("anvil_mine", hex(500), hex(2))
    for paid, amount in ((first, 7), (second, 8)):
        found = Receipt(paid.receipt).settlement(own_evm.rpc_url)
        assert (found.status, found.amount) == (SettlementStatus.SETTLED, amount)
        receipt = node.rpc("eth_getTransactionReceipt", found.transaction_hash)
        assert int(receipt["blockNumber"], 16) == found.block_number
        assert asyncio.run(Receipt(paid.receipt).asettlement(own_evm.rpc_url)) == found


def test_cancellation_by_the_owner_is_told_apart(evm: Devnet) -> None:
    """The nonce is used, and nothing was paid."""
    wallet = evm.new_wallet()
    paid = pay(evm, wallet)
    nonce = paid.authorization.nonce
    data = call_data("invalidateUnorderedNonces(uint256,uint256)", nonce >> 8, 1 << (nonce & 255))
    receipt = chain_of(evm).node.transact(wallet.address, PERMIT2_ADDRESS, data)
    assert settle(evm, paid, 1) == "InvalidNonce()"
    found = Receipt(paid.receipt).settlement(evm.rpc_url)
    assert (found.status, found.amount) == (SettlementStatus.CANCELLED, 0)
    assert found.transaction_hash == receipt["transactionHash"]


def test_late_cancellation_is_not_taken_for_a_settlement(own_evm: Devnet) -> None:
    """What cannot be explained by what happened while it was valid is said, not guessed."""
    wallet = own_evm.new_wallet()
    paid = pay(own_evm, wallet)
    chain_of(own_evm).passed(400)
    nonce = paid.authorization.nonce
    data = call_data("invalidateUnorderedNonces(uint256,uint256)", nonce >> 8, 1 << (nonce & 255))
    chain_of(own_evm).node.transact(wallet.address, PERMIT2_ADDRESS, data)
    with pytest.raises(DiscoveryError, match="neither settlement nor cancellation"):
        Receipt(paid.receipt).settlement(own_evm.rpc_url)


def test_command_says_what_the_chain_says(evm: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the file alone, in words and as JSON."""
    paid = pay(evm, evm.new_wallet())
    assert settle(evm, paid, 10**15) is None
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps({"receipt": paid.receipt, "exchange": None}))
    assert main(["settlement", str(file), "--rpc-url", evm.rpc_url]) == 0
    out = capsys.readouterr().out
    assert out.startswith("settled: the facilitator took")
    assert "0.001 of 0.1 OPG" in out
    file.write_text(json.dumps(paid.receipt))
    assert main(["settlement", "--json", str(file), "--rpc-url", evm.rpc_url]) == 0
    assert json.loads(capsys.readouterr().out)["amount"] == str(10**15)


def test_node_of_another_chain_is_detected(evm: Devnet) -> None:
    """A nonce that is unused on the wrong chain means nothing."""
    receipt = pay(evm, evm.new_wallet()).receipt
    elsewhere = dataclasses.replace(Receipt(receipt).authorization, chain_id=84532)
    receipt["payment"] |= {"network": "eip155:84532", "payment_hash": "0x" + elsewhere.digest().hex()}
    with pytest.raises(ConfigurationError, match="serves chain 8453, expected 84532"):
        Receipt(receipt).settlement(evm.rpc_url)


def test_digest_is_what_permit2_checks(evm: Devnet) -> None:
    """The domain separator of the contract is ours: the payment hash means something on the chain."""
    separator = chain_of(evm).node.read(PERMIT2_ADDRESS, call_data("DOMAIN_SEPARATOR()"))
    paid = pay(evm, evm.new_wallet())
    from eth_account.messages import encode_typed_data

    assert encode_typed_data(full_message=paid.authorization.typed_data()).header == separator


def test_report_asks_the_chain_what_was_taken(
    own_evm: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Authorized stands against settled, per payment; a node that is away costs the amounts, and not the report."""
    wallet = own_evm.new_wallet(opg=OPG)
    ledger, target = tmp_path / "receipts.jsonl", tmp_path / "report.html"
    with collect_receipts(to=ledger, keep_exchanges=True):
        model = ChatOpenGradient(model=MODEL, private_key=wallet.private_key, network=own_evm.network)
        for question in ("one", "two"):
            model.invoke(question)
    (settlement,) = own_evm.settle_all()
    command = ["report", str(ledger), "--trust-file-key", "--html", str(target), "--force", "--ask-chain"]
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert main([*command, "--rpc-url", f"http://127.0.0.1:{port}"]) == 0
    assert "No connection" in capsys.readouterr().err
    assert 'data-label="Settled">not asked</td>' in target.read_text()
    assert main([*command, "--rpc-url", own_evm.rpc_url]) == 0
    assert f"<b>{format_opg(settlement.amount)}</b><span>OPG settled, of 1 payment</span>" in target.read_text()


def test_transaction_that_settled_it_joins_the_evidence(
    own_evm: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wallet = own_evm.new_wallet(opg=OPG)
    with collect_receipts(keep_exchanges=True) as receipts:
        ChatOpenGradient(model=MODEL, private_key=wallet.private_key, network=own_evm.network).invoke("one")
    (file,) = receipts.save(tmp_path / "saved")
    lines, target = tmp_path / "settlements", tmp_path / "evidence.json"
    ask, join = ["settlement", str(file), "--json", "--rpc-url", own_evm.rpc_url], ["evidence", str(file)]
    assert main(ask) == 0
    lines.write_text(capsys.readouterr().out)
    assert main([*join, "--payment", str(lines)]) == 2
    assert "none of the settlements is of this receipt's payment" in capsys.readouterr().err
    (settlement,) = own_evm.settle_all()
    assert main(ask) == 0
    lines.write_text(capsys.readouterr().out)
    assert main([*join, "--payment", str(lines), "--output", str(target)]) == 0
    document = json.loads(target.read_text())
    assert document["payment"] == {"network": "eip155:8453", "transaction": settlement.transaction_hash}
    assert Verifier.tee_ids([own_evm.enclaves[0].tee_id]).verify(target).verified

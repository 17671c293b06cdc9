"""What a ledger knows to be under way: each end takes a transaction off that list, and nothing is ever paid twice."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import collect_receipts
from og_integrations.devnet import Devnet, Wallet
from og_integrations.devnet.chain._inference import ModelNode
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import (
    ConfigurationError,
    TransactionInDoubtError,
    TransactionRefusedError,
    TransactionRevertedError,
)
from og_integrations.ledger import Ledger, open_ledger
from og_integrations.onchain import AsyncOnchainClient, Inference, OnchainClient, SentTransaction
from og_integrations.onchain._setup import Notes
from tests.money.recorded_payments import chain_of
from tests.onchain.test_parallel import candles_of, count_of


class KilledError(BaseException):
    """Stands for the end of the process."""


def die(sent: SentTransaction) -> None:
    raise KilledError


@dataclass
class Program:
    """A program with one wallet, which has its inferences written down in one ledger, and asks in one of both ways."""

    net: Devnet
    wallet: Wallet
    ledger: Ledger
    awaited: bool

    def infer(self, number: int, **options: Any) -> Inference:
        """Ask, with the ledger around it."""
        with collect_receipts(to=self.ledger):
            result: Inference = self._run(lambda client: client.infer(VOLATILITY, candles_of(number)), options)
            return result

    def resume(self, **options: Any) -> list[Inference]:
        """Resume what is under way, as the next process would."""
        results: list[Inference] = self._run(lambda client: client.resume_from(self.ledger), options)
        return results

    def replace(self, nonce: int) -> None:
        """Have another program of the wallet use a number, with a better paid transaction that only moves a coin."""
        fees = {"maxFeePerGas": hex(10**11), "maxPriorityFeePerGas": hex(10**10)}
        call = {"from": self.wallet.address, "to": self.wallet.address, "value": "0x1", "nonce": hex(nonce)}
        chain_of(self.net).node.rpc("eth_sendTransaction", call | fees)

    @property
    def under_way(self) -> list[dict[str, Any]]:
        """Return what the ledger knows to be under way, once all is written; an error leaves without waiting for it."""
        self.ledger.flush()
        return self.ledger.unfinished()

    @property
    def mined(self) -> int:
        """Return how many transactions of the wallet are mined."""
        return count_of(self.net, self.wallet.address)

    @property
    def statuses(self) -> list[str]:
        """Return the statuses of the receipts in the ledger."""
        return [entry.facts.status for entry in self.ledger.entries()]

    def _run(self, work: Callable[[Any], Any], options: dict[str, Any]) -> Any:
        given: Any = {
            "private_key": self.wallet.private_key,
            "network": self.net.network,
            "result_timeout": 1,
        } | options
        if not self.awaited:
            with OnchainClient(**given) as client:
                return work(client)

        async def run() -> Any:
            async with AsyncOnchainClient(**given) as client:
                return await work(client)

        return asyncio.run(run())


@pytest.fixture
def program(evm: Devnet, to: str) -> Program:
    """A program for each kind of ledger: databases are used with `await`, files without."""
    return Program(evm, evm.new_wallet(), open_ledger(to), awaited="sql" in to)


def test_reverted(program: Program, models: ModelNode, arm: Callable[[str], None]) -> None:
    """Its gas is spent, and no later look finds anything else."""
    arm("reverts")
    with pytest.raises(TransactionRevertedError):
        program.infer(50)
    assert (program.under_way, program.mined, program.statuses) == ([], 1, ["unverified"])


def test_reverted_after_the_end_of_the_process(program: Program, models: ModelNode, arm: Callable[[str], None]) -> None:
    """Whoever resumes it writes down what became of it, once."""
    with pytest.raises(KilledError):
        program.infer(51, on_leaving=die)
    arm("reverts")
    assert program.resume() == []
    assert (program.under_way, program.mined) == ([], 1)
    assert program.statuses == ["unverified"] * 2
    assert program.resume() == []
    assert program.statuses == ["unverified"] * 2


def test_signed_anew_under_another_number(program: Program) -> None:
    """Another program was faster; the note of the second transaction ends that of the first."""
    left: list[SentTransaction] = []

    def overtake(sent: SentTransaction) -> None:
        left.append(sent)
        if len(left) == 1:
            program.replace(sent.nonce)

    result = program.infer(52, on_leaving=overtake)
    assert [sent.nonce for sent in left] == [0, 1]
    assert result.transaction_hash == left[1].transaction_hash
    assert (program.under_way, program.mined) == ([], 2)


def test_killed_before_the_second_number_was_used(program: Program) -> None:
    """The first transaction is not sent beside the second one, though a node may take it by now."""
    left: list[SentTransaction] = []

    def overtake(sent: SentTransaction) -> None:
        left.append(sent)
        if len(left) == 2:
            raise KilledError
        program.replace(sent.nonce)

    with pytest.raises(KilledError):
        program.infer(53, on_leaving=overtake)
    assert [SentTransaction.from_json(noted) for noted in program.under_way] == [left[1]]
    assert [result.transaction_hash for result in program.resume()] == [left[1].transaction_hash]
    assert (program.under_way, program.mined, program.resume()) == ([], 2, [])


def test_killed_before_any_node_took_it(program: Program) -> None:
    """What was written down is sent then, once."""
    with pytest.raises(KilledError):
        program.infer(54, on_leaving=die)
    assert (len(program.under_way), program.mined) == (1, 0)
    (result,) = program.resume()
    assert (result.verified, program.under_way, program.mined, program.resume()) == (True, [], 1, [])


def test_killed_and_its_number_used_meanwhile(program: Program) -> None:
    """No node can take it any more: it is over, and nobody is paid for it."""
    with pytest.raises(KilledError):
        program.infer(55, on_leaving=die)
    program.replace(0)
    assert program.resume() == []
    assert (program.under_way, program.mined) == ([], 1)


def test_result_that_comes_late(program: Program, models: ModelNode) -> None:
    """While it is not there its transaction is under way; with it, it is over, although the chain does not prove it."""
    models.deferred = 4
    with pytest.raises(TransactionInDoubtError, match="its result did not come"):
        program.infer(56)
    assert len(program.under_way) == 1
    (late,) = program.resume()
    assert (late.verified, late.receipt["onchain"]["result_source"]) == (False, "node-api")
    assert (program.under_way, program.mined, program.resume()) == ([], 1, [])


def test_late_result_that_comes_in_time(program: Program, models: ModelNode) -> None:
    models.deferred = 1
    assert not program.infer(57).verified
    assert (program.under_way, program.statuses) == ([], ["unverified"])


def test_result_of_another_request(program: Program, models: ModelNode, arm: Callable[[str], None]) -> None:
    """It is refused for good: the same events are there the next time."""
    arm("other_request")
    with pytest.raises(Exception, match="0 of them for this request"):
        program.infer(58)
    assert (program.under_way, program.mined) == ([], 1)


def test_replaced_by_a_higher_fee(own_evm: Devnet, tmp_path: Path) -> None:
    """It was at the node and can never be mined: it is signed anew, and only that is resumed."""
    program = Program(own_evm, own_evm.new_wallet(), open_ledger(tmp_path / "receipts.jsonl"), awaited=False)
    node = chain_of(own_evm).node
    node.rpc("evm_setAutomine", False)
    steps: list[str] = []

    def replace(told: Any) -> None:
        steps.append(told.step)
        if steps.count("waiting") == 1 and told.step == "waiting":
            program.replace(0)
            node.rpc("evm_setIntervalMining", 1)

    result = program.infer(59, on_progress=replace)
    assert result.verified
    assert (program.under_way, program.mined, steps.count("sent")) == ([], 2, 2)
    assert program.resume() == []


@pytest.mark.parametrize("awaited", [False, True])
def test_replaced_by_a_higher_fee_after_the_end_of_the_process(own_evm: Devnet, tmp_path: Path, awaited: bool) -> None:
    """At first the better paid one only waits, and nothing is known; once it is mined, the other one is over."""
    ledger = open_ledger(f"sqlite:///{tmp_path / 'receipts.db'}")
    program = Program(own_evm, own_evm.new_wallet(), ledger, awaited)
    node = chain_of(own_evm).node
    node.rpc("evm_setAutomine", False)
    with pytest.raises(TransactionInDoubtError, match="is not mined yet"):
        program.infer(60, timeout=0.5)
    program.replace(0)
    assert program.resume(timeout=1) == []
    assert len(ledger.unfinished()) == 1
    node.rpc("evm_mine")
    assert program.resume() == []
    assert (ledger.unfinished(), program.mined) == ([], 1)


def test_refused_by_the_node_after_it_was_written_down(program: Program) -> None:
    """The error says that nothing was sent: so nothing is sent later."""

    def empty(sent: SentTransaction) -> None:
        chain_of(program.net).node.rpc("anvil_setBalance", program.wallet.address, "0x0")

    with pytest.raises(TransactionRefusedError, match="Nothing was sent"):
        program.infer(61, on_leaving=empty)
    chain_of(program.net).node.rpc("anvil_setBalance", program.wallet.address, hex(10**18))
    assert (program.under_way, program.resume(), program.mined) == ([], [], 0)


def test_given_up_in_all_ledgers_if_one_cannot_be_written(evm: Devnet, tmp_path: Path) -> None:
    """The outer ledger has it, the inner one is gone: nothing was sent, and nothing is sent later."""
    first, second = open_ledger(tmp_path / "first.jsonl"), open_ledger(tmp_path / "second.jsonl")
    program = Program(evm, evm.new_wallet(), first, awaited=False)
    (tmp_path / "first.jsonl").mkdir()
    with collect_receipts(to=second):
        with pytest.raises(ConfigurationError, match=r"first\.jsonl cannot be written"):
            program.infer(62)
        (tmp_path / "first.jsonl").rmdir()
        assert "leaving" in (tmp_path / "second.jsonl").read_text()
    assert (second.unfinished(), program.resume(), program.mined) == ([], [], 0)


def test_transaction_of_another_chain_stays(evm: Devnet, tmp_path: Path) -> None:
    """Its number counts there; here it would seem to be another one's."""
    left: list[SentTransaction] = []
    program = Program(evm, evm.new_wallet(), open_ledger(tmp_path / "receipts.jsonl"), awaited=False)
    program.infer(63, on_leaving=left.append)
    noted = left[0].to_json() | {"chain_id": 10740}
    elsewhere = open_ledger(tmp_path / "elsewhere.jsonl")
    elsewhere.note_transaction(noted)
    with OnchainClient(network=evm.network) as client:
        assert client.resume_from(elsewhere) == []
        assert elsewhere.unfinished() == [noted]
        with pytest.raises(ConfigurationError, match=r"is of chain 10740, expected 8453\. Nothing"):
            client.resume(SentTransaction.from_json(noted))


def test_ledger_of_an_earlier_release_is_read(program: Program) -> None:
    """There is no note of an end in it: a verified receipt is one, and what was noted twice is there once."""
    with pytest.raises(KilledError):
        program.infer(64, on_leaving=die)
    (noted,) = program.under_way
    program.ledger.note_transaction(noted)
    assert program.under_way == [noted]
    (result,) = program.resume()
    program.ledger.flush()
    assert [entry.receipt for entry in program.ledger.entries(status="verified")] == [result.receipt]
    assert program.under_way == []


def test_lines_of_an_earlier_release(evm: Devnet, tmp_path: Path) -> None:
    """The very lines that it wrote: a transaction, and a call that is not about it."""
    sent = {"chain_id": 8453, "sender": "0x" + "1" * 40, "nonce": 3, "transaction_hash": "0x" + "2" * 64, "raw": "0x02"}
    lines = [
        {"leaving": sent, "v": 1, "id": "a" * 32, "at": 1.5},
        {"v": 1, "id": "b" * 32, "at": 2.5, "run": None, "tags": [], "receipt": {"status": "verified"}},
    ]
    path = tmp_path / "receipts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert open_ledger(path).unfinished() == [sent]
    open_ledger(path).end_transaction("0x" + "2" * 64, "its receipt is final")
    assert open_ledger(path).unfinished() == []
    assert len(list(open_ledger(path).entries())) == 1


def test_same_transaction_is_written_down_once(tmp_path: Path) -> None:
    """A node that first misses a number is sent the same bytes again: replaced by itself, it would be over."""
    ledger = open_ledger(tmp_path / "receipts.jsonl")
    sent = SentTransaction(chain_id=1, sender="0x", nonce=0, transaction_hash="0x1", raw=b"")
    with collect_receipts(to=ledger):
        notes = Notes()
        notes.write_down(sent)
        notes.write_down(sent)
    assert ledger.unfinished() == [sent.to_json()]

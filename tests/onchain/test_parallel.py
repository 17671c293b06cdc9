"""Many inferences of one wallet at once, from tasks and from processes; and a process that is killed in the middle."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import ConfigurationError, TransactionInDoubtError
from og_integrations.ledger import open_ledger
from og_integrations.onchain import AsyncOnchainClient, Inference, OnchainClient, ReceiptJudge, SentTransaction
from og_integrations.verify import Verifier, sources_in
from tests.money.recorded_payments import chain_of
from tests.sizes import HEAVY_SECONDS, sized

ROOT = Path(__file__).parents[2]
WORKER = """
import json, sys, threading
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.onchain import OnchainClient

def note(sent):
    if sys.argv[1] != "-":
        with open(sys.argv[1], "a") as file:
            file.write(json.dumps(sent.to_json()) + chr(10))

found = {}
with OnchainClient(on_leaving=note) as client:
    def ask(number):
        candles = {"open_high_low_close": [[100.0, 100.0 + number, 100.0, 100.0]] * 10}
        result = client.infer(VOLATILITY, candles)
        found[number] = [float(result.values["Y"][0]), result.transaction_hash]
    threads = [threading.Thread(target=ask, args=(number,)) for number in map(int, sys.argv[2:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(json.dumps(found))
"""


def candles_of(number: int) -> dict[str, Any]:
    return {"open_high_low_close": [[100.0, 100.0 + number, 100.0, 100.0]] * 10}


def worker(net: Devnet, key: str, note: Path | str, numbers: list[int], **variables: str) -> "subprocess.Popen[str]":
    """Start a process that asks one question for each number, in threads, and notes what leaves in `note`, if not -."""
    environment = net.environment() | {"OG_PRIVATE_KEY": key, "PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-c", WORKER, str(note), *map(str, numbers)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def count_of(net: Devnet, address: str) -> int:
    """Return how many transactions of a wallet are mined."""
    return int(chain_of(net).node.rpc("eth_getTransactionCount", address, "latest"), 16)


@sized("calls", small=4, full=32)
def test_tasks_of_one_wallet(own_evm: Devnet, calls: int) -> None:
    """Each gets the answer to its own question, and no number is used twice."""
    chain_of(own_evm).node.rpc("evm_setIntervalMining", 1)
    wallet = own_evm.new_wallet()

    async def run() -> list[Any]:
        async with AsyncOnchainClient(private_key=wallet.private_key, network=own_evm.network) as client:
            return await asyncio.gather(*(client.infer(VOLATILITY, candles_of(number)) for number in range(calls)))

    results = asyncio.run(run())
    assert [round(float(result.values["Y"][0]), 6) for result in results] == [n / 100 for n in range(calls)]
    assert len({result.transaction_hash for result in results}) == calls == count_of(own_evm, wallet.address)


@pytest.mark.heavy
@pytest.mark.timeout(HEAVY_SECONDS)
@pytest.mark.parametrize("calls", [32])
def test_two_processes_of_one_wallet(own_evm: Devnet, tmp_path: Path, calls: int) -> None:
    """They share nothing but the wallet and the node."""
    chain_of(own_evm).node.rpc("evm_setIntervalMining", 1)
    wallet = own_evm.new_wallet()
    shares = [list(range(0, calls, 2)), list(range(1, calls, 2))]
    workers = [worker(own_evm, wallet.private_key, tmp_path / "sent", numbers) for numbers in shares]
    found: dict[str, Any] = {}
    for process in workers:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        found |= json.loads(out)
    assert {int(number): round(share, 6) for number, (share, _) in found.items()} == {n: n / 100 for n in range(calls)}
    assert len({tx_hash for _, tx_hash in found.values()}) == calls == count_of(own_evm, wallet.address)


def test_killed_process_is_resumed_from_what_it_wrote_down(own_evm: Devnet, tmp_path: Path) -> None:
    """By kill -9, after the transaction had left and before it was mined: it is not paid for again."""
    node = chain_of(own_evm).node
    wallet = own_evm.new_wallet()
    node.rpc("evm_setAutomine", False)
    note = tmp_path / "sent"
    process = worker(own_evm, wallet.private_key, note, [4])
    until = time.monotonic() + 30
    while time.monotonic() < until and not int(node.rpc("eth_getTransactionCount", wallet.address, "pending"), 16):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sent = SentTransaction.from_json(json.loads(note.read_text()))
    node.rpc("evm_setAutomine", True)
    node.rpc("evm_mine")
    with OnchainClient(network=own_evm.network) as client:
        result = client.resume(sent.transaction_hash)
    assert round(float(result.values["Y"][0]), 6) == 0.04  # type: ignore[index]
    assert count_of(own_evm, wallet.address) == 1


@pytest.mark.parametrize(("kind", "asynchronously"), [("receipts.jsonl", False), ("sqlite", True)])
def test_killed_process_is_resumed_from_its_ledger(
    own_evm: Devnet, tmp_path: Path, kind: str, asynchronously: bool
) -> None:
    """Three left and none is mined when it dies; the ledger alone brings their results, and none is paid again."""
    node, wallet = chain_of(own_evm).node, own_evm.new_wallet()
    ledger = str(tmp_path / kind) if kind.endswith("jsonl") else f"sqlite:///{tmp_path / 'receipts.db'}"
    node.rpc("evm_setAutomine", False)
    process = worker(own_evm, wallet.private_key, "-", [3, 4, 5], OG_LEDGER=ledger)
    until = time.monotonic() + 30
    while int(node.rpc("eth_getTransactionCount", wallet.address, "pending"), 16) < 3:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(open_ledger(ledger).unfinished()) == 3
    assert list(open_ledger(ledger).entries()) == []
    node.rpc("evm_setAutomine", True)
    node.rpc("evm_mine")
    results = asyncio.run(aresumed(own_evm, ledger)) if asynchronously else resumed(own_evm, ledger)
    assert sorted(round(float(result.values["Y"][0]), 6) for result in results) == [0.03, 0.04, 0.05]  # type: ignore[index]
    assert count_of(own_evm, wallet.address) == 3
    assert open_ledger(ledger).unfinished() == []
    assert resumed(own_evm, ledger) == []
    judge = Verifier.registry(own_evm.network).with_onchain(ReceiptJudge(network=own_evm.network))
    assert [verdict.status for _, verdict in judge.verify_many(sources_in(ledger))] == ["verified"] * 3


def resumed(net: Devnet, ledger: str) -> list[Inference]:
    with OnchainClient(network=net.network) as client:
        return client.resume_from(ledger)


async def aresumed(net: Devnet, ledger: str) -> list[Inference]:
    async with AsyncOnchainClient(network=net.network) as client:
        return await client.resume_from(ledger)


def test_inference_that_cannot_be_written_down_is_not_sent(own_evm: Devnet, tmp_path: Path) -> None:
    wallet = own_evm.new_wallet()
    with (
        OnchainClient(private_key=wallet.private_key, network=own_evm.network) as client,
        collect_receipts(to=tmp_path / "receipts.jsonl"),
    ):
        (tmp_path / "receipts.jsonl").mkdir()
        with pytest.raises(ConfigurationError, match=r"receipts\.jsonl cannot be written"):
            client.infer(VOLATILITY, candles_of(3))
        (tmp_path / "receipts.jsonl").rmdir()
    ledger = open_ledger(tmp_path / "receipts.jsonl")
    assert (count_of(own_evm, wallet.address), ledger.unfinished()) == (0, [])
    assert [entry.facts.status for entry in ledger.entries()] == ["unverified"]


def test_process_killed_before_the_node_had_it_is_resumed(own_evm: Devnet, tmp_path: Path) -> None:
    """What was written down is the transaction itself: sent again, it is the same one."""
    noted: list[SentTransaction] = []

    class KilledError(BaseException):
        pass

    def kill(sent: SentTransaction) -> None:
        noted.append(SentTransaction.from_json(json.loads(json.dumps(sent.to_json()))))
        raise KilledError

    wallet = own_evm.new_wallet()
    with (
        OnchainClient(private_key=wallet.private_key, network=own_evm.network, on_leaving=kill) as client,
        pytest.raises(KilledError),
    ):
        client.infer(VOLATILITY, candles_of(3))
    with OnchainClient(network=own_evm.network) as client:
        with pytest.raises(TransactionInDoubtError, match="does not know the transaction"):
            client.resume(noted[0].transaction_hash)
        result = client.resume(noted[0])
        assert round(float(result.values["Y"][0]), 6) == 0.03  # type: ignore[index]
        assert client.resume(noted[0]).transaction_hash == result.transaction_hash
    assert count_of(own_evm, wallet.address) == 1

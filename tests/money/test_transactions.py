"""The one sender of transactions, on a real EVM: none lost, none doubled, none that holds up the others."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client._runner import adrive, drive
from og_integrations.client._signer import LocalSigner
from og_integrations.client.chain._transactions import (
    AsyncSender,
    GasLimits,
    SentTransaction,
    SyncSender,
    Waiting,
    _queue_of,
    draft,
    resume,
    transact,
)
from og_integrations.client.channels._connections import AsyncConnections, SyncConnections
from og_integrations.devnet import Devnet, Wallet
from og_integrations.errors import (
    ConnectionLostError,
    SigningError,
    TransactionInDoubtError,
    TransactionRefusedError,
)
from og_integrations.protocol.chain._abi import encode_allowance, encode_approve
from og_integrations.protocol.payment._flow import Fetch
from tests.money.recorded_payments import chain_of
from tests.money.sending import LIMITS, Sent, approving, in_tasks, in_threads, loaded, place_of, run, spender

ROOT = Path(__file__).parents[2]


def allowed(net: Devnet, wallet: Wallet, number: int) -> int:
    """Return what the transaction of that number left on the chain."""
    data = encode_allowance(wallet.address, spender(number))
    return int(chain_of(net).node.rpc("eth_call", {"to": net.network.token, "data": data}, "latest"), 16)


def count(net: Devnet, wallet: Wallet) -> int:
    return int(chain_of(net).node.rpc("eth_getTransactionCount", wallet.address, "latest"), 16)


@pytest.fixture
def blocks(own_evm: Devnet) -> Devnet:
    """A chain that makes a block each second, as real ones do: transactions wait in the node meanwhile."""
    chain_of(own_evm).node.rpc("evm_setIntervalMining", 1)
    return own_evm


def flow(net: Devnet, wallet: Wallet, number: int, timeout: float = 60) -> Any:
    return approving(place_of(net), net.network.token, wallet.address, number, timeout)


def check_all(net: Devnet, wallet: Wallet, outcomes: list[Any]) -> None:
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert sorted(sent.nonce for sent, _ in outcomes) == list(range(len(outcomes)))
    assert len({sent.transaction_hash for sent, _ in outcomes}) == len(outcomes) == count(net, wallet)
    assert all(receipt["transactionHash"] == sent.transaction_hash for sent, receipt in outcomes)
    assert [allowed(net, wallet, number) for number in range(1, 1 + len(outcomes))] == list(range(1, 1 + len(outcomes)))


@pytest.mark.parametrize("at_once", [in_threads, in_tasks])
def test_parallel_calls_of_one_wallet(blocks: Devnet, at_once: Callable[..., list[Sent]]) -> None:
    """The published client loses five of six."""
    wallet = blocks.new_wallet()
    flows = [flow(blocks, wallet, number) for number in range(1, 33)]
    check_all(blocks, wallet, at_once(flows, LocalSigner(wallet.private_key)))


def program(net: Devnet, wallet: Wallet, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.money.sending", net.network.rpc_url, wallet.private_key, net.network.token]
    return subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_parallel_calls_of_two_processes(blocks: Devnet) -> None:
    """They share nothing but the wallet; who finds its number taken asks the node again."""
    wallet = blocks.new_wallet()
    processes = [program(blocks, wallet, str(first), "16") for first in (1, 17)]
    printed = [json.loads(process.communicate(timeout=55)[0]) for process in processes]
    sent = [one for lines in printed for one in lines]
    assert sorted(nonce for nonce, _ in sent) == list(range(32))
    assert len({tx_hash for _, tx_hash in sent}) == 32 == count(blocks, wallet)
    assert [allowed(blocks, wallet, number) for number in range(1, 33)] == list(range(1, 33))


@pytest.mark.parametrize("when", ["before", "after"])
def test_process_that_was_killed_is_resumed(own_evm: Devnet, when: str) -> None:
    """What was written down when it left is sent again, or was already: mined once in either case."""
    wallet = own_evm.new_wallet()
    process = program(own_evm, wallet, "7", "1", "--die", when)
    written, _ = process.communicate(timeout=50)
    assert process.returncode == 9
    sent = loaded(written)
    signer = LocalSigner(wallet.private_key)
    for _ in range(2):
        receipt = run(resume(place_of(own_evm), sent, Waiting("The test", 20)), signer)
        assert receipt["transactionHash"] == sent.transaction_hash
    receipt = run(resume(place_of(own_evm), sent.transaction_hash, Waiting("The test", 20)), signer)
    assert (receipt["transactionHash"], count(own_evm, wallet)) == (sent.transaction_hash, 1)
    assert sent.raw.hex() not in repr(sent)


class Moody(LocalSigner):
    """A wallet that fails to sign the third time it is asked, after the others have drawn their numbers."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.asked = 0

    def sign_transaction(self, transaction: dict[str, Any]) -> str:
        self.asked += 1
        if self.asked == 3:
            raise RuntimeError("locked")
        return super().sign_transaction(transaction)


@pytest.mark.parametrize("at_once", [in_threads, in_tasks])
def test_number_of_a_call_that_failed_is_not_missing(evm: Devnet, at_once: Callable[..., list[Any]]) -> None:
    """Else all behind it would wait for ever."""
    wallet = evm.new_wallet()
    outcomes = at_once([flow(evm, wallet, number) for number in range(1, 9)], Moody(wallet.private_key))
    (failed,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert isinstance(failed, SigningError)
    assert sorted(outcome[0].nonce for outcome in outcomes if outcome is not failed) == list(range(7))


def test_cancelled_task_does_not_hold_up_others(evm: Devnet) -> None:
    """It gives its number back, wherever it was."""
    wallet = evm.new_wallet()
    signer = LocalSigner(wallet.private_key)

    class Slow:
        address = signer.address
        sign_typed_data = signer.sign_typed_data

        async def sign_transaction(self, transaction: dict[str, Any]) -> str:
            if transaction["nonce"] == 0 and not cancelled:
                await asyncio.sleep(30)
            return signer.sign_transaction(transaction)

    cancelled: list[bool] = []

    async def main() -> list[Any]:
        connections = AsyncConnections()
        sender = AsyncSender(Slow, connections)
        first = asyncio.ensure_future(adrive(flow(evm, wallet, 1), sender.perform))
        await asyncio.sleep(0.5)
        others = [asyncio.ensure_future(adrive(flow(evm, wallet, number), sender.perform)) for number in (2, 3)]
        await asyncio.sleep(0.5)
        cancelled.append(first.cancel())
        done = await asyncio.gather(*others)
        await connections.aclose()
        return done

    assert sorted(sent.nonce for sent, _ in asyncio.run(main())) == [0, 1]
    assert (allowed(evm, wallet, 1), count(evm, wallet)) == (0, 2)


class Wire:
    """A node through a wire that a test tampers with."""

    def __init__(self, signer: LocalSigner, tamper: Callable[[str, Callable[[], bytes]], bytes]) -> None:
        self._connections = SyncConnections()
        self._sender = SyncSender(lambda: signer, self._connections)
        self._tamper = tamper

    def perform(self, effect: object) -> object:
        if not isinstance(effect, Fetch):
            return self._sender.perform(effect)
        method = json.loads(effect.body or b"{}")["method"]
        return self._tamper(method, lambda: self._sender.perform(effect))  # type: ignore[arg-type, return-value]

    def run(self, flow: Any) -> Any:
        try:
            return drive(flow, self.perform)
        finally:
            self._connections.close()


def lost() -> ConnectionLostError:
    return ConnectionLostError("the line is cut")


def test_answer_that_is_lost_is_no_doubt_where_the_node_has_it(evm: Devnet) -> None:
    """The hash is known before anything is sent."""
    wallet = evm.new_wallet()

    def tamper(method: str, answer: Callable[[], bytes]) -> bytes:
        reply = answer()
        if method == "eth_sendRawTransaction":
            raise lost()
        return reply

    sent, _ = Wire(LocalSigner(wallet.private_key), tamper).run(flow(evm, wallet, 1))
    assert (sent.nonce, count(evm, wallet)) == (0, 1)


def test_transaction_that_may_have_left_is_in_doubt(evm: Devnet) -> None:
    """It is not sent again by itself; the next call is not held up by it."""
    wallet = evm.new_wallet()
    signer = LocalSigner(wallet.private_key)

    def tamper(method: str, answer: Callable[[], bytes]) -> bytes:
        if method == "eth_sendRawTransaction":
            raise lost()
        return answer()

    with pytest.raises(TransactionInDoubtError, match="Whether the transaction was sent is not known") as caught:
        Wire(signer, tamper).run(flow(evm, wallet, 1))
    assert str(caught.value.transaction_hash) in str(caught.value)
    sent, _ = run(flow(evm, wallet, 2), signer)
    assert (sent.nonce, allowed(evm, wallet, 1), allowed(evm, wallet, 2)) == (0, 0, 2)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("insufficient funds for gas * price + value", TransactionRefusedError),
        ("transaction underpriced", TransactionRefusedError),
        ("upstream timed out", TransactionInDoubtError),
    ],
)
def test_what_the_node_says_of_a_transaction(evm: Devnet, said: str, error: type[Exception]) -> None:
    """A plain refusal is one; what a proxy makes up is a doubt."""
    wallet = evm.new_wallet()

    def tamper(method: str, answer: Callable[[], bytes]) -> bytes:
        if method == "eth_sendRawTransaction":
            return json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": said}}).encode()
        return answer()

    with pytest.raises(error, match=said[:17]):
        Wire(LocalSigner(wallet.private_key), tamper).run(flow(evm, wallet, 1))


def test_node_that_does_not_answer_has_not_dropped_it(evm: Devnet) -> None:
    """Its number is used, by itself: signed anew, it would be paid twice."""
    wallet, asked = evm.new_wallet(), Counter[str]()

    def tamper(method: str, answer: Callable[[], bytes]) -> bytes:
        asked[method] += 1
        reply = answer()
        if method == "eth_getTransactionReceipt" and asked["eth_getTransactionByHash"] < 5:
            return b'{"jsonrpc": "2.0", "id": 1, "result": null}'
        if method == "eth_getTransactionByHash":
            return b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "indexing is in progress"}}'
        return reply

    sent, _ = Wire(LocalSigner(wallet.private_key), tamper).run(flow(evm, wallet, 1))
    assert (sent.nonce, count(evm, wallet)) == (0, 1)


def test_transaction_that_the_node_dropped_is_sent_again(own_evm: Devnet) -> None:
    """The same bytes: it cannot be mined twice."""
    wallet, node = own_evm.new_wallet(), chain_of(own_evm).node
    node.rpc("evm_setAutomine", False)
    dropped: list[str] = []

    def drop(told: Any) -> None:
        if told.step == "waiting" and not dropped:
            dropped.append(node.rpc("anvil_dropTransaction", told.transaction_hash))
            node.rpc("evm_setIntervalMining", 1)

    sent, _ = run(flow(own_evm, wallet, 1), LocalSigner(wallet.private_key), tell=drop)
    assert dropped == [sent.transaction_hash]
    assert (count(own_evm, wallet), allowed(own_evm, wallet, 1)) == (1, 1)


def test_transaction_whose_number_was_taken_is_signed_anew(own_evm: Devnet) -> None:
    """Another program replaced it with a better paid one: it can never be mined, so this is no repetition."""
    wallet, node = own_evm.new_wallet(), chain_of(own_evm).node
    node.rpc("evm_setAutomine", False)
    left: list[SentTransaction] = []

    def replace(told: Any) -> None:
        if told.step == "waiting" and len(left) == 1:
            left.append(left[0])
            fees = {"maxFeePerGas": hex(10**11), "maxPriorityFeePerGas": hex(10**10)}
            data = encode_approve(spender(99), 99)
            node.rpc(
                "eth_sendTransaction",
                {"from": wallet.address, "to": own_evm.network.token, "data": data, "nonce": "0x0"} | fees,
            )
            node.rpc("evm_setIntervalMining", 1)

    sent, _ = run(flow(own_evm, wallet, 1), LocalSigner(wallet.private_key), tell=replace, leaving=left.append)
    assert (left[0].nonce, sent.nonce, count(own_evm, wallet)) == (0, 1, 2)
    assert (allowed(own_evm, wallet, 99), allowed(own_evm, wallet, 1)) == (99, 1)


def test_limits_are_held_before_anything_is_signed(evm: Devnet) -> None:
    wallet = evm.new_wallet()

    def sending(limits: GasLimits) -> Any:
        data = encode_approve(spender(1), 1)
        return draft(place_of(evm), wallet.address, evm.network.token, data, limits, "The test")

    signer = LocalSigner(wallet.private_key)
    assert run(sending(GasLimits(cost=10**16, gas=10**6)), signer)["gas"] < 10**6
    with pytest.raises(TransactionRefusedError, match=r"The test needs up to \d+ gas, expected at most 100"):
        run(sending(GasLimits(cost=10**16, gas=100)), signer)
    with pytest.raises(TransactionRefusedError, match="ETH of gas, expected at most 0"):
        run(sending(GasLimits(cost=1)), signer)


def test_chain_without_a_base_fee(evm: Devnet) -> None:
    """There the transaction has a gas price instead."""
    wallet = evm.new_wallet()

    def tamper(method: str, answer: Callable[[], bytes]) -> bytes:
        reply = answer()
        if method == "eth_getBlockByNumber":
            document = json.loads(reply)
            del document["result"]["baseFeePerGas"]
            return json.dumps(document).encode()
        return reply

    _, receipt = Wire(LocalSigner(wallet.private_key), tamper).run(flow(evm, wallet, 1))
    assert (receipt["type"], receipt["status"]) == ("0x0", "0x1")


def test_contract_is_deployed(evm: Devnet) -> None:
    """A transaction to nobody makes one: this one is five bytes that return nothing."""
    wallet = evm.new_wallet()
    code = "0x6005600c60003960056000f3" + "5f5ff30000"

    def deploying() -> Any:
        transaction = yield from draft(place_of(evm), wallet.address, None, code, LIMITS, "The deployment")
        return (yield from transact(place_of(evm), wallet.address, transaction, Waiting("The deployment")))

    _, receipt = run(deploying(), LocalSigner(wallet.private_key))
    assert chain_of(evm).node.rpc("eth_getCode", receipt["contractAddress"], "latest") == "0x5f5ff30000"


def test_chain_that_begins_anew_is_not_waited_for(evm: Devnet) -> None:
    """Numbers are remembered only while something is on its way: a devnet may be restarted with the same wallet."""
    wallet = evm.new_wallet()
    run(flow(evm, wallet, 1), LocalSigner(wallet.private_key))
    assert _queue_of(evm.network.chain_id, wallet.address).join(0).nonce == 0


def test_plain_devnet_says_that_it_takes_no_transactions() -> None:
    """Its chain is made of Python."""
    with Devnet() as net:
        wallet = net.new_wallet()
        with pytest.raises(TransactionRefusedError, match=r"only on one with --evm.*Nothing was sent"):
            run(flow(net, wallet, 1), LocalSigner(wallet.private_key))

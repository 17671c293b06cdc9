"""Models on chain, on a real EVM whose node really runs them."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from og_integrations import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._inference import ModelNode
from og_integrations.devnet.chain.models import FOLDER, VOLATILITY
from og_integrations.devnet.faults._chain import CHAIN_FAULTS
from og_integrations.errors import (
    ConfigurationError,
    InvalidRequestError,
    OnchainError,
    OpenGradientError,
    TransactionError,
    TransactionInDoubtError,
    TransactionRefusedError,
    TransactionRevertedError,
    VerificationError,
)
from og_integrations.onchain import AsyncOnchainClient, GasBudget, Inference, InferenceMode, ModelFile, OnchainClient
from og_integrations.onchain._receipts import STEPS
from og_integrations.receipt import Receipt
from tests.money.recorded_payments import chain_of
from tests.onchain.onnx_file import INT32, INT64, SHIPPED, STRING, identity
from tests.test_house_rules import interface_of

ROOT = Path(__file__).parents[2]
CANDLES = {"open_high_low_close": [[100.0, 101.5, 99.25, 100.1]] * 10}
SHARE = Decimal("0.02250000275671482086181640625")
"""(101.5 - 99.25) / 100 as a float32, in the 28 digits that the network writes."""


def by_sync(net: Devnet, *arguments: Any, patience: float = 30, **options: Any) -> Inference:
    key = net.new_wallet().private_key
    with OnchainClient(private_key=key, network=net.network, timeout=patience, result_timeout=1) as client:
        return client.infer(*arguments, **options)


def by_async(net: Devnet, *arguments: Any, patience: float = 30, **options: Any) -> Inference:
    async def infer() -> Inference:
        key = net.new_wallet().private_key
        async with AsyncOnchainClient(
            private_key=key, network=net.network, timeout=patience, result_timeout=1
        ) as client:
            return await client.infer(*arguments, **options)

    return asyncio.run(infer())


both = pytest.mark.parametrize("infer", [by_sync, by_async])


def verdicts(receipt: Any) -> dict[str, str]:
    return {check["id"]: check["result"] for check in receipt["checks"]}


@both
@pytest.mark.parametrize("mode", ["vanilla", "TEE", InferenceMode.ZKML])
def test_model_is_run_and_its_result_is_exact(
    evm: Devnet, models: ModelNode, infer: Callable[..., Inference], mode: Any
) -> None:
    """The receipt says what was checked, and of the network's own proofs that we did not check them."""
    with collect_receipts(keep_exchanges=True) as receipts:
        result = infer(evm, VOLATILITY, CANDLES, mode)
    assert result.values == {"Y": [SHARE]}
    assert (result.verified, receipts) == (True, [result.receipt])
    facts = result.receipt["onchain"]
    mined = chain_of(evm).node.rpc("eth_getTransactionReceipt", result.transaction_hash)
    assert facts["block_hash"] == mined["blockHash"]
    assert facts["cost"] == str(int(mined["gasUsed"], 16) * int(mined["effectiveGasPrice"], 16))
    assert (facts["result_source"], facts["chain_id"], result.receipt["kind"]) == ("event", 8453, "onchain")
    found = verdicts(result.receipt)
    assert list(found) == list(STEPS)
    assert {step for step, verdict in found.items() if verdict == "pass"} == set(STEPS[:5])
    (proof,) = (check for check in result.receipt["checks"] if check["id"] == "tee_attestation")
    assert proof["result"] == "skip"
    assert ("we checked none" in proof["detail"]) is (mode == "TEE")
    assert receipts.exchanges[0] is not None
    assert len(receipts.exchanges[0]["logs"]) == 2
    assert models.unsafe(list(receipts)) == []


def test_outputs_of_every_kind(evm: Devnet, models: ModelNode, chain: OnchainClient) -> None:
    """Integers beyond 2**53 and texts come back as they were; the published client makes float32 of all."""
    whole, text = models.models.add(identity(INT64)), models.models.add(identity(STRING))
    assert chain.infer(whole, {"x": [2**53 + 1, -6]}).values == {"y": [2**53 + 1, -6]}
    assert chain.infer(text, {"x": ["a", "ü😀"]}).values == {"y": ["a", "ü😀"]}
    assert chain.infer(VOLATILITY, {"open_high_low_close": np.ones((10, 4), dtype=np.float32)}).values == {"Y": [0]}


def test_32_at_once_of_one_wallet(own_evm: Devnet) -> None:
    """32 results, each of its own question, 32 numbers: the published client loses five of six."""
    chain_of(own_evm).node.rpc("evm_setIntervalMining", 1)
    wallet = own_evm.new_wallet()
    outcomes: dict[int, Any] = {}
    with OnchainClient(private_key=wallet.private_key, network=own_evm.network) as client:

        def ask(number: int) -> None:
            try:
                candles = {"open_high_low_close": [[100.0, 100.0 + number, 100.0, 100.0]] * 10}
                outcomes[number] = client.infer(VOLATILITY, candles)
            except OpenGradientError as exc:
                outcomes[number] = exc

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    shares = {number: round(float(result.values["Y"][0]), 6) for number, result in outcomes.items()}
    assert shares == {number: number / 100 for number in range(32)}
    assert len({result.transaction_hash for result in outcomes.values()}) == 32
    assert int(chain_of(own_evm).node.rpc("eth_getTransactionCount", wallet.address, "latest"), 16) == 32


OUTCOMES: dict[str, tuple[type[OpenGradientError] | None, str]] = {
    "forged_result": (OnchainError, "0 InferenceResult events of the hub"),
    "changed_result": (OnchainError, "differs from the one that the precompile gave"),
    "no_inference_event": (OnchainError, "wrote 0 events"),
    "other_request": (OnchainError, "1 events in this transaction, 0 of them for this request"),
    "simulated": (TransactionInDoubtError, "its result did not come within 1 s. Its gas is spent"),
    "absurd_decimals": (OnchainError, "decimals, expected at most 1100"),
    "wrong_shape": (OnchainError, "do not fill the shape"),
    "nan_json": (OnchainError, "should be JSON is none"),
    "wrong_value": (VerificationError, "model's file gives another result than the chain"),
    "reverts": (TransactionRevertedError, "was mined and reverted: only its gas was spent"),
    "mined_late": (TransactionInDoubtError, "is not mined yet"),
    "lost_answer": (None, ""),
    "stale_count": (None, ""),
    "ignored_tasks": (None, ""),
    "dropped": (None, ""),
    "wrong_chain": (ConfigurationError, "serves chain 1, expected 8453. Nothing was sent"),
    "other_result": (VerificationError, "model's file gives another result than the chain"),
    "garbled_api": (OnchainError, "no model output of mode 0"),
    "silent_api": (TransactionInDoubtError, "its result did not come within 1 s"),
}
"""Fault -> the error of `infer` with the model's file, and what it says; None where the true result comes."""
LATE = {"other_result", "garbled_api", "silent_api"}
"""Faults of the node's API, which is asked only for results that come late."""


@pytest.mark.parametrize("infer", [by_sync, pytest.param(by_async, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("fault", OUTCOMES)
def test_lies_of_the_chain_are_errors(
    evm: Devnet,
    models: ModelNode,
    arm: Callable[[str], None],
    infer: Callable[..., Inference],
    fault: str,
) -> None:
    """Each says whether gas was spent, and leaves a receipt that shows nothing as verified."""
    number = [*OUTCOMES].index(fault) + (20 if infer is by_async else 0)
    candles = {"open_high_low_close": [[100.0, 140.0 + number, 99.0, 100.0]] * 10}
    models.deferred = 0 if fault in LATE else None
    arm(fault)
    error, said = OUTCOMES[fault]
    exactly = {"model_file": SHIPPED, "relative": 0, "absolute": 0}
    mark = evm.mark()
    with collect_receipts() as receipts:
        if error is None:
            assert infer(evm, VOLATILITY, candles, **exactly).verified
        else:
            with pytest.raises(error, match=said) as caught:
                infer(evm, VOLATILITY, candles, patience=1, **exactly)
            assert [caught.value.receipt] == receipts
            assert receipts[0]["status"] == "unverified"
            assert "fail" in verdicts(receipts[0]).values()
    assert models.unsafe(list(receipts)) == []
    assert evm.verdict(receipts, since=mark).clean


def test_every_fault_of_the_chain_is_met_and_documented() -> None:
    """The table of the page is that of the devnet, with the outcome that the test above holds."""
    assert OUTCOMES.keys() == CHAIN_FAULTS.keys()
    page = (ROOT / "docs" / "onchain.md").read_text()
    for name, fault in CHAIN_FAULTS.items():
        error, _ = OUTCOMES[name]
        outcome = "answered" if error is None else f"`{error.__name__}`"
        assert f"| `{name}` | {fault.about} | {outcome} |" in page


def test_verdict_names_a_result_that_was_wrongly_taken(
    evm: Devnet, models: ModelNode, chain: OnchainClient, arm: Callable[[str], None]
) -> None:
    """Without the model's file nobody can see a wrong number; the devnet knows."""
    arm("wrong_value")
    mark = evm.mark()
    with collect_receipts() as receipts:
        chain.infer(VOLATILITY, {"open_high_low_close": [[100.0, 199.0, 99.0, 100.0]] * 10})
    judgement = evm.verdict(receipts, since=mark)
    assert judgement.names == ("accepted_unverified",)


def test_wrong_number_is_found_by_running_the_model_here(
    models: ModelNode, chain: OnchainClient, arm: Callable[[str], None]
) -> None:
    """Events alone cannot tell: whoever runs the network can write what he likes."""
    good = chain.infer(VOLATILITY, CANDLES, model_file=SHIPPED)
    assert verdicts(good.receipt)["recomputed"] == "pass"
    arm("wrong_value")
    other = {"open_high_low_close": [[100.0, 103.0, 99.0, 100.0]] * 10}
    with pytest.raises(VerificationError, match="model's file gives another result than the chain: 'Y' differs at"):
        chain.infer(VOLATILITY, other, model_file=ModelFile(SHIPPED.read_bytes()), relative=0, absolute=0)


def test_dropped_transaction_is_sent_again(own_evm: Devnet) -> None:
    assert own_evm.models is not None
    node = chain_of(own_evm).node
    node.rpc("evm_setIntervalMining", 1)
    own_evm.inject("dropped")
    with OnchainClient(private_key=own_evm.private_key, network=own_evm.network) as client:
        assert client.infer(VOLATILITY, CANDLES).values == {"Y": [SHARE]}


@pytest.mark.parametrize("mode", list(InferenceMode))
def test_result_that_comes_late_is_waited_for(models: ModelNode, chain: OnchainClient, mode: InferenceMode) -> None:
    """It is the node's word, not the chain's: the receipt says so, unless the model's file gives the same."""
    models.deferred = 2
    candles = {"open_high_low_close": [[100.0, 104.0 + mode, 100.0, 100.0]] * 10}
    late = chain.infer(VOLATILITY, candles, mode)
    assert round(float(late.values["Y"][0]), 6) == (4 + mode) / 100  # type: ignore[index]
    assert (late.verified, late.receipt["onchain"]["result_source"]) == (False, "node-api")
    assert verdicts(late.receipt)["not_simulated"] == "skip"
    assert chain.infer(VOLATILITY, candles, mode, model_file=SHIPPED).verified


def test_result_that_does_not_come_is_in_doubt_and_resumed(models: ModelNode, chain: OnchainClient) -> None:
    models.deferred = 4
    candles = {"open_high_low_close": [[100.0, 109.0, 100.0, 100.0]] * 10}
    with pytest.raises(TransactionInDoubtError, match="Inference: ") as caught:
        chain.infer(VOLATILITY, candles)
    tx_hash = caught.value.transaction_hash
    assert tx_hash is not None
    assert chain.resume(tx_hash).transaction_hash == tx_hash


def test_garbled_late_result_is_refused(models: ModelNode, chain: OnchainClient, arm: Callable[[str], None]) -> None:
    models.deferred = 0
    arm("garbled_api")
    with pytest.raises(OnchainError, match="no model output of mode 0"):
        chain.infer(VOLATILITY, {"open_high_low_close": [[100.0, 108.0, 100.0, 100.0]] * 10})


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "Input not found: 'open_high_low_close'"),
        (CANDLES | {"z": [1]}, "The model has no input 'z'"),
        ({"open_high_low_close": ["a"]}, "texts were given"),
        ({"open_high_low_close": [[1.0] * 4] * 9}, "The model failed"),
    ],
)
def test_what_the_node_refuses_costs_nothing(evm: Devnet, chain: OnchainClient, inputs: Any, said: str) -> None:
    """The reason is the node's; nothing was signed."""
    with pytest.raises(TransactionRefusedError, match=f"The inference would fail.*{said}.*Nothing was sent"):
        chain.infer(VOLATILITY, inputs)
    assert chain_of(evm).node.rpc("eth_getTransactionCount", chain.setup.signer().address, "pending") == "0x0"


def test_what_no_node_can_take_is_refused_at_once(chain: OnchainClient) -> None:
    with pytest.raises(InvalidRequestError, match=r"'x'\[1\]: NaN"):
        chain.infer(VOLATILITY, {"x": [1.0, float("nan")]})
    with pytest.raises(InvalidRequestError, match="is 'fast', expected VANILLA, ZKML, TEE"):
        chain.infer(VOLATILITY, CANDLES, "fast")
    with pytest.raises(InvalidRequestError, match="would be after rounding"):
        chain.infer(VOLATILITY, {"x": [1e-30]})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        chain.infer(VOLATILITY, CANDLES, model_file="nowhere.onnx")
    with pytest.raises(OnchainError, match="is no ONNX model"):
        chain.infer(VOLATILITY, CANDLES, model_file=b"abc")


def test_unknown_model_is_named_by_the_node(chain: OnchainClient) -> None:
    with pytest.raises(TransactionRefusedError, match="Model not found: QmNothing"):
        chain.infer("QmNothing", CANDLES)


def test_model_of_int32_fails_as_on_the_network(models: ModelNode, chain: OnchainClient) -> None:
    """Nodes make every integer an int64."""
    with pytest.raises(TransactionRefusedError, match="Unexpected input data type"):
        chain.infer(models.models.add(identity(INT32)), {"x": [1]})


@pytest.fixture
def client_of(evm: Devnet) -> Iterator[Callable[..., OnchainClient]]:
    made: list[OnchainClient] = []

    def make(native: int = 10**18, **options: Any) -> OnchainClient:
        key = evm.new_wallet(native=native).private_key
        made.append(OnchainClient(private_key=key, network=evm.network, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_limits_of_gas(client_of: Callable[..., OnchainClient]) -> None:
    """Each is held before anything is signed."""
    with pytest.raises(TransactionRefusedError, match=r"expected at most 1000\. Nothing was sent"):
        client_of(max_gas=1000).infer(VOLATILITY, CANDLES)
    with pytest.raises(TransactionRefusedError, match=r"expected at most 0\.0{17}7 ETH"):
        client_of().infer(VOLATILITY, CANDLES, max_cost=7)
    with pytest.raises(TransactionRefusedError, match=r"for gas, expected 0.*Fund it first"):
        client_of(native=1).infer(VOLATILITY, CANDLES)
    with pytest.raises(ConfigurationError, match="total is -1"):
        client_of(gas_budget=-1)


def test_budget_of_gas(client_of: Callable[..., OnchainClient], arm: Callable[[str], None]) -> None:
    """What was spent counts, what was refused does not; several clients may share one."""
    budget = GasBudget(10**16)
    client = client_of(gas_budget=budget)
    first = client.infer(VOLATILITY, CANDLES)
    assert budget.spent == int(first.receipt["onchain"]["cost"]) > 0
    with pytest.raises(TransactionError):
        client.infer("QmNothing", CANDLES)
    assert budget.spent == int(first.receipt["onchain"]["cost"])
    poor = client_of(gas_budget=budget.spent)
    with pytest.raises(TransactionRefusedError, match=r"of the gas budget of .*Nothing was sent"):
        poor.infer(VOLATILITY, CANDLES)


def test_wallet_may_be_another_than_that_of_calls(evm: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = evm.new_wallet(), evm.new_wallet()
    monkeypatch.setenv("OG_PRIVATE_KEY", first.private_key)
    assert OnchainClient(network=evm.network).setup.signer().address == first.address
    monkeypatch.setenv("OG_ONCHAIN_PRIVATE_KEY", second.private_key)
    assert OnchainClient(network=evm.network).setup.signer().address == second.address


def test_node_may_be_that_of_a_web3(evm: Devnet) -> None:
    """Its provider is asked; web3 itself is not loaded."""

    class Provider:
        endpoint_uri = "http://127.0.0.1:1"

        def make_request(self, method: str, params: object) -> object:
            raise NotImplementedError

    class Web3:
        provider = Provider()

    client = OnchainClient(private_key=evm.private_key, network="devnet", rpc_url=Web3())
    assert client.setup.url == "http://127.0.0.1:1"
    with pytest.raises(ConfigurationError, match="rpc_url is a object"):
        OnchainClient(network="devnet", rpc_url=object())
    with pytest.raises(ConfigurationError, match="hub is no address"):
        OnchainClient(network="devnet", hub="0x12")


def test_resume_of_something_else(evm: Devnet, chain: OnchainClient) -> None:
    with pytest.raises(TransactionInDoubtError, match="does not know the transaction"):
        chain.resume("0x" + "ab" * 32)
    other = chain_of(evm).node.rpc("eth_sendTransaction", {"from": evm.wallet, "to": evm.wallet})
    with pytest.raises(OnchainError, match="is no call of the hub"):
        chain.resume(other)


def test_saved_receipt_is_verified_on_the_chain(evm: Devnet, chain: OnchainClient) -> None:
    """By whoever has it, without a key."""
    result = chain.infer(VOLATILITY, CANDLES)
    saved = json.loads(json.dumps(result.receipt))
    with OnchainClient(network=evm.network) as stranger:
        found = stranger.verify(saved, model_file=SHIPPED)
        assert (found.output, found.verified) == (result.output, True)
        assert Receipt(saved).verified
        for name in ("model", "request_hash", "output_hash"):
            with pytest.raises(VerificationError, match=f"is not of the transaction that it names: {name} differ"):
                stranger.verify(saved | {name: "other"})
        with pytest.raises(ConfigurationError, match="it names no transaction"):
            stranger.verify(saved | {"kind": "chat"})


def test_clients_agree() -> None:
    """They differ in `await` and in nothing else."""
    assert interface_of(OnchainClient) == interface_of(AsyncOnchainClient)


def test_shipped_model_is_what_its_script_makes() -> None:
    from tests.onchain.onnx_file import volatility

    assert SHIPPED.read_bytes() == volatility()
    assert SHIPPED.parent == FOLDER
    assert SHIPPED.stat().st_size < 500

"""web3 beside the clients: the same bytes, a user's node, contracts deployed and events filtered with it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3, HTTPProvider, Web3
from web3.types import RPCEndpoint, RPCResponse

from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._inference import ModelNode
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import (
    ConfigurationError,
    DiscoveryError,
    InvalidRequestError,
    OnchainError,
    TransactionRefusedError,
)
from og_integrations.onchain import AsyncOnchainClient, OnchainClient, contracts, past_inferences
from og_integrations.onchain._web3 import SCHEDULER_ABI, WORKFLOW_ABI
from og_integrations.protocol.chain._inference import decode_output, request_calldata, run_calldata
from og_integrations.protocol.chain._tensors import encode_input
from og_integrations.protocol.chain._workflow import (
    constructor_args,
    history_calldata,
    register_task_calldata,
    stop_task_calldata,
    update_task_calldata,
)
from tests.onchain.test_inference import CANDLES, SHARE
from tests.onchain.test_workflows import QUERY, deploy

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "onchain" / "tensors.json").read_text())
ADDRESS = "0x" + "ab" * 20
PLAIN_QUERY = ("ETH", "USD", 10, 30, int(QUERY.order), [int(kind) for kind in QUERY.candle_types])
"""web3 takes no enums."""
INPUTS: list[dict[str, Any]] = [
    {},
    CANDLES,
    {"n": [2**126, -1], "t": ["a", "ü😀", ""]},
    {"x": 0.1, "y": [[1e-18]], "s": "text"},
]


class OwnProvider(HTTPProvider):
    """A provider of a user's own, with no URL to be read, as one over a socket or with a signature has none."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[str] = []

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        self.asked.append(method)
        return super().make_request(method, params)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_calls_of_models_are_the_same_bytes(inputs: dict[str, Any], mode: int) -> None:
    """What our own encoder makes is what web3 makes of the ABI."""
    made, of_web3 = encode_input(inputs), contracts(Web3())
    assert of_web3.hub.encode_abi("run", ["m", mode, made]) == "0x" + run_calldata("m", mode, made).hex()
    asked = of_web3.precompile.encode_abi("runModelInference", [(mode, "m", made)])
    assert asked == "0x" + request_calldata("m", mode, made).hex()


def test_calls_of_workflows_are_the_same_bytes() -> None:
    of_web3 = contracts(Web3())
    workflow, scheduler = of_web3.workflow(ADDRESS), of_web3.scheduler
    made = Web3().eth.contract(abi=WORKFLOW_ABI, bytecode="0x").constructor("m", "x", PLAIN_QUERY)
    assert made.data_in_transaction == "0x" + constructor_args("m", "x", QUERY).hex()
    checked = Web3.to_checksum_address(ADDRESS)
    assert workflow.encode_abi("getLastInferenceResults", [7]) == "0x" + history_calldata(7).hex()
    assert scheduler.encode_abi("registerTask", [checked, 9, 60]) == "0x" + register_task_calldata(ADDRESS, 9, 60).hex()
    assert scheduler.encode_abi("updateTask", [checked, 9, 60]) == "0x" + update_task_calldata(ADDRESS, 9, 60).hex()
    assert scheduler.encode_abi("stopTask", [checked]) == "0x" + stop_task_calldata(ADDRESS).hex()


@pytest.mark.parametrize("case", VECTORS["decode_output"], ids=lambda case: case["id"])
def test_events_hold_the_same_numbers(case: dict[str, Any]) -> None:
    """Of the vectors, which the published client's codec and web3 made."""
    data = bytes.fromhex(case["inference_result_event"]["data"].removeprefix("0x"))
    event = contracts(Web3()).hub.events.InferenceResult()
    log: Any = {"address": event.address, "topics": [bytes.fromhex(event.topic[2:])], "data": data, "blockHash": b""}
    log |= {"blockNumber": 0, "logIndex": 0, "transactionHash": b"", "transactionIndex": 0}
    found = event.process_log(log)["args"]["output"]
    written = [(one["name"], [(n["value"], n["decimals"]) for n in one["values"]]) for one in found["numbers"]]
    assert written == [(name, [(int(v), int(d)) for v, d in values]) for name, values, _ in case["abi"]["numbers"]]
    try:
        ours = decode_output(data)
    except OnchainError:
        return  # what is of the ABI's form and all the same no result, such as absurd decimals
    assert written == [(tensor.name, [tuple(number) for number in tensor.values]) for tensor in ours.numbers]


def test_web3_with_a_provider_of_its_own_is_the_node(evm: Devnet, models: ModelNode) -> None:
    """Every question goes through it; the transaction is sent by our sender all the same."""
    provider = OwnProvider(evm.network.registry_rpc_url)
    provider.endpoint_uri = None
    own = OwnProvider(evm.network.registry_rpc_url)
    own.endpoint_uri = evm.network.registry_rpc_url  # type: ignore[assignment]
    with OnchainClient(private_key=evm.new_wallet().private_key, network=evm.network, rpc_url=Web3(own)) as client:
        assert client.infer(VOLATILITY, CANDLES).values == {"Y": [SHARE]}
    assert "eth_sendRawTransaction" in own.asked
    with OnchainClient(network=evm.network, rpc_url=Web3(provider)) as client:
        assert client.setup.url == "http://web3.invalid"


def test_asynchronous_web3_is_the_node(evm: Devnet, models: ModelNode) -> None:
    async def infer() -> Any:
        w3 = AsyncWeb3(AsyncHTTPProvider(evm.network.registry_rpc_url))
        key = evm.new_wallet().private_key
        async with AsyncOnchainClient(private_key=key, network=evm.network, rpc_url=w3) as client:
            found = await client.infer(VOLATILITY, CANDLES)
        await w3.provider.disconnect()
        return found.values

    assert asyncio.run(infer()) == {"Y": [SHARE]}
    w3 = AsyncWeb3(AsyncHTTPProvider(evm.network.registry_rpc_url))
    with (
        OnchainClient(private_key=evm.private_key, network=evm.network, rpc_url=w3) as client,
        pytest.raises(ConfigurationError, match="The Web3 that was given is asynchronous"),
    ):
        client.infer(VOLATILITY, CANDLES)


def test_node_of_a_web3_that_is_away_is_an_error_of_ours() -> None:
    w3 = Web3(HTTPProvider("http://127.0.0.1:9", exception_retry_configuration=None))
    with (
        OnchainClient(network="devnet", rpc_url=w3) as client,
        pytest.raises(DiscoveryError, match="node of the given Web3 does not answer"),
    ):
        client.lookup("0x" + "ab" * 32)


def test_events_are_filtered_with_web3(evm: Devnet, models: ModelNode, chain: OnchainClient) -> None:
    """Of one model or of all, exact as results are."""
    w3 = Web3(HTTPProvider(evm.network.registry_rpc_url))
    first = w3.eth.block_number + 1
    result = chain.infer(VOLATILITY, {"open_high_low_close": [[100.0, 107.0, 99.25, 100.1]] * 10})
    last = w3.eth.block_number
    found = [
        past
        for past in past_inferences(w3, first_block=first, last_block=last, model_cid=VOLATILITY)
        if past.transaction_hash == result.transaction_hash
    ]
    assert [(past.output, past.inference_id) for past in found] == [
        (result.output, result.receipt["onchain"]["inference_id"])
    ]
    assert list(past_inferences(w3, first_block=first, last_block=last, model_cid="other")) == []


def test_own_contract_is_deployed_and_called_by_the_one_sender(evm: Devnet, chain: OnchainClient) -> None:
    """Here a workflow, by its ABI: the arguments are web3's business, nonce and gas are ours."""
    ours = deploy(chain)
    w3 = Web3(HTTPProvider(evm.network.registry_rpc_url))
    runtime = w3.eth.get_code(Web3.to_checksum_address(ours))
    bytecode = (Path(__file__).parents[2] / "og_integrations" / "onchain" / "workflow.hex").read_text().strip()
    address = chain.deploy_contract(WORKFLOW_ABI, bytecode, VOLATILITY, "open_high_low_close", PLAIN_QUERY)
    assert len(w3.eth.get_code(Web3.to_checksum_address(address))) == len(runtime)
    assert chain.call_contract(address, WORKFLOW_ABI, "run").status == "mined"
    assert len(contracts(w3).workflow(address).functions.getLastInferenceResults(5).call()) == 1
    with pytest.raises(InvalidRequestError, match="'walk' cannot be called so"):
        chain.call_contract(address, WORKFLOW_ABI, "walk")
    with pytest.raises(InvalidRequestError, match="contract cannot be deployed so"):
        chain.deploy_contract(WORKFLOW_ABI, bytecode, 1)
    with pytest.raises(TransactionRefusedError, match="Nothing was sent"):
        chain.call_contract(chain.setup.scheduler, SCHEDULER_ABI, "stopTask", Web3.to_checksum_address(ADDRESS))

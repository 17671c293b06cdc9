"""
web3 (extra `onchain`) beside the clients: a user's `Web3` as the node, the contracts with their ABIs, and their events.

web3 encodes and decodes here and asks the node; transactions are sent by the one sender of this package. It is
imported where it is used: 60 MB of memory are too much for who only reads a result.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from og_integrations.client._runner import awaited, not_awaitable
from og_integrations.errors import ConfigurationError, DiscoveryError, InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._inference import (
    HUB_ADDRESS,
    PRECOMPILE_ADDRESS,
    ModelOutput,
    Request,
    decode_event,
)
from og_integrations.protocol.chain._workflow import SCHEDULER_ADDRESS
from og_integrations.protocol.payment._flow import Fetch

if TYPE_CHECKING:
    from eth_typing import ABI, HexStr
    from web3 import AsyncWeb3, Web3
    from web3.contract import Contract
    from web3.types import FilterParams

NO_URL = "http://web3.invalid"
"""Names the node of a `Web3` whose provider has no URL, in messages."""

Abi = list[JsonObject]


def _fields(*fields: "tuple[str, str] | tuple[str, str, Abi]") -> Abi:
    return [{"name": name, "type": kind} | ({"components": inner[0]} if inner else {}) for name, kind, *inner in fields]


def _function(name: str, inputs: Abi, outputs: Abi | None = None, *, view: bool = False) -> JsonObject:
    mutability = "view" if view else "nonpayable"
    return {"type": "function", "name": name, "inputs": inputs, "outputs": outputs or [], "stateMutability": mutability}


def _event(name: str, inputs: Abi, indexed: Sequence[str] = ()) -> JsonObject:
    marked = [one | {"indexed": one["name"] in indexed} for one in inputs]
    return {"type": "event", "name": name, "inputs": marked, "anonymous": False}


_NUMBER = _fields(("value", "int128"), ("decimals", "int128"))
_NUMBERS = _fields(("name", "string"), ("values", "tuple[]", _NUMBER), ("shape", "uint32[]"))
_STRINGS = _fields(("name", "string"), ("values", "string[]"))
_JSONS = _fields(("name", "string"), ("value", "string"))
_INPUT = _fields(("numbers", "tuple[]", _NUMBERS), ("strings", "tuple[]", _STRINGS))
_OUTPUT = [*_INPUT, *_fields(("jsons", "tuple[]", _JSONS), ("is_simulation_result", "bool"))]
_REQUEST = _fields(("mode", "uint8"), ("modelCID", "string"), ("input", "tuple", _INPUT))
_QUERY = _fields(
    ("base", "string"),
    ("quote", "string"),
    ("total_candles", "uint32"),
    ("candle_duration_in_mins", "uint32"),
    ("order", "uint8"),
    ("candle_types", "uint8[]"),
)
_RESULT = _fields(("output", "tuple", _OUTPUT))
_TASK = _fields(("user", "address"), ("contractAddress", "address"), ("endTime", "uint256"), ("frequency", "uint256"))

HUB_ABI: Abi = [
    _function(
        "run",
        _fields(("modelId", "string"), ("inferenceMode", "uint8"), ("modelInput", "tuple", _INPUT)),
        _fields(("", "tuple", _OUTPUT)),
    ),
    _event("InferenceResult", _RESULT),
]
PRECOMPILE_ABI: Abi = [
    _function("runModelInference", _fields(("request", "tuple", _REQUEST)), _fields(("", "tuple", _OUTPUT))),
    _event(
        "ModelInferenceEvent",
        _fields(("inferenceID", "string"), ("request", "tuple", _REQUEST), ("response", "tuple", _OUTPUT)),
    ),
]
WORKFLOW_ABI: Abi = [
    {
        "type": "constructor",
        "inputs": _fields(("modelId", "string"), ("inputName", "string"), ("query", "tuple", _QUERY)),
        "stateMutability": "nonpayable",
    },
    _function("run", []),
    _function("getInferenceResult", [], _fields(("", "tuple", _OUTPUT)), view=True),
    _function("getLastInferenceResults", _fields(("num", "uint256")), _fields(("", "tuple[]", _OUTPUT)), view=True),
    _event("InferenceResultEmitted", _fields(("caller", "address"), ("result", "tuple", _OUTPUT)), ["caller"]),
]
SCHEDULER_ABI: Abi = [
    _function("registerTask", _TASK[1:]),
    _function("updateTask", _TASK[1:]),
    _function("stopTask", _TASK[1:2]),
    _function("getAllTasks", [], _fields(("", "tuple[]", _TASK)), view=True),
    _event("TaskRegistered", _TASK, ["user", "contractAddress"]),
    _event("TaskUpdated", _TASK, ["user", "contractAddress"]),
    _event("TaskStopped", _TASK[:2], ["user", "contractAddress"]),
]


@dataclass(frozen=True, kw_only=True)
class Contracts:
    """OpenGradient's contracts as those of web3, to call, and to filter events with."""

    hub: "Contract"
    precompile: "Contract"
    scheduler: "Contract"
    _w3: "Web3"

    def workflow(self, address: str) -> "Contract":
        """Return the workflow at `address`."""
        found: Contract = self._w3.eth.contract(address=_checksum(address), abi=WORKFLOW_ABI)
        return found


@dataclass(frozen=True, kw_only=True)
class PastInference:
    """This is an inference that the precompile wrote of, whoever asked for it."""

    transaction_hash: str
    block: int
    inference_id: str
    request: Request
    output: ModelOutput


def contracts(
    w3: "Web3", *, hub: str = HUB_ADDRESS, precompile: str = PRECOMPILE_ADDRESS, scheduler: str = SCHEDULER_ADDRESS
) -> Contracts:
    """Return OpenGradient's contracts as those of `w3`. Raises `ConfigurationError` without web3."""
    require_web3()
    return Contracts(
        hub=w3.eth.contract(address=_checksum(hub), abi=HUB_ABI),
        precompile=w3.eth.contract(address=_checksum(precompile), abi=PRECOMPILE_ABI),
        scheduler=w3.eth.contract(address=_checksum(scheduler), abi=SCHEDULER_ABI),
        _w3=w3,
    )


def past_inferences(
    w3: "Web3",
    *,
    first_block: int,
    last_block: int,
    model_cid: str | None = None,
    precompile: str = PRECOMPILE_ADDRESS,
) -> Iterator[PastInference]:
    """
    Yield the inferences of these blocks, of one model or of all, in the order of the chain.

    Raises `OnchainError` for an event that is not of the contract's form.
    """
    event = contracts(w3, precompile=precompile).precompile.events.ModelInferenceEvent()
    asked = {"address": event.address, "topics": [event.topic], "fromBlock": first_block, "toBlock": last_block}
    for log in w3.eth.get_logs(cast("FilterParams", asked)):
        found = decode_event(bytes(log["data"]))
        if model_cid in (None, found.request.model_cid):
            yield PastInference(
                transaction_hash=log["transactionHash"].to_0x_hex(),
                block=log["blockNumber"],
                inference_id=found.inference_id,
                request=found.request,
                output=found.response,
            )


def require_web3() -> None:
    """Raise `ConfigurationError` if web3 is not installed."""
    try:
        import web3  # noqa: F401 - only to say what is missing
    except ImportError as exc:
        raise ConfigurationError('This needs web3: pip install "og-integrations[onchain]".') from exc


def creation_code(abi: Sequence[Mapping[str, object]], bytecode: str, arguments: Sequence[object]) -> bytes:
    """Return what deploys a contract. Raises `InvalidRequestError` for arguments that are not its constructor's."""
    require_web3()
    from web3 import Web3
    from web3.exceptions import Web3Exception

    try:
        contract = Web3().eth.contract(abi=cast("ABI", abi), bytecode=cast("HexStr", bytecode))
        data = contract.constructor(*arguments).data_in_transaction
    except (Web3Exception, ValueError, TypeError) as exc:
        raise InvalidRequestError(
            f"The contract cannot be deployed so ({type(exc).__name__}). Nothing was sent."
        ) from exc
    return bytes.fromhex(str(data).removeprefix("0x"))


def call_data(abi: Sequence[Mapping[str, object]], function: str, arguments: Sequence[object]) -> bytes:
    """Return the data of a call of a contract. Raises `InvalidRequestError` for what its ABI does not have."""
    require_web3()
    from web3 import Web3
    from web3.exceptions import Web3Exception

    try:
        data = Web3().eth.contract(abi=cast("ABI", abi)).encode_abi(function, args=list(arguments))
    except (Web3Exception, ValueError, TypeError) as exc:
        said = f"{function[:80]!r} cannot be called so ({type(exc).__name__}). Nothing was sent."
        raise InvalidRequestError(said) from exc
    return bytes.fromhex(str(data).removeprefix("0x"))


class Web3Node:
    """This is a user's `Web3` or `AsyncWeb3` as the node: what is asked goes through its provider, whatever that is."""

    def __init__(self, w3: "Web3 | AsyncWeb3[Any]") -> None:
        self._provider: Any = w3.provider
        url = getattr(self._provider, "endpoint_uri", None)
        self.url: str = str(url) if str(url).startswith(("http://", "https://")) else NO_URL

    def answers(self, effect: object) -> TypeGuard[Fetch]:
        """Return whether `effect` is a question to this node."""
        return isinstance(effect, Fetch) and effect.url == self.url and effect.body is not None

    def answer(self, effect: Fetch) -> bytes:
        """Ask the node. Raises `DiscoveryError`, and `ConfigurationError` for an `AsyncWeb3`."""
        method, params = _asked(effect)
        try:
            return _told(not_awaitable(self._provider.make_request(method, params), "The Web3 that was given"))
        except self._failures() as exc:
            raise self._away(exc) from exc

    async def aanswer(self, effect: Fetch) -> bytes:
        """Ask the node; a `Web3` that is not asynchronous holds the event loop up while it does."""
        method, params = _asked(effect)
        try:
            return _told(await awaited(self._provider.make_request(method, params)))
        except self._failures() as exc:
            raise self._away(exc) from exc

    def _away(self, exc: BaseException) -> DiscoveryError:
        return DiscoveryError(f"The node of the given Web3 does not answer ({type(exc).__name__}).")

    def _failures(self) -> tuple[type[Exception], ...]:
        from web3.exceptions import Web3Exception

        # Asynchronous providers leave the errors of aiohttp as they are; whoever has one has loaded it.
        of_aiohttp = getattr(sys.modules.get("aiohttp"), "ClientError", OSError)
        return (OSError, Web3Exception, of_aiohttp)


def web3_node(given: object) -> Web3Node | None:
    """Return the node of a `Web3` or `AsyncWeb3`, None for anything else; web3 is not loaded to find out."""
    provider = getattr(given, "provider", None)
    return Web3Node(cast("Web3", given)) if hasattr(provider, "make_request") else None


def _asked(effect: Fetch) -> tuple[str, list[object]]:
    asked: JsonObject = json.loads(effect.body or b"{}")
    return str(asked["method"]), list(asked["params"])


def _told(answer: Any) -> bytes:
    return json.dumps(dict(answer)).encode()


def _checksum(address: str) -> Any:
    from og_integrations.protocol.payment._x402 import checksum_address

    return checksum_address(address)

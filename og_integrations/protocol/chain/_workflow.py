"""
This module speaks to workflows, contracts that run one model on a price feed, and to their scheduler.

A workflow keeps its results; who reads them must look at their age, because a schedule ends without a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from og_integrations.errors import InvalidRequestError, OnchainError
from og_integrations.protocol.chain._abi import address_word, decode_values, encode_values, selector, topic, uint_word
from og_integrations.protocol.chain._inference import OUTPUT_TYPE, ModelOutput, check_model, output_of

# The addresses are those of the published SDK; the price
# precompile's is also a constant in the workflows' bytecode.
SCHEDULER_ADDRESS = "0x7179724De4e7FF9271FA40C0337c7f90C0508eF6"
PRICE_PRECOMPILE_ADDRESS = "0x00000000000000000000000000000000000000F5"

QUERY_TYPE = "(string,string,uint32,uint32,uint8,uint8[])"
RUN_CALLDATA = selector("run()")
RESULT_CALLDATA = selector("getInferenceResult()")
ALL_TASKS_CALLDATA = selector("getAllTasks()")
EMITTED_TOPIC = topic(f"InferenceResultEmitted(address,{OUTPUT_TYPE})")
"""`InferenceResultEmitted(address indexed caller, ModelOutput result)`: its data is read with `decode_output`."""
REGISTERED_TOPIC = topic("TaskRegistered(address,address,uint256,uint256)")

_UINT32_MAX = 2**32 - 1
_UINT256_MAX = 2**256 - 1
_ADDRESS_DIGITS = 40


class CandleOrder(IntEnum):
    """An order says how candles follow each other in time. The numbers are the contract's."""

    ASCENDING = 0
    DESCENDING = 1


class CandleType(IntEnum):
    """A candle type names a value of a candle. The numbers are the contract's."""

    HIGH = 0
    LOW = 1
    OPEN = 2
    CLOSE = 3
    VOLUME = 4


@dataclass(frozen=True, slots=True)
class Query:
    """
    A query names the price feed that a workflow's model is run on.

    The model's input has one row per candle, in `order`, and one column per entry of `candle_types`, in this order.
    """

    base: str
    quote: str
    total_candles: int
    candle_duration_in_mins: int
    order: int
    candle_types: Sequence[int]


class Task(NamedTuple):
    """A task makes the scheduler call `run()` of `contract` every `frequency` seconds until `end_time`."""

    user: str
    contract: str
    end_time: int
    frequency: int


def constructor_args(model_cid: str, input_name: str, query: Query) -> bytes:
    """Return what follows a workflow's bytecode when it is deployed. Raises `InvalidRequestError`."""
    return encode_values(["string", "string", QUERY_TYPE], _price_feed(model_cid, input_name, query))


def price_feed_calldata(model_cid: str, input_name: str, query: Query) -> bytes:
    """Return the call that a workflow makes of the price precompile. Raises `InvalidRequestError`."""
    function = selector(f"runInferenceOnPriceFeed(string,string,{QUERY_TYPE})")
    return function + constructor_args(model_cid, input_name, query)


def decode_price_feed(calldata: bytes) -> tuple[str, str, Query]:
    """Return model, input name and query of a call of the price precompile. Raises `OnchainError`."""
    try:
        model_cid, input_name, query = decode_values(["string", "string", QUERY_TYPE], calldata[4:])
    except ValueError as exc:
        raise _unreadable("The call of the price feed", calldata) from exc
    return model_cid, input_name, Query(*query)


def history_calldata(num_results: int) -> bytes:
    """Return the call that reads the newest `num_results` (at least 1). Raises `InvalidRequestError`."""
    # The contract reverts for a count of 0, with the text "Number of results must be positive".
    count = _uint("num_results", num_results, _UINT256_MAX, least=1)
    return selector("getLastInferenceResults(uint256)") + uint_word(count)


def encode_history(outputs: Sequence[ModelOutput]) -> bytes:
    """Return the answer of `getLastInferenceResults`, newest first."""
    raw = [(output.numbers, output.strings, output.jsons, output.is_simulation_result) for output in outputs]
    return encode_values([f"{OUTPUT_TYPE}[]"], [raw])


def decode_history(data: bytes) -> list[ModelOutput]:
    """Read the answer of `getLastInferenceResults`, newest first. Raises `OnchainError`."""
    try:
        (outputs,) = decode_values([f"{OUTPUT_TYPE}[]"], data)
    except ValueError as exc:
        raise _unreadable("The workflow's history", data) from exc
    return [output_of(raw) for raw in outputs]


def register_task_calldata(contract: str, end_time: int, frequency: int) -> bytes:
    """
    Return the scheduler call that runs `contract` every `frequency` seconds until `end_time` (Unix seconds).

    Raises `InvalidRequestError`.
    """
    return _schedule("registerTask", contract, end_time, frequency)


def update_task_calldata(contract: str, end_time: int, frequency: int) -> bytes:
    """Return the scheduler call that changes a task. Raises `InvalidRequestError`."""
    return _schedule("updateTask", contract, end_time, frequency)


def stop_task_calldata(contract: str) -> bytes:
    """Return the scheduler call that ends a task. Raises `InvalidRequestError`."""
    return selector("stopTask(address)") + _address(contract)


def decode_tasks(data: bytes) -> list[Task]:
    """Read the answer of `getAllTasks`. Raises `OnchainError`."""
    try:
        (tasks,) = decode_values(["(address,address,uint256,uint256)[]"], data)
    except ValueError as exc:
        raise _unreadable("The scheduler's list of tasks", data) from exc
    return [Task(*task) for task in tasks]


def _schedule(function: str, contract: str, end_time: int, frequency: int) -> bytes:
    words = (
        _address(contract),
        uint_word(_uint("end_time", end_time, _UINT256_MAX)),
        uint_word(_uint("frequency", frequency, _UINT256_MAX, least=1)),
    )
    return selector(f"{function}(address,uint256,uint256)") + b"".join(words)


def _price_feed(model_cid: str, input_name: str, query: Query) -> tuple[str, str, tuple[object, ...]]:
    check_model(model_cid)
    texts: dict[str, object] = {"input_name": input_name, "base": query.base, "quote": query.quote}
    for what, text in texts.items():
        # These texts go into the constructor of a contract, and cannot be changed after it was deployed.
        if not isinstance(text, str) or not text or not text.isprintable():
            raise InvalidRequestError(f"The workflow's {what} is empty or no text. Nothing was sent.")
    # An empty list deploys a workflow whose model has no input columns, and every one of its runs would fail.
    kinds = list(query.candle_types)
    if not kinds or any(kind not in tuple(CandleType) or isinstance(kind, bool) for kind in kinds):
        known = ", ".join(f"{known.name} ({known.value})" for known in CandleType)
        raise InvalidRequestError(f"candle_types must be a list of at least one of {known}. Nothing was sent.")
    candles = _uint("total_candles", query.total_candles, _UINT32_MAX, least=1)
    minutes = _uint("candle_duration_in_mins", query.candle_duration_in_mins, _UINT32_MAX, least=1)
    order = _uint("order", query.order, CandleOrder.DESCENDING)
    return model_cid, input_name, (query.base, query.quote, candles, minutes, order, [int(kind) for kind in kinds])


def _uint(what: str, value: object, most: int, *, least: int = 0) -> int:
    # A bool is an int in Python: `frequency=True` would have the scheduler run a workflow every second.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        shown = str(value)[:40] if isinstance(value, int) else f"a {type(value).__name__}"
        raise InvalidRequestError(f"{what} is {shown}, expected an int from {least} to {most}. Nothing was sent.")
    return int(value)


def check_address(contract: object) -> None:
    """Raise `InvalidRequestError` for what is no address."""
    _address(contract)


def _address(contract: object) -> bytes:
    text = contract if isinstance(contract, str) else ""
    digits = text.removeprefix("0x")
    # `bytes.fromhex` skips spaces, so the digits are counted and checked before an address is made of them.
    if not text.startswith("0x") or len(digits) != _ADDRESS_DIGITS or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise InvalidRequestError("The contract is no address; expected 0x and 40 hex digits. Nothing was sent.")
    return address_word(text)


def _unreadable(what: str, data: bytes) -> OnchainError:
    return OnchainError(f"{what} ({len(data)} bytes) is not of the form that OpenGradient's contracts write.")

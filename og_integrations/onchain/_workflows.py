"""
Workflows: contracts that run a model on a price feed, by hand or by schedule, and keep the results.

Results are read with their block and time, because a schedule ends without a word and the last result stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from og_integrations.client.chain._jsonrpc import Fetching, as_number, decode_hex, eth_call, quantity, read_block, rpc
from og_integrations.client.chain._transactions import Sending
from og_integrations.errors import OnchainError, StaleWorkflowError
from og_integrations.onchain._setup import Mined, Setup, check_place, send
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._inference import ModelOutput, decode_output
from og_integrations.protocol.chain._workflow import (
    ALL_TASKS_CALLDATA,
    EMITTED_TOPIC,
    RESULT_CALLDATA,
    RUN_CALLDATA,
    Query,
    Task,
    check_address,
    constructor_args,
    decode_history,
    decode_tasks,
    history_calldata,
    register_task_calldata,
    stop_task_calldata,
    update_task_calldata,
)
from og_integrations.protocol.payment._x402 import checksum_address

_WINDOW = 10_000
"""Public nodes look through so many blocks in one call."""
_WINDOWS = 5


@dataclass(frozen=True, kw_only=True)
class WorkflowResult:
    """
    This is a result of a workflow. `output` is empty before its first run.

    `block`, `timestamp` (Unix seconds) and `age` (seconds, by the chain's clock) are of the run that made it; None
    where no run was found in the last blocks, which says that it is old.
    """

    address: str
    output: ModelOutput
    block: int | None = None
    timestamp: int | None = None
    age: int | None = None
    transaction_hash: str | None = None

    @property
    def values(self) -> dict[str, object]:
        """Return the outputs by name."""
        return self.output.values


@dataclass(frozen=True, kw_only=True)
class WorkflowModel:
    """A workflow that OpenGradient runs: the named output is one number, a return as a fraction."""

    name: str
    address: str
    output: str
    about: str


def _known(*rows: tuple[str, str, str, str]) -> Mapping[str, WorkflowModel]:
    return {
        name: WorkflowModel(name=name, address=address, output=output, about=about)
        for name, address, output, about in rows
    }


WORKFLOW_MODELS = _known(
    (
        "eth_usdt_one_hour_volatility",
        "0xD5629A5b95dde11e4B5772B5Ad8a13B933e33845",
        "Y",
        "volatility of ETH in the next hour",
    ),
    ("btc_1_hour", "0xb4146E095c2CD2a7aA497EdfB513F1cB868Dcc3D", "regression_output", "return of BTC in the next hour"),
    ("eth_1_hour", "0x58826c6dc9A608238d9d57a65bDd50EcaE27FE99", "regression_output", "return of ETH in the next hour"),
    ("sol_1_hour", "0xaE12EC7314e91A612CF4Fa4DC07dC02cfCc4dF95", "regression_output", "return of SOL in the next hour"),
    ("sui_1_hour", "0x90FE6434C46838c96E9ACb8d394C0fdfe38C6182", "regression_output", "return of SUI in the next hour"),
    (
        "sui_usdt_30_min",
        "0xD85BA71f5701dc4C5BDf9780189Db49C6F3708D2",
        "destandardized_prediction",
        "return of SUI in the next half hour",
    ),
    (
        "sui_usdt_6_hour",
        "0x3C2E4DbD653Bd30F1333d456480c1b7aB122e946",
        "destandardized_prediction",
        "return of SUI in the next six hours",
    ),
)
"""The published workflows, by name. Whether they still run, only their results' age says."""


def deploy(setup: Setup, model_cid: str, input_name: str, query: Query) -> Sending[str]:
    """Deploy a workflow and return its address. Raises `TransactionError` or `InvalidRequestError`."""
    code = bytes.fromhex(files("og_integrations.onchain").joinpath("workflow.hex").read_text().strip()[2:])
    return (yield from deploy_code(setup, code + constructor_args(model_cid, input_name, query)))


def deploy_code(setup: Setup, code: bytes) -> Sending[str]:
    """Deploy a contract by its creation code and return its address. Raises `TransactionError`."""
    mined = yield from send(setup, None, code, "The deployment")
    address = mined.receipt.get("contractAddress")
    if not isinstance(address, str):
        raise OnchainError(f"The node names no contract of the deployment {mined.sent.transaction_hash}.")
    check_address(address)
    return checksum_address(address)


def schedule(setup: Setup, address: str, *, every: int, duration: int, change: bool = False) -> Sending[Mined]:
    """
    Have the scheduler run the workflow `every` so many seconds, for `duration` seconds from the newest block on.

    With `change` a task that is there is changed. Raises `TransactionError` if the scheduler refuses.
    """
    yield from check_place(setup)
    newest = yield from read_block(setup.url, "latest")
    end = as_number(newest.get("timestamp"), setup.url) + duration
    calldata = (update_task_calldata if change else register_task_calldata)(address, end, every)
    return (yield from send(setup, setup.scheduler, calldata, "The schedule"))


def unschedule(setup: Setup, address: str) -> Sending[Mined]:
    """End the schedule of a workflow. Raises `TransactionError` if there is none."""
    return (yield from send(setup, setup.scheduler, stop_task_calldata(address), "The end of the schedule"))


def tasks(setup: Setup) -> Fetching[list[Task]]:
    """Return all schedules that the scheduler knows."""
    yield from check_place(setup)
    answer = yield from eth_call(setup.url, setup.scheduler, "0x" + ALL_TASKS_CALLDATA.hex())
    return decode_tasks(answer)


def run(setup: Setup, address: str) -> Sending[WorkflowResult]:
    """Run a workflow now and return the result of this very run. Raises `TransactionError` or `OnchainError`."""
    check_address(address)
    mined = yield from send(setup, address, RUN_CALLDATA, "The run of the workflow")
    emitted = [log for log in _logs(mined.receipt.get("logs")) if _is_result_of(log, address)]
    if len(emitted) != 1:
        raise OnchainError(
            f"The run wrote {len(emitted)} results of {address}, expected exactly one. The gas is spent."
        )
    block = as_number(mined.receipt.get("blockNumber"), setup.url)
    made = yield from _timestamp(setup, block)
    newest = yield from _timestamp(setup, None)
    return WorkflowResult(
        address=address,
        output=decode_output(decode_hex(emitted[0]["data"], setup.url)),
        block=block,
        timestamp=made,
        age=max(0, newest - made),
        transaction_hash=mined.sent.transaction_hash,
    )


def read(setup: Setup, address: str, *, max_age: float | None = None) -> Fetching[WorkflowResult]:
    """
    Return the newest result of a workflow with its age; needs no wallet.

    Raises `OnchainError` if there is no workflow, `StaleWorkflowError` if the result is older than `max_age` seconds
    (or its age is not known).
    """
    answer = yield from _view(setup, address, RESULT_CALLDATA)
    output = decode_output(answer)
    emitted = yield from _newest_log(setup, address)
    block = timestamp = age = None
    if emitted is not None:
        block = as_number(emitted.get("blockNumber"), setup.url)
        timestamp = yield from _timestamp(setup, block)
        age = max(0, (yield from _timestamp(setup, None)) - timestamp)
    if max_age is not None and (age is None or age > max_age):
        how_old = "older than can be seen" if age is None else f"{age} s old"
        raise StaleWorkflowError(
            f"The result of {address} is {how_old}, expected at most {max_age:g} s. Do not use it."
        )
    transaction_hash = None if emitted is None else str(emitted.get("transactionHash"))
    return WorkflowResult(
        address=address, output=output, block=block, timestamp=timestamp, age=age, transaction_hash=transaction_hash
    )


def history(setup: Setup, address: str, count: int) -> Fetching[list[ModelOutput]]:
    """Return the newest results of a workflow, at most `count`, the newest first. Raises `OnchainError`."""
    answer = yield from _view(setup, address, history_calldata(count))
    return decode_history(answer)


def _view(setup: Setup, address: str, calldata: bytes) -> Fetching[bytes]:
    check_address(address)
    yield from check_place(setup)
    answer = yield from eth_call(setup.url, address, "0x" + calldata.hex())
    if not answer:
        raise OnchainError(f"There is no workflow at {address} on chain {setup.place.chain_id}.")
    return answer


def _newest_log(setup: Setup, address: str) -> Fetching[JsonObject | None]:
    """Look for the newest result in the last blocks, backwards."""
    last = yield from quantity(setup.url, "eth_blockNumber")
    for _ in range(_WINDOWS):
        first = max(0, last - _WINDOW + 1)
        asked = {"address": address, "topics": [EMITTED_TOPIC], "fromBlock": hex(first), "toBlock": hex(last)}
        found = [
            log for log in _logs((yield from rpc(setup.url, "eth_getLogs", [asked]))) if _is_result_of(log, address)
        ]
        if found:
            return found[-1]
        if first == 0:
            return None
        last = first - 1
    return None


def _logs(value: object) -> Sequence[JsonObject]:
    return [log for log in value if isinstance(log, dict)] if isinstance(value, list) else []


def _is_result_of(log: JsonObject, address: str) -> bool:
    topics = log.get("topics")
    first = str(topics[0]).lower() if isinstance(topics, list) and topics else ""
    return first == EMITTED_TOPIC and str(log.get("address")).lower() == address.lower()


def _timestamp(setup: Setup, block: int | None) -> Fetching[int]:
    found = yield from read_block(setup.url, "latest" if block is None else hex(block))
    return as_number(found.get("timestamp"), setup.url)

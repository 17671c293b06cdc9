"""The clients of models and workflows on chain: the same methods, awaited or not; a test keeps them equal."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypedDict, TypeVar, Unpack

from og_integrations.client._runner import adrive, drive
from og_integrations.client._settings import check_server, onchain_settings
from og_integrations.client._signer import Signer
from og_integrations.client._telemetry import ReceiptSpan, current_span
from og_integrations.client.chain._jsonrpc import RECEIPT_TIMEOUT
from og_integrations.client.chain._transactions import (
    AsyncSender,
    GasLimits,
    Sending,
    SentTransaction,
    SyncSender,
)
from og_integrations.client.channels._connections import AsyncConnections, SyncConnections
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.ledger import Ledger, open_ledger
from og_integrations.networks import Network
from og_integrations.onchain import _inference as inference
from og_integrations.onchain import _workflows as workflows
from og_integrations.onchain._inference import Inference, Recomputing, TransactionStatus
from og_integrations.onchain._setup import MOST_COST, GasBudget, Setup
from og_integrations.onchain._web3 import call_data, creation_code, web3_node
from og_integrations.onchain._workflows import WorkflowResult
from og_integrations.protocol.chain._execution import ModelFile
from og_integrations.protocol.chain._inference import (
    HUB_ADDRESS,
    PRECOMPILE_ADDRESS,
    InferenceMode,
    ModelOutput,
    Request,
)
from og_integrations.protocol.chain._tensors import DecimalsPolicy, encode_input
from og_integrations.protocol.chain._workflow import SCHEDULER_ADDRESS, Query, Task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import SecretStr

    from og_integrations.onchain._setup import Leaving, Progress

T = TypeVar("T")
Mode = InferenceMode | int | str


class Shared(Protocol):
    """This is what clients share: `OnchainClient` and `AsyncOnchainClient` have it."""

    setup: Setup


class OnchainOptions(TypedDict, total=False):
    """
    What a client of the chain is made with. Everything is optional.

    `private_key` or `signer`: the wallet that pays the gas (default: `OG_ONCHAIN_PRIVATE_KEY`, else the wallet of
    LLM calls). `network`, `rpc_url`: where; `rpc_url` is the node of the OpenGradient chain: a URL, or
    a `Web3` or `AsyncWeb3` of web3, whose provider is then asked, whatever it is.
    `node_api_url` has results that come late.
    `max_gas`, `max_cost`: the most gas and wei of one transaction. `gas_budget`: the most wei of all. `timeout`: how
    long to wait for a block, `result_timeout` for a deferred result, in seconds. `hub`, `precompile`, `scheduler`: the
    contracts. `on_leaving` gets each transaction before it is sent: written down, it can be resumed after a crash.
    `on_progress` is told each step of a transaction (`Tell`: sent, waiting, mined), with the seconds since it left.
    `sharing`: another client, whose wallet, limits and budget are taken, and no other option.
    """

    private_key: "str | SecretStr | None"
    signer: Signer | None
    network: str | Network | None
    rpc_url: Any
    node_api_url: str | None
    max_gas: int | None
    max_cost: int
    gas_budget: GasBudget | int | None
    timeout: float
    result_timeout: float
    hub: str
    precompile: str
    scheduler: str
    on_leaving: "Leaving | None"
    on_progress: "Progress | None"
    sharing: "Shared"


class InferOptions(TypedDict, total=False):
    """
    Options of one inference.

    `decimals` says what happens to numbers with more than 18 decimals, which nodes refuse (default: `"round"`).
    `max_gas`, `max_cost` lower the client's. `model_file` (path, bytes or a `ModelFile`): run it here as well, and
    compare, within `relative` or `absolute` of each number.
    """

    decimals: DecimalsPolicy | str
    max_gas: int | None
    max_cost: int | None
    model_file: ModelFile | bytes | str | Path | None
    relative: float
    absolute: float


def _setup(options: OnchainOptions) -> Setup:
    if (other := options.get("sharing")) is not None:
        return other.setup
    given, network = options.get("rpc_url"), options.get("network")
    node = web3_node(given)
    url = node.url if node is not None else given
    if url is not None and not isinstance(url, str):
        raise ConfigurationError(f"rpc_url is a {type(given).__name__}, expected a URL, a Web3 or an AsyncWeb3.")
    if url is not None and isinstance(network, Network):
        network = replace(network, registry_rpc_url=url)
    budget = options.get("gas_budget")
    settings = onchain_settings(
        private_key=options.get("private_key"),
        signer=options.get("signer"),
        network=network,
        registry_rpc_url=url,
    )
    if (api := options.get("node_api_url")) is not None:
        network = replace(settings.network, node_api_url=check_server("node_api_url", api))
        settings = replace(settings, network=network)
    return Setup(
        settings=settings,
        limits=GasLimits(cost=options.get("max_cost", MOST_COST), gas=options.get("max_gas")),
        budget=GasBudget(budget) if isinstance(budget, int) else budget,
        timeout=options.get("timeout", RECEIPT_TIMEOUT),
        result_timeout=options.get("result_timeout", RECEIPT_TIMEOUT),
        hub=options.get("hub", HUB_ADDRESS),
        precompile=options.get("precompile", PRECOMPILE_ADDRESS),
        scheduler=options.get("scheduler", SCHEDULER_ADDRESS),
        node=node,
        leaving=options.get("on_leaving"),
        progress=options.get("on_progress"),
    )


def read_mode(mode: Mode) -> InferenceMode:
    """Return the mode of that name or number. Raises `InvalidRequestError`."""
    if isinstance(mode, str) and mode.upper() in InferenceMode.__members__:
        return InferenceMode[mode.upper()]
    if isinstance(mode, int) and not isinstance(mode, bool) and mode in tuple(InferenceMode):
        return InferenceMode(mode)
    known = ", ".join(known.name for known in InferenceMode)
    raise InvalidRequestError(f"The inference mode is {mode!r:.20}, expected {known}. Nothing was sent.")


def _inferring(
    setup: Setup, model_cid: str, inputs: Mapping[str, object], mode: Mode, options: InferOptions
) -> Sending[Inference]:
    encoded = encode_input(inputs, decimals=options.get("decimals", DecimalsPolicy.ROUND))
    request = Request(read_mode(mode), model_cid, encoded)
    cost, gas = options.get("max_cost"), options.get("max_gas")
    limits = GasLimits(
        cost=setup.limits.cost if cost is None else min(cost, setup.limits.cost),
        gas=setup.limits.gas if gas is None else min(gas, setup.limits.gas or gas),
    )
    return inference.infer(setup, request, limits=limits, recomputing=_recomputing(options))


def read_model_file(given: ModelFile | bytes | str | Path) -> ModelFile:
    """Return the model in a file, or in its bytes. Raises `ConfigurationError` or `OnchainError`."""
    if isinstance(given, str | Path):
        try:
            given = Path(given).read_bytes()
        except OSError as exc:
            raise ConfigurationError(f"The model's file {given!s} cannot be read ({exc.strerror}).") from exc
    return given if isinstance(given, ModelFile) else ModelFile(given)


def _recomputing(options: InferOptions) -> Recomputing | None:
    given = options.get("model_file")
    if given is None:
        return None
    model = read_model_file(given)
    return Recomputing(model=model, relative=options.get("relative", 1e-5), absolute=options.get("absolute", 1e-9))


def _ledger(given: Ledger | str | Path) -> Ledger:
    return given if isinstance(given, Ledger) else open_ledger(given)


def _noted(span: ReceiptSpan, answer: T) -> T:
    """Write the receipt of an inference on the span; what a node says of other transactions is no receipt of ours."""
    return span.note(answer) if isinstance(answer, Inference) else answer


class OnchainClient:
    """
    Models and workflows on the OpenGradient chain. Safe to use from many threads; options: see `OnchainOptions`.

    Every method raises errors of `OpenGradientError` only, each of which says whether gas was spent.
    """

    def __init__(self, **options: Unpack[OnchainOptions]) -> None:
        self.setup: Setup = _setup(options)
        self._connections = SyncConnections()

    def infer(
        self,
        model_cid: str,
        inputs: Mapping[str, object],
        mode: Mode = InferenceMode.VANILLA,
        **options: Unpack[InferOptions],
    ) -> Inference:
        """
        Run a model on chain and return its exact, proven result.

        Raises `InvalidRequestError` (nothing was sent), `TransactionError`, `OnchainError` or `VerificationError`,
        each with a receipt as soon as there was anything to tell.
        """
        return self._run(_inferring(self.setup, model_cid, inputs, mode, options))

    def resume(self, sent: SentTransaction | str, **options: Unpack[InferOptions]) -> Inference:
        """
        Return the result of an inference that was in doubt, by its hash or as `on_leaving` was given it.

        Nothing is signed: the transaction itself is sent again where the node has lost it. Raises as `infer` does.
        """
        return self._run(inference.resume_inference(self.setup, sent, _recomputing(options)))

    def resume_from(self, ledger: Ledger | str | Path) -> list[Inference]:
        """
        Return the results of the inferences that `ledger` (or its URL or path) knows to have left, and not to be over.

        With a ledger around it (`collect_receipts(to=…)`, `OG_LEDGER`) an inference is written down before it is sent,
        so that a killed process loses none: nothing is signed or paid again. The receipts are written to the same
        ledger. What was reverted, or another transaction took the number of, is left out and over; what is not mined
        in time, or left for another chain, is met again the next time. Raises `ConfigurationError`, `DiscoveryError`.
        """
        return self._run(inference.resume_from(self.setup, _ledger(ledger)))

    def verify(self, receipt: Mapping[str, object], **options: Unpack[InferOptions]) -> Inference:
        """
        Read from the chain what a saved receipt claims; needs no wallet.

        Raises `VerificationError` if the chain has something else, and what `resume` raises.
        """
        return self._run(inference.verify(self.setup, receipt, _recomputing(options)))

    def lookup(self, transaction_hash: str) -> TransactionStatus:
        """Return what became of a transaction. Needs no wallet. Raises `DiscoveryError` or `ConfigurationError`."""
        return self._run(inference.lookup(self.setup, transaction_hash))

    def deploy_workflow(self, model_cid: str, input_name: str, query: Query) -> str:
        """Deploy a workflow and return its address. Raises `InvalidRequestError` or `TransactionError`."""
        return self._run(workflows.deploy(self.setup, model_cid, input_name, query))

    def schedule_workflow(self, address: str, *, every: int, duration: int, change: bool = False) -> str:
        """
        Have a workflow run `every` so many seconds for `duration` seconds; return the transaction's hash.

        `change` changes a schedule that is there. Raises `TransactionError` if the scheduler refuses.
        """
        flow = workflows.schedule(self.setup, address, every=every, duration=duration, change=change)
        return self._run(flow).sent.transaction_hash

    def unschedule_workflow(self, address: str) -> str:
        """End a schedule; return the transaction's hash. Raises `TransactionError`."""
        return self._run(workflows.unschedule(self.setup, address)).sent.transaction_hash

    def scheduled_workflows(self) -> list[Task]:
        """Return all schedules. Needs no wallet. Raises `DiscoveryError` or `OnchainError`."""
        return self._run(workflows.tasks(self.setup))

    def run_workflow(self, address: str) -> WorkflowResult:
        """Run a workflow now and return the result of this run. Raises `TransactionError` or `OnchainError`."""
        return self._run(workflows.run(self.setup, address))

    def read_workflow(self, address: str, *, max_age: float | None = None) -> WorkflowResult:
        """
        Return a workflow's newest result with its age; needs no wallet.

        Raises `OnchainError` if it is older than `max_age` seconds, or there is no workflow.
        """
        return self._run(workflows.read(self.setup, address, max_age=max_age))

    def read_workflow_history(self, address: str, count: int) -> list[ModelOutput]:
        """Return at most `count` results, the newest first; needs no wallet. Raises `OnchainError`."""
        return self._run(workflows.history(self.setup, address, count))

    def deploy_contract(self, abi: Sequence[Mapping[str, object]], bytecode: str, *arguments: object) -> str:
        """
        Deploy a contract of your own and return its address; web3 (extra `onchain`) encodes the arguments.

        Raises `InvalidRequestError` or `TransactionError`.
        """
        return self._run(workflows.deploy_code(self.setup, creation_code(abi, bytecode, arguments)))

    def call_contract(
        self, address: str, abi: Sequence[Mapping[str, object]], function: str, *arguments: object
    ) -> TransactionStatus:
        """
        Send a transaction that calls a contract; web3 (extra `onchain`) encodes the arguments.

        Raises `InvalidRequestError` or `TransactionError`.
        """
        return self._run(inference.call(self.setup, address, call_data(abi, function, arguments)))

    def close(self) -> None:
        """Close all connections; the client can be used again and opens new ones."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self, flow: "Sending[T]") -> T:
        sender = SyncSender(self.setup.signer, self._connections, tell=self.setup.progress, leaving=self.setup.leaving)
        with ReceiptSpan(current_span()) as span:
            return _noted(span, drive(flow, self._perform_with(sender)))

    def _perform_with(self, sender: SyncSender) -> "Callable[[object], object]":
        node = self.setup.node
        if node is None:
            return sender.perform
        return lambda effect: node.answer(effect) if node.answers(effect) else sender.perform(effect)


class AsyncOnchainClient:
    """
    Models and workflows on the OpenGradient chain; works on any number of event loops. Options: see `OnchainOptions`.

    Every method raises errors of `OpenGradientError` only, each of which says whether gas was spent.
    """

    def __init__(self, **options: Unpack[OnchainOptions]) -> None:
        self.setup: Setup = _setup(options)
        self._connections = AsyncConnections()

    async def infer(
        self,
        model_cid: str,
        inputs: Mapping[str, object],
        mode: Mode = InferenceMode.VANILLA,
        **options: Unpack[InferOptions],
    ) -> Inference:
        """
        Run a model on chain and return its exact, proven result.

        Raises `InvalidRequestError` (nothing was sent), `TransactionError`, `OnchainError` or `VerificationError`,
        each with a receipt as soon as there was anything to tell.
        """
        return await self._run(_inferring(self.setup, model_cid, inputs, mode, options))

    async def resume(self, sent: SentTransaction | str, **options: Unpack[InferOptions]) -> Inference:
        """
        Return the result of an inference that was in doubt, by its hash or as `on_leaving` was given it.

        Nothing is signed: the transaction itself is sent again where the node has lost it. Raises as `infer` does.
        """
        return await self._run(inference.resume_inference(self.setup, sent, _recomputing(options)))

    async def resume_from(self, ledger: Ledger | str | Path) -> list[Inference]:
        """
        Return the results of the inferences that `ledger` (or its URL or path) knows to have left, and not to be over.

        With a ledger around it (`collect_receipts(to=…)`, `OG_LEDGER`) an inference is written down before it is sent,
        so that a killed process loses none: nothing is signed or paid again. The receipts are written to the same
        ledger. What was reverted, or another transaction took the number of, is left out and over; what is not mined
        in time, or left for another chain, is met again the next time. Raises `ConfigurationError`, `DiscoveryError`.
        """
        return await self._run(inference.resume_from(self.setup, _ledger(ledger)))

    async def verify(self, receipt: Mapping[str, object], **options: Unpack[InferOptions]) -> Inference:
        """
        Read from the chain what a saved receipt claims; needs no wallet.

        Raises `VerificationError` if the chain has something else, and what `resume` raises.
        """
        return await self._run(inference.verify(self.setup, receipt, _recomputing(options)))

    async def lookup(self, transaction_hash: str) -> TransactionStatus:
        """Return what became of a transaction. Needs no wallet. Raises `DiscoveryError` or `ConfigurationError`."""
        return await self._run(inference.lookup(self.setup, transaction_hash))

    async def deploy_workflow(self, model_cid: str, input_name: str, query: Query) -> str:
        """Deploy a workflow and return its address. Raises `InvalidRequestError` or `TransactionError`."""
        return await self._run(workflows.deploy(self.setup, model_cid, input_name, query))

    async def schedule_workflow(self, address: str, *, every: int, duration: int, change: bool = False) -> str:
        """
        Have a workflow run `every` so many seconds for `duration` seconds; return the transaction's hash.

        `change` changes a schedule that is there. Raises `TransactionError` if the scheduler refuses.
        """
        flow = workflows.schedule(self.setup, address, every=every, duration=duration, change=change)
        return (await self._run(flow)).sent.transaction_hash

    async def unschedule_workflow(self, address: str) -> str:
        """End a schedule; return the transaction's hash. Raises `TransactionError`."""
        return (await self._run(workflows.unschedule(self.setup, address))).sent.transaction_hash

    async def scheduled_workflows(self) -> list[Task]:
        """Return all schedules. Needs no wallet. Raises `DiscoveryError` or `OnchainError`."""
        return await self._run(workflows.tasks(self.setup))

    async def run_workflow(self, address: str) -> WorkflowResult:
        """Run a workflow now and return the result of this run. Raises `TransactionError` or `OnchainError`."""
        return await self._run(workflows.run(self.setup, address))

    async def read_workflow(self, address: str, *, max_age: float | None = None) -> WorkflowResult:
        """
        Return a workflow's newest result with its age; needs no wallet.

        Raises `OnchainError` if it is older than `max_age` seconds, or there is no workflow.
        """
        return await self._run(workflows.read(self.setup, address, max_age=max_age))

    async def read_workflow_history(self, address: str, count: int) -> list[ModelOutput]:
        """Return at most `count` results, the newest first; needs no wallet. Raises `OnchainError`."""
        return await self._run(workflows.history(self.setup, address, count))

    async def deploy_contract(self, abi: Sequence[Mapping[str, object]], bytecode: str, *arguments: object) -> str:
        """
        Deploy a contract of your own and return its address; web3 (extra `onchain`) encodes the arguments.

        Raises `InvalidRequestError` or `TransactionError`.
        """
        return await self._run(workflows.deploy_code(self.setup, creation_code(abi, bytecode, arguments)))

    async def call_contract(
        self, address: str, abi: Sequence[Mapping[str, object]], function: str, *arguments: object
    ) -> TransactionStatus:
        """
        Send a transaction that calls a contract; web3 (extra `onchain`) encodes the arguments.

        Raises `InvalidRequestError` or `TransactionError`.
        """
        return await self._run(inference.call(self.setup, address, call_data(abi, function, arguments)))

    async def aclose(self) -> None:
        """Close the connections of the running loop; the client can be used again and opens new ones."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _run(self, flow: "Sending[T]") -> T:
        sender = AsyncSender(self.setup.signer, self._connections, tell=self.setup.progress, leaving=self.setup.leaving)
        with ReceiptSpan(current_span()) as span:
            return _noted(span, await adrive(flow, self._perform_with(sender)))

    def _perform_with(self, sender: AsyncSender) -> "Callable[[object], Awaitable[object]]":
        node = self.setup.node
        if node is None:
            return sender.perform
        return lambda effect: node.aanswer(effect) if node.answers(effect) else sender.perform(effect)

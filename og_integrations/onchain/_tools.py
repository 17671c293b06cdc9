"""
Models and workflows as tools of agents: made once here, and mapped to each framework in its own package.

An argument of a wrong type or shape is refused before any transaction. Large tensors are not typed by a model: the
application binds them, and the agent sees only what is left.
"""

import inspect
import json
import keyword
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypedDict, Unpack, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, create_model

from og_integrations.client._runner import awaited, not_awaitable
from og_integrations.errors import (
    ConfigurationError,
    DiscoveryError,
    GasBudgetExceededError,
    InvalidRequestError,
    OpenGradientError,
    StaleWorkflowError,
    TransactionRefusedError,
)
from og_integrations.onchain._clients import AsyncOnchainClient, Mode, OnchainClient, read_model_file
from og_integrations.onchain._inference import Inference
from og_integrations.onchain._workflows import WorkflowModel, WorkflowResult
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.protocol.chain._execution import ModelFile, TensorSpec
from og_integrations.protocol.chain._inference import InferenceMode
from og_integrations.receipt import RECEIPT_KEY, Receipt

AnyClient = OnchainClient | AsyncOnchainClient
Provider = Callable[..., object]

TOLD = (InvalidRequestError, TransactionRefusedError, StaleWorkflowError, DiscoveryError)
"""Nothing was spent, so the agent is told, and may mend its arguments; any other error ends its run."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAKEN = frozenset({"args", "callbacks", "config", "ctx", "kwargs", "run_manager", "self"})
"""Names that frameworks keep for themselves when they call a tool."""
_ELEMENTS: Mapping[str, object] = {
    "tensor(float)": Annotated[float, Strict(), Field(allow_inf_nan=False)],
    "tensor(double)": Annotated[float, Strict(), Field(allow_inf_nan=False)],
    "tensor(string)": Annotated[str, Strict()],
}
_INTEGER = Annotated[int, Strict()]
_MOST_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """
    This is the result of a tool: `text` for the model, and `artifact` for the application, hidden from the model.

    The artifact is plain JSON: `output`, and the receipt under `opengradient`, or `workflow` with block, time and age.
    """

    text: str
    artifact: JsonObject


@dataclass(frozen=True, kw_only=True)
class OnchainTool:
    """
    This is a model or workflow on chain as a tool of an agent, whatever its framework.

    `arguments` is the pydantic class of what the agent has to say.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    _call: Callable[[BaseModel], ToolResult] = field(repr=False)
    _acall: Callable[[BaseModel], Awaitable[ToolResult]] = field(repr=False)

    @property
    def parameters(self) -> JsonObject:
        """Return the arguments as JSON Schema."""
        return self.arguments.model_json_schema()

    def run(self, arguments: Mapping[str, object] | str) -> ToolResult:
        """
        Call it with arguments as a mapping or as JSON text.

        Raises `InvalidRequestError` for arguments of another form, and what `OnchainClient.infer` or
        `OnchainClient.read_workflow` raises.
        """
        return self._call(self.check(arguments))

    async def arun(self, arguments: Mapping[str, object] | str) -> ToolResult:
        """Call it as `run` does."""
        return await self._acall(self.check(arguments))

    def check(self, arguments: Mapping[str, object] | str) -> BaseModel:
        """Return the checked arguments. Raises `InvalidRequestError`."""
        try:
            given = decode_json(arguments or "{}") if isinstance(arguments, str) else dict(arguments)
            return self.arguments.model_validate(given)
        except ValidationError as exc:
            raise InvalidRequestError(f"{self.explain(exc)} Nothing was sent.") from None
        except ValueError:
            raise InvalidRequestError(f"The arguments of {self.name} are no JSON. Nothing was sent.") from None

    def explain(self, error: ValidationError) -> str:
        """Return what is wrong with the arguments, for the model that wrote them; no value is quoted."""
        found = [
            f"{'.'.join(map(str, one['loc'])) or 'the arguments'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        more = f" (and {len(found) - _MOST_SHOWN} more)" if len(found) > _MOST_SHOWN else ""
        return f"The arguments of {self.name} cannot be used: {'; '.join(found[:_MOST_SHOWN])}{more}."


class ModelToolOptions(TypedDict, total=False):
    """
    Options of a tool that runs a model.

    `inputs`: what the model takes; `model_file` (path, bytes or a `ModelFile`, extra `onnx`) says it, too, and has
    each result compared with a run here. `bound` maps inputs to values, or to functions that return them, whose own
    annotated parameters the agent fills in. `provider` returns all inputs by name instead, from `arguments` (a pydantic
    class) or its own parameters. `format` makes the text for the agent of an `Inference`.
    """

    inputs: Sequence[TensorSpec] | None
    model_file: ModelFile | bytes | str | Path | None
    name: str | None
    description: str | None
    mode: Mode
    bound: Mapping[str, object]
    provider: Provider | None
    arguments: type[BaseModel] | None
    format: Callable[[Inference], str] | None


def model_tool(client: AnyClient, model_cid: str, **options: Unpack[ModelToolOptions]) -> OnchainTool:
    """
    Return a tool that runs a model on chain, each call a transaction of the client's wallet.

    Raises `ConfigurationError` where the agent could not call it: unknown inputs, types that the network does not take.
    """
    sync, asynchronous = _both(client)
    given = options.get("model_file")
    model_file = None if given is None else read_model_file(given)
    specs = options.get("inputs") or (model_file.inputs if model_file is not None else ())
    name = _checked_name(options.get("name") or f"infer_{re.sub(r'[^A-Za-z0-9]+', '_', model_cid).strip('_')[:56]}")
    form = _provided(name, options) if options.get("provider") is not None else _Form.of(name, specs, options)
    mode, shown = options.get("mode", InferenceMode.VANILLA), options.get("format")

    def told(found: Inference) -> ToolResult:
        values = plain(found.values)
        text = shown(found) if shown is not None else json.dumps(values)
        return ToolResult(text=text, artifact={"output": values, RECEIPT_KEY: found.receipt})

    def call(arguments: BaseModel) -> ToolResult:
        inputs = cast("Mapping[str, object]", form.inputs(arguments))
        return told(sync.infer(model_cid, inputs, mode, model_file=model_file))

    async def acall(arguments: BaseModel) -> ToolResult:
        inputs = cast("Mapping[str, object]", await form.ainputs(arguments))
        return told(await asynchronous.infer(model_cid, inputs, mode, model_file=model_file))

    about = options.get("description") or f"Run the model {model_cid} on the OpenGradient chain and return its outputs."
    return OnchainTool(name=name, description=about, arguments=form.arguments, _call=call, _acall=acall)


class WorkflowToolOptions(TypedDict, total=False):
    """
    Options of a tool that reads a workflow.

    With `max_age` (seconds) a result that is older is an error. `format` makes the text for the agent of a
    `WorkflowResult`.
    """

    name: str | None
    description: str | None
    max_age: float | None
    format: Callable[[WorkflowResult], str] | None


def workflow_tool(
    client: AnyClient, workflow: str | WorkflowModel, **options: Unpack[WorkflowToolOptions]
) -> OnchainTool:
    """
    Return a tool that reads the newest result of a workflow, by its address or one of `WORKFLOW_MODELS`.

    It takes no arguments and spends nothing.
    """
    sync, asynchronous = _both(client)
    known = workflow if isinstance(workflow, WorkflowModel) else None
    address = workflow.address if isinstance(workflow, WorkflowModel) else workflow
    name = _checked_name(options.get("name") or f"read_{known.name if known else 'workflow_' + address[2:10]}")
    about = f"the {known.about}" if known else f"the newest result of the workflow {address}"
    max_age, shown = options.get("max_age"), options.get("format")

    def told(found: WorkflowResult) -> ToolResult:
        values = plain(found.values)
        facts: JsonObject = {"block": found.block, "timestamp": found.timestamp, "age": found.age}
        text = shown(found) if shown is not None else json.dumps({"output": values, "age_in_seconds": found.age})
        facts |= {"address": found.address, "transaction_hash": found.transaction_hash}
        return ToolResult(text=text, artifact={"output": values, "workflow": facts})

    def call(_: BaseModel) -> ToolResult:
        return told(sync.read_workflow(address, max_age=max_age))

    async def acall(_: BaseModel) -> ToolResult:
        return told(await asynchronous.read_workflow(address, max_age=max_age))

    return OnchainTool(
        name=name,
        description=options.get("description") or f"Read {about}, with its age.",
        arguments=create_model(name, __config__=ConfigDict(extra="forbid")),
        _call=call,
        _acall=acall,
    )


def is_told(error: OpenGradientError) -> bool:
    """Return whether the agent is told of `error`: nothing was spent, and it may say something else."""
    sent = error.receipt is not None and Receipt(error.receipt).transaction_hash is not None
    return isinstance(error, TOLD) and not isinstance(error, GasBudgetExceededError) and not sent


def plain(values: object) -> Any:
    """Return outputs as JSON: a `Decimal` as the nearest float, of which a float32 or float64 is exactly one."""
    if isinstance(values, Decimal):
        return float(values)
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    return [plain(value) for value in values] if isinstance(values, list | tuple) else values


@dataclass(frozen=True, kw_only=True)
class _Form:
    """
    What the agent says, and how the model's inputs are made of it.

    `typed` maps the argument's name to that of the input, `bound` inputs to what gives them; `whole` gives all of them.
    """

    arguments: type[BaseModel]
    typed: Mapping[str, str] = field(default_factory=dict)
    bound: Mapping[str, object] = field(default_factory=dict)
    whole: Provider | None = None

    @classmethod
    def of(cls, name: str, specs: Sequence[TensorSpec], options: ModelToolOptions) -> "_Form":
        bound = options.get("bound", {})
        if not specs and not bound:
            raise ConfigurationError(
                f"The tool {name} does not know what the model takes: give inputs=[TensorSpec(…)], or its model_file."
            )
        if specs and (unknown := bound.keys() - {spec.name for spec in specs}):
            raise ConfigurationError(f"The tool {name} binds {min(unknown)!r}, which is no input of the model.")
        fields: dict[str, Any] = {}
        typed: dict[str, str] = {}
        for spec in specs:
            if spec.name not in bound:
                argument = _identifier(spec.name, typed)
                typed[argument] = spec.name
                fields[argument] = (_type_of(spec), Field(description=_about(spec)))
        for provider in filter(callable, bound.values()):
            _add(fields, _parameters(name, provider), name)
        made = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        return cls(arguments=made, typed=typed, bound=bound)

    def inputs(self, arguments: BaseModel) -> object:
        """Return the model's inputs."""
        made = {name: not_awaitable(value, "What a tool is bound to") for name, value in self._given(arguments).items()}
        return made[""] if self.whole is not None else made

    async def ainputs(self, arguments: BaseModel) -> object:
        """Return the model's inputs; what gives them may be asynchronous."""
        made = {name: await awaited(value) for name, value in self._given(arguments).items()}
        return made[""] if self.whole is not None else made

    def _given(self, arguments: BaseModel) -> dict[str, object]:
        said = {name: getattr(arguments, name) for name in type(arguments).model_fields}
        if self.whole is not None:
            return {"": self.whole(**said)}
        given = {name: said[argument] for argument, name in self.typed.items()}
        for name, value in self.bound.items():
            given[name] = value(**_taken(value, said)) if callable(value) else value
        return given


def _both(client: AnyClient) -> tuple[OnchainClient, AsyncOnchainClient]:
    """Return `client` and one of the other kind, which shares its wallet, limits and budget."""
    if isinstance(client, OnchainClient):
        return client, AsyncOnchainClient(sharing=client)
    return OnchainClient(sharing=client), client


def _provided(name: str, options: ModelToolOptions) -> _Form:
    provider, arguments = options.get("provider"), options.get("arguments")
    if provider is None or options.get("bound"):
        raise ConfigurationError(f"The tool {name} has a provider of all inputs, so none can be bound.")
    if arguments is None:
        fields = _parameters(name, provider)
        arguments = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    return _Form(arguments=arguments, whole=provider)


def _parameters(name: str, provider: Provider) -> dict[str, Any]:
    """Return the parameters of a function as fields. Raises `ConfigurationError` for what no schema can say."""
    hints = get_type_hints(provider if inspect.isroutine(provider) else type(provider).__call__, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(provider).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigurationError(f"The tool {name} is bound to a function with a parameter {parameter}.")
        if parameter.name not in hints:
            raise ConfigurationError(
                f"The tool {name} is bound to a function whose parameter {parameter.name} has no type: annotate it."
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    return fields


def _add(fields: dict[str, object], more: Mapping[str, object], name: str) -> None:
    for parameter, declared in more.items():
        # One argument may be wanted by two functions, but it is one thing.
        if fields.setdefault(parameter, declared) != declared:
            raise ConfigurationError(f"The tool {name} has two arguments {parameter} of different types.")


def _taken(provider: Provider, said: Mapping[str, object]) -> dict[str, object]:
    return {name: said[name] for name in inspect.signature(provider).parameters}


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name[:80]!r} is no name of a tool: providers take 1 to 64 letters, digits, _ and -."
        )
    return name


def _identifier(name: str, taken: Mapping[str, str]) -> str:
    """Return a name for an argument: models call their inputs what they like."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII) or "input"
    # pydantic keeps `model_`, a leading underscore, and the names of its own methods.
    if found.startswith(("model_", "_")) or found[0].isdigit() or found in _TAKEN or hasattr(BaseModel, found):
        found = f"input_{found.lstrip('_')}"
    if keyword.iskeyword(found):
        found += "_"
    while found in taken:
        found += "_"
    return found


def _type_of(spec: TensorSpec) -> object:
    element = _INTEGER if spec.is_integral else _ELEMENTS.get(spec.kind)
    if element is None:
        raise ConfigurationError(f"The input {spec.name!r} is {spec.kind}, which the network does not take.")
    for size in reversed(spec.shape):
        lengths = Field(min_length=1) if size is None else Field(min_length=size, max_length=size)
        element = Annotated[list[element], lengths]  # type: ignore[valid-type]
    return element


def _about(spec: TensorSpec) -> str:
    sizes = ", ".join("any" if size is None else str(size) for size in spec.shape)
    return f"The model's input {spec.name}: {spec.kind} of shape [{sizes}]."

"""
This module encodes calls of models on chain, and reads what the chain and its nodes answer.

A call goes to the hub, which passes it to the inference precompile; both write an event. The same `ModelOutput`
also comes as return data (workflows) and as JSON from the node's API (results that were deferred). Whoever can
send a transaction can make another contract write events of the same form: `find_result` looks at who wrote them
and for which request.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from og_integrations.errors import InvalidRequestError, OnchainError
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject, decode_json, encode_json
from og_integrations.protocol.chain._abi import AbiValues, decode_values, encode_values, selector, topic
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.chain._tensors import (
    INT128_MAX,
    ModelInput,
    Number,
    NumberTensor,
    StringTensor,
    exact_value,
    nested,
)

HUB_ADDRESS = "0x8383C9bD7462F12Eb996DD02F78234C0421A6FaE"
PRECOMPILE_ADDRESS = "0x00000000000000000000000000000000000000F4"

# The types are those of the contracts in SDK 0.5.8 to 1.1.4.
# An older ModelOutput without `jsons` has another topic.
_NUMBERS = "(string,(int128,int128)[],uint32[])[]"
_STRINGS = "(string,string[])[]"
INPUT_TYPE = f"({_NUMBERS},{_STRINGS})"
OUTPUT_TYPE = f"({_NUMBERS},{_STRINGS},(string,string)[],bool)"
REQUEST_TYPE = f"(uint8,string,{INPUT_TYPE})"

RUN_SELECTOR = selector(f"run(string,uint8,{INPUT_TYPE})")
PRECOMPILE_SELECTOR = selector(f"runModelInference({REQUEST_TYPE})")
RESULT_TOPIC = topic(f"InferenceResult({OUTPUT_TYPE})")
INFERENCE_TOPIC = topic(f"ModelInferenceEvent(string,{REQUEST_TYPE},{OUTPUT_TYPE})")

_INTEGER = re.compile(r"-?[0-9]{1,39}")
_MAX_NODE_TEXT = 8 * 1024 * 1024


class InferenceMode(IntEnum):
    """A mode says how the network runs a model. The numbers are the contract's."""

    VANILLA = 0
    ZKML = 1
    TEE = 2


class JsonScalar(NamedTuple):
    """A JSON scalar is an output that is JSON, as text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """
    A model output holds the outputs of a model.

    `values` maps each output's name to nested lists (a bare value for the shape []) of exact `int` or `Decimal`, of
    texts, or to parsed JSON. Where two outputs have one name, `ambiguous` names it, `values` has the later one, and
    `numbers`, `strings` and `jsons`, which hold all of them as they were written, have both. Texts on chain have no
    shape and are flat. `is_simulation_result` says that the network has not run the model (yet).
    """

    numbers: tuple[NumberTensor, ...] = ()
    strings: tuple[StringTensor, ...] = ()
    jsons: tuple[JsonScalar, ...] = ()
    is_simulation_result: bool = False
    values: dict[str, object] = field(default_factory=dict, compare=False)
    ambiguous: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_empty(self) -> bool:
        """Return whether there is no output at all, as in the event of a deferred result."""
        return not (self.numbers or self.strings or self.jsons)


class Request(NamedTuple):
    """A request is what the hub asks of the precompile."""

    mode: int
    model_cid: str
    inputs: ModelInput

    def digest(self) -> str:
        """Return the keccak (0x-hex) of the call of the precompile: it identifies model, mode and input."""
        return "0x" + keccak(request_calldata(self.model_cid, self.mode, self.inputs)).hex()


class InferenceEvent(NamedTuple):
    """An inference event is the precompile's `ModelInferenceEvent`."""

    inference_id: str
    request: Request
    response: ModelOutput


class Log(NamedTuple):
    """A log is what a contract wrote in a transaction: who wrote it (0x-hex), its topics (0x-hex), its data."""

    address: str
    topics: tuple[str, ...]
    data: bytes


def run_calldata(model_cid: str, mode: int, inputs: ModelInput) -> bytes:
    """
    Return the calldata of the hub's `run`.

    Raises `InvalidRequestError` for an empty model id and an unknown mode.
    """
    _check_request(model_cid, mode)
    return RUN_SELECTOR + encode_values(["string", "uint8", INPUT_TYPE], [model_cid, int(mode), inputs])


def request_calldata(model_cid: str, mode: int, inputs: ModelInput) -> bytes:
    """Return the calldata of the precompile's `runModelInference`. Raises as `run_calldata` does."""
    _check_request(model_cid, mode)
    return PRECOMPILE_SELECTOR + encode_values([REQUEST_TYPE], [(int(mode), model_cid, inputs)])


def decode_run(calldata: bytes) -> Request:
    """Return what a call of the hub's `run` asks for. Raises `OnchainError` if it is no such call."""
    # Data of another call can decode as this one by chance, and would be shown as a request that nobody made.
    if calldata[:4] != RUN_SELECTOR:
        raise _unreadable("The calldata", calldata)
    model_cid, mode, inputs = _decoded(["string", "uint8", INPUT_TYPE], calldata[4:], "The call of the hub")
    return Request(mode, model_cid, _input(inputs))


def decode_request(calldata: bytes) -> Request:
    """Return what a call of the precompile asks for. Raises `OnchainError` if it is no such call."""
    if calldata[:4] != PRECOMPILE_SELECTOR:
        raise _unreadable("The calldata", calldata)
    ((mode, model_cid, inputs),) = _decoded([REQUEST_TYPE], calldata[4:], "The call of the precompile")
    return Request(mode, model_cid, _input(inputs))


def encode_output(output: ModelOutput) -> bytes:
    """Return `output` as return data, which is also the data of the hub's event."""
    return encode_values([OUTPUT_TYPE], [_raw(output)])


def decode_output(data: bytes) -> ModelOutput:
    """
    Read the data of an `InferenceResult` event, or what `getInferenceResult()` returned.

    Raises `OnchainError` if it is not of that form: not the ABI's, a shape that its values do not fill, absurd
    decimals, JSON that is none.
    """
    (raw,) = _decoded([OUTPUT_TYPE], data, "The model's output")
    return output_of(raw)


def encode_event(event: InferenceEvent) -> bytes:
    """Return the data of a `ModelInferenceEvent`."""
    raw = [event.inference_id, event.request, _raw(event.response)]
    return encode_values(["string", REQUEST_TYPE, OUTPUT_TYPE], raw)


def decode_event(data: bytes) -> InferenceEvent:
    """Read the data of a `ModelInferenceEvent`. Raises `OnchainError` as `decode_output` does."""
    kinds = ["string", REQUEST_TYPE, OUTPUT_TYPE]
    inference_id, (mode, model_cid, inputs), response = _decoded(kinds, data, "The inference's event")
    return InferenceEvent(inference_id, Request(mode, model_cid, _input(inputs)), output_of(response))


def find_result(
    logs: Iterable[Log], request: Request, *, hub: str = HUB_ADDRESS, precompile: str = PRECOMPILE_ADDRESS
) -> InferenceEvent:
    """
    Return the result of `request` from the logs of the transaction that asked for it.

    Exactly one `InferenceResult` must come from `hub`, and exactly one `ModelInferenceEvent` for this request from
    `precompile`, with the same output. Logs of other contracts are not looked at. Raises `OnchainError`.
    """
    results, events = [], []
    for log in logs:
        # Any contract that takes part in the transaction can
        # write an event of this form, so its address is compared.
        if log.topics[:1] == (RESULT_TOPIC,) and log.address.lower() == hub.lower():
            results.append(decode_output(log.data))
        if log.topics[:1] == (INFERENCE_TOPIC,) and log.address.lower() == precompile.lower():
            events.append(decode_event(log.data))
    # Two results in one transaction belong to two calls, and nothing in the hub's event says which is ours.
    if len(results) != 1:
        raise OnchainError(
            f"The transaction has {len(results)} InferenceResult events of the hub {hub}, expected exactly one. "
            "The gas was spent; do not use any result of it."
        )
    # The precompile's event repeats the request, which is the only link between a result and what was asked.
    ours = [event for event in events if event.request == request]
    if len(ours) != 1:
        raise OnchainError(
            f"The precompile {precompile} wrote {len(events)} events in this transaction, {len(ours)} of them for this "
            "request; expected exactly one for it. The gas was spent; do not use the result."
        )
    # A hub that changed the result on its way to the event is noticed by nothing else.
    if ours[0].response != results[0]:
        raise OnchainError(
            "The hub's result differs from the one that the precompile gave it. The gas was spent; do not use either."
        )
    return ours[0]


def has_node_result(body: object) -> bool:
    """Return whether the node's API has a result in `body`; without one it may come later."""
    return bool(_node_results(body))


def decode_node_result(mode: int, body: object) -> ModelOutput:
    """
    Read what the node's API answers for a deferred inference in `mode`; texts have a shape here.

    Raises `OnchainError` if `body` has no result, or one of another form.
    """
    results = _node_results(body)
    if not results:
        raise OnchainError("The node's API has no result of this inference (yet): `inference_results` is empty.")
    try:
        text = base64.b64decode(_text(results[0]), validate=True)
        # Parsing takes time in proportion: a hostile answer could hold up an event loop with all its calls.
        if len(text) > _MAX_NODE_TEXT:
            raise ValueError(f"it has {len(text)} bytes")
        return _node_output(_model_output(mode, decode_json(text)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise OnchainError(
            "The node's API answered with something that is no model output of mode "
            f"{mode}: {_reason(exc)}. Do not use it."
        ) from exc


def output_of(raw: AbiValues) -> ModelOutput:
    """Return the output of a decoded `ModelOutput` tuple. Raises `OnchainError`."""
    numbers, strings, jsons, simulated = raw
    try:
        return _output(_number_tensors(numbers), _string_tensors(strings), map(JsonScalar._make, jsons), simulated)
    except ValueError as exc:
        raise OnchainError(f"The model's output cannot be read: {_reason(exc)}. Do not use it.") from exc


def check_model(model_cid: object) -> None:
    """Raise `InvalidRequestError` for what cannot be a model's id. Ids are opaque: several forms are in use."""
    if not isinstance(model_cid, str) or not model_cid or not model_cid.isprintable():
        raise InvalidRequestError("The model's id is empty or no text; expected its CID or blob id. Nothing was sent.")


def _decoded(kinds: Sequence[str], data: bytes, what: str) -> AbiValues:
    try:
        return decode_values(kinds, data)
    except ValueError as exc:
        raise _unreadable(what, data) from exc


def _unreadable(what: str, data: bytes) -> OnchainError:
    return OnchainError(f"{what} ({len(data)} bytes) is not of the form that OpenGradient's contracts write.")


def _reason(exc: Exception) -> str:
    if isinstance(exc, KeyError):
        return f"it has no member {shown(str(exc), 60)}"
    return shown(str(exc), 120)


def _check_request(model_cid: object, mode: object) -> None:
    check_model(model_cid)
    # A call in an unknown mode would fail on the chain, after its gas was paid.
    if isinstance(mode, bool) or mode not in tuple(InferenceMode):
        known = ", ".join(f"{known.name} ({known.value})" for known in InferenceMode)
        raise InvalidRequestError(f"The inference mode is {str(mode)[:20]}, expected {known}. Nothing was sent.")


def _input(raw: AbiValues) -> ModelInput:
    numbers, strings = raw
    return ModelInput(_number_tensors(numbers), _string_tensors(strings))


def _number_tensors(raw: Iterable[AbiValues]) -> tuple[NumberTensor, ...]:
    return tuple(
        NumberTensor(name, tuple(Number(*number) for number in values), tuple(shape)) for name, values, shape in raw
    )


def _string_tensors(raw: Iterable[AbiValues]) -> tuple[StringTensor, ...]:
    return tuple(StringTensor(name, tuple(values)) for name, values in raw)


def _raw(output: ModelOutput) -> tuple[object, ...]:
    return (output.numbers, output.strings, output.jsons, output.is_simulation_result)


def _output(
    numbers: tuple[NumberTensor, ...],
    strings: tuple[StringTensor, ...],
    jsons: Iterable[JsonScalar],
    simulated: bool,
    string_values: Sequence[object] | None = None,
) -> ModelOutput:
    jsons = tuple(jsons)
    # The contract carries no shape of texts, so those of an
    # event stay flat, while the node's API has their shape.
    texts = [list(tensor.values) for tensor in strings] if string_values is None else string_values
    named = [
        *((tensor.name, nested([exact_value(number) for number in tensor.values], tensor.shape)) for tensor in numbers),
        *zip((tensor.name for tensor in strings), texts, strict=True),
        *((scalar.name, _parsed(scalar.value)) for scalar in jsons),
    ]
    values, ambiguous = {}, []
    for name, value in named:
        # A model may name two outputs alike. The second would
        # replace the first without a word, so the name is reported.
        if name in values:
            ambiguous.append(name)
        values[name] = value
    return ModelOutput(numbers, strings, jsons, simulated, values, tuple(dict.fromkeys(ambiguous)))


def _parsed(text: str) -> object:
    try:
        value = decode_json(text)
        # NaN and infinity, which Python reads, are not JSON: whoever writes the value on would write them too.
        encode_json(value)
    except (ValueError, InvalidRequestError, RecursionError) as exc:
        raise ValueError("an output that should be JSON is none, or not of one meaning") from exc
    return value


def _node_results(body: object) -> list[object]:
    results = body.get("inference_results") if isinstance(body, Mapping) else None
    return results if isinstance(results, list) else []


def _model_output(mode: int, document: JsonObject) -> JsonObject:
    """Return the `model_output` member, which lies elsewhere in each mode."""
    paths = {
        InferenceMode.VANILLA: ("VanillaResult",),
        InferenceMode.ZKML: ("ZkmlResult",),
        InferenceMode.TEE: ("TeeNodeResult", "Response", "VanillaResponse"),
    }
    if mode not in paths:
        raise ValueError("there is no such mode")
    for member in ("InferenceResult", *paths[InferenceMode(mode)], "model_output"):
        document = document[member]
    return document


def _node_output(raw: JsonObject) -> ModelOutput:
    numbers = tuple(
        NumberTensor(
            _named(tensor),
            tuple(Number(_int128(number["value"]), _int128(number["decimals"])) for number in tensor["values"]),
            _shape(tensor["shape"]),
        )
        for tensor in raw["numbers"]
    )
    strings = tuple(StringTensor(_named(tensor), tuple(map(_text, tensor["values"]))) for tensor in raw["strings"])
    texts = [
        list(tensor.values) if given.get("shape") is None else nested(tensor.values, _shape(given["shape"]))
        for tensor, given in zip(strings, raw["strings"], strict=True)
    ]
    jsons = [JsonScalar(_named(scalar), _text(scalar["value"])) for scalar in raw["jsons"]]
    # `is True`, and not its truth: the text "false" would count as true.
    return _output(numbers, strings, jsons, raw.get("is_simulation_result", False) is True, texts)


def _named(member: JsonObject) -> str:
    return _text(member["name"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} stands where a text should")
    # A lone surrogate passes JSON and fails much later, when the text is printed or hashed.
    value.encode()
    return value


def _int128(value: object) -> int:
    """Read an integer that the API writes as text or as a number."""
    # The API writes large integers as text, and `int` alone would take spaces and underscores, too.
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -INT128_MAX - 1 <= value <= INT128_MAX:
        raise ValueError("a number's value or decimals are no int128")
    return value


def _shape(value: object) -> tuple[int, ...]:
    sizes = value if isinstance(value, list) else [None]
    if any(not isinstance(size, int) or isinstance(size, bool) or size < 0 for size in sizes):
        raise ValueError("a shape is no list of sizes")
    return tuple(sizes)

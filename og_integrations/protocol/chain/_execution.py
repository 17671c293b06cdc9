"""
This module runs a model's file on a request as a node does, for the devnet and to check what a node answered.

onnxruntime (extra `onnx`) and NumPy are loaded when a model is run. A model is data: it computes, it does not read
files or sockets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from og_integrations.errors import ConfigurationError, OnchainError
from og_integrations.protocol._redact import shown
from og_integrations.protocol.chain._inference import ModelOutput
from og_integrations.protocol.chain._tensors import (
    NODE_DECIMALS,
    ModelInput,
    Number,
    NumberTensor,
    StringTensor,
    exact_value,
    nested,
    output_number,
)

if TYPE_CHECKING:
    from numpy import ndarray
    from onnxruntime import NodeArg

MAX_MODEL_BYTES = 512 * 1024 * 1024
_REASON_CHARS = 400
_NUMBER_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}
_INTEGER_PREFIXES = ("tensor(int", "tensor(uint")
_TEXT = "tensor(string)"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A spec describes an input or output: `kind` as ONNX names it, sizes of `shape` None where any is taken."""

    name: str
    kind: str
    shape: tuple[int | None, ...]

    @property
    def is_text(self) -> bool:
        """Return whether it holds texts."""
        return self.kind == _TEXT

    @property
    def is_integral(self) -> bool:
        """Return whether it holds whole numbers."""
        return self.kind.startswith(_INTEGER_PREFIXES)


class ModelFile:
    """
    A model file is an ONNX model, ready to run.

    Raises `ConfigurationError` without the extra `onnx`, `OnchainError` for a file that is no model.
    """

    def __init__(self, content: bytes) -> None:
        if len(content) > MAX_MODEL_BYTES:
            raise OnchainError(f"The model's file has {len(content)} bytes, expected at most {MAX_MODEL_BYTES}.")
        runtime = _runtime()
        options = runtime.SessionOptions()
        # One thread: sums in another order would round differently from run to run.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # At its default the library writes its own warnings to standard error, beside the caller's output.
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except _failures() as exc:
            raise OnchainError(f"The model's file is no ONNX model that can be run: {_said(exc)}.") from exc
        self.inputs: tuple[TensorSpec, ...] = tuple(map(_spec, self._session.get_inputs()))
        self.outputs: tuple[TensorSpec, ...] = tuple(map(_spec, self._session.get_outputs()))

    def run(self, inputs: ModelInput) -> ModelOutput:
        """
        Return the model's outputs as the network writes them, with numbers of 28 significant digits.

        Raises `OnchainError` with the reason that a node gives: a missing or unknown input, another type or shape,
        more than 18 decimals, an output that is not finite.
        """
        feeds = self._feeds(inputs)
        try:
            results = self._session.run(None, feeds)
        except _failures() as exc:
            raise OnchainError(f"The model failed: {_said(exc)}.") from exc
        numbers: list[NumberTensor] = []
        strings: list[StringTensor] = []
        for spec, result in zip(self.outputs, results, strict=True):
            _take(spec, result, numbers, strings)
        return ModelOutput(tuple(numbers), tuple(strings))

    def _feeds(self, inputs: ModelInput) -> dict[str, "ndarray"]:
        given: dict[str, NumberTensor | StringTensor] = {tensor.name: tensor for tensor in inputs.numbers}
        given |= {tensor.name: tensor for tensor in inputs.strings}
        # A misspelt input would otherwise be ignored, and the model would run on something else than was asked.
        unknown = given.keys() - {spec.name for spec in self.inputs}
        if unknown:
            raise OnchainError(f"The model has no input {shown(min(unknown), 60)!r}.")
        feeds = {}
        for spec in self.inputs:
            if spec.name not in given:
                raise OnchainError(f"Input not found: {shown(spec.name, 60)!r}.")
            feeds[spec.name] = _feed(spec, given[spec.name])
        return feeds


def differences(
    ours: ModelOutput, theirs: ModelOutput, *, relative: float = 0.0, absolute: float = 0.0
) -> Sequence[str]:
    """
    Return what differs between two outputs of one model, as sentences; none if they agree.

    Numbers may differ by `absolute`, or by `relative` of the larger one: other machines round differently.
    """
    mine: Mapping[str, object] = {t.name: t.shape for t in ours.numbers} | {t.name: t.values for t in ours.strings}
    other: Mapping[str, object] = {t.name: t.shape for t in theirs.numbers} | {t.name: t.values for t in theirs.strings}
    found = [
        f"the output {shown(name, 60)!r} is another one, or has another shape or text"
        for name in sorted(mine.keys() | other.keys())
        if mine.get(name) != other.get(name)
    ]
    # Only the first difference of a tensor is reported: one of
    # a million numbers would fill the screen with the rest.
    numbers = {tensor.name: tensor.values for tensor in theirs.numbers}
    for tensor in ours.numbers:
        pairs = zip(tensor.values, numbers.get(tensor.name, ()), strict=False)
        for position, (one, two) in enumerate(pairs):
            if not _close(one, two, relative, absolute):
                found.append(f"{shown(tensor.name, 60)!r} differs at position {position}")
                break
    return found


def _close(one: Number, two: Number, relative: float, absolute: float) -> bool:
    if one == two:
        return True
    # Decimals are compared, because numbers of 28 digits would be rounded by a comparison as floats.
    first, second = Decimal(exact_value(one)), Decimal(exact_value(two))
    most = max(Decimal(absolute), Decimal(relative) * max(abs(first), abs(second)))
    return abs(first - second) <= most


def _runtime() -> ModuleType:
    try:
        return import_module("onnxruntime")
    except ImportError as exc:
        raise ConfigurationError('Running a model needs onnxruntime: pip install "og-integrations[onnx]".') from exc


def _failures() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They have no base of their own.
    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, ValueError, RuntimeError)


def _said(exc: Exception) -> str:
    return shown(str(exc).rpartition(" : ")[2].strip().rstrip("."), _REASON_CHARS)


def _spec(argument: "NodeArg") -> TensorSpec:
    sizes = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return TensorSpec(str(argument.name), str(argument.type), sizes)


def _feed(spec: TensorSpec, tensor: NumberTensor | StringTensor) -> "ndarray":
    import numpy as np

    name = shown(spec.name, 60)
    if isinstance(tensor, StringTensor):
        if not spec.is_text:
            raise OnchainError(f"Input {name!r} is {spec.kind}, and texts were given.")
        flat = np.array(tensor.values, dtype=object)
        # The contract carries no shape of texts: they take the model's own, if it has one free size at most.
        sizes = [-1 if size is None else size for size in spec.shape]
        try:
            return flat.reshape(sizes)
        except ValueError as exc:
            raise OnchainError(f"Input {name!r}: {len(flat)} texts do not fill the shape {sizes}.") from exc
    # The public node refuses more than 18 decimals after the gas was paid, so this double refuses them, too.
    if any(not 0 <= number.decimals <= NODE_DECIMALS for number in tensor.values):
        raise OnchainError(f"Input {name!r} has numbers with more than {NODE_DECIMALS} decimals.")
    kind = _NUMBER_TYPES.get(spec.kind)
    if kind is None and not spec.is_integral:
        raise OnchainError(f"Input {name!r} is {spec.kind}, which the network does not support.")
    values = [exact_value(number) for number in tensor.values]
    try:
        # Integers are always int64 to the node, whatever the model's type.
        converted = [float(value) if kind else _whole(value) for value in values]
        return np.array(nested(converted, tensor.shape), dtype=kind or "int64").reshape(tensor.shape)
    except (ValueError, OverflowError) as exc:
        raise OnchainError(f"Input {name!r} cannot be made a {spec.kind}: {shown(str(exc), 120)}.") from exc


def _whole(value: int | Decimal) -> int:
    if value != int(value):
        raise ValueError("a number has a fraction")
    return int(value)


def _take(spec: TensorSpec, result: object, numbers: list[NumberTensor], strings: list[StringTensor]) -> None:
    import numpy as np

    array = np.asarray(result)
    if spec.is_text:
        strings.append(StringTensor(spec.name, tuple(map(str, array.ravel()))))
        return
    if array.dtype.kind not in "iufb":
        raise OnchainError(f"Output {shown(spec.name, 60)!r} is {spec.kind}, which the contract cannot hold.")
    flat = array.ravel().tolist()
    try:
        values = tuple(output_number(value) if isinstance(value, float) else Number(int(value), 0) for value in flat)
    except ValueError as exc:
        raise OnchainError(f"Output {shown(spec.name, 60)!r}: {shown(str(exc), 120)}.") from exc
    numbers.append(NumberTensor(spec.name, values, tuple(array.shape)))

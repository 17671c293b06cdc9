"""
This module builds tensors as OpenGradient's contracts carry them: exact decimals, a flat list, and a shape.

A number is `(value, decimals)` and means value / 10**decimals; both are int128. It is the shortest decimal text
of the number in its own type, without trailing zeros of the fraction: float32 0.1 is `(1, 1)`, 100.0 is `(100, 0)`.
Nothing here passes through a binary float, so integers beyond 2**53 stay what they are. NumPy is not needed; its
arrays and scalars are taken as they are.
"""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._redact import shown

if TYPE_CHECKING:
    from numpy import ndarray

INT128_MAX = 2**127 - 1
NODE_DECIMALS = 18
"""The public node refuses inputs with more decimals, after the gas was paid."""
OUTPUT_DIGITS = 28
"""Significant digits of the numbers that the network writes on chain."""
MAX_DECIMALS = 1100
"""A double's last binary digit has 1,074 decimals: nothing honest has more, and 10**decimals must stay writable."""
MAX_DIMENSIONS = 64
"""As in NumPy; also ends lists that hold themselves."""

_UINT32_MAX = 2**32 - 1
_INT128_DIGITS = 39
_ROUNDED = Context(prec=OUTPUT_DIGITS)


class Number(NamedTuple):
    """A number is value / 10**decimals, exactly."""

    value: int
    decimals: int


class NumberTensor(NamedTuple):
    """A number tensor holds numbers, flat in row-major order."""

    name: str
    values: tuple[Number, ...]
    shape: tuple[int, ...]


class StringTensor(NamedTuple):
    """A string tensor holds texts; the contracts have no shape for it, so it is a flat list."""

    name: str
    values: tuple[str, ...]


class ModelInput(NamedTuple):
    """A model input is what a model is run on. The order of tensors is kept within each kind."""

    numbers: tuple[NumberTensor, ...]
    strings: tuple[StringTensor, ...]


class DecimalsPolicy(StrEnum):
    """
    A policy says what happens to input numbers with more than 18 decimals, which the public node refuses.

    `EXACT` sends them as they are, `REFUSE` raises, `ROUND` rounds half to even and raises where a number
    would become 0, `FLUSH` lets it become 0.
    """

    EXACT = "exact"
    REFUSE = "refuse"
    ROUND = "round"
    FLUSH = "flush"


class _RefusedError(ValueError):
    """A value cannot be sent. Further arguments are its position, if the caller cannot know it."""


def encode_input(tensors: Mapping[str, object], *, decimals: DecimalsPolicy | str = DecimalsPolicy.EXACT) -> ModelInput:
    """
    Return the input of a model as the contracts take it.

    `tensors` maps the names of the model's inputs to numbers (int, float, Decimal), texts, nested lists or tuples
    of one of them, or NumPy arrays. A bare number or text has the shape [1], a 0-d array []. Texts of more than
    one dimension are sent flat, in row-major order.

    Raises `InvalidRequestError`, naming tensor and position, for what has no exact form: NaN, infinity, bool,
    bytes, complex, None, dicts, ragged lists, texts beside numbers, numbers beyond int128, masked values.
    """
    if not isinstance(tensors, Mapping):
        raise InvalidRequestError(
            f"The model's input is a {type(tensors).__name__}, expected a dict of input name -> tensor. "
            "Nothing was sent."
        )
    try:
        policy = DecimalsPolicy(decimals)
    except ValueError as exc:
        known = ", ".join(policy.value for policy in DecimalsPolicy)
        raise InvalidRequestError(f"decimals={str(decimals)[:40]!r} is no policy, expected one of: {known}.") from exc
    numbers, strings = [], []
    for name, value in tensors.items():
        tensor = _tensor(name, value, policy)
        if isinstance(tensor, NumberTensor):
            numbers.append(tensor)
        else:
            strings.append(tensor)
    return ModelInput(tuple(numbers), tuple(strings))


def output_number(value: float | Decimal) -> Number:
    """
    Return a finite number as the network writes it into outputs.

    A float is expanded exactly and then rounded half to even to 28 significant digits. Raises `ValueError` for
    NaN, infinity, and what an int128 cannot hold.
    """
    return _number_of(_ROUNDED.create_decimal(value))


def exact_value(number: Number) -> int | Decimal:
    """Return the number: an int if it has no decimals, else a Decimal. Raises `ValueError` for absurd decimals."""
    value, decimals = number
    if not -MAX_DECIMALS <= decimals <= MAX_DECIMALS:
        raise ValueError(f"a number has {decimals} decimals, expected at most {MAX_DECIMALS}")
    if decimals <= 0:
        return value * int(10**-decimals)
    # Not `scaleb`, nor a division: both would round to the precision of whoever calls us.
    return Decimal((int(value < 0), tuple(map(int, str(abs(value)))), -decimals))


def nested(values: Sequence[object], shape: Sequence[int]) -> object:
    """
    Return flat `values` as nested lists of `shape`; the bare value for the shape [].

    Raises `ValueError` if the shape does not hold exactly these values.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"a shape has {len(shape)} dimensions, expected at most {MAX_DIMENSIONS}")
    if prod(shape) != len(values):
        raise ValueError(f"{len(values)} values do not fill the shape {list(shape)}")
    if not shape:
        return values[0]
    # A shape such as [4294967295, 0] holds nothing, and would be four thousand million empty lists.
    if 0 in shape and prod(shape[: shape.index(0)]) > _UINT32_MAX >> 16:
        raise ValueError(f"the shape {list(shape)} has too many rows for a tensor without values")
    level = list(values)
    for axis in range(len(shape) - 1, 0, -1):
        size = shape[axis]
        level = [level[row * size : (row + 1) * size] for row in range(prod(shape[:axis]))]
    return level


def _tensor(name: object, value: object, policy: DecimalsPolicy) -> NumberTensor | StringTensor:
    if not isinstance(name, str):
        raise InvalidRequestError(
            f"A tensor's name is a {type(name).__name__}, expected the text that the model's input is called. "
            "Nothing was sent."
        )
    shape: tuple[int, ...] = ()
    converted: list[Any] = []
    try:
        name = _text(name)
        leaves, shape = _flat(value)
        is_text = bool(leaves) and isinstance(leaves[0], str)
        for leaf in leaves:
            # The contracts have separate lists for numbers and texts, so one tensor cannot be in both.
            if isinstance(leaf, str) != is_text:
                raise _RefusedError("texts and other values stand in one tensor; make it all of one kind")
            converted.append(_text(leaf) if is_text else _number(leaf, policy))
    except _RefusedError as exc:
        position = exc.args[1:] or _position(len(converted), shape)
        at = "".join(f"[{place}]" for place in position)
        raise InvalidRequestError(f"Input tensor {shown(name, 60)!r}{at}: {exc.args[0]}. Nothing was sent.") from exc
    return StringTensor(name, tuple(converted)) if is_text else NumberTensor(name, tuple(converted), shape)


def _position(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    found = []
    for size in reversed(shape):
        index, place = divmod(index, size)
        found.append(place)
    return tuple(reversed(found))


def _flat(value: object) -> tuple[list[object], tuple[int, ...]]:
    """Return the values of a tensor in row-major order, and its shape."""
    leaves: list[object] = []
    shape = _walk(value, (), leaves)
    # The ABI's shape is of uint32: a larger size would be
    # refused by the encoder with an error that names no tensor.
    if any(size > _UINT32_MAX for size in shape):
        raise _RefusedError(f"the shape {list(shape)} does not fit into 32 bits for each dimension")
    # The published client sends a bare value with the shape [1] and a 0-d array with [].
    is_bare = not isinstance(value, list | tuple) and _array(value) is None
    return leaves, (1,) if is_bare else shape


def _walk(value: object, path: tuple[int, ...], leaves: list[object]) -> tuple[int, ...]:
    """Collect the leaves below `value` and return its shape."""
    # A list that holds itself would otherwise be followed until the interpreter's stack ends.
    if len(path) > MAX_DIMENSIONS:
        raise _RefusedError(f"nested more than {MAX_DIMENSIONS} levels deep, or it holds itself")
    if not isinstance(value, list | tuple):
        array = _array(value)
        if array is None:
            leaves.append(value)
            return ()
        # NumPy reads the hidden value under a mask, so the model
        # would be run on numbers that were declared invalid.
        if _is_masked(array):
            raise _RefusedError("some values of the array are masked; fill them first")
        leaves += array.flat
        return tuple(array.shape)
    shape: tuple[int, ...] = ()
    for index, item in enumerate(value):
        inner = _walk(item, (*path, index), leaves)
        # The contract stores one flat list and one shape, in which
        # rows of different lengths would slide into each other.
        if index and inner != shape:
            raise _RefusedError(
                f"ragged: this row has the shape {list(inner)}, those before it {list(shape)}", *path, index
            )
        shape = inner
    return (len(value), *shape)


def _array(value: object) -> "ndarray | None":
    """Return `value` if it is a NumPy array. NumPy is loaded only for what looks like one."""
    if not (hasattr(value, "dtype") and hasattr(value, "flat")):
        return None
    from numpy import ndarray

    return value if isinstance(value, ndarray) else None


def _is_masked(array: "ndarray") -> bool:
    from numpy import any as any_of

    return bool(any_of(getattr(array, "mask", False)))


def _number(leaf: object, policy: DecimalsPolicy) -> Number:
    number = _exact(leaf)
    if policy is DecimalsPolicy.EXACT or number.decimals <= NODE_DECIMALS:
        return number
    if policy is DecimalsPolicy.REFUSE:
        raise _RefusedError(
            f"the number has {number.decimals} decimals, and the node takes at most {NODE_DECIMALS}; round it, or say "
            f'decimals="{DecimalsPolicy.ROUND}"'
        )
    rounded = _rounded(number)
    # A small number that becomes zero can change a model's answer entirely, so it takes a decision of the caller.
    if rounded.value == 0 and policy is not DecimalsPolicy.FLUSH:
        raise _RefusedError(
            f"the number is not 0, and would be after rounding to the {NODE_DECIMALS} decimals that the node takes; "
            f'scale the input, or say decimals="{DecimalsPolicy.FLUSH}"'
        )
    return rounded


def _exact(leaf: object) -> Number:
    # A bool is an int to Python, and `True` in a list of numbers is more often a mistake than the number 1.
    if isinstance(leaf, bool):
        raise _RefusedError("a bool is no number to the network; send 0 or 1 if that is meant")
    if isinstance(leaf, int):
        return _fitting(int(leaf), 0)
    if isinstance(leaf, Decimal):
        return _number_of(leaf)
    if isinstance(leaf, float):
        # Not `repr(leaf)`: a NumPy float64 is a float, and calls itself np.float64(0.1).
        return _number_of(Decimal(float.__repr__(leaf)))
    if hasattr(leaf, "dtype") and hasattr(leaf, "flat"):
        return _scalar(leaf)
    hint = "; give it as a NumPy array" if hasattr(leaf, "dtype") else ""
    raise _RefusedError(f"a {type(leaf).__name__} is neither a number nor a text{hint}")


def _scalar(leaf: object) -> Number:
    from numpy import floating, format_float_scientific, integer

    if isinstance(leaf, integer):
        return _fitting(int(leaf), 0)
    if isinstance(leaf, floating):
        # Not `str(leaf)`: it follows np.set_printoptions, and may cut digits off.
        return _number_of(Decimal(format_float_scientific(leaf)))
    kind = shown(str(getattr(leaf, "dtype", "")), 40)
    raise _RefusedError(f"a value of dtype {kind} is neither a number nor a text to the network")


def _number_of(decimal: Decimal) -> Number:
    if not decimal.is_finite():
        raise _RefusedError(f"{'NaN' if decimal.is_nan() else 'infinity'} cannot be sent; expected a finite number")
    sign, digits, exponent = decimal.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    # A zero has one form, (0, 0): the sign of -0.0 and the
    # decimals of 0.000 have no place in the contract's number.
    if not text:
        return Number(0, 0)
    fraction = max(0, -int(exponent))
    # Zeros at the end are dropped so that equal numbers have equal bytes, as in the published client.
    dropped = min(len(text) - len(text.rstrip("0")), fraction)
    text, decimals = text[: len(text) - dropped], fraction - dropped
    # Before any arithmetic: Decimal("1e999999999") is short to write and would fill the memory.
    if len(text) + max(0, int(exponent)) > _INT128_DIGITS:
        raise _RefusedError(f"the number needs more than the {_INT128_DIGITS} digits of an int128")
    value = int(text) * 10 ** max(0, int(exponent))
    return _fitting(-value if sign else value, decimals)


def _fitting(value: int, decimals: int) -> Number:
    if not -INT128_MAX - 1 <= value <= INT128_MAX:
        raise _RefusedError("the number does not fit into an int128, which ends at 1.7e38")
    if decimals > MAX_DECIMALS:
        raise _RefusedError(f"the number has {decimals} decimals, expected at most {MAX_DECIMALS}")
    return Number(value, decimals)


def _rounded(number: Number) -> Number:
    """Round half to even to the decimals of the node."""
    unit = 10 ** (number.decimals - NODE_DECIMALS)
    whole, rest = divmod(abs(number.value), unit)
    # Rounding half to even is what the network does with its own numbers, and has no drift over many of them.
    if 2 * rest > unit or (2 * rest == unit and whole % 2):
        whole += 1
    decimals = NODE_DECIMALS
    while decimals and whole % 10 == 0:
        whole, decimals = whole // 10, decimals - 1
    return Number(-whole if number.value < 0 else whole, decimals)


def _text(leaf: object) -> str:
    text = str(leaf)
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise _RefusedError("the text holds half of a character (a lone surrogate)") from exc
    return text

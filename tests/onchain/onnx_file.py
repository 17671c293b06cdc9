"""
ONNX files from nothing but the format: a protobuf message is fields of (number, type, value).

The package `onnx` takes 30 MB for what these few lines do. As a program it writes the model that the devnet ships:
`python -m tests.onchain.onnx_file`.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "og_integrations" / "devnet" / "chain" / "models" / "volatility.onnx"
FLOAT, INT32, INT64, STRING, BOOL, DOUBLE = 1, 6, 7, 8, 9, 11
"""Element types, as ONNX numbers them."""
Shape = Sequence[int | str]
"""A size for each axis; a name where any size is taken."""


def _varint(number: int) -> bytes:
    out = bytearray()
    number &= 2**64 - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | str | bytes) -> bytes:
    """Return one field: an integer, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def value_info(name: str, kind: int, shape: Shape) -> bytes:
    """Describe an input or output."""
    sizes = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sizes)))


def floats(name: str, shape: Sequence[int], values: Sequence[float]) -> bytes:
    """Return a constant of float32."""
    sizes = b"".join(field(1, size) for size in shape)
    return sizes + field(2, FLOAT) + field(8, name) + field(9, struct.pack(f"<{len(values)}f", *values))


def integers(name: str, value: Sequence[int]) -> bytes:
    """Return an attribute of integers."""
    return field(1, name) + b"".join(field(8, number) for number in value) + field(20, 7)


def integer(name: str, value: int) -> bytes:
    """Return an attribute of one integer."""
    return field(1, name) + field(3, value) + field(20, 2)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    """Return one step of the graph."""
    parts = [field(1, name) for name in inputs] + [field(2, name) for name in outputs]
    return b"".join(parts) + field(4, operator) + b"".join(field(5, attribute) for attribute in attributes)


def model(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], constants: Sequence[bytes] = ()
) -> bytes:
    """Return a whole file, opset 13."""
    graph = b"".join(field(1, one) for one in nodes) + field(2, "graph")
    graph += b"".join(field(5, one) for one in constants)
    graph += b"".join(field(11, one) for one in inputs) + b"".join(field(12, one) for one in outputs)
    return field(1, 7) + field(2, "og-integrations") + field(7, graph) + field(8, field(1, "") + field(2, 13))


def volatility() -> bytes:
    """
    Return the model that the devnet ships: candles [10, 4] (open, high, low, close) -> the mean of (high - low) / open.

    Its input and output are called and shaped like those of the public model of ETH's volatility.
    """
    return model(
        [
            node("MatMul", ["open_high_low_close", "range_of"], ["range"]),
            node("MatMul", ["open_high_low_close", "open_of"], ["open"]),
            node("Div", ["range", "open"], ["share"]),
            node("ReduceMean", ["share"], ["Y"], integers("axes", [0]), integer("keepdims", 0)),
        ],
        [value_info("open_high_low_close", FLOAT, [10, 4])],
        [value_info("Y", FLOAT, [1])],
        [floats("range_of", [4, 1], [0, 1, -1, 0]), floats("open_of", [4, 1], [1, 0, 0, 0])],
    )


def identity(kind: int, name: str = "x", shape: Shape = ("n",)) -> bytes:
    """Return a model whose output `y` is its input."""
    return model([node("Identity", [name], ["y"])], [value_info(name, kind, shape)], [value_info("y", kind, shape)])


if __name__ == "__main__":
    SHIPPED.parent.mkdir(exist_ok=True)
    SHIPPED.write_bytes(volatility())

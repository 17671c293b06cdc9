"""
This module decodes and encodes CBOR (RFC 8949), as far as attestation documents use it.

Known are integers, byte strings, texts, arrays, maps and null. Whatever two readers could understand
differently is refused: keys that stand twice, strings in pieces, tags, numbers with a point, bytes behind the end.
"""

from collections.abc import Iterator

Value = int | bytes | str | list["Value"] | dict[int | str, "Value"] | None
"""What `decode` returns. A map's keys are integers or texts."""

MAX_DEPTH = 4
"""Arrays and maps inside each other; attestation documents need two levels."""

# The order is that of RFC 8949 §3.1: a major type is the number of its name in this list.
_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = range(6)
_NULL, _BREAK = 0xF6, 0xFF
_INDEFINITE = 31


def decode(data: bytes) -> Value:
    """
    Return the one item that `data` holds.

    Raises `ValueError` for anything else than exactly one item of the kinds that the module names.
    """
    reader = _Reader(data)
    value = reader.item(0)
    # Bytes behind the item are not covered by what was read, and another reader could take them for the document.
    if reader.left:
        raise ValueError(f"{reader.left} bytes stand behind the end")
    return value


def encode(value: Value) -> bytes:
    """Return `value` in the shortest encoding, lists and maps with a definite length; `decode` reads it back."""
    if value is None:
        return bytes([_NULL])
    if isinstance(value, int):
        return encode_head(_UINT, value) if value >= 0 else encode_head(_NEGATIVE, -1 - value)
    if isinstance(value, bytes):
        return encode_bytes(value)
    if isinstance(value, str):
        text = value.encode()
        return encode_head(_TEXT, len(text)) + text
    if isinstance(value, list):
        return encode_head(_ARRAY, len(value)) + b"".join(map(encode, value))
    return encode_head(_MAP, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())


def encode_bytes(value: bytes) -> bytes:
    """Return `value` as a byte string with the shortest head."""
    return encode_head(_BYTES, len(value)) + value


def encode_head(major: int, size: int) -> bytes:
    """Return the head of an item of the kind `major` (0 to 5): a number, or the size of what follows, below 2^64."""
    if size < 24:
        return bytes([major << 5 | size])
    # RFC 9052 §9 signs the shortest encoding. A longer head
    # would give other bytes, and every signature would fail.
    width = 1 if size < 2**8 else 2 if size < 2**16 else 4 if size < 2**32 else 8
    return bytes([major << 5 | 23 + width.bit_length()]) + size.to_bytes(width, "big")


class _Reader:
    """Reads items from `data`, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def item(self, depth: int) -> Value:
        """Read one item inside of `depth` arrays and maps."""
        initial = self._take(1)[0]
        if initial == _NULL:
            return None
        major = initial >> 5
        # Nitro's documents hold none of these, and a float or tag can be read in more than one way.
        if major > _MAP:
            raise ValueError(f"a tag, simple value or float (0x{initial:02x}) stands in it")
        size = self._argument(initial & 31)
        # Without this bound a few kilobytes of nested arrays end in a RecursionError of the interpreter.
        if major >= _ARRAY and depth == MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        if major == _ARRAY:
            return [self.item(depth + 1) for _ in self._each(size, 1)]
        if major == _MAP:
            return self._map(size, depth + 1)
        # A string in pieces has many spellings of one value,
        # so documents could differ in bytes and mean the same.
        if size is None:
            raise ValueError("a number or string of indefinite length stands in it")
        if major in (_UINT, _NEGATIVE):
            return size if major == _UINT else -1 - size
        string = self._take(size)
        return string if major == _BYTES else string.decode()

    def _map(self, size: int | None, depth: int) -> Value:
        found: dict[int | str, Value] = {}
        for _ in self._each(size, 2):
            key = self.item(depth)
            # Lists and maps cannot be keys of a Python dict, and would raise a TypeError instead of a refusal.
            if not isinstance(key, int | str):
                raise ValueError(f"a map has a key of type {type(key).__name__}")
            # A map with a key twice is not valid (RFC 8949 §5.6):
            # one reader takes the first value, another the last.
            if key in found:
                raise ValueError("a map has the same key twice")
            found[key] = self.item(depth)
        return found

    def _argument(self, info: int) -> int | None:
        """Return the number in an item's head, None for an indefinite length."""
        if info < 24:
            return info
        if info == _INDEFINITE:
            return None
        # RFC 8949 §3 reserves 28 to 30: no length of theirs is defined.
        if info > 27:
            raise ValueError("an item has a reserved head")
        return int.from_bytes(self._take(1 << info - 24), "big")

    def _each(self, size: int | None, items: int) -> Iterator[None]:
        """Yield once for each member of an array (1 item) or map (2 items), up to its end."""
        if size is not None:
            # Each item has a byte at least: who counts to 2^63 is not believed.
            if size * items > self.left:
                raise ValueError("an array or map is longer than what is left")
            for _ in range(size):
                yield
            return
        while self.left and self._data[self._at] != _BREAK:
            yield
        self._take(1)

    def _take(self, size: int) -> bytes:
        # The size is compared before anything is copied, because the sender may claim up to 2^64 bytes.
        if size > self.left:
            raise ValueError("it ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

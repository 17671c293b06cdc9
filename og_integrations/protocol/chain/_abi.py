"""
This module speaks Ethereum's contract ABI: 32-byte words, hashes that name functions and events, and values.

Values of any type go through eth-abi, which takes 0.16 s to load and is therefore imported where it is used:
paying needs fixed-size words only.

The three functions of an ERC-20 token that paying needs, as eth_call or transaction data (0x-hex).
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eth_abi.codec import ABIDecoder

AbiValues = tuple[Any, ...]
"""Decoded values of a contract: their types follow from the ABI types that were asked for."""
MAX_DATA_BYTES = 8 * 1024 * 1024
"""No honest answer of a contract is larger."""
_OF_NOTHING = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
"""The Keccak-256 of no bytes."""


def _direct_keccak() -> Callable[[bytes], bytes]:
    """Return a function that calls pycryptodome's C directly; its own way to it loads a parser of C first."""
    spec = find_spec("Crypto.Hash")
    folders = spec.submodule_search_locations if spec is not None else None
    # Looked for in the folder, and not as `Crypto.Hash._keccak`, which would import the package.
    found = None if folders is None else PathFinder.find_spec("_keccak", list(folders))
    library = ctypes.CDLL("_keccak" if found is None else found.origin)
    pointer, size, byte = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ubyte
    library.keccak_init.argtypes = ctypes.POINTER(pointer), size, byte
    library.keccak_reset.argtypes = (pointer,)
    library.keccak_absorb.argtypes = pointer, ctypes.c_char_p, size
    library.keccak_digest.argtypes = pointer, ctypes.c_char_p, size, byte
    reset, absorb, squeeze = library.keccak_reset, library.keccak_absorb, library.keccak_digest
    # Whoever hashes takes a state out and puts it back, so that neither another thread nor a finalizer that
    # the garbage collector runs in between can write into it.
    free: list[tuple[ctypes.c_void_p, ctypes.Array[ctypes.c_char]]] = []

    def direct(data: bytes) -> bytes:
        try:
            state, out = taken = free.pop()
        except IndexError:
            state, out = taken = pointer(), ctypes.create_string_buffer(32)
            # 64 bytes of capacity, 24 rounds.
            if library.keccak_init(state, 64, 24):
                raise MemoryError("Keccak's state could not be made.") from None
        # 1 is the padding of Keccak; SHA-3 has another one.
        if reset(state) or absorb(state, data, len(data)) or squeeze(state, out, 32, 1):
            raise MemoryError("Keccak could not be computed.")
        digest = out.raw
        free.append(taken)
        return digest

    return direct


def _hash_object(data: bytes) -> bytes:
    from Crypto.Hash import keccak as library

    digest: bytes = library.new(digest_bits=256, data=data).digest()
    return digest


def _checked_keccak() -> Callable[[bytes], bytes]:
    """Return the direct function, or the plain one where this pycryptodome is built in another way."""
    try:
        direct = _direct_keccak()
        agrees = direct(b"") == bytes.fromhex(_OF_NOTHING)
    except (AttributeError, ImportError, OSError):
        return _hash_object
    return direct if agrees else _hash_object


keccak: Callable[[bytes], bytes] = _checked_keccak()
"""Returns the 32-byte Keccak-256 of its argument (the original Keccak, not SHA-3)."""


def selector(function: str) -> bytes:
    """Return the four bytes in front of a call of `function`, written with its types: `"approve(address,uint256)"`."""
    # The ABI names a function by these four bytes, so a space
    # or an alias such as `uint` in the text names another one.
    return keccak(function.encode())[:4]


def topic(event: str) -> str:
    """Return the first topic (0x-hex) of the logs of `event`, written with its types."""
    return "0x" + keccak(event.encode()).hex()


def uint_word(value: int) -> bytes:
    """Return a uint256 as one word."""
    return value.to_bytes(32, "big")


def address_word(address: str) -> bytes:
    """Return an address (0x-hex) as one word."""
    # The ABI writes an address as a uint160, at the right of its word.
    return bytes(12) + bytes.fromhex(address[2:])


def encode_values(kinds: Sequence[str], values: Sequence[object]) -> bytes:
    """Return `values` of the ABI types `kinds`, encoded. That they fit is for the caller to check."""
    from eth_abi.abi import encode

    return encode(kinds, values)


def decode_values(kinds: Sequence[str], data: bytes) -> AbiValues:
    """
    Decode values of the ABI types `kinds` that a contract, and so anybody, wrote.

    Raises `ValueError` for data that is too large, of another form, or read many times over.
    """
    from eth_abi.exceptions import DecodingError

    # The bound stands before the decoder, whose memory is a multiple of what it is given.
    if len(data) > MAX_DATA_BYTES:
        raise ValueError(f"{len(data)} bytes, expected at most {MAX_DATA_BYTES}")
    try:
        return _decoder().decode(kinds, data)
    except (DecodingError, OverflowError, MemoryError, RecursionError) as exc:
        raise ValueError("the data is not of this form") from exc


@cache
def _decoder() -> "ABIDecoder":
    from eth_abi.codec import ABIDecoder
    from eth_abi.decoding import ContextFramesBytesIO
    from eth_abi.exceptions import DecodingError
    from eth_abi.registry import registry

    class Metered(ContextFramesBytesIO):
        """A stream ends after each byte was read thrice: pointers to one place would be copies without end."""

        def __init__(self, data: bytes) -> None:
            super().__init__(data)  # type: ignore[no-untyped-call]
            # Honest data is read once to check where its pointers lead, and once for its values.
            self._left = 3 * len(data) + 1024

        def read(self, size: int | None = -1, /) -> bytes:
            piece = super().read(size)
            self._left -= len(piece)
            if self._left < 0:
                raise DecodingError("the same bytes are read again and again")
            return piece

    class Decoder(ABIDecoder):
        stream_class = Metered

    return Decoder(registry)


TRANSFER_TOPIC = topic("Transfer(address,address,uint256)")


def encode_balance_of(owner: str) -> str:
    """Return the data of `balanceOf(owner)`; the answer is a uint256 of base units."""
    return _call("balanceOf(address)", address_word(owner))


def encode_allowance(owner: str, spender: str) -> str:
    """Return the data of `allowance(owner, spender)`; the answer is a uint256 of base units."""
    return _call("allowance(address,address)", address_word(owner), address_word(spender))


def encode_approve(spender: str, amount: int) -> str:
    """Return the data of `approve(spender, amount)`; `amount` in base units."""
    return _call("approve(address,uint256)", address_word(spender), uint_word(amount))


def _call(function: str, *words: bytes) -> str:
    return "0x" + (selector(function) + b"".join(words)).hex()

"""
This module speaks Ethereum's contract ABI: 32-byte words, the names of functions and events, and values.

Values of any type go through eth-abi, which takes 0.16 s to load and is therefore imported where it is used:
paying needs fixed-size words only.

The three functions of an ERC-20 token that paying needs, as eth_call or transaction data (0x-hex).
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from og_integrations.protocol.chain._keccak import keccak

if TYPE_CHECKING:
    from eth_abi.codec import ABIDecoder

AbiValues = tuple[Any, ...]
"""Decoded values of a contract: their types follow from the ABI types that were asked for."""
MAX_DATA_BYTES = 8 * 1024 * 1024
"""No honest answer of a contract is larger."""


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

"""
Ethereum's contract ABI, as far as fixed-size values go: 32-byte words, and the hashes that name functions and events.

eth-abi does more, and takes 0.16 s to load: only the registry's answers need it.
"""

from og_integrations.protocol.canonical import keccak


def selector(function: str) -> bytes:
    """Return the four bytes in front of a call of `function`, written with its types: `"approve(address,uint256)"`."""
    return keccak(function.encode())[:4]


def topic(event: str) -> str:
    """Return the first topic (0x-hex) of the logs of `event`, written with its types."""
    return "0x" + keccak(event.encode()).hex()


def uint_word(value: int) -> bytes:
    """Return a uint256 as one word."""
    return value.to_bytes(32, "big")


def address_word(address: str) -> bytes:
    """Return an address (0x-hex) as one word."""
    return bytes(12) + bytes.fromhex(address[2:])

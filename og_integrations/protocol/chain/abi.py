"""
Ethereum's contract ABI, as far as fixed-size values go: 32-byte words, and the hashes that name functions and events.

eth-abi does more, and takes 0.16 s to load: only the registry's answers need it.

The three functions of an ERC-20 token that paying needs, as eth_call or transaction data (0x-hex).
"""

from eth_hash.auto import keccak as _keccak


def keccak(data: bytes) -> bytes:
    """Return the 32-byte Keccak-256 of `data` (the original Keccak, not SHA-3)."""
    return _keccak(data)


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

"""The three functions of an ERC-20 token that paying needs, as eth_call or transaction data (0x-hex)."""

from og_integrations.protocol.abi import address_word, selector, topic, uint_word

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

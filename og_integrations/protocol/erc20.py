"""The three functions of an ERC-20 token that paying needs, as eth_call or transaction data (0x-hex)."""

from og_integrations.protocol.canonical import keccak

TRANSFER_TOPIC = "0x" + keccak(b"Transfer(address,address,uint256)").hex()


def encode_balance_of(owner: str) -> str:
    """Return the data of `balanceOf(owner)`; the answer is a uint256 of base units."""
    return _call("balanceOf(address)", _address(owner))


def encode_allowance(owner: str, spender: str) -> str:
    """Return the data of `allowance(owner, spender)`; the answer is a uint256 of base units."""
    return _call("allowance(address,address)", _address(owner), _address(spender))


def encode_approve(spender: str, amount: int) -> str:
    """Return the data of `approve(spender, amount)`; `amount` in base units."""
    return _call("approve(address,uint256)", _address(spender), f"{amount:064x}")


def _call(function: str, *words: str) -> str:
    return "0x" + keccak(function.encode())[:4].hex() + "".join(words)


def _address(address: str) -> str:
    return address[2:].lower().rjust(64, "0")

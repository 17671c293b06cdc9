"""Throw-away accounts of the devnet."""

import secrets
from typing import NamedTuple, Self

from eth_account import Account


class Wallet(NamedTuple):
    """A throw-away account: its address (EIP-55) and private key (0x-hex)."""

    address: str
    private_key: str

    @classmethod
    def new(cls) -> Self:
        """Return an account that nobody had before."""
        account = Account.from_key("0x" + secrets.token_hex(32))
        return cls(str(account.address), "0x" + bytes(account.key).hex())

    def __repr__(self) -> str:
        """Name the account, never its key."""
        return f"Wallet({self.address})"

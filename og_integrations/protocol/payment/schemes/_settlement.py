"""
This module says what can become of an authorization, and what of a chain a scheme reads to find that out.

Each `Authorization` has an `explain`, which asks a `Chain` and returns a `Settlement`. Whoever wants to know, a budget
or a receipt's owner, needs not know how a scheme leaves its traces.
"""

from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from og_integrations.protocol._strict_json import JsonObject

T = TypeVar("T")
Reading = Generator[Any, Any, T]
"""A generator that reads a chain by effects of the caller's own, and returns a `T`."""


class SettlementStatus(Enum):
    """
    A status says what became of an authorization.

    `pending`: not used, and it still may be. `unused`: not used, and it cannot be any more.
    """

    SETTLED = "settled"
    CANCELLED = "cancelled"
    UNUSED = "unused"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    A settlement is what the chain says. `amount` is what was taken, in base units; 0 unless settled.

    `transaction_hash` and `block_number` are of the settlement or of the owner's cancellation.
    """

    status: SettlementStatus
    amount: int = 0
    transaction_hash: str | None = None
    block_number: int | None = None

    def to_json(self) -> JsonObject:
        """Return it as plain JSON; the amount as text."""
        return {
            "status": self.status.value,
            "amount": str(self.amount),
            "transaction_hash": self.transaction_hash,
            "block_number": self.block_number,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """This is a mined transaction: its call, its logs, its block, and whether it went through."""

    calldata: bytes
    logs: tuple[JsonObject, ...]
    block: int
    succeeded: bool


class Chain(Protocol):
    """A chain is one node's word about it; every method raises `DiscoveryError` if the node does not say."""

    @property
    def name(self) -> str:
        """Return what messages call the node."""
        ...

    def newest(self) -> Reading[tuple[int, int]]:
        """Return number and unix time of the newest block."""
        ...

    def view(self, to: str, data: str, block: int) -> Reading[bytes]:
        """Return what the contract `to` answered to a view with `data` (0x-hex) as of `block`."""
        ...

    def block_at(self, timestamp: int) -> Reading[int]:
        """Return the number of the last block that is not younger than `timestamp` (unix seconds)."""
        ...

    def logs(self, log_filter: JsonObject) -> Reading[list[JsonObject]]:
        """Return the logs that an eth_getLogs filter finds."""
        ...

    def mined(self, transaction_hash: str) -> Reading[Mined]:
        """Return a transaction that a log named."""
        ...

    def number(self, word: object) -> int:
        """Read a number that the node wrote as 0x-hex."""
        ...

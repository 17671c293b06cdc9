"""
An entry of a ledger is one call: its receipt, and as much of its exchange as was asked for.

```text
{"v": 1, "id", "at", "run", "tags", "receipt": {…}, "exchange": {…} or null}       one call
{"settlement": {"payment", "status", "amount", …}, "v": 1, "id", "at"}          what the chain said later
{"leaving": {"transaction_hash", "raw", …}, "v": 1, "id", "at"}                 a transaction before it is sent
{"leaving": {"transaction_hash", "end"}, "v": 1, "id", "at"}                    why it need not be resumed any more
```

All are plain JSON, and the first is what `og-integrations verify` reads. `exchange` is in one of three forms: the
exact request and answer (`"full"`), their SHA-256 in place of their bytes (`"hash"`), or nothing (`"none"`). A hash
lets whoever has the bytes prove later that they are those of the call, and tells nobody else what was said; but a
short text can be guessed, and then its hash confirms the guess.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypedDict

from og_integrations._accounting import Facts, facts_of
from og_integrations.errors import ConfigurationError
from og_integrations.ledger._lines import line_of
from og_integrations.protocol._strict_json import JsonObject

ENTRY_VERSION = 1
Exchanges = Literal["none", "hash", "full"]
"""How much of the exchanges a ledger keeps: nothing, SHA-256 hashes, or the exact bytes (prompts in clear)."""
EXCHANGES: tuple[Exchanges, ...] = ("none", "hash", "full")
_REDACTED = ("request", "response")
Moment = float | datetime
"""A time: unix seconds, or a `datetime` with a time zone."""


def _new_id() -> str:
    # Loaded for this alone: whoever reads a ledger makes no ids.
    from uuid import uuid4

    return uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """
    An entry is one call as a ledger keeps it.

    `at` is when the call ended (unix seconds), `run` the id of the `collect_receipts` that wrote it, `tags` are those
    that were set around the call. `receipt` is plain JSON (`og_integrations.receipt`), `exchange` what `verify` needs
    besides, None if it is not kept. `id` is random, so that writing an entry twice keeps it once.
    """

    receipt: JsonObject
    exchange: JsonObject | None = field(default=None, repr=False)
    at: float
    run: str | None = None
    tags: tuple[str, ...] = ()
    id: str = field(default_factory=_new_id)

    @property
    def facts(self) -> Facts:
        """Return what the receipt says, as far as it can be asked for."""
        return facts_of(self.receipt)

    def to_json(self) -> JsonObject:
        """Return the entry as plain JSON."""
        return {
            "v": ENTRY_VERSION,
            "id": self.id,
            "at": self.at,
            "run": self.run,
            "tags": list(self.tags),
            "receipt": self.receipt,
            "exchange": self.exchange,
        }

    def line(self) -> bytes:
        """Return the entry as one line of JSON Lines."""
        return line_of(self.to_json())

    @classmethod
    def from_json(cls, document: JsonObject) -> "LedgerEntry":
        """Read what `to_json` wrote, or what `Receipts.save` did. Raises `ConfigurationError` for anything else."""
        receipt, exchange = document.get("receipt"), document.get("exchange")
        at, tags = document.get("at", 0), document.get("tags", [])
        if not isinstance(receipt, dict) or not isinstance(exchange, dict | None) or not isinstance(at, int | float):
            raise ConfigurationError("The ledger holds a line that is no entry: expected a receipt as a JSON object.")
        return cls(
            id=str(document.get("id") or _new_id()),
            at=float(at),
            run=document.get("run"),
            tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
            receipt=receipt,
            exchange=exchange,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementNote:
    """
    A note says what the chain said of one payment.

    `payment` is its hash, `amount` what was taken, in base units, None while that is open; `status` is a word of
    `SettlementStatus`, `transaction` the hash of the transaction that settled it.
    """

    payment: str
    status: str
    amount: int | None = None
    transaction: str | None = None
    at: float = 0.0

    def line(self) -> bytes:
        """Return the note as one line of JSON Lines."""
        settlement = {
            "payment": self.payment,
            "status": self.status,
            "amount": None if self.amount is None else str(self.amount),
            "transaction": self.transaction,
        }
        return line_of({"settlement": settlement, "v": ENTRY_VERSION, "id": _new_id(), "at": self.at})

    @classmethod
    def from_json(cls, document: JsonObject) -> "SettlementNote":
        """Read what `line` wrote. Raises `ConfigurationError` for anything else."""
        try:
            held = document["settlement"]
            return cls(
                payment=str(held["payment"]),
                status=str(held["status"]),
                amount=None if held["amount"] is None else int(held["amount"]),
                transaction=held["transaction"],
                at=float(document["at"]),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ConfigurationError(
                f"The ledger holds a settlement that cannot be read ({type(exc).__name__})."
            ) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionNote:
    """
    A note holds a signed transaction that is about to be sent, so that whoever comes after a crash can resume it.

    `transaction` is `SentTransaction.to_json()`; it is no secret, since the chain shows it as soon as it is sent. Its
    member `replaces` names the one in whose place it was signed. With the member `end` the note says why the
    transaction need not be resumed, and holds nothing else than its hash.
    """

    transaction: JsonObject
    at: float = 0.0

    @property
    def transaction_hash(self) -> str:
        """Return its hash, 0x-hex."""
        return str(self.transaction["transaction_hash"])

    @property
    def ends(self) -> str | None:
        """Return the hash of the transaction that need not be resumed any more by this note, None if there is none."""
        return self.transaction_hash if "end" in self.transaction else self.transaction.get("replaces")

    def line(self) -> bytes:
        """Return the note as one line of JSON Lines."""
        return line_of({"leaving": self.transaction, "v": ENTRY_VERSION, "id": _new_id(), "at": self.at})

    @classmethod
    def from_json(cls, document: JsonObject) -> "TransactionNote":
        """Read what `line` wrote. Raises `ConfigurationError` for anything else."""
        held, at = document.get("leaving"), document.get("at", 0)
        if not isinstance(held, dict) or not isinstance(held.get("transaction_hash"), str):
            raise ConfigurationError("The ledger holds a transaction that cannot be read.")
        return cls(transaction=held, at=float(at) if isinstance(at, int | float) else 0.0)


Item = LedgerEntry | SettlementNote | TransactionNote
"""What a ledger takes."""


def is_note(document: JsonObject) -> bool:
    """Return whether `document` is a note on a payment or a transaction, and no call."""
    return "settlement" in document or "leaving" in document


def kept_exchange(exchange: JsonObject | None, how: Exchanges) -> JsonObject | None:
    """Return as much of `exchange` as is to be kept."""
    if exchange is None or how == "none":
        return None
    if how == "full":
        return exchange
    kept = {name: value for name, value in exchange.items() if name not in _REDACTED}
    hashes = {f"{name}_sha256": hashlib.sha256(str(exchange[name]).encode()).hexdigest() for name in _REDACTED}
    return kept | hashes


def check_exchanges(value: object) -> Exchanges:
    """Return how much of the exchanges is kept, given that, or a bool. Raises `ConfigurationError`."""
    if isinstance(value, bool):
        return "full" if value else "none"
    if value not in EXCHANGES:
        raise ConfigurationError(f"keep_exchanges is {value!r:.60}, expected True, False or one of {EXCHANGES}.")
    return EXCHANGES[EXCHANGES.index(value)]


class Wishes(TypedDict, total=False):
    """Entries can be asked for by these; see `Query`."""

    since: Moment | None
    until: Moment | None
    wallet: str | None
    model: str | None
    tag: str | None
    status: str | None
    payment: str | None
    run: str | None
    request_hashes: Collection[str] | None
    any_tag: Collection[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    A query says which entries are wanted; a member that is None asks for nothing.

    `since` and `until` bound when calls ended (`until` is not in it). `wallet` is an address in any case, `model` a
    `provider/name` or the name alone, `status` is "verified" or "unverified", `payment` a payment hash, `run` the id of
    one `collect_receipts`, `request_hashes` are hex as in receipts, of `any_tag` an entry has at least one.
    """

    since: Moment | None = None
    until: Moment | None = None
    wallet: str | None = None
    model: str | None = None
    tag: str | None = None
    status: str | None = None
    payment: str | None = None
    run: str | None = None
    request_hashes: Collection[str] | None = None
    any_tag: Collection[str] | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            moment = getattr(self, name)
            if isinstance(moment, datetime):
                if moment.tzinfo is None:
                    raise ConfigurationError(
                        f"{name} is a datetime without a time zone, which is another moment on each machine; write "
                        "datetime.now(UTC), say."
                    )
                object.__setattr__(self, name, moment.timestamp())
        if self.wallet is not None:
            object.__setattr__(self, "wallet", self.wallet.lower())

    def wants(self, entry: LedgerEntry) -> bool:
        """Return whether `entry` is one of those."""
        facts = entry.facts
        return (
            (self.since is None or entry.at >= float(self.since))  # type: ignore[arg-type]
            and (self.until is None or entry.at < float(self.until))  # type: ignore[arg-type]
            and self.wallet in (None, facts.wallet)
            and self.model in (None, facts.model, facts.model.rpartition("/")[2])
            and (self.tag is None or self.tag in entry.tags)
            and self.status in (None, facts.status)
            and self.payment in (None, facts.payment)
            and self.run in (None, entry.run)
            and (self.request_hashes is None or facts.request in self.request_hashes)
            and (self.any_tag is None or not set(self.any_tag).isdisjoint(entry.tags))
        )

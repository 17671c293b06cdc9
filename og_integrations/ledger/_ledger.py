"""
This module has the ledger, into which the receipts of calls are written as they happen.

A call ends when its entry is written, so that a process which is killed loses at most the calls in flight. What takes
its time (a database, an object store) is written by one thread of the ledger's own, which puts all that waits into one
transaction. An answer is never lost to a ledger that is away: after `PATIENCE` seconds it is handed out all the same,
the entry waits in memory and is tried again, and until it is written no further call is begun (`LedgerBusyError`,
nothing was sent).
"""

import atexit
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Unpack

from og_integrations._accounting import particulars_of
from og_integrations._forking import survive_forks
from og_integrations.errors import ConfigurationError, LedgerBusyError
from og_integrations.ledger._entry import Item, LedgerEntry, Query, SettlementNote, TransactionNote, Wishes
from og_integrations.ledger._files import JsonLinesLedger, ObjectStoreLedger
from og_integrations.ledger._sql import SqlLedger
from og_integrations.ledger._totals import Totals
from og_integrations.protocol._strict_json import JsonObject

PATIENCE = 10.0
"""Seconds for which a call waits until its entry is written."""
_RETRY_AFTER = 0.25
_MOST_AT_ONCE = 200
_LAST_WORDS = 5.0
"""Seconds for which the end of the process waits for what is not written yet."""
_log = logging.getLogger("og_integrations.ledger")


class LedgerStore(Protocol):
    """
    A store is where entries are kept; `append` returns when they are safe from the end of this process.

    One that is `quick` is written without waiting for a disk or a network. Each method raises `ConfigurationError` or
    `LedgerBusyError` where the store cannot be used.
    """

    quick: bool

    def prepare(self) -> None:
        """Make what is missing."""

    def append(self, entries: Sequence[Item]) -> None:
        """Add `entries`, all or none; one that is there already stays as it is."""

    def entries(self, query: Query) -> Iterator[LedgerEntry]:
        """Yield what `query` wants, in the order of writing."""

    def settlements(self) -> dict[str, SettlementNote]:
        """Return the last note on each payment."""

    def left(self) -> list[TransactionNote]:
        """Return all notes on transactions that were to be sent, in the order of writing."""

    def close(self) -> None:
        """Let go of files and connections."""


class Ticket:
    """A ticket is for one entry that is on its way: `written` once it is safe."""

    def __init__(self) -> None:
        self._done = threading.Event()

    @property
    def written(self) -> bool:
        """Return whether the entry is safe."""
        return self._done.is_set()

    def wait(self, seconds: float = PATIENCE) -> bool:
        """Wait until the entry is safe, `seconds` at most; return whether it is."""
        return self._done.wait(seconds)

    def finish(self) -> None:
        """Note that the entry is safe."""
        self._done.set()


class Ledger:
    """
    A ledger keeps the receipts of calls: `open_ledger(to)` opens one. Threads and forked children may share it.

    ```python
    ledger = open_ledger("sqlite:///receipts.db")
    for entry in ledger.entries(tag="nightly", status="unverified"):
        print(entry.at, entry.receipt["model"])
    print(ledger.totals(wallet="0x…"))
    ```
    """

    def __init__(self, store: LedgerStore, name: str) -> None:
        self.name = name
        self._store = store
        self._ready = False
        self._away = False
        self.begin_again()
        survive_forks(self)
        atexit.register(_last_words, weakref.ref(self))

    def begin_again(self) -> None:
        """Leave to the parent what it has still to write."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[tuple[Item, Ticket, float]] = deque()
        self._writer: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Ledger {self.name}>"

    @property
    def quick(self) -> bool:
        """Return whether writing and preparing never wait for a disk or network."""
        return self._store.quick

    def prepare(self) -> None:
        """
        Make sure that entries can be written, before anything is paid.

        Raises `ConfigurationError` for a ledger that cannot be used, `LedgerBusyError` for one that is away.
        """
        try:
            self._make_ready()
        except LedgerBusyError as exc:
            raise LedgerBusyError(f"{exc} Nothing was sent; ask again once it answers.") from exc
        if (oldest := self._late()) is not None:
            self._try_backlog(oldest)

    @property
    def unprepared(self) -> bool:
        """Return whether `prepare` has something to do, which may take its time."""
        return not self._ready or self._late() is not None

    def add(self, item: Item) -> Ticket:
        """Write an entry, or have it written, and return its ticket. Never raises: it is tried until it succeeds."""
        ticket = Ticket()
        if self.quick and not self._waiting:
            try:
                self._write_now([item])
            except ConfigurationError as exc:
                self._told(exc)
            else:
                ticket.finish()
                return ticket
        with self._lock:
            self._waiting.append((item, ticket, time.monotonic()))
            self._changed.notify()
            if not self.quick and self._writer is None:
                self._writer = threading.Thread(target=_write, args=(weakref.ref(self),), name="og-ledger", daemon=True)
                self._writer.start()
        return ticket

    def record(self, receipt: JsonObject, exchange: JsonObject | None = None) -> Ticket:
        """Write a receipt that was made elsewhere, with its exchange where there is one."""
        return self.add(LedgerEntry(receipt=receipt, exchange=exchange, at=time.time()))

    def flush(self, seconds: float = PATIENCE) -> None:
        """Wait until everything is written. Raises `LedgerBusyError` after `seconds`."""
        until = time.monotonic() + seconds
        for _, ticket, _ in list(self._waiting):
            if self.quick:
                self._write_some()
            if not ticket.wait(max(0.0, until - time.monotonic())):
                raise LedgerBusyError(
                    f"{len(self._waiting)} receipts are not written to the ledger {self.name} yet: it is away, or held "
                    "by others. They are tried again as long as this process lives."
                )

    def entries(self, **wishes: Unpack[Wishes]) -> Iterator[LedgerEntry]:
        """
        Yield the entries that `wishes` describe (see `Query`), in the order of writing, whatever their number.

        Raises `ConfigurationError` or `LedgerBusyError`.
        """
        self.prepare()
        yield from self._store.entries(Query(**wishes))

    def totals(self, **wishes: Unpack[Wishes]) -> Totals:
        """Return the sums over the entries that `wishes` describe; printed, they are a report in OPG."""
        totals = Totals()
        for entry in self.entries(**wishes):
            totals.add(entry.receipt)
        totals.settle(self.settlements())
        return totals

    def settlements(self) -> dict[str, SettlementNote]:
        """Return what the chain said of payments, by payment hash (`note_settlement`)."""
        self.prepare()
        return self._store.settlements()

    def note_settlement(
        self, payment: str, status: str, amount: int | None = None, transaction: str | None = None
    ) -> None:
        """
        Keep what the chain says of the payment with that hash; the last word on each counts.

        `amount` is in base units, None while it is open. Raises `LedgerBusyError`.
        """
        self.prepare()
        note = SettlementNote(payment=payment, status=status, amount=amount, transaction=transaction, at=time.time())
        if not self.add(note).wait():
            raise LedgerBusyError(f"The ledger {self.name} does not take what the chain said of {payment}.")

    def note_transaction(self, transaction: JsonObject, *, replaces: str | None = None) -> None:
        """
        Write a signed transaction down, as `SentTransaction.to_json()`, before it is sent.

        `replaces` is the hash of one that was written down before and never will be sent again, because this one is
        sent in its place. Raises `LedgerBusyError`, or `ConfigurationError` if the ledger cannot be used: then it must
        not be sent.
        """
        self.prepare()
        # Not in the queue of receipts: written later, it would tell of a transaction that was never sent. What it
        # replaces is ended by the same write: with both in the list, a crash would have both sent, and both paid.
        replacing = {} if replaces is None else {"replaces": replaces}
        self._store.append([TransactionNote(transaction=transaction | replacing, at=time.time())])

    def end_transaction(self, transaction_hash: str, why: str) -> Ticket:
        """Write down that a transaction need not be resumed any more, and return the note's ticket. Never raises."""
        return self.add(TransactionNote(transaction={"transaction_hash": transaction_hash, "end": why}, at=time.time()))

    def unfinished(self) -> list[JsonObject]:
        """
        Return the transactions that were written down here and may have to be resumed, in the order of writing.

        That is over for one that was replaced, one whose end is noted (it was given up, it was reverted, or its
        result, whatever it proves, is in a receipt), and one that a verified receipt in this ledger is about. Each is
        what `SentTransaction.from_json` takes. Raises `ConfigurationError` or `LedgerBusyError`.
        """
        self.prepare()
        notes = self._store.left()
        over = {note.ends for note in notes}
        left = {note.transaction_hash: note.transaction for note in notes if note.transaction_hash not in over}
        if not left:
            return []  # most ledgers hold none, and their entries need not be read for that
        finished = {particulars_of(entry.receipt).transaction for entry in self.entries(status="verified")}
        return [transaction for transaction_hash, transaction in left.items() if transaction_hash not in finished]

    def close(self) -> None:
        """Write what waits, and let go of files and connections. Raises `LedgerBusyError`."""
        self.flush()
        self._store.close()

    def _late(self) -> float | None:
        """Return since when (by the monotonic clock) an entry waits for too long, None if none does."""
        with self._lock:
            oldest = self._waiting[0][2] if self._waiting else None
        late = oldest is not None and (self.quick or time.monotonic() - oldest > PATIENCE)
        return oldest if late else None

    def _try_backlog(self, oldest: float) -> None:
        if self.quick:
            self._write_some()
        with self._lock:
            late = bool(self._waiting) and self._waiting[0][2] <= oldest
        if late:
            raise LedgerBusyError(
                f"{len(self._waiting)} receipts wait for the ledger {self.name}, which is away or cannot be written. "
                "Nothing was sent: a call that cannot leave its receipt is not made. Ask again."
            )

    def _write_some(self) -> bool:
        """Write what waits, in one go; return whether that went well. The order of entries stays."""
        with self._lock:
            some = [self._waiting[n] for n in range(min(len(self._waiting), _MOST_AT_ONCE))]
        if not some:
            return True
        try:
            self._write_now([item for item, _, _ in some])
        except ConfigurationError as exc:
            self._told(exc)
            return False
        with self._lock:
            written = {id(ticket) for _, ticket, _ in some}
            while self._waiting and id(self._waiting[0][1]) in written:
                self._waiting.popleft()
        for _, ticket, _ in some:
            ticket.finish()
        return True

    def _make_ready(self) -> None:
        if not self._ready:
            self._store.prepare()
            self._ready = True

    def _write_now(self, items: Sequence[Item]) -> None:
        self._make_ready()
        self._store.append(items)
        if self._away:
            self._away = False
            _log.info("The ledger %s is written again.", self.name)

    def _told(self, exc: ConfigurationError) -> None:
        # Once for each time that it goes away: it is tried several times a second, and would fill the log.
        if not self._away:
            self._away = True
            _log.warning("The ledger cannot be written; receipts wait in memory: %s", exc)

    def _await_work(self, seconds: float) -> None:
        with self._changed:
            if not self._waiting:
                self._changed.wait(seconds)


def _write(ledger: "weakref.ref[Ledger]") -> None:
    """Write what waits in the ledger until it is gone; holds it only while there is something to do."""
    mine = threading.current_thread()
    while (alive := ledger()) is not None and alive._writer is mine:  # noqa: SLF001 - of this file
        alive._await_work(1.0)  # noqa: SLF001 - of this file
        if not alive._write_some():  # noqa: SLF001 - of this file
            time.sleep(_RETRY_AFTER)
        del alive


def _last_words(ledger: "weakref.ref[Ledger]") -> None:
    alive = ledger()
    if alive is not None and alive._waiting:  # noqa: SLF001 - of this file
        try:
            alive.flush(_LAST_WORDS)
        except LedgerBusyError as exc:
            _log.warning("%s", exc)


_OPEN: "weakref.WeakValueDictionary[str, Ledger]" = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_ledger(to: "str | Path | Ledger") -> Ledger:
    """
    Return the ledger `to` names; within a process, one name is one ledger.

    A path is a file of JSON Lines (`receipts.jsonl`), `sqlite:///receipts.db` and `postgresql://…` are databases
    (extras `ledger`, `postgres`), any other URL (`s3://bucket/receipts`) is a folder in an object store (extra
    `object-store`). Nothing is opened before it is needed. Raises `ConfigurationError` for a name that is none.
    """
    if isinstance(to, Ledger):
        return to
    given: object = to
    if not isinstance(given, str | Path) or not str(given).strip():
        raise ConfigurationError(f"A ledger is named by a path or a URL, not by {given!r:.60}.")
    key = str(to) if "://" in str(to) else str(Path(to).expanduser().absolute())
    with _opening:
        ledger = _OPEN.get(key)
        if ledger is None:
            ledger = _OPEN[key] = Ledger(*_store(key))
        return ledger


def _store(key: str) -> tuple[LedgerStore, str]:
    scheme = key.partition("://")[0] if "://" in key else ""
    if not scheme:
        return JsonLinesLedger(key), key
    if scheme.partition("+")[0] in ("sqlite", "postgresql", "postgres"):
        store = SqlLedger("postgresql" + key[len("postgres") :] if scheme == "postgres" else key)
        return store, store.name
    # Named without user and query, which may hold a key: the name is shown in messages.
    return ObjectStoreLedger(key), f"{scheme}://{key.partition('://')[2].partition('?')[0].rpartition('@')[2]}"

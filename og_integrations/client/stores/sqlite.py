"""
An account in an SQLite file, shared by every process that names the file (`SpendPolicy.store`).

Each operation is one immediate transaction on a connection of its own, so that threads, forks and
crashes need no care. An authorization whose process died counts until the chain says what became of it; if it
was still held, nobody asks until an hour after its deadline.

Each account has a random name. Whoever found it there once accepts no other in its place: a file that was
emptied, deleted or replaced is not a fresh account.
"""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from og_integrations.errors import ConfigurationError
from og_integrations.protocol.payment.budget import BudgetStore, BudgetTotals, Entry, HoldState, Judge, foldable, folded
from og_integrations.protocol.payment.schemes import Authorization, decode_authorization, encode_authorization

LOCK_TIMEOUT = 2.0
"""
Seconds to wait for other processes; each holds the file for a few milliseconds.

An event loop stands still meanwhile, so that it cannot be long.
"""
_LOCK_POLL = 0.002
VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY, amount TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL, signed TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
ALTER TABLE entries ADD COLUMN network TEXT;
"""
_COLUMNS = "id, amount, at, state, signed, network"


class BudgetFile:
    """
    The account in the file `path`, made if it is not there; `~` is the home directory.

    A relative path is meant from where the process is now, wherever it goes later. Raises `ConfigurationError`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _absolute(path)
        self._here = threading.local()
        self._account = ""
        with self._transaction() as db:
            if _version(db) == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                _set_fact(db, "account", secrets.token_hex(16))
                db.execute(f"PRAGMA user_version = {VERSION}")
            self._account = str(_fact(db, "account"))

    def claim(self, entry: Entry, judge: Judge) -> None:
        """Add `entry`, unless `judge` raises."""
        with self._transaction() as db:
            entries = _entries(db)
            judge(_totals(db, entries, entry.at))
            signed = None if entry.authorization is None else json.dumps(encode_authorization(entry.authorization))
            row = (entry.id, str(entry.amount), entry.at, entry.state.value, signed, entry.network)
            db.execute(f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608 - a constant
            _fold(db, foldable(entries, entry.at))

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry."""
        if getattr(self._here, "busy", False):
            # The garbage collector ends an abandoned call in the middle of our own transaction.
            self._here.later.append((entry_id, to))
            return
        # A file that cannot be written now does not undo an answer: what is not noted counts in full.
        with suppress(ConfigurationError), self._transaction() as db:
            if to is HoldState.RELEASED:
                db.execute("DELETE FROM entries WHERE id = ? AND state <> 'settled'", (entry_id,))
            else:
                db.execute("UPDATE entries SET state = ? WHERE id = ? AND state <> 'settled'", (to.value, entry_id))

    def correct(self, entry_id: str, amount: int) -> None:
        """Note what was really taken."""
        with self._transaction() as db:
            final = (str(amount), HoldState.SETTLED.value, entry_id)
            db.execute("UPDATE entries SET amount = ?, state = ?, signed = NULL WHERE id = ?", final)

    def totals(self, now: int) -> BudgetTotals:
        """Return the sums."""
        with self._transaction("DEFERRED") as db:
            return _totals(db, _entries(db), now)

    def entries(self) -> list[Entry]:
        """Return what may still be corrected."""
        with self._transaction("DEFERRED") as db:
            return [entry for entry in _entries(db) if entry.authorization is not None]

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, or again, in all processes."""
        with self._transaction() as db:
            _set_fact(db, "stopped", reason)

    def stopped(self) -> str | None:
        """Return why nothing may be authorized."""
        with self._transaction("DEFERRED") as db:
            return _fact(db, "stopped")

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        self._here.busy, self._here.later = True, []
        # Only the first one may make the file.
        address = f"{self.path.as_uri()}?mode={'rw' if self._account else 'rwc'}"
        try:
            with closing(sqlite3.connect(address, timeout=0, isolation_level=None, uri=True)) as db:
                _begin(db, kind)
                self._check(db)
                yield db
                db.execute("COMMIT")  # without it, closing rolls back
        except (sqlite3.Error, TypeError, ValueError) as exc:
            locked = isinstance(exc, sqlite3.OperationalError) and "locked" in str(exc)
            why = f"another process holds it for more than {LOCK_TIMEOUT:g} s" if locked else str(exc)
            raise ConfigurationError(
                f"The budget file {self.path} cannot be used ({type(exc).__name__}: {why}). What cannot be counted is "
                "not spent: check SpendPolicy.store."
            ) from exc
        finally:
            self._here.busy = False
            for entry_id, to in self._here.later:
                self.move(entry_id, to)

    def _check(self, db: sqlite3.Connection) -> None:
        version = _version(db)
        if version not in (0, VERSION):
            raise ConfigurationError(
                f"The budget file {self.path} is of version {version}, expected {VERSION}: a newer og-integrations "
                "wrote it. Get that one, or set SpendPolicy.store to another file."
            )
        if self._account and (version == 0 or _fact(db, "account") != self._account):
            raise ConfigurationError(
                f"The budget file {self.path} is another one than before: it was emptied, deleted or replaced. What "
                "was authorized cannot be counted, so nothing is spent. Restore it, or make a new client."
            )


def open_store(store: object) -> BudgetStore | None:
    """Return the store that `SpendPolicy.store` means. Raises `ConfigurationError`."""
    match store:
        case None:
            return None
        case str() | Path():
            return BudgetFile(store)
        case BudgetStore():
            return store
    raise ConfigurationError(f"SpendPolicy.store is a {type(store).__name__}, expected a path or a BudgetStore.")


def _absolute(path: str | Path) -> Path:
    text = str(path)
    if not text or text == ":memory:" or "\0" in text:
        raise ConfigurationError(
            f"SpendPolicy.store is {text!r}, expected the path of a file. Leave it out to keep the account in memory."
        )
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError) as exc:
        raise ConfigurationError(f"SpendPolicy.store is {text!r}, which leads nowhere ({exc}).") from exc


def _begin(db: sqlite3.Connection, kind: str) -> None:
    # SQLite looks every 100 ms after a while, and would starve beside busy processes.
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            db.execute(f"BEGIN {kind}")
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > until:
                raise
            time.sleep(_LOCK_POLL)
        else:
            # For those who only read, and do it while we write.
            db.execute(f"PRAGMA busy_timeout = {int(LOCK_TIMEOUT * 1000)}")
            return


def _totals(db: sqlite3.Connection, entries: list[Entry], now: int) -> BudgetTotals:
    totals = replace(_folded(db), stopped=_fact(db, "stopped"))
    for entry in entries:
        totals = totals.plus(entry, now)
    return totals


def _fold(db: sqlite3.Connection, old: list[Entry]) -> None:
    sums = _folded(db)
    for entry in old:
        sums = folded(sums, entry)
    if old:
        db.executemany("DELETE FROM entries WHERE id = ?", [(entry.id,) for entry in old])
        _set_fact(db, "folded", str(sums.authorized))
        _set_fact(db, "folded settled", str(sums.settled))


def _folded(db: sqlite3.Connection) -> BudgetTotals:
    return BudgetTotals(authorized=int(_fact(db, "folded") or 0), settled=int(_fact(db, "folded settled") or 0))


def _entries(db: sqlite3.Connection) -> list[Entry]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM entries").fetchall()  # noqa: S608 - a constant
    return [
        Entry(
            id=name,
            amount=int(amount),
            at=at,
            state=HoldState(state),
            authorization=_authorization(signed),
            network=network,
        )
        for name, amount, at, state, signed, network in rows
    ]


def _authorization(signed: str | None) -> Authorization | None:
    return None if signed is None else decode_authorization(json.loads(signed))


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _fact(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _set_fact(db: sqlite3.Connection, name: str, value: str | None) -> None:
    db.execute("DELETE FROM facts WHERE name = ?", (name,))
    if value is not None:
        db.execute("INSERT INTO facts (name, value) VALUES (?, ?)", (name, value))

"""
An account in an SQLite file, shared by every process that names the file (`SpendPolicy.store`).

Each operation is one immediate transaction on a connection of its own, so that threads, forks and
crashes need no care. An authorization whose process died counts until the chain says what became of it; if it
was still held, nobody asks until an hour after its deadline.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from og_integrations.errors import ConfigurationError
from og_integrations.protocol.account import Account, BudgetStore, Entry, HoldState, foldable
from og_integrations.protocol.permit2 import Authorization, Eip3009Authorization, Permit2Authorization

LOCK_TIMEOUT = 30.0
"""Seconds to wait for other processes; each holds the file for a few milliseconds."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY, amount TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL, signed TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_COLUMNS = "id, amount, at, state, signed"


class BudgetFile:
    """The account in the file `path`, made if it is not there. Raises `ConfigurationError`."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._here = threading.local()
        with self._transaction() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)

    def claim(self, entry: Entry, judge: Callable[[Account], None]) -> None:
        """Add `entry`, unless `judge` raises."""
        with self._transaction() as db:
            judge(_account(db, entry.at))
            signed = None if entry.authorization is None else json.dumps(asdict(entry.authorization))
            row = (entry.id, str(entry.amount), entry.at, entry.state.value, signed)
            db.execute(f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)  # noqa: S608 - a constant

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry."""
        if getattr(self._here, "busy", False):
            # The garbage collector ends an abandoned call in the middle of our own transaction.
            self._here.later.append((entry_id, to))
            return
        # A file that cannot be written now does not undo an answer: what is not noted counts in full.
        with suppress(ConfigurationError), self._transaction() as db:
            if to is HoldState.RELEASED:
                db.execute("DELETE FROM entries WHERE id = ?", (entry_id,))
            else:
                db.execute("UPDATE entries SET state = ? WHERE id = ?", (to.value, entry_id))

    def correct(self, entry_id: str, amount: int) -> None:
        """Note what was really taken."""
        with self._transaction() as db:
            final = (str(amount), HoldState.SETTLED.value, entry_id)
            db.execute("UPDATE entries SET amount = ?, state = ?, signed = NULL WHERE id = ?", final)

    def account(self, now: int) -> Account:
        """Return the sums."""
        with self._transaction() as db:
            return _account(db, now)

    def entries(self) -> list[Entry]:
        """Return what may still be corrected."""
        with self._transaction() as db:
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
        try:
            with closing(sqlite3.connect(self._path, timeout=LOCK_TIMEOUT, isolation_level=None)) as db:
                db.execute(f"BEGIN {kind}")
                yield db
                db.execute("COMMIT")  # without it, closing rolls back
        except (sqlite3.Error, TypeError, ValueError) as exc:
            raise ConfigurationError(
                f"The budget file {self._path} cannot be used ({type(exc).__name__}: {exc}). What cannot be counted is "
                "not spent: check SpendPolicy.store."
            ) from exc
        finally:
            self._here.busy = False
            for entry_id, to in self._here.later:
                self.move(entry_id, to)


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


def _account(db: sqlite3.Connection, now: int) -> Account:
    folded = int(_fact(db, "folded") or 0)
    account = Account(stopped=_fact(db, "stopped"))
    entries = {entry.id: entry for entry in _entries(db)}
    old = foldable(entries.values(), now)
    for entry in old:
        folded += entry.amount
        del entries[entry.id]
    for entry in entries.values():
        account = account.plus(entry, now)
    if old:
        db.executemany("DELETE FROM entries WHERE id = ?", [(entry.id,) for entry in old])
        _set_fact(db, "folded", str(folded))
    return replace(account, authorized=account.authorized + folded)


def _entries(db: sqlite3.Connection) -> list[Entry]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM entries").fetchall()  # noqa: S608 - a constant
    return [
        Entry(id=name, amount=int(amount), at=at, state=HoldState(state), authorization=_authorization(signed))
        for name, amount, at, state, signed in rows
    ]


def _authorization(signed: str | None) -> Authorization | None:
    if signed is None:
        return None
    members = json.loads(signed)
    return (
        Permit2Authorization(**members)
        if "spender" in members and "token_name" not in members
        else (Eip3009Authorization(**members))
    )


def _fact(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _set_fact(db: sqlite3.Connection, name: str, value: str | None) -> None:
    db.execute("DELETE FROM facts WHERE name = ?", (name,))
    if value is not None:
        db.execute("INSERT INTO facts (name, value) VALUES (?, ?)", (name, value))

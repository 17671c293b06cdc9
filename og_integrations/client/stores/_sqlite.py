"""
A budget in an SQLite file, shared by every process of one machine that names the file (`SpendPolicy.store`).

The file is in WAL mode. A claim is one immediate transaction; the log is synced after it and before anything is
signed, while others claim already: held until then, the file let through one claim per turn of the disk. What became of
it later is noted without waiting for the disk, since a lost note counts in full. The sums are kept, so that a claim
costs the same however many entries there are. One connection serves the process, on a thread of its own
(`client.stores._thread`). Not for network file systems, which do not lock reliably.

An authorization whose process died counts until the chain says what became of it; if it was still held, nobody asks
until an hour after its deadline.

Each file has a random name, notes what its main part looks like after a checkpoint, and counts its claims. Whoever knew
it accepts no other in its place: a file that was emptied, deleted, replaced, or overwritten by an older copy (also one
of its log) is not a fresh budget.
"""

import json
import os
import random
import secrets
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from og_integrations._forking import survive_forks
from og_integrations.client.stores._thread import StoreThread
from og_integrations.errors import BudgetBusyError, ConfigurationError
from og_integrations.protocol.payment import _budget as rules
from og_integrations.protocol.payment._budget import (
    DAY,
    FOLD_AFTER,
    HOUR,
    WIDTHS,
    BudgetTotals,
    Entry,
    HoldState,
    Judge,
    Limits,
    counts,
    share_of,
    spans_since,
    unanswered,
)
from og_integrations.protocol.payment.schemes import decode_authorization

T = TypeVar("T")
LOCK_TIMEOUT = 10.0
"""Seconds to wait for other processes; each holds the file for a few milliseconds."""
VERSION = 3
APPLICATION_ID = 0x4F474247
"""Says in the file's header that it is ours: "OGBG"."""
_FOLD_EVERY = 256
_CHECKPOINT_EVERY = 500
_BUSY = "busy "
"""What is noted of the file's main part while a checkpoint writes it: this, since when, and a name."""
_CHECKPOINT_SECONDS = 60
"""How long a checkpoint may take; whoever began one earlier is gone."""
_DATA_SYNC = getattr(os, "fdatasync", os.fsync)
_MAGIC = b"SQLite format 3\0"
_SCHEMA = """
CREATE TABLE budget (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, amount TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
    signed TEXT, network TEXT, part TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX budget_waiting ON budget (account, at);
CREATE TABLE totals (
    account TEXT PRIMARY KEY, authorized TEXT NOT NULL, settled TEXT NOT NULL, in_doubt TEXT NOT NULL, stopped TEXT,
    unanswered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE spans (
    account TEXT NOT NULL, width INTEGER NOT NULL, start INTEGER NOT NULL, amount TEXT NOT NULL,
    payments INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (account, width, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, until INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT
"""
_FROM_VERSION_2 = """
ALTER TABLE budget ADD COLUMN part TEXT NOT NULL DEFAULT '';
ALTER TABLE totals ADD COLUMN unanswered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spans ADD COLUMN payments INTEGER NOT NULL DEFAULT 1;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, until INTEGER NOT NULL) STRICT
"""
_COLUMNS = "id, amount, at, state, signed, network, part"


class BudgetFile:
    """
    The budget `account` in the file `path`, made if it is not there; `~` is the home directory.

    A relative path is meant from where the process is now, wherever it goes later. Raises `ConfigurationError` for a
    file that is not ours, or not usable; `BudgetBusyError` if others hold it for too long.
    """

    blocks = True
    counts_shares = True

    def __init__(self, path: str | Path, account: str = "") -> None:
        self.path = _absolute(path)
        self.place = ("file", self.path)
        self.account_name = account
        self._name = ""
        self._claims = 0
        self._writes = 0
        self._abandoned: list[sqlite3.Connection] = []
        self._db: sqlite3.Connection | None = None
        self._log: int | None = None
        self._inode = 0
        self._thread = StoreThread()
        survive_forks(self)
        _check_header(self.path)
        self._run("IMMEDIATE", self._first_look)
        self._thread.run(self._checkpoint)

    def begin_again(self) -> None:
        """Open a connection of one's own, and never close the parent's: that would release its locks."""
        if self._db is not None:
            self._abandoned.append(self._db)
        self._db = self._log = None

    def claim(self, entry: Entry, judge: Judge) -> BudgetTotals:
        """Add `entry`, unless `judge` raises; return the sums without it, of windows only those that it limits."""
        windows = (HOUR, DAY) if not isinstance(judge, Limits) else judge.windows

        def work(db: sqlite3.Connection) -> BudgetTotals:
            totals = self._totals(db, entry.at, entry.part, windows)
            judge(totals)
            signed = None if entry.authorization is None else json.dumps(entry.authorization.to_json())
            row = (entry.id, self.account_name, str(entry.amount), entry.at, entry.state.value, signed)
            query = "INSERT INTO budget VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            number = db.execute(query, (*row, entry.network, entry.part)).lastrowid or 0
            self._change(db, None, entry)
            if number % _FOLD_EVERY == 0:
                self._fold(db, entry.at)
            return totals

        return self._run("IMMEDIATE", work)

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry, in the order of things, without waiting for it."""

        def work(db: sqlite3.Connection) -> None:
            before = self._entry(db, entry_id)
            if before is None or before.state is HoldState.SETTLED:
                return
            after = replace(before, state=to)
            if to is HoldState.RELEASED or after.explained:
                db.execute("DELETE FROM budget WHERE id = ?", (entry_id,))
            else:
                db.execute("UPDATE budget SET state = ? WHERE id = ?", (to.value, entry_id))
            self._change(db, before, after)
            ((count,),) = db.execute("SELECT unanswered FROM totals WHERE account = ?", (self.account_name,))
            if (counted := unanswered(count, before.state, to)) != count:
                db.execute("UPDATE totals SET unanswered = ? WHERE account = ?", (counted, self.account_name))

        def note() -> None:
            # A file that cannot be written now does not undo an answer: what is not noted counts in full.
            with suppress(ConfigurationError):
                self._transaction("IMMEDIATE", work, synced=False)

        self._thread.later(note)

    def correct(self, entry_id: str, amount: int) -> None:
        """Note what was really taken."""

        def work(db: sqlite3.Connection) -> None:
            before = self._entry(db, entry_id)
            if before is not None and not before.explained:
                # Its amount lives on in the sums, and nothing more will be said of it.
                db.execute("DELETE FROM budget WHERE id = ?", (entry_id,))
                self._change(db, before, replace(before, amount=amount, state=HoldState.SETTLED, authorization=None))

        self._run("IMMEDIATE", work)

    def totals(self, now: int, part: str = "") -> BudgetTotals:
        """Return the sums, with the share of `part`."""
        return self._run("DEFERRED", lambda db: self._totals(db, now, part))

    def entries(self) -> list[Entry]:
        """Return what may still be corrected."""
        query = f"SELECT {_COLUMNS} FROM budget WHERE account = ? AND signed IS NOT NULL ORDER BY rowid"  # noqa: S608 - a constant

        def work(db: sqlite3.Connection) -> list[Entry]:
            return [_read(row) for row in db.execute(query, (self.account_name,))]

        return self._run("DEFERRED", work)

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, or again, in all processes."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR IGNORE INTO totals (account, authorized, settled, in_doubt) VALUES (?, '0', '0', '0')",
                (self.account_name,),
            )
            db.execute("UPDATE totals SET stopped = ? WHERE account = ?", (reason, self.account_name))
            if reason is None:
                db.execute("UPDATE totals SET unanswered = 0 WHERE account = ?", (self.account_name,))

        if self._thread.is_mine():
            # A judge, or the garbage collector, inside of our own transaction: it is done right after that.
            self._thread.later(lambda: self._transaction("IMMEDIATE", work))
        else:
            self._run("IMMEDIATE", work)

    def stopped(self) -> str | None:
        """Return why nothing may be authorized."""
        return self._run("DEFERRED", lambda db: self._account(db, self.account_name)[3])

    def note(self, name: str) -> str | None:
        """Return the note of that name; see `SessionNotes`."""
        return self._run("DEFERRED", lambda db: _note(db, name))

    def swap(self, name: str, old: str | None, new: str | None, until: int) -> bool:
        """Replace the note `old` by `new`; return whether it was the one that stands."""

        def work(db: sqlite3.Connection) -> bool:
            if _note(db, name) != old:
                return False
            if new is None:
                db.execute("DELETE FROM notes WHERE name = ?", (name,))
            else:
                db.execute("REPLACE INTO notes VALUES (?, ?, ?)", (name, new, until))
            return True

        # Who loses a note signs once more, and what is signed is counted: it is not worth waiting for the disk.
        return self._thread.run(lambda: self._transaction("IMMEDIATE", work, synced=False))

    def later(self, work: Callable[[], object]) -> None:
        """Have `work` done after all that was asked before, without waiting for it."""
        self._thread.later(work)

    def _run(self, kind: str, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._thread.run(lambda: self._transaction(kind, work))

    def _transaction(self, kind: str, work: Callable[[sqlite3.Connection], T], *, synced: bool = True) -> T:
        with self._told():
            db = self._connection()
            _begin(db, kind)
            try:
                self._check(db)
                result = work(db)
                # Read after the work, which makes the table where the file is new.
                claims = _claims(db)
                if kind == "IMMEDIATE" and synced:
                    claims += 1
                    _set_fact(db, "claims", str(claims))
                _commit(db)
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            self._claims = claims
            if kind == "IMMEDIATE":
                if synced:
                    self._sync(db)
                self._writes += 1
                if self._writes % _CHECKPOINT_EVERY == 0:
                    self._checkpoint()
            return result

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what SQLite says in our words: LlamaIndex swallows a `ValueError`, and would spend on."""
        try:
            yield
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc):
                self._refuse(exc)
            raise BudgetBusyError(
                f"The budget file {self.path} cannot be used: another process holds it for more than "
                f"{LOCK_TIMEOUT:g} s. Nothing was signed or sent; ask again. If that stays so, end the process that "
                "holds it."
            ) from exc
        except (sqlite3.Error, OSError, TypeError, ValueError) as exc:
            self._refuse(exc)

    def _refuse(self, exc: Exception) -> None:
        raise ConfigurationError(
            f"The budget file {self.path} cannot be used ({type(exc).__name__}: {exc}). What cannot be counted is "
            "not spent: check SpendPolicy.store."
        ) from exc

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            # Only the first one may make the file.
            address = f"{self.path.as_uri()}?mode={'rw' if self._name else 'rwc'}"
            self._db = sqlite3.connect(address, timeout=0, isolation_level=None, uri=True, check_same_thread=False)
            weakref.finalize(self, self._db.close)
            self._db.execute("PRAGMA busy_timeout = 0")
            # One that SQLite does by itself is not noted, and would look like another file.
            self._db.execute("PRAGMA wal_autocheckpoint = 0")
            # SQLite makes the file when it is first looked at.
            _version(self._db)
            self._leave_syncs_to_us(self._db)
            self._inode = os.stat(self.path).st_ino if self._name else 0
        return self._db

    def _sync(self, db: sqlite3.Connection) -> None:
        """Wait until what was committed is on the disk; without a log, SQLite itself has waited."""
        if self._log is None:
            if not _has_log(db):
                return
            # SQLite's locks are on other files: to open and close this one gives none of them up.
            self._log = os.open(f"{self.path}-wal", os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
            weakref.finalize(self, os.close, self._log)
        # A checkpoint that has taken it out of the log has synced both files before.
        _DATA_SYNC(self._log)

    def _first_look(self, db: sqlite3.Connection) -> None:
        version = _version(db)
        if version < VERSION:
            for statement in (_FROM_VERSION_2 if version == 2 else _SCHEMA).split(";"):
                db.execute(statement)
            if version == 1 or _has_table(db, "entries"):
                self._adopt(db)
            if _fact(db, "account") is None:
                _set_fact(db, "account", secrets.token_hex(16))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        self._name = str(_fact(db, "account"))

    def _adopt(self, db: sqlite3.Connection) -> None:
        """Take over what version 1 wrote: all entries, and the sums of those that it had folded."""
        authorized, settled = int(_fact(db, "folded") or 0), int(_fact(db, "folded settled") or 0)
        stopped = _fact(db, "stopped")
        db.execute("INSERT INTO totals VALUES ('', ?, ?, '0', ?, 0)", (str(authorized), str(settled), stopped))
        network = "network" if _has_column(db, "entries", "network") else "NULL"
        rows = db.execute(f"SELECT id, amount, at, state, signed, {network}, '' FROM entries").fetchall()  # noqa: S608 - constants
        for row in rows:
            entry = _read(row)
            if not entry.explained:
                db.execute("INSERT INTO budget VALUES (?, '', ?, ?, ?, ?, ?, ?)", row)
            self._change(db, None, entry)
        db.execute("DROP TABLE entries")

    def _check(self, db: sqlite3.Connection) -> None:
        version = _version(db)
        if version > VERSION:
            raise ConfigurationError(
                f"The budget file {self.path} is of version {version}, expected {VERSION}: a newer og-integrations "
                "wrote it. Get that one, or set SpendPolicy.store to another file."
            )
        if not self._name:
            return
        stat = os.stat(self.path)
        self._inode = self._inode or stat.st_ino
        moved = version != VERSION or stat.st_ino != self._inode
        other = moved or _fact(db, "account") != self._name or self._was_overwritten(db)
        # A copy of all its parts at once looks as the file did: what it has counted is less than what is known here.
        if other or _claims(db) < self._claims:
            raise ConfigurationError(
                f"The budget file {self.path} is another one than before: it was emptied, deleted, replaced, or "
                "overwritten by a copy. What was authorized cannot be counted, so nothing is spent. Restore it, or "
                "make a new client in a new process."
            )

    def _was_overwritten(self, db: sqlite3.Connection) -> bool:
        """
        Return whether somebody else than SQLite wrote the file's main part.

        Only our checkpoints write it. They say so before (`_BUSY`) and after (what it looks like then).
        """
        looks = _looks(os.stat(self.path))
        for _ in range(2):
            noted = _fact(db, "main")
            if not noted or noted == looks or noted.startswith(_BUSY):
                return False
            # A checkpoint may have begun since this transaction did: look once more, in a new one.
            kind = "IMMEDIATE" if db.in_transaction else "DEFERRED"
            db.execute("ROLLBACK")
            _begin(db, kind)
            looks = _looks(os.stat(self.path))
        return True

    def _checkpoint(self) -> None:
        """Write the log into the file's main part, and note what that looks like then; only what lives may judge."""
        with self._told():
            db = self._connection()
            if not _has_log(db):
                _patiently(lambda: db.execute("PRAGMA journal_mode = WAL"))
            # Another process may have begun the log since this one looked, which would sync each commit twice then.
            self._leave_syncs_to_us(db)
            now = int(time.time())
            mine = f"{_BUSY}{now} {secrets.token_hex(8)}"
            _begin(db, "IMMEDIATE")
            noted = _fact(db, "main") or ""
            # Two at once would note what the file looks like while the other one still writes it.
            free = not noted.startswith(_BUSY) or abs(now - int(noted.split()[1])) > _CHECKPOINT_SECONDS
            if free:
                _set_fact(db, "main", mine)
            _commit(db)
            if not free:
                return
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            _begin(db, "IMMEDIATE")
            if _fact(db, "main") == mine:
                _set_fact(db, "main", _looks(os.stat(self.path)))
            _commit(db)

    def _leave_syncs_to_us(self, db: sqlite3.Connection) -> None:
        # With a log and in this mode, SQLite syncs before and after a checkpoint, and leaves commits to `_sync`.
        db.execute(f"PRAGMA synchronous = {'NORMAL' if _has_log(db) else 'FULL'}")

    def _account(self, db: sqlite3.Connection, name: str) -> tuple[int, int, int, str | None, int]:
        query = "SELECT authorized, settled, in_doubt, stopped, unanswered FROM totals WHERE account = ?"
        row = db.execute(query, (name,)).fetchone()
        return (0, 0, 0, None, 0) if row is None else (int(row[0]), int(row[1]), int(row[2]), row[3], row[4])

    def _totals(
        self, db: sqlite3.Connection, now: int, part: str, windows: Sequence[int] = (HOUR, DAY)
    ) -> BudgetTotals:
        authorized, settled, in_doubt, stopped, count = self._account(db, self.account_name)
        (hour, payments), (day, _) = (self._since(db, now - w) if w in windows else (0, 0) for w in (HOUR, DAY))
        return BudgetTotals(
            authorized=authorized,
            settled=settled,
            in_doubt=in_doubt,
            last_hour=hour,
            last_day=day,
            payments=payments,
            unanswered=count,
            share=self._account(db, share_of(self.account_name, part))[0] if part else 0,
            stopped=stopped,
        )

    def _since(self, db: sqlite3.Connection, since: int) -> tuple[int, int]:
        amount = payments = 0
        for width, first, end in spans_since(since):
            query = "SELECT amount, payments FROM spans WHERE account = ? AND width = ? AND start >= ? AND start < ?"
            for row in db.execute(query, (self.account_name, width, first, 2**62 if end is None else end)):
                amount, payments = amount + int(row[0]), payments + row[1]
        return amount, payments

    def _change(self, db: sqlite3.Connection, before: Entry | None, after: Entry) -> None:
        """Add to the sums what `after` counts, less what `before` did."""
        was, now = counts(before), counts(after)
        changes = [new - old for old, new in zip(was, now, strict=True)]
        payments = (before is None) - (after.state is HoldState.RELEASED)
        if not any(changes) and not payments:
            return
        for name in {self.account_name, share_of(self.account_name, after.part)}:
            sums = [str(value + change) for value, change in zip(self._account(db, name)[:3], changes, strict=True)]
            db.execute(
                "INSERT INTO totals (account, authorized, settled, in_doubt) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET authorized = excluded.authorized, settled = excluded.settled, in_doubt = excluded.in_doubt",
                (name, *sums),
            )
        for width in WIDTHS if changes[0] or payments else ():
            place = (self.account_name, width, after.at // width * width)
            query = "SELECT amount, payments FROM spans WHERE account = ? AND width = ? AND start = ?"
            amount, count = db.execute(query, place).fetchone() or ("0", 0)
            row = (str(int(amount) + changes[0]), count + payments)
            db.execute("REPLACE INTO spans VALUES (?, ?, ?, ?, ?)", (*place, *row))

    def _fold(self, db: sqlite3.Connection, now: int) -> None:
        """Forget spans that no window reaches, and the oldest entries where too many wait for the chain's word."""
        db.execute("DELETE FROM spans WHERE start < ?", (now - FOLD_AFTER - HOUR,))
        db.execute("DELETE FROM notes WHERE until < ?", (now - FOLD_AFTER,))
        db.execute(
            "DELETE FROM budget WHERE rowid IN (SELECT rowid FROM budget WHERE account = ? AND state = 'settled' AND "
            "at < ? ORDER BY at DESC LIMIT -1 OFFSET ?)",
            (self.account_name, now - FOLD_AFTER, rules.MOST_UNEXPLAINED),
        )

    def _entry(self, db: sqlite3.Connection, entry_id: str) -> Entry | None:
        row = db.execute(f"SELECT {_COLUMNS} FROM budget WHERE id = ?", (entry_id,)).fetchone()  # noqa: S608 - a constant
        return None if row is None else _read(row)


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


def _check_header(path: Path) -> None:
    """Raise `ConfigurationError` for a database of another program, before SQLite opens it: that may write already."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return  # missing, or said better by SQLite
    if not head.startswith(_MAGIC):
        return
    version, application = int.from_bytes(head[60:64], "big"), int.from_bytes(head[68:72], "big")
    if application == APPLICATION_ID:
        return
    address = f"{path.as_uri()}?immutable=1"
    try:
        db = sqlite3.connect(address, uri=True)
        try:
            ours = application == 0 and version in (0, 1) and _has_table(db, "entries") and _has_table(db, "facts")
        finally:
            db.close()
    except sqlite3.Error as exc:
        raise ConfigurationError(f"The budget file {path} cannot be used ({type(exc).__name__}: {exc}).") from exc
    if not ours:
        raise ConfigurationError(
            f"The file {path} is a database of another program, expected a budget or no file. It was not touched, and "
            "nothing is spent: set SpendPolicy.store to a path of its own."
        )


def _begin(db: sqlite3.Connection, kind: str) -> None:
    _patiently(lambda: db.execute(f"BEGIN {kind}"))
    if kind == "DEFERRED":
        _version(db)  # it meets others' locks at its first statement only, which would fail at once


def _commit(db: sqlite3.Connection) -> None:
    # Before the file has its log, a commit fails while others read; the transaction stays open for another try.
    _patiently(lambda: db.execute("COMMIT"))


def _has_log(db: sqlite3.Connection) -> bool:
    """Return whether the file is in WAL mode."""
    return _patiently(lambda: str(db.execute("PRAGMA journal_mode").fetchone()[0])) == "wal"


def _patiently(attempt: Callable[[], T]) -> T:
    """Return what `attempt` does, tried until no lock of another process is in its way, for `LOCK_TIMEOUT` seconds."""
    # SQLite itself looks every 100 ms after a while, and would starve beside busy processes.
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311 - so that nobody keeps step with anybody


def _looks(stat: os.stat_result) -> str:
    return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"


def _read(row: tuple[str, str, int, str, str | None, str | None, str]) -> Entry:
    name, amount, at, state, signed, network, part = row
    return Entry(
        id=name,
        amount=int(amount),
        at=at,
        state=HoldState(state),
        authorization=None if signed is None else decode_authorization(json.loads(signed)),
        network=network,
        part=part,
    )


def _version(db: sqlite3.Connection) -> int:
    return _patiently(lambda: int(db.execute("PRAGMA user_version").fetchone()[0]))


def _has_table(db: sqlite3.Connection, name: str) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)).fetchone() is not None


def _has_column(db: sqlite3.Connection, table: str, column: str) -> bool:
    return any(row[1] == column for row in db.execute(f"PRAGMA table_info({table})"))


def _fact(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _claims(db: sqlite3.Connection) -> int:
    """Return how often something was written that must not be lost; it only grows."""
    return int(_fact(db, "claims") or 0)


def _note(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _set_fact(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))

"""
A budget in a PostgreSQL database, shared by all processes and machines that name it (`SpendPolicy.store`).

A claim is one statement, the call of one procedure in the database (`_postgres.sql`): it locks the row of its account,
looks at the sums, adds to them or does not, lets go of the row, and waits for the disk together with all others that
wait. It is durable before anything is signed, and nothing is locked while anything is signed or sent. What became of it
later is noted without waiting for the disk.

The first client makes the tables, with a number that says of which version they are. That is a file of SQL and not
Alembic: the tables live beside those of an application that may have an Alembic history of its own, and workers that
start at once must find them made, not make them twice. SQLAlchemy makes the connection; statements go to the driver
itself, since SQLAlchemy's own way of running one took more time than all the rest of a claim.

A database that is away is waited for, `PATIENCE` seconds long, on connections made anew; after that nothing is spent
until it is back. One connection serves the process, on a thread of its own (`client.stores._thread`).
"""

import json
import os
import secrets
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar, cast

from og_integrations._forking import survive_forks
from og_integrations.client.stores._thread import StoreThread
from og_integrations.errors import BudgetBusyError, ConfigurationError
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment import _budget as rules
from og_integrations.protocol.payment._budget import FOLD_AFTER, BudgetTotals, Entry, HoldState, Judge, Limits
from og_integrations.protocol.payment._policy import without_password
from og_integrations.protocol.payment.schemes import decode_authorization

if TYPE_CHECKING:
    from psycopg import Connection as DriverConnection
    from sqlalchemy import URL, Engine

    Connection = DriverConnection[tuple[Any, ...]]

T = TypeVar("T")
PATIENCE = 10.0
"""Seconds to wait for a database that restarts, or is held by others."""
HUNG = 20.0
"""Seconds after which a database that neither answers nor breaks off counts as away."""
VERSION = 2
_FROM = ("1",)
"""Versions whose tables are the same, and whose functions are made anew."""
_FUNCTIONS = "-- functions\n"
"""What stands between the tables and the functions in the file of SQL."""
_RETRY = 0.1
_MOST_UNTOLD = 10_000
_MAKING = 0x4F474247
"""The advisory lock of whoever makes the tables: "OGBG"."""
_SETTINGS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "not permitted")
"""What PostgreSQL says where waiting does not help."""
_AWAY = ("08", "53", "57P", "40", "55P03")
"""SQLSTATEs of what passes: connections, resources, a shutdown, a rollback, a lock (appendix A of its manual)."""
_CLAIMED = (
    "%(id)s, %(account)s, %(part)s, %(amount)s, %(at)s, %(signed)s, %(network)s, %(total)s, %(per_hour)s, %(per_day)s, "
    "%(payments)s, %(share)s, %(unanswered)s, %(old)s, %(most)s"
)
_CLAIM = f"CALL og_budget_claim(%(identity)s, {_CLAIMED}, NULL)"
_CLAIM_WITHIN = f"SELECT to_json(og_budget_take(%(identity)s, true, {_CLAIMED}))"
"""The same inside of a transaction, where a procedure cannot commit."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What the database said, without its own exception: that holds the statement and what was in it."""

    said: str
    passes: bool
    replaced: bool = False


class BudgetDatabase:
    """
    The budget `account` in the database of `url` (`postgresql://…`), made at the first use if it is not there.

    What the URL leaves out comes from where libpq looks: `PGHOST`, `PGPASSWORD`, `PGPASSFILE`, a service file. Nothing
    is asked before the first use. Every method may raise `ConfigurationError` for a database that is not usable, and
    `BudgetBusyError` for one that is away, or held by others, for too long.
    """

    blocks = True
    counts_shares = True

    def __init__(self, url: str, account: str = "") -> None:
        self.account_name = account
        self._url = _parsed(url)
        self.place = ("postgresql", str(without_password(self._url.render_as_string(hide_password=False))))
        self._identity = ""
        self._abandoned: list[object] = []
        self._engine: Engine | None = None
        self._db: Connection | None = None
        self._untold: deque[Callable[[Connection], None]] = deque(maxlen=_MOST_UNTOLD)
        self._thread = StoreThread()
        survive_forks(self)

    def begin_again(self) -> None:
        """Open a connection of one's own, and leave the parent's to it."""
        # Kept, and so never closed: that would say goodbye on the parent's socket.
        self._abandoned.append(self._db)
        self._engine = self._db = None
        self._untold.clear()

    def claim(self, entry: Entry, judge: Judge) -> BudgetTotals:
        """Add `entry`, unless `judge` raises; return the sums without it, of windows only those that it limits."""

        def work(db: "Connection") -> BudgetTotals:
            if isinstance(judge, Limits):
                found = self._claim(db, _CLAIM, entry, judge)
                if not found["made"]:
                    judge(_totals(found))
                    raise ConfigurationError(f"{self._name} refused a claim that fits. Nothing was signed.")
                return _totals(found)
            with _transaction(db):
                _run(db, "SELECT og_budget_begin(%(identity)s, true)", identity=self._identity)
                _run(db, "SELECT og_budget_lock(%(account)s)", account=self.account_name)
                totals = self._look(db, entry.at, entry.part)
                judge(totals)
                self._claim(db, _CLAIM_WITHIN, entry, Limits())
            return totals

        # A claim that is made after all, once nobody waits for it, counts for nobody.
        return self._do(work, lambda: self.later(lambda: self.move(entry.id, HoldState.RELEASED)))

    def move(self, entry_id: str, to: HoldState) -> None:
        """Note what became of an entry, in the order of things, without waiting for it."""

        def tell(db: "Connection") -> None:
            query = "SELECT og_budget_move(%(identity)s, %(id)s, %(state)s)"
            _run(db, query, identity=self._identity, id=entry_id, state=to.value)

        self._untold.append(tell)
        self._thread.later(lambda: self._attempt(lambda db: None))

    def correct(self, entry_id: str, amount: int) -> None:
        """Note what was really taken."""
        query = "SELECT og_budget_correct(%(identity)s, %(id)s, %(amount)s)"
        self._do(lambda db: _run(db, query, identity=self._identity, id=entry_id, amount=amount))

    def totals(self, now: int, part: str = "") -> BudgetTotals:
        """Return the sums, with the share of `part`."""
        return self._do(lambda db: self._look(db, now, part))

    def entries(self) -> list[Entry]:
        """Return what may still be corrected."""
        query = (
            "SELECT id, amount, at, state, signed, network, part FROM og_budget_entries "
            "WHERE account = %(account)s AND signed IS NOT NULL ORDER BY number"
        )
        return self._do(lambda db: [_read(row) for row in _run(db, query, account=self.account_name)])

    def stop(self, reason: str | None) -> None:
        """Let nothing more be authorized, or again, in all processes."""
        query = "SELECT og_budget_stop(%(identity)s, %(account)s, %(reason)s)"

        def work(db: "Connection") -> object:
            return _run(db, query, identity=self._identity, account=self.account_name, reason=reason)

        if self._thread.is_mine():
            # A judge, or the garbage collector, inside of our own transaction: it is done right after that.
            self._thread.later(lambda: self._patiently(work))
        else:
            self._do(work)

    def stopped(self) -> str | None:
        """Return why nothing may be authorized."""
        query = "SELECT stopped FROM og_budget_totals WHERE account = %(account)s"

        def work(db: "Connection") -> str | None:
            row = _run(db, query, account=self.account_name)
            return None if not row or row[0][0] is None else str(row[0][0])

        return self._do(work)

    def note(self, name: str) -> str | None:
        """Return the note of that name; see `SessionNotes`."""

        def work(db: "Connection") -> str | None:
            row = _run(db, "SELECT value FROM og_budget_notes WHERE name = %(name)s", name=name)
            return str(row[0][0]) if row else None

        return self._do(work)

    def swap(self, name: str, old: str | None, new: str | None, until: int) -> bool:
        """Replace the note `old` by `new`; return whether it was the one that stands."""
        query = "SELECT og_budget_swap(%(identity)s, %(name)s, %(old)s, %(new)s, %(until)s)"
        given: dict[str, object] = {"name": name, "old": old, "new": new, "until": until}
        return bool(self._do(lambda db: _run(db, query, identity=self._identity, **given)[0][0]))

    def later(self, work: Callable[[], object]) -> None:
        """Have `work` done after all that was asked before, without waiting for it."""
        self._thread.later(work)

    @property
    def _name(self) -> str:
        return f"The budget database {self.place[1]}"

    def _do(self, work: "Callable[[Connection], T]", given_up: Callable[[], None] = lambda: None) -> T:
        return self._thread.run(lambda: self._patiently(work), HUNG, lambda: self._is_hung(given_up))

    def _is_hung(self, given_up: Callable[[], None]) -> BudgetBusyError:
        given_up()
        return BudgetBusyError(
            f"{self._name} has not answered for {HUNG:g} s. Nothing was signed or sent; ask again once it answers."
        )

    def _patiently(self, work: "Callable[[Connection], T]") -> T:
        """Return what `work` returns, done as often as a database that is away needs; each of our steps can be."""
        until = time.monotonic() + PATIENCE
        while True:
            result, trouble = self._attempt(work)
            if trouble is None:
                return result[0]
            if not trouble.passes:
                break
            if time.monotonic() > until:
                raise BudgetBusyError(
                    f"{self._name} is away, or held by others, for more than {PATIENCE:g} s ({trouble.said}). Nothing "
                    "was signed or sent; ask again once it is back."
                )
            time.sleep(_RETRY)
        if trouble.replaced:
            raise ConfigurationError(
                f"{self._name} is another one than before: it was emptied, dropped, or replaced. What was authorized "
                "cannot be counted, so nothing is spent. Restore it, or make a new client in a new process."
            )
        raise ConfigurationError(
            f"{self._name} cannot be used ({trouble.said}). What cannot be counted is not spent: check "
            "SpendPolicy.store."
        )

    def _attempt(self, work: "Callable[[Connection], T]") -> tuple[list[T], _Trouble | None]:
        """Return what `work` returns, or the trouble with the database; what was still to be told is told before."""
        from psycopg import Error
        from sqlalchemy.exc import DBAPIError

        known = bool(self._identity)
        try:
            db = self._connection()
            if not known:
                self._first_look(db)
            while self._untold:
                self._untold[0](db)
                self._untold.popleft()
            return [work(db)], None
        except DBAPIError as exc:
            # SQLAlchemy asks for a few things itself when it first connects.
            trouble = _trouble(exc.orig, known=known)
        except Error as exc:
            trouble = _trouble(exc, known=known)
        # What a statement that failed left open is not known; a connection is made anew in milliseconds.
        self._disconnect()
        return [], trouble

    def _connection(self) -> "Connection":
        """Return the one connection, which commits each statement by itself; made anew if it is lost."""
        if self._db is None or self._db.closed:
            self._engine = self._engine or self._new_engine()
            made = self._engine.raw_connection()
            self._db = cast("Connection", made.driver_connection)
            # From here on it is ours alone: a pool would look after it by round trips of its own.
            made.detach()
            self._at_end = weakref.finalize(self, _end, self._db, os.getpid())
        return self._db

    def _disconnect(self) -> None:
        if self._db is not None:
            # Otherwise each connection that was lost would be kept as long as the store lives.
            self._at_end.detach()
            self._db.close()
            self._db = None

    def _new_engine(self) -> "Engine":
        from sqlalchemy import create_engine

        return create_engine(
            self._url,
            pool_size=1,
            max_overflow=0,
            isolation_level="AUTOCOMMIT",
            # Without it errors would quote what was to be written.
            hide_parameters=True,
            # Statements that are prepared on a connection break behind a pooler that shares connections.
            connect_args={"connect_timeout": 5, "application_name": "og-integrations", "prepare_threshold": None},
        )

    def _first_look(self, db: "Connection") -> None:
        """Find the tables, or make them; and remember which budget this is."""
        found = _facts(db)
        if not found or found["version"] in _FROM:
            with _transaction(db):
                _run(db, "SELECT pg_advisory_xact_lock(%(key)s)", key=_MAKING)
                found = _facts(db)
                if not found or found["version"] in _FROM:
                    found = _make(db, found)
        if found["version"] != str(VERSION):
            raise ConfigurationError(
                f"{self._name} is of version {shown(found['version'], 20)}, expected {VERSION}: a newer "
                "og-integrations wrote it. Get that one, or set SpendPolicy.store to another database."
            )
        self._identity = found["identity"]

    def _claim(self, db: "Connection", how: str, entry: Entry, limits: Limits) -> JsonObject:
        signed = None if entry.authorization is None else json.dumps(entry.authorization.to_json())
        row = _run(
            db,
            how,
            identity=self._identity,
            id=entry.id,
            account=self.account_name,
            part=entry.part,
            amount=entry.amount,
            at=entry.at,
            signed=signed,
            network=entry.network,
            total=limits.total,
            per_hour=limits.per_hour,
            per_day=limits.per_day,
            payments=limits.payments_per_hour,
            share=limits.share,
            unanswered=limits.unanswered,
            old=FOLD_AFTER,
            most=rules.MOST_UNEXPLAINED,
        )[0]
        return cast("JsonObject", row[0])

    def _look(self, db: "Connection", now: int, part: str) -> BudgetTotals:
        query = "SELECT to_json(og_budget_look(%(account)s, %(part)s, %(at)s, true, true))"
        return _totals(_run(db, query, account=self.account_name, part=part, at=now)[0][0])


def _parsed(url: str) -> "URL":
    try:
        import psycopg  # noqa: F401 - SQLAlchemy would say so later, and on another thread
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as exc:
        raise ConfigurationError(
            'A budget in PostgreSQL needs SQLAlchemy and psycopg. Run: pip install "og-integrations[postgres]"'
        ) from exc
    try:
        return make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        pass
    # Outside of the handler, and without the text: it may hold a password.
    raise ConfigurationError("SpendPolicy.store is no URL of a database, expected postgresql://user@host:port/name.")


def _end(db: "Connection", maker: int) -> None:
    # A forked child would say goodbye on its parent's socket.
    if os.getpid() == maker:
        db.close()


def _run(db: "Connection", query: str, **given: object) -> list[tuple[Any, ...]]:
    done = db.execute(query, given or None)
    return done.fetchall() if done.description else []


@contextmanager
def _transaction(db: "Connection") -> Iterator[None]:
    _run(db, "BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        yield
    except BaseException:
        _run(db, "ROLLBACK")
        raise
    _run(db, "COMMIT")


def _facts(db: "Connection") -> dict[str, str]:
    if _run(db, "SELECT to_regclass('og_budget_facts')")[0][0] is None:
        return {}
    return {str(name): str(value) for name, value in _run(db, "SELECT name, value FROM og_budget_facts")}


def _make(db: "Connection", found: dict[str, str]) -> dict[str, str]:
    """Make the tables, or what `_FROM` lacks of them; return the facts about them."""
    tables, functions = files(__package__).joinpath("_postgres.sql").read_text("utf-8").split(_FUNCTIONS)
    if found:
        older = "SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = current_schema::regnamespace AND "
        for (name,) in _run(db, older + r"proname LIKE 'og\_budget\_%%'", none=None):
            _run(db, f"DROP FUNCTION {name} CASCADE")
    else:
        _run(db, tables)
    _run(db, functions)
    facts = found | {"version": str(VERSION), "identity": found.get("identity", secrets.token_hex(16))}
    query = "INSERT INTO og_budget_facts VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO UPDATE "
    query += "SET value = excluded.value"
    for name, value in facts.items():
        _run(db, query, name=name, value=value)
    return facts


def _totals(found: JsonObject) -> BudgetTotals:
    sums: JsonObject = {name: int(value) for name, value in found.items() if name not in ("made", "stopped")}
    return BudgetTotals(**sums, stopped=found["stopped"])


def _read(row: Any) -> Entry:
    name, amount, at, state, signed, network, part = row
    try:
        authorization = decode_authorization(json.loads(signed))
        return Entry(
            id=name,
            amount=int(amount),
            at=at,
            state=HoldState(state),
            authorization=authorization,
            network=network,
            part=part,
        )
    except ValueError as exc:
        # In our words: LlamaIndex swallows a `ValueError`, and would spend on.
        raise ConfigurationError(
            f"The budget database cannot be used ({type(exc).__name__}: {exc}). What cannot be counted is not spent: "
            "check SpendPolicy.store."
        ) from exc


def _trouble(exc: BaseException | None, *, known: bool) -> _Trouble:
    """Say what is wrong, in one line that quotes no statement."""
    from psycopg import InterfaceError, OperationalError

    state = getattr(exc, "sqlstate", None)
    said = shown(str(exc).strip().splitlines()[0] if str(exc).strip() else "no reason given", 200)
    kind = type(exc).__name__
    if state is None:
        # Nobody has answered yet, or nobody does any more.
        lost = isinstance(exc, InterfaceError | OperationalError)
        return _Trouble(f"{kind}: {said}", passes=lost and not any(word in str(exc) for word in _SETTINGS))
    # Another process made the tables, which a connection that has just looked for them may not know yet.
    if not known and state in ("42P07", "42710", "23505", "42723"):
        return _Trouble(f"{kind}: {said}", passes=True)
    gone = known and (state in ("42P01", "42883") or "og: another budget" in said)
    return _Trouble(f"{kind}: {said}", passes=state.startswith(_AWAY), replaced=gone)

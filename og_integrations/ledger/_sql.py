"""
This module keeps ledgers in SQLite or, for many machines, PostgreSQL (SQLAlchemy Core, extras `ledger`, `postgres`).

Three tables, all append-only: `og_entries`, their tags, and what the chain said of payments. Whoever comes first makes
them, under a lock, and notes the version of their form in `og_ledger`; there is no migration yet, so that one number
does what Alembic would. An entry that is written twice, since the connection broke at the wrong moment, is kept once.

Readers fetch page after page by the number of the row, so that no transaction stays open and memory stays flat.
"""

import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from og_integrations._forking import survive_forks
from og_integrations.errors import ConfigurationError, LedgerBusyError
from og_integrations.ledger._entry import Item, LedgerEntry, Query, SettlementNote, TransactionNote

if TYPE_CHECKING:
    import sqlite3

    from sqlalchemy import ColumnElement, Connection, Engine, Insert, MetaData, Row, Select, Table
    from sqlalchemy.types import TypeEngine

SCHEMA_VERSION = 1
PAGE = 500
"""Rows that are fetched at once."""
LOCK_TIMEOUT = 30.0
"""Seconds to wait for other writers; each holds the database for a few milliseconds."""
_CREATION_LOCK = 0x4F47_4C45_4447_4552
"""The number of the advisory lock under which the tables are made: "OGLEDGER"."""


class SqlLedger:
    """
    This is a ledger in the database at `url` (`sqlite:///…`, `postgresql://…`).

    Raises `ConfigurationError` for a database that cannot be used, `LedgerBusyError` for one that is away or held by
    others for too long.
    """

    quick = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: Engine = _engine(url)
        self._tables = _Tables()
        self.name: str = self._engine.url.render_as_string(hide_password=True)
        survive_forks(self)
        # A ledger that nobody uses any more closes its connections, instead of leaving that to the garbage collector.
        weakref.finalize(self, self._engine.dispose)

    def begin_again(self) -> None:
        """Leave the parent's connections to the parent."""
        self._engine.dispose(close=False)

    def prepare(self) -> None:
        """Make the tables that are missing. Raises `ConfigurationError` for those of another version."""
        with self._writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATION_LOCK})")
            self._tables.metadata.create_all(connection)
            facts = self._tables.facts
            version = connection.execute(facts.select()).scalar()
            if version is None:
                connection.execute(facts.insert().values(version=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise ConfigurationError(
                    f"The ledger {self.name} has version {version} of its tables, expected {SCHEMA_VERSION}: it was "
                    "made by another release. Use that one, or another database."
                )

    def append(self, entries: Sequence[Item]) -> None:
        """Add `entries` in one transaction."""
        calls = [entry for entry in entries if isinstance(entry, LedgerEntry)]
        notes = [entry for entry in entries if isinstance(entry, SettlementNote)]
        left = [
            {"transaction": json.dumps(entry.transaction), "at": entry.at}
            for entry in entries
            if isinstance(entry, TransactionNote)
        ]
        tags = [{"entry_id": entry.id, "tag": tag} for entry in calls for tag in dict.fromkeys(entry.tags)]
        with self._writing() as connection:
            for table, rows in (
                (self._tables.entries, [_row(entry) for entry in calls]),
                (self._tables.tags, tags),
                (self._tables.settlements, [_note_row(note) for note in notes]),
                (self._tables.transactions, left),
            ):
                if rows:
                    connection.execute(_insert_once(connection, table), rows)

    def entries(self, query: Query) -> Iterator[LedgerEntry]:
        """Yield what `query` wants, in the order of writing."""
        table, last = self._tables.entries, 0
        while True:
            page = self._tables.matching(query).where(table.c.number > last).limit(PAGE)
            with self._told(), self._engine.connect() as connection:
                rows = connection.execute(page).all()
                tags = self._tags_of(connection, [row.id for row in rows])
            for row in rows:
                yield _entry(row, tags.get(row.id, ()))
            if len(rows) < PAGE:
                return
            last = rows[-1].number

    def settlements(self) -> dict[str, SettlementNote]:
        """Return the last note on each payment."""
        table = self._tables.settlements
        with self._told(), self._engine.connect() as connection:
            rows = connection.execute(table.select().order_by(table.c.number)).all()
        return {row.payment: _note(row) for row in rows}

    def left(self) -> list[TransactionNote]:
        """Return the transactions that were written down, in the order of writing."""
        table = self._tables.transactions
        with self._told(), self._engine.connect() as connection:
            rows = connection.execute(table.select().order_by(table.c.number)).all()
        return [TransactionNote(transaction=json.loads(row.transaction), at=row.at) for row in rows]

    def close(self) -> None:
        """Close the connections; the ledger can be used again."""
        self._engine.dispose()

    def _tags_of(self, connection: "Connection", ids: list[str]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        if not ids:
            return found
        table = self._tables.tags
        for row in connection.execute(table.select().where(table.c.entry_id.in_(ids)).order_by(table.c.number)):
            found[row.entry_id] = (*found.get(row.entry_id, ()), row.tag)
        return found

    @contextmanager
    def _writing(self) -> "Iterator[Connection]":
        with self._told(), self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                # At once: a reader that becomes a writer in the middle may find the file changed, and fail.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn errors of the database into ours; none of them shows the URL's password."""
        from sqlalchemy import exc

        try:
            yield
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
            raise LedgerBusyError(
                f"The ledger {self.name} is away, or held by others for too long ({_reason(error)})."
            ) from None
        except exc.SQLAlchemyError as error:
            raise ConfigurationError(f"The ledger {self.name} cannot be used: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    # The first line: what follows are statement and parameters, which hold receipts.
    return str(getattr(error, "orig", None) or type(error).__name__).strip().partition("\n")[0]


def _engine(url: str) -> "Engine":
    try:
        from sqlalchemy import create_engine, event, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError as exc:
        raise ConfigurationError(
            'A ledger in a database needs SQLAlchemy: pip install "og-integrations[ledger]" (for PostgreSQL '
            '"og-integrations[postgres]").'
        ) from exc
    try:
        made = make_url(url)
        if made.get_backend_name() == "postgresql":
            made = made.set(drivername="postgresql+psycopg")
            return create_engine(made, pool_pre_ping=True, pool_size=2, max_overflow=6, hide_parameters=True)
        engine = create_engine(made, connect_args={"timeout": LOCK_TIMEOUT}, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError):
        raise ConfigurationError(
            "The ledger's URL is none of a database: expected sqlite:/// or postgresql://."
        ) from None
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            f'A ledger in PostgreSQL needs {exc.name}: pip install "og-integrations[postgres]".'
        ) from exc
    event.listen(engine, "connect", _begin_sqlite)
    return engine


def _begin_sqlite(connection: "sqlite3.Connection", _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}").close()


class _Tables:
    """These are the tables, and queries of them."""

    def __init__(self) -> None:
        from sqlalchemy import (
            BigInteger,
            Column,
            Float,
            Integer,
            MetaData,
            String,
            Table,
            Text,
        )

        number = BigInteger().with_variant(Integer, "sqlite")
        metadata = MetaData()
        self.metadata = metadata
        self.facts = Table("og_ledger", metadata, Column("version", Integer, primary_key=True))
        self.entries: Table = Table(
            "og_entries",
            metadata,
            Column("number", number, primary_key=True, autoincrement=True),
            Column("id", String(32), nullable=False, unique=True),
            Column("at", Float(53), nullable=False, index=True),
            Column("run", Text, index=True),
            Column("status", Text, nullable=False),
            Column("model", Text, index=True),
            Column("wallet", Text, index=True),
            Column("payment", Text, index=True),
            Column("request", Text, index=True),
            Column("receipt", Text, nullable=False),
            Column("exchange", Text),
        )
        self.tags, self.settlements, self.transactions = _tables_beside(metadata, number)

    def matching(self, query: Query) -> "Select[Any]":
        """Return the statement that selects what `query` wants, in the order of writing."""
        from sqlalchemy import or_, select

        entries, tags = self.entries, self.tags
        column, bare = entries.c, f"/{query.model}"
        wishes: list[tuple[object, Callable[[], ColumnElement[bool]]]] = [
            (query.since, lambda: column["at"] >= query.since),
            (query.until, lambda: column["at"] < query.until),
            (query.wallet, lambda: column.wallet == query.wallet),
            (
                query.model,
                lambda: or_(column.model == query.model, column.model.endswith(bare, autoescape=True)),
            ),
            (query.status, lambda: column.status == query.status),
            (query.payment, lambda: column.payment == query.payment),
            (query.run, lambda: column.run == query.run),
            (query.request_hashes, lambda: column.request.in_(list(query.request_hashes or ()))),
            (
                query.any_tag,
                lambda: column.id.in_(select(tags.c.entry_id).where(tags.c.tag.in_(list(query.any_tag or ())))),
            ),
            (query.tag, lambda: column.id.in_(select(tags.c.entry_id).where(tags.c.tag == query.tag))),
        ]
        clauses = [clause() for wish, clause in wishes if wish is not None]
        return select(entries).where(*clauses).order_by(column.number)


def _tables_beside(metadata: "MetaData", number: "TypeEngine[int]") -> "tuple[Table, Table, Table]":
    """Return the tables of tags, of what the chain said, and of transactions that left, beside that of entries."""
    from sqlalchemy import Column, Float, Index, String, Table, Text, UniqueConstraint

    tags = Table(
        "og_entry_tags",
        metadata,
        Column("number", number, primary_key=True, autoincrement=True),
        Column("entry_id", String(32), nullable=False),
        Column("tag", Text, nullable=False),
        UniqueConstraint("entry_id", "tag"),
        Index("og_entry_tags_by_tag", "tag", "entry_id"),
    )
    settlements = Table(
        "og_settlements",
        metadata,
        Column("number", number, primary_key=True, autoincrement=True),
        Column("payment", Text, nullable=False, index=True),
        Column("status", Text, nullable=False),
        Column("amount", Text),
        Column("transaction", Text),
        Column("at", Float(53), nullable=False),
    )
    transactions = Table(
        "og_transactions",
        metadata,
        Column("number", number, primary_key=True, autoincrement=True),
        Column("transaction", Text, nullable=False),
        Column("at", Float(53), nullable=False),
    )
    return tags, settlements, transactions


def _insert_once(connection: "Connection", table: "Table") -> "Insert":
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert

        return insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as insert_sqlite

    return insert_sqlite(table).on_conflict_do_nothing()


def _row(entry: LedgerEntry) -> dict[str, object]:
    facts = entry.facts
    return {
        "id": entry.id,
        "at": entry.at,
        "run": entry.run,
        "status": facts.status,
        "model": facts.model,
        "wallet": facts.wallet,
        "payment": facts.payment,
        "request": facts.request,
        "receipt": json.dumps(entry.receipt, separators=(",", ":")),
        "exchange": None if entry.exchange is None else json.dumps(entry.exchange, separators=(",", ":")),
    }


def _entry(row: "Row[Any]", tags: tuple[str, ...]) -> LedgerEntry:
    return LedgerEntry(
        id=row.id,
        at=row.at,
        run=row.run,
        tags=tags,
        receipt=json.loads(row.receipt),
        exchange=None if row.exchange is None else json.loads(row.exchange),
    )


def _note_row(note: SettlementNote) -> dict[str, object]:
    return asdict(note) | {"amount": None if note.amount is None else str(note.amount)}


def _note(row: "Row[Any]") -> SettlementNote:
    return SettlementNote(
        payment=row.payment,
        status=row.status,
        amount=None if row.amount is None else int(row.amount),
        transaction=row.transaction,
        at=row.at,
    )

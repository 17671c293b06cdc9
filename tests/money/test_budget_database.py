"""The account in PostgreSQL: what it promises beyond what every store does."""

import signal
from collections.abc import Iterator
from importlib.resources import files

import pytest

from og_integrations.client.stores import _postgres as database_store
from og_integrations.client.stores._postgres import BudgetDatabase
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.payment._budget import Entry, HoldState, Limits
from tests.money.test_limits import NOW, PERMIT
from tests.postgres_server import MISSING, PostgresServer, find_programs

PROGRAMS = find_programs()
LIMITS = Limits(total=100, per_hour=100, per_day=100, payments_per_hour=50, amount=1)


@pytest.fixture
def lazy_postgres() -> Iterator[PostgresServer]:
    """A server that writes its log to the disk only when somebody waits for it, or after ten seconds."""
    if PROGRAMS is None:
        pytest.skip(MISSING)
    with PostgresServer(PROGRAMS) as server:
        url = server.new_database()
        server.sql(url, "ALTER SYSTEM SET wal_writer_delay = '10s'", "ALTER SYSTEM SET synchronous_commit = off")
        # What a crash of the server alone loses is what it had not given to the kernel.
        server.sql(url, "ALTER SYSTEM SET fsync = off")
        server.stop()
        server.start()
        yield server


def test_claim_survives_a_crash_of_the_server(lazy_postgres: PostgresServer) -> None:
    """It is on the disk when it returns, also where the server's setting says that commits need not be."""
    store = BudgetDatabase(lazy_postgres.new_database())
    with pytest.raises(RuntimeError, match="not now"):
        store.claim(Entry(id="x", amount=1, at=NOW), lambda totals: (_ for _ in ()).throw(RuntimeError("not now")))
    store.claim(Entry(id="y", amount=1, at=NOW, authorization=PERMIT), lambda totals: None)
    for number in range(5):
        store.claim(Entry(id=str(number), amount=1, at=NOW, authorization=PERMIT), LIMITS)
    lazy_postgres.stop(signal.SIGQUIT)
    lazy_postgres.start()
    assert [entry.id for entry in store.entries()] == ["y", *map(str, range(5))]
    assert (store.totals(NOW).authorized, store.totals(NOW).payments) == (6, 6)


def test_tables_of_version_1_are_taken_over(postgres: PostgresServer) -> None:
    """Sums and entries stay as they are; the functions are those of today, and old ones are gone."""
    url = postgres.new_database()
    schema = files(database_store.__package__).joinpath("_postgres.sql").read_text("utf-8")
    tables, _ = schema.split("-- functions\n")
    nothing = "RETURNS og_budget_sums LANGUAGE plpgsql AS 'BEGIN END'"
    postgres.sql(
        url,
        tables,
        f"CREATE FUNCTION og_budget_claim(_identity text) {nothing}",
        f"CREATE FUNCTION og_budget_look(text, text, bigint, boolean) {nothing}",
        "INSERT INTO og_budget_facts VALUES ('version', '1'), ('identity', 'the same')",
        "INSERT INTO og_budget_totals (account, authorized) VALUES ('', 99)",
    )
    stores = [BudgetDatabase(url) for _ in range(2)]
    stores[0].claim(Entry(id="a", amount=1, at=NOW), LIMITS)
    assert [store.totals(NOW).authorized for store in stores] == [100, 100]
    facts = dict(postgres.sql(url, "SELECT name, value FROM og_budget_facts"))
    assert facts == {"version": str(database_store.VERSION), "identity": "the same"}
    query = (
        "SELECT count(*) FROM pg_proc WHERE proname = 'og_budget_look' AND pronamespace = current_schema::regnamespace"
    )
    assert postgres.sql(url, query) == [(1,)]


def test_newer_version_is_refused(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    BudgetDatabase(url).totals(NOW)
    postgres.sql(url, "UPDATE og_budget_facts SET value = '9' WHERE name = 'version'")
    with pytest.raises(ConfigurationError, match="is of version 9, expected 2: a newer og-integrations wrote it"):
        BudgetDatabase(url).totals(NOW)


def test_claim_that_is_said_again_counts_once(postgres: PostgresServer) -> None:
    """As after a connection that was lost before the answer; also where the first one has used up the limit."""
    store = BudgetDatabase(postgres.new_database())
    entry = Entry(id="a", amount=100, at=NOW, authorization=PERMIT)
    for _ in range(2):
        store.claim(entry, Limits(total=100, amount=100))
    assert (store.totals(NOW).authorized, store.totals(NOW).payments) == (100, 1)
    store.move("a", HoldState.IN_DOUBT)
    store.move("a", HoldState.IN_DOUBT)
    assert store.totals(NOW).unanswered == 1
    store.move("a", HoldState.SETTLED)
    assert store.totals(NOW).unanswered == 0

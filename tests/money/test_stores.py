"""What every store promises, to all threads and processes that share it, about entries that are final or gone."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from og_integrations.client.chain._settlement import _explicable
from og_integrations.client.stores import open_store
from og_integrations.client.stores._sqlite import BudgetFile
from og_integrations.errors import ConfigurationError
from og_integrations.networks import BASE, BASE_SEPOLIA, Network
from og_integrations.protocol.payment._budget import SKEW, BudgetStore, BudgetTotals, Entry, HoldState
from og_integrations.protocol.payment._memory import MemoryStore
from tests.money.test_limits import NOW, PERMIT

FORK = replace(BASE, name="devnet", rpc_url="http://127.0.0.1:1")


@pytest.fixture(params=["memory", "file", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BudgetStore:
    """A store that holds one authorization, of 7 base units."""
    kept: BudgetStore | None = MemoryStore(threading.RLock())
    if request.param != "memory":
        is_file = request.param == "file"
        kept = open_store(tmp_path / "budget.sqlite" if is_file else request.getfixturevalue("database"))
    assert kept is not None
    kept.claim(Entry(id="a", amount=7, at=NOW, authorization=PERMIT), lambda account: None)
    return kept


def test_authorization_is_given_back_as_it_was_signed(store: BudgetStore) -> None:
    """The chain is asked about it by its own words."""
    assert [entry.authorization for entry in store.entries()] == [PERMIT]


@pytest.mark.parametrize(
    ("noted", "network", "asked"),
    [
        (BASE.identity, BASE, True),
        (None, BASE, True),
        (None, FORK, False),
        (FORK.identity, FORK, True),
        (FORK.identity, BASE, False),
        (BASE.identity, BASE_SEPOLIA, False),
    ],
)
def test_only_the_chain_of_an_authorization_is_asked_about_it(noted: str | None, network: Network, asked: bool) -> None:
    """A devnet may have the chain id of a real one; what it says must not give real money back."""
    entry = Entry(id="a", amount=7, at=NOW, authorization=PERMIT, network=noted, state=HoldState.SETTLED)
    assert _explicable(entry, network, PERMIT.deadline + SKEW + 1) == (PERMIT if asked else None)
    assert _explicable(entry, network, PERMIT.deadline + SKEW) is None
    assert _explicable(replace(entry, authorization=None), network, PERMIT.deadline + SKEW + 1) is None


@pytest.mark.parametrize("late", [HoldState.IN_DOUBT, HoldState.RELEASED])
def test_settled_entry_stays_settled(store: BudgetStore, late: HoldState) -> None:
    """Whoever comes later with less to say does not undo it."""
    store.move("a", HoldState.SETTLED)
    store.move("a", late)
    assert [entry.state for entry in store.entries()] == [HoldState.SETTLED]
    assert store.totals(NOW) == BudgetTotals(authorized=7, last_hour=7, last_day=7, payments=1)


def test_entry_that_is_gone_stays_gone(store: BudgetStore) -> None:
    store.move("a", HoldState.RELEASED)
    store.move("a", HoldState.SETTLED)
    store.correct("a", 3)
    assert (store.totals(NOW), store.entries()) == (BudgetTotals(), [])


def test_abandoned_call_may_end_while_another_claims(store: BudgetStore) -> None:
    """The garbage collector does it wherever it likes; what it says is noted, and nobody waits for himself."""
    store.claim(Entry(id="b", amount=5, at=NOW), lambda account: store.move("a", HoldState.RELEASED))
    assert (store.totals(NOW).authorized, store.entries()) == (5, [])
    store.move("b", HoldState.RELEASED)
    assert store.totals(NOW) == BudgetTotals()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("budget", "amount", "much"), ("budget", "state", "lost"), ("budget", "signed", "{"),
        ("budget", "signed", "{}"),
        ("budget", "signed", "[1]"), ("totals", "authorized", "much"), ("totals", "in_doubt", "-"),
        ("spans", "amount", "x"),
    ],
)  # fmt: skip
def test_entry_that_cannot_be_read_stops_spending(tmp_path: Path, table: str, column: str, value: str) -> None:
    """In our words: a `ValueError` would be swallowed by LlamaIndex, and the next call would spend."""
    store = BudgetFile(tmp_path / "budget.sqlite")
    store.claim(Entry(id="a", amount=7, at=NOW, authorization=PERMIT), lambda totals: None)
    with closing(sqlite3.connect(store.path)) as db, db:
        db.execute(f"UPDATE {table} SET {column} = ?", (value,))
    said = r"cannot be used .* What cannot be counted is not spent"
    ask: Callable[[], object] = (
        store.entries
        if table == "budget"
        else lambda: store.claim(Entry(id="b", amount=1, at=NOW), lambda totals: None)
    )
    with pytest.raises(ConfigurationError, match=said):
        ask()


def test_file_that_cannot_be_opened_is_not_said_to_be_locked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\(OperationalError: unable to open database file\)"):
        BudgetFile(tmp_path)

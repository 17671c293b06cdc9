"""
Where the budget of a wallet is kept, if not in memory.

| file | what it holds |
| --- | --- |
| `_sqlite` | a budget in a file that processes of one machine share |
| `_postgres` | a budget in a database that machines share; `_postgres.sql` is what happens there |
| `_thread` | the thread on which a store that blocks is used |
| `conformance` | what every store must do, as tests for stores of one's own |

`open_store` returns what `SpendPolicy.store` means. A store of one's own is any object with the methods of
`BudgetStore`; those of `SessionNotes` besides let its users share their sessions. `conformance` tests it.
"""

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from og_integrations.errors import ConfigurationError
from og_integrations.protocol.payment._budget import (
    BudgetStore,
    BudgetTotals,
    Entry,
    HoldState,
    Judge,
    Limits,
    SessionNotes,
)

if TYPE_CHECKING:
    from og_integrations.client.stores._postgres import BudgetDatabase

__all__ = ["BudgetStore", "BudgetTotals", "Entry", "HoldState", "Judge", "Limits", "SessionNotes"]

_DATABASES: "WeakValueDictionary[tuple[object, str], BudgetDatabase]" = WeakValueDictionary()


def open_store(store: object, account: str = "") -> BudgetStore | None:
    """Return the store that `SpendPolicy.store` means, None for memory. Raises `ConfigurationError`."""
    match store:
        case None:
            return None
        case str() if store.startswith(("postgresql:", "postgresql+psycopg:", "postgres:")):
            return _database(store.replace("postgres:", "postgresql:", 1), account)
        case str() if store.startswith("sqlite:///"):
            return _file(store.removeprefix("sqlite:///"), account)
        case str() if "://" in store:
            raise ConfigurationError(
                f"SpendPolicy.store is a URL of {store.partition('://')[0]!r:.40}, expected a path, postgresql://… or "
                "a BudgetStore."
            )
        case str() | Path():
            return _file(store, account)
        case BudgetStore():
            return store
    raise ConfigurationError(f"SpendPolicy.store is a {type(store).__name__}, expected a path or a BudgetStore.")


def _file(place: str | Path, account: str) -> BudgetStore:
    # Loaded here, as the other: most accounts are kept in memory.
    from og_integrations.client.stores._sqlite import BudgetFile

    return BudgetFile(place, account)


def _database(url: str, account: str) -> "BudgetDatabase":
    """Return the database of `url`: one object for all clients of the process, and so one connection."""
    from og_integrations.client.stores._postgres import BudgetDatabase

    made = BudgetDatabase(url, account)
    return _DATABASES.setdefault((made.place, account), made)

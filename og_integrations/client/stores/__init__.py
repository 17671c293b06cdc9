"""
Where the budget of a wallet is kept, if not in memory.

| file | what it holds |
| --- | --- |
| `_sqlite` | a budget in a file that processes of one machine share |
| `_thread` | the thread on which a store that blocks is used |
| `_conformance` | what every store must do, as a test for stores of one's own |

`open_store` returns what `SpendPolicy.store` means. A store of one's own is any object with the methods of
`BudgetStore` (`protocol.payment._budget`, with `Entry`, `BudgetTotals` and the rest); `conformance` tests it.
"""

from pathlib import Path

from og_integrations.client.stores._sqlite import BudgetFile
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.payment._budget import BudgetStore


def open_store(store: object, account: str = "") -> BudgetStore | None:
    """Return the store that `SpendPolicy.store` means, None for memory. Raises `ConfigurationError`."""
    match store:
        case None:
            return None
        case str() | Path():
            return BudgetFile(store, account)
        case BudgetStore():
            return store
    raise ConfigurationError(f"SpendPolicy.store is a {type(store).__name__}, expected a path or a BudgetStore.")

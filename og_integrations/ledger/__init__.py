"""
This package keeps receipts as they happen: a ledger is where each call leaves its receipt when it ends.

```python
from og_integrations.ledger import open_ledger

ledger = open_ledger("sqlite:///receipts.db")
print(ledger.totals(tag="nightly"))
```

`collect_receipts(to=…)` writes one for the calls inside it, `OG_LEDGER` for all calls of a process.

| file | what it holds |
| --- | --- |
| `_ledger` | `Ledger`: written by calls, read by queries; `open_ledger` |
| `_entry` | one call in a ledger, what of its exchange is kept, and what can be asked for |
| `_lines` | how documents stand in JSON Lines, and which of them are no calls |
| `_files`, `_sql` | where entries are kept: JSON Lines (also in object stores), SQLite and PostgreSQL |
| `_totals` | sums over receipts, of costs too: reported, estimated, settled |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.ledger._entry import LedgerEntry, Query, SettlementNote
    from og_integrations.ledger._ledger import Ledger, open_ledger
    from og_integrations.ledger._totals import Totals

__all__ = ["Ledger", "LedgerEntry", "Query", "SettlementNote", "Totals", "open_ledger"]

_HOMES = {
    "Ledger": "og_integrations.ledger._ledger",
    "LedgerEntry": "og_integrations.ledger._entry",
    "Query": "og_integrations.ledger._entry",
    "SettlementNote": "og_integrations.ledger._entry",
    "Totals": "og_integrations.ledger._totals",
    "open_ledger": "og_integrations.ledger._ledger",
}

if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""
This package makes the report of saved receipts: one page for a person, which checks itself in the reader's browser.

```python
from og_integrations.report import Report
from og_integrations.verify import Verifier, sources_in

report = Report.of(sources_in("receipts"), Verifier.registry(), trust="the TEERegistry")
Path("report.html").write_text(report.html())
```

The page needs no network and nothing of this package. Its checks are a second implementation of `verify` in
JavaScript, which shares no line with the first: `node og_integrations/report/check.mjs` runs it as a command.

| file | what it holds |
| --- | --- |
| `_rows` | what was handed in: each document with its verdict, and what its receipt says |
| `_figures` | what the page sums up: calls, payments, models, wallets, enclaves, times |
| `_charts` | inline SVG |
| `_page` | the page: template, data, scripts and the policy that lets nothing else run |

Beside them stand the page's own files: `page.html`, `page.css`, `page.mjs`, and the checker with its parts.
"""

from og_integrations.report._page import Report

__all__ = ["Report"]

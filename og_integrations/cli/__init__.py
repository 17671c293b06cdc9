"""
The command line: `devnet`, `ask`, `verify`, `approve`, `settlement`, `doctor`.

```sh
og-integrations verify --registry receipts/*.json
```

`main` parses and dispatches; each command is a file, loaded only when it is the one that was asked for.
"""

from og_integrations.cli.entry import main

__all__ = ["main"]

"""
An OpenAI-compatible server on this machine, so that any language and any UI has verified answers.

`og-integrations serve` runs it. It listens on 127.0.0.1 only, asks who calls for a key of its own, gives each key a
budget of its own, and hands back a receipt with each answer.

| file | what it holds |
| --- | --- |
| `_keys` | the keys that callers have: made, kept as hashes, recognised |
| `_app` | the web application: requests in, verified answers and receipts out |
"""

from og_integrations.serve._app import application, listen, run
from og_integrations.serve._keys import Keys

__all__ = ["Keys", "application", "listen", "run"]

"""
The command line: `doctor`, `approve`, `ask`, `verify`, `verify-attestation`, `settlement`, `devnet`.

```sh
og-integrations verify --registry receipts/*.json
```

Each command is a file with its own `add_arguments` and `run`, loaded only when it is the one that was asked for.

| file | what is in it |
| --- | --- |
| `entry` | which command it is, and what errors become: messages and exit codes |
| `terminal` | what the values of flags may be; text that is safe to print |
| `doctor` | what stands between you and an answer |
| `verify`, `settlement` | what a saved receipt proves; what became of its payment |
| `attestation` | `verify-attestation`: an enclave's own document |
| `ask`, `approve`, `devnet` | one verified answer; the wallet's one transaction; the network on this machine |
"""

from og_integrations.cli.entry import main

__all__ = ["main"]

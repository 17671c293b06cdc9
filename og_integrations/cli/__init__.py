"""
The command line: `doctor`, `approve`, `ask`, `verify`, `verify-attestation`, `settlement`, `devnet`.

```sh
og-integrations verify --registry receipts/*.json
```

`main` in `entry` parses and dispatches; each command is a file, loaded only when it is the one that was asked for.

| file | what is in it |
| --- | --- |
| `entry`, `values`, `terminal` | arguments, what they may be, and exit codes; text that is safe to print |
| `doctor`, `gateway_checks`, `wallet_checks`, `attempt` | what stands between you and an answer |
| `verify`, `saved`, `judging` | files, what is in them, and the verdict on it |
| `attestation` | `verify-attestation`: an enclave's own document |
| `trust`, `registry_reader` | who vouches for the enclave of a file |
| `payment`, `coverage` | the checks `payment-hash` and `not-covered` |
| `ask`, `approve`, `settlement`, `devnet` | one command each |
"""

from og_integrations.cli.entry import main

__all__ = ["main"]

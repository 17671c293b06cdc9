"""
The command line: `doctor`, `ask`, `infer`, `workflow`, `hub`, `twins`, `verify`, `evidence`, `settlement`, `serve`,
`devnet` and others.

```sh
og-integrations verify --registry receipts/*.json
```

Each command is a file with its own `add_arguments` and `run`, loaded only when it is the one that was asked for.

| file | what is in it |
| --- | --- |
| `_entry` | which command it is, and what errors become: messages and exit codes |
| `_terminal` | what the values of flags may be; text that is safe to print |
| `_doctor` | what stands between you and an answer |
| `_batch` | a file of prompts, each answered once |
| `_verify`, `_settlement` | what a saved receipt proves; what became of its payment |
| `_report` | one page for an auditor, which checks itself |
| `_evidence`, `_export` | one file that a stranger checks without asking anybody; an in-toto Statement about it |
| `_conformance` | the public vectors, put to any verifier |
| `_attestation`, `_measurements` | an enclave's own document; what all enclaves run, and the file to pin |
| `_infer`, `_workflow` | models and workflows on chain |
| `_hub`, `_twins` | the model hub, and digital twins |
| `_serve` | OpenAI's chat completions on this machine |
| `_ask`, `_approve`, `_devnet` | one verified answer; the wallet's one transaction; the network on this machine |
"""

from og_integrations.cli._entry import main

__all__ = ["main"]

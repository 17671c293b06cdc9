"""
The chain of the devnet.

| file | what it holds |
| --- | --- |
| `chain`, `node` | balances, allowances and the TEERegistry in Python; its JSON-RPC node |
| `evm`, `contracts` | the chain as a real EVM (anvil) with real contracts |
| `inference`, `models` | the node that runs models for the chain, the scheduler's clock; the models it knows |
"""

"""
Reading the chain and sending transactions to it.

| file | what it holds |
| --- | --- |
| `_jsonrpc` | JSON-RPC as generators of `Fetch`, and the two ways to run them |
| `_transactions` | the one sender: nonces, fees, waiting, what is in doubt |
| `_approval` | the one transaction of a wallet: the allowance for Permit2 |
| `_settlement` | what became of a payment, and what a budget gets back |
| `_inclusion` | in which published batch a receipt is |
"""

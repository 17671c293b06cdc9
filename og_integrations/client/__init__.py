"""
Who talks: the only package with sockets, and the only one that reads the environment or a key.

`Client` and `AsyncClient` find an attested enclave, pay for a call within a `SpendPolicy`, and return
an `Answer` that was verified, with its receipt.

| room or file | what it holds |
| --- | --- |
| `_clients` | the two clients, the same methods awaited or not, and the types of their options |
| `_engine`, `_call` | what both clients share, all but the I/O; one call and how far it got |
| `_runner` | how generators of effects are run, synchronously or not |
| `_receipts`, `receipt` | receipts of all calls, failed ones too; a receipt with names and types |
| `_directory` | which enclave is asked: found, accepted, remembered, left when bad |
| `_settings`, `signer` | arguments and environment; who signs |
| `_accounts`, `_wallet` | which clients share an account; what the owner asks about it |
| `channels` | how a request reaches an enclave |
| `stores` | where a budget is kept |
| `chain` | JSON-RPC, the approval, settlements |
"""

from og_integrations.client._call import Answer
from og_integrations.client._clients import AsyncClient, CallOptions, ChatOptions, Client, ClientOptions
from og_integrations.client._engine import Engine
from og_integrations.client._receipts import Receipts, collect_receipts
from og_integrations.client._runner import AsyncStream
from og_integrations.client.chain.approval import Approval, ApprovalProgress
from og_integrations.client.receipt import Receipt
from og_integrations.client.signer import LocalSigner, Signer, TransactionSigner, typed_data_digest

__all__ = [
    "Answer",
    "Approval",
    "ApprovalProgress",
    "AsyncClient",
    "AsyncStream",
    "CallOptions",
    "ChatOptions",
    "Client",
    "ClientOptions",
    "Engine",
    "LocalSigner",
    "Receipt",
    "Receipts",
    "Signer",
    "TransactionSigner",
    "collect_receipts",
    "typed_data_digest",
]

"""
Who talks: the only package with sockets, and the only one that reads the environment or a key.

`Client` and `AsyncClient` find an attested enclave, pay for a call within a `SpendPolicy`, and return
an `Answer` that was verified, with its receipt.

| one call | |
| --- | --- |
| `sync_client`, `async_client` | the two clients: the same methods, awaited or not |
| `engine`, `call` | what they share, all but the I/O; one call, and how far it got |
| `answering`, `stream` | a call from beginning to answer; a streamed one: bytes in, text out, the proof at the end |
| `driving`, `drivers` | running generators of effects; the effects of a call, performed |
| `recording`, `collector`, `replays` | receipts of all calls, failed ones too; signatures that came before |
| `receipt` | a receipt with names and types |

| whom to talk to, and how | |
| --- | --- |
| `directory` | which enclave: found, accepted, remembered, left when bad |
| `connections` | transports: one per certificate and event loop |
| `transport`, `httpx_transport` | one HTTP exchange: over httpcore, or a user's own httpx client |
| `tls`, `handshake`, `redaction` | the pinned handshake, also alone; what must not be in logs |

| the wallet | |
| --- | --- |
| `signer`, `settings`, `options` | who signs; arguments and environment; the types of all options |
| `spending`, `shared_books`, `budget_file` | what the owner asks; who shares an account; the account in a file |
| `approval`, `approval_plan` | the one transaction of a wallet, and what it would do |
| `price` | what a call may cost, asked without paying |

| the chain | |
| --- | --- |
| `rpc`, `fetching` | JSON-RPC as generators of `Fetch`, and performing that |
| `chain_reads`, `settlement`, `reconciling` | balances; what became of a payment; what a budget gets back |
"""

from og_integrations.client.approval import Approval, ApprovalProgress
from og_integrations.client.async_client import AsyncClient
from og_integrations.client.call import Answer
from og_integrations.client.collector import Receipts, collect_receipts
from og_integrations.client.drivers import AsyncStream
from og_integrations.client.engine import Engine
from og_integrations.client.options import CallOptions, ChatOptions, ClientOptions
from og_integrations.client.receipt import Receipt
from og_integrations.client.signer import LocalSigner, Signer, TransactionSigner, typed_data_digest
from og_integrations.client.sync_client import Client

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

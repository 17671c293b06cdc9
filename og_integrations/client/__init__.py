"""
Who talks: the only package with sockets, and the only one that reads the environment or a key.

`Client` and `AsyncClient` find an attested enclave, pay for a call within a `SpendPolicy`, and return
an `Answer` that was verified, with its receipt.

| room or file | what it holds |
| --- | --- |
| `_options` | every option, declared once: type, default, variable and meaning |
| `_clients` | the two clients, the same methods awaited or not |
| `_engine`, `_call` | what both clients share, all but the I/O; one call, how far it got, and its receipt |
| `_collecting` | who gets the receipts of calls: lists, recordings, the ledger of the process |
| `_reader` | a streamed answer, and what of it may be shown before the proof |
| `_telemetry` | what happens, told beside the receipts: logs, metrics, spans, warnings |
| `_evidence` | what an enclave has shown of itself, and the file that holds all that proves a call |
| `_runner` | how generators of effects are run, synchronously or not |
| `_learned` | what was learned from answers: how each build of a gateway behaves, which signatures were seen |
| `_probes` | what a gateway's free pages tell |
| `_directory` | which enclave is asked: found, accepted, remembered, left when bad |
| `_settings`, `_signer` | arguments and environment; who signs |
| `_sealed_sessions` | what seals the sessions that processes share in a store |
| `_accounts`, `_wallet` | which clients share an account; what the owner asks about it |
| `channels` | how a request reaches an enclave |
| `stores` | where a budget is kept |
| `chain` | JSON-RPC, the approval, settlements |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.client._call import Answer
    from og_integrations.client._clients import AsyncClient, Client
    from og_integrations.client._collecting import Receipts, Recording, collect_receipts, set_ledger
    from og_integrations.client._engine import Engine
    from og_integrations.client._options import CallOptions, ChatOptions, ClientOptions
    from og_integrations.client._runner import AsyncStream
    from og_integrations.client._signer import LocalSigner, Signer, TransactionSigner, typed_data_digest
    from og_integrations.client.chain._approval import Approval, ApprovalProgress
    from og_integrations.receipt import Receipt

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
    "Recording",
    "Signer",
    "TransactionSigner",
    "collect_receipts",
    "set_ledger",
    "typed_data_digest",
]

_HOMES = {
    "Answer": "og_integrations.client._call",
    "Approval": "og_integrations.client.chain._approval",
    "ApprovalProgress": "og_integrations.client.chain._approval",
    "AsyncClient": "og_integrations.client._clients",
    "AsyncStream": "og_integrations.client._runner",
    "CallOptions": "og_integrations.client._options",
    "ChatOptions": "og_integrations.client._options",
    "Client": "og_integrations.client._clients",
    "ClientOptions": "og_integrations.client._options",
    "Engine": "og_integrations.client._engine",
    "LocalSigner": "og_integrations.client._signer",
    "Receipt": "og_integrations.receipt",
    "Receipts": "og_integrations.client._collecting",
    "Recording": "og_integrations.client._collecting",
    "Signer": "og_integrations.client._signer",
    "TransactionSigner": "og_integrations.client._signer",
    "collect_receipts": "og_integrations.client._collecting",
    "set_ledger": "og_integrations.client._collecting",
    "typed_data_digest": "og_integrations.client._signer",
}

if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""
Who talks: the only package with sockets, and the only one that reads the environment or a key.

`Client` and `AsyncClient` find an attested enclave, pay for a call within a `SpendPolicy`, and return
an `Answer` that was verified, with its receipt.
"""

from og_integrations.client.approval import Approval, ApprovalProgress
from og_integrations.client.async_client import AsyncClient
from og_integrations.client.call import Answer
from og_integrations.client.collector import Receipts, collect_receipts
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

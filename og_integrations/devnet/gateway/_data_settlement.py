"""
The gateway posts something about each answer, and says so in it (docs/protocol.md §2, §3 "Headers").

`private` posts nothing, `batch` hashes later; both are silent. `individual` posts at once, in clear.
"""

import base64
import secrets
import uuid
from dataclasses import dataclass

from og_integrations.devnet._enclave import Proof
from og_integrations.devnet._journal import DataSettlement, Journal
from og_integrations.devnet.chain._batches import Batches
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import SettlementMode

PRIVATE, INDIVIDUAL = SettlementMode.PRIVATE.value, SettlementMode.INDIVIDUAL_FULL.value
_QUEUE = "x402-settle-data-individual-queue-v1"
_SIGNER = "0x00b37C40e978013B4c8715496cc5103aD693633a"
_FIRST_QUEUE_NONCE = 1001
NO_USAGE = "response_json has no 'usage' dict; cannot extract usage tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """This is one `individual` posting: where it can be found."""

    job_id: str
    queue_nonce: int
    transaction_hash: str
    blob_id: str

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers of an answer that was not streamed."""
        return [
            ("X-Settlement-Job-ID", self.job_id),
            ("X-Settlement-Queue", _QUEUE),
            ("X-Settlement-Status", "queued"),
            ("X-Settlement-Type", INDIVIDUAL),
            ("X-Settlement-Queue-Nonce", str(self.queue_nonce)),
            ("X-Settlement-Signer-Address", _SIGNER),
            ("X-Settlement-Tx-Hash", self.transaction_hash),
            ("X-Settlement-Walrus-Blob-ID", self.blob_id),
        ]

    def event_members(self) -> JsonObject:
        """Return what a stream's final event says."""
        return {
            "data_settlement_success": True,
            "settlement_type": INDIVIDUAL,
            "data_settlement_transaction_hash": self.transaction_hash,
            "data_settlement_blob_id": self.blob_id,
            "settlement_job_id": self.job_id,
            "settlement_queue_nonce": str(self.queue_nonce),
        }


def proof_headers(proof: Proof) -> list[tuple[str, str]]:
    """Return the X-TEE-* headers of an `individual` answer that was not streamed; hashes with 0x."""
    return [
        ("X-TEE-Signature", base64.b64encode(proof.signature).decode()),
        ("X-TEE-ID", proof.tee_id),
        ("X-TEE-Timestamp", str(proof.timestamp)),
        ("X-TEE-Request-Hash", "0x" + proof.request_hash.hex()),
        ("X-TEE-Output-Hash", "0x" + proof.output_hash.hex()),
    ]


class DataSettler:
    """This is the facilitator's other half: posts hashes and answers, and notes them in the journal."""

    def __init__(self, journal: Journal, batches: Batches) -> None:
        self._journal = journal
        self._batches = batches

    def post(self, mode: str, proof: Proof, *, exchange: int, published: str) -> Posting | None:
        """Post one answer. `published` is its plaintext, used by `individual` only."""
        posting = None
        if mode == INDIVIDUAL:
            earlier = sum(item.mode == INDIVIDUAL for item in self._journal.data_settlements)
            posting = Posting(
                job_id=f"settlement-individual-{uuid.uuid4()}",
                queue_nonce=_FIRST_QUEUE_NONCE + earlier,
                transaction_hash="0x" + secrets.token_hex(32),
                blob_id=secrets.token_urlsafe(32),
            )
        if mode not in (PRIVATE, INDIVIDUAL):
            self._batches.add(proof)
        if mode != PRIVATE:
            self._journal.data_settlements.append(
                DataSettlement(
                    exchange=exchange,
                    mode=mode,
                    request_hash=proof.request_hash.hex(),
                    output_hash=proof.output_hash.hex(),
                    transaction_hash=posting.transaction_hash if posting else None,
                    blob_id=posting.blob_id if posting else None,
                    published=published if posting else None,
                )
            )
        return posting

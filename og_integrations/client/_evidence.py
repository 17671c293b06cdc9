"""
What an enclave has shown of itself, and the file that lets a stranger check an answer without asking anybody.

The format is `og-evidence/1`; `og_integrations.verify` reads and judges it.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.proof.freshness import nonce_place

if TYPE_CHECKING:
    from og_integrations.protocol.proof.attestation import Attestation

FORMAT = "og-evidence/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """
    Attested is an enclave that has shown what it runs: its `document`, as judged when it came.

    `nonce` (40 hex digits) is what it was asked with, `received_at` when it came (unix seconds), `certificate` the DER
    that its connection was pinned to. `until` is when it is asked again, on a clock that is never set.
    """

    attestation: "Attestation"
    document: bytes = field(repr=False)
    nonce: str
    received_at: int
    certificate: bytes = field(repr=False)
    until: float

    def to_json(self) -> JsonObject:
        """Return it as it stands in an evidence file."""
        return {
            "document": base64.b64encode(self.document).decode(),
            "nonce": self.nonce,
            "received_at": self.received_at,
            "tls_certificate": base64.b64encode(self.certificate).decode(),
        }


def evidence(receipt: JsonObject, exchange: JsonObject | None, attested: Attested | None) -> JsonObject:
    """Return all that is known of one call as a document to be saved; without a document of the enclave, no format."""
    saved: JsonObject = {"receipt": receipt, "exchange": exchange}
    if attested is None:
        return saved
    nonce = receipt.get("nonce")
    if nonce is not None and exchange is not None:
        place = nonce_place(exchange["path"], json.loads(exchange["request"]), nonce)
        saved["nonce"] = {"value": nonce, "place": place}
    return {"format": FORMAT, **saved, "attestation": attested.to_json()}

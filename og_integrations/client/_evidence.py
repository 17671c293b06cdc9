"""
What an enclave has shown of itself, and the file that lets a stranger check an answer without asking anybody.

The format is `og-evidence/1`; `og_integrations.verify` reads and judges it.
"""

import base64
import json
import secrets
import time
from collections.abc import Generator
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from og_integrations._urls import url_below
from og_integrations.errors import AttestationError, ConnectionLostError, DiscoveryError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._flow import Fetch
from og_integrations.protocol.proof._canonical import nonce_place
from og_integrations.protocol.proof._enclave import Enclave, SignedConfig
from og_integrations.protocol.proof._measurements import AttestationPolicy
from og_integrations.receipt import Receipt

if TYPE_CHECKING:
    from og_integrations.protocol.proof._attestation import Attestation
    from og_integrations.protocol.proof._verification import TrustDecision

FORMAT = "og-evidence/1"
_PATH = "/enclave/attestation"
_NONCE_BYTES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """
    Attested is an enclave that has shown what it runs: its `document`, and how far that is believed.

    `trust` is judged once, when the document comes, so that no later call costs more for it. `nonce` (40 hex digits)
    is what it was asked with, `received_at` when it came (unix seconds), `certificate` the DER that its connection was
    pinned to.
    """

    attestation: "Attestation"
    trust: "TrustDecision"
    document: bytes = field(repr=False)
    nonce: str
    received_at: int
    certificate: bytes = field(repr=False)

    def to_json(self) -> JsonObject:
        """Return it as it stands in an evidence file."""
        return {
            "document": base64.b64encode(self.document).decode(),
            "nonce": self.nonce,
            "received_at": self.received_at,
            "tls_certificate": base64.b64encode(self.certificate).decode(),
        }


class Shown(NamedTuple):
    """What an enclave has shown for one call: its attestation document, and the key that the call was sealed to."""

    attested: Attested | None = None
    sealed_to: SignedConfig | None = None


NOTHING_SHOWN = Shown()


def read_document(enclave: Enclave, policy: AttestationPolicy) -> Generator[Fetch, bytes, Attested]:
    """
    Ask `enclave` for its attestation document over a connection pinned to its certificate, and judge it by `policy`.

    Raises `AttestationError`, whose message names the enclave, or `ConnectionFailedError`.
    """
    # With the certificates of X.509, which only they need who ask for documents.
    from og_integrations.protocol.proof._attestation import decode_body, trust_of, verify_document

    nonce = secrets.token_hex(_NONCE_BYTES)
    url = url_below(enclave.endpoint, f"{_PATH}?nonce={nonce}")
    try:
        document = decode_body((yield Fetch(url, enclave=enclave)))
        received_at = int(time.time())
        attestation = verify_document(
            document,
            policy=policy,
            now=received_at,
            nonce=bytes.fromhex(nonce),
            tls_certificate=enclave.certificate,
            signing_key=enclave.public_key,
            pcr_hash=enclave.pcr_hash if enclave.source == "registry" else None,
        )
    except AttestationError as exc:
        raise _named(enclave, exc) from exc
    except (ConnectionLostError, DiscoveryError) as exc:
        silent = AttestationError(f"It shows no attestation document: {exc} Nothing was sent to it.", step="encoding")
        raise _named(enclave, silent) from exc
    return Attested(
        attestation=attestation,
        trust=trust_of(attestation),
        document=document,
        nonce=nonce,
        received_at=received_at,
        certificate=enclave.certificate,
    )


def _named(enclave: Enclave, exc: AttestationError) -> AttestationError:
    """Return `exc` as one that names the enclave."""
    named = copy(exc)
    named.args = (f"Enclave {enclave.tee_id} at {enclave.endpoint}: {exc}",)
    return named


def evidence(receipt: JsonObject, exchange: JsonObject | None, shown: Shown) -> JsonObject:
    """Return all that is known of one call as a document to be saved; where the enclave showed nothing, no format."""
    saved: JsonObject = {"receipt": receipt, "exchange": exchange}
    if shown == NOTHING_SHOWN:
        return saved
    known = Receipt(receipt)
    if known.nonce is not None and exchange is not None:
        place = nonce_place(exchange["path"], json.loads(exchange["request"]), known.nonce)
        saved["nonce"] = {"value": known.nonce, "place": place}
    if shown.attested is not None:
        saved["attestation"] = shown.attested.to_json()
    if shown.sealed_to is not None:
        texts = (base64.b64encode(data).decode() for data in shown.sealed_to)
        saved["hpke"] = dict(zip(("key_config", "signature"), texts, strict=True))
    if known.payment is not None and known.payment.transaction_hash is not None:
        saved["payment"] = {"network": known.payment.network, "transaction": known.payment.transaction_hash}
    return {"format": FORMAT, **saved}

"""What callers without our client say about their calls."""

import hashlib
from typing import Any

import httpx

from og_integrations.devnet import Devnet
from tests.devnet.bare_caller import Raw, ask


def ref_of(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()[:16]


def receipt_of(net: Devnet, reply: httpx.Response, **changes: Any) -> dict[str, Any]:
    """Return what an honest client would report of a whole answer."""
    body, seen = reply.json(), list(net.journal.authorizations.values())[-1]
    payment = {"payment_hash": seen.digest, "session_ref": ref_of(reply.headers["X-Upto-Session"])}
    proof = {name: body["tee_" + name] for name in ("request_hash", "output_hash")}
    receipt = {"status": "verified", "tee_signature": body["tee_signature"], "payment": payment, **proof}
    return receipt | changes


def paid(raw: Raw, text: str = "hi", **more: Any) -> httpx.Response:
    return raw.post(ask(text, **more), PAYMENT_SIGNATURE=raw.payment())

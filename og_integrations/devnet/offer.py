"""The 402 that asks for money: its offer, byte for byte in the shape of the real gateway (PROTOCOL §3.1)."""

from og_integrations.devnet.http import Reply, Request
from og_integrations.networks import Network
from og_integrations.protocol.chat import CHAT_PATH, COMPLETION_PATH, JsonObject
from og_integrations.protocol.x402 import PAYMENT_REQUIRED, encode_header

MAX_TIMEOUT_SECONDS = 300
DESCRIPTIONS = {CHAT_PATH: "Chat completion", COMPLETION_PATH: "Completion"}
_JSON = "application/json"
_BROWSER_PAGE_BYTES = 3_068_974
"""The real paywall page holds a whole wallet application; ours is as heavy, and empty."""


def _text_field(pattern: str, description: str) -> JsonObject:
    return {"type": "string", "pattern": pattern, "description": description}


_APPROVAL_FIELDS = {
    "from": _text_field("^0x[a-fA-F0-9]{40}$", "The address of the sender."),
    "asset": _text_field("^0x[a-fA-F0-9]{40}$", "The ERC-20 token contract address to approve."),
    "spender": _text_field("^0x[a-fA-F0-9]{40}$", "The address of the spender (Canonical Permit2)."),
    "amount": _text_field("^[0-9]+$", "Approval amount (uint256)."),
    "signedTransaction": _text_field("^0x[a-fA-F0-9]+$", "RLP-encoded signed transaction calling ERC20.approve()."),
    "version": _text_field(r"^[0-9]+(\.[0-9]+)*$", "Schema version identifier."),
}
EXTENSIONS: JsonObject = {
    "erc20ApprovalGasSponsoring": {
        "info": {
            "description": "The facilitator accepts a raw signed approval transaction and will sponsor the gas fees.",
            "version": "1",
        },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": _APPROVAL_FIELDS,
            "required": list(_APPROVAL_FIELDS),
        },
    }
}


def requirement(network: Network, *, cap: int, pay_to: str, facilitator: str) -> JsonObject:
    """Return the one way to pay that the gateway offers; `cap` in base units of OPG."""
    return {
        "scheme": "upto",
        "network": network.caip2,
        "asset": network.token,
        "amount": str(cap),
        "payTo": pay_to,
        "maxTimeoutSeconds": MAX_TIMEOUT_SECONDS,
        "extra": {
            "name": "OpenGradient",
            "version": "1",
            "assetTransferMethod": "permit2",
            "facilitatorAddress": facilitator,
        },
    }


def offer(request: Request, error: str, accepts: JsonObject) -> JsonObject:
    """Return the content of PAYMENT-REQUIRED. `error` says why payment is (still) required."""
    # The real gateway does not know that it stands behind TLS, so its URL says http.
    return {
        "x402Version": 2,
        "error": error,
        "resource": {
            "url": f"http://{request.header('host') or ''}{request.path}",
            "description": DESCRIPTIONS.get(request.path, ""),
            "mimeType": _JSON,
        },
        "accepts": [accepts],
        "extensions": EXTENSIONS,
    }


def offer_reply(content: JsonObject) -> Reply:
    """Return the 402 that carries an offer; the real one sends Content-Type twice."""
    headers = [("Content-Type", _JSON), (PAYMENT_REQUIRED, encode_header(content)), ("Content-Type", _JSON)]
    return Reply(status=402, headers=headers, body=b"{}", chunked=True)


def expired_reply() -> Reply:
    """Return the 402 for a session that is gone: no offer, another body."""
    body = b'{"error": "Session expired or exhausted"}'
    return Reply(status=402, headers=[("Content-Type", _JSON)], body=body, chunked=True)


def wants_browser_page(request: Request) -> bool:
    """Whether the payment layer takes the caller for a browser."""
    accept, agent = request.header("accept") or "", request.header("user-agent") or ""
    return "text/html" in accept and "Mozilla" in agent


def browser_reply() -> Reply:
    """Return the 402 for browsers: a page of 3 MB, without an offer in the headers."""
    page = b"<!DOCTYPE html><html><head><title>Payment Required</title></head><body></body></html>"
    return Reply(
        status=402,
        headers=[("Content-Type", "text/html"), ("Content-Type", "text/html; charset=utf-8")],
        body=page.ljust(_BROWSER_PAGE_BYTES),
        chunked=True,
    )

"""A caller with nothing of our client in it: httpx, eth_account and the words of docs/protocol.md."""

import base64
import json
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from eth_account import Account
from eth_account.messages import encode_typed_data

from og_integrations.devnet import Devnet, LocalEnclave, Wallet

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
OPG_TOKEN = "0xFbC2051AE2265686a469421b2C5A2D5462FbF5eB"
UPTO_PROXY = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"
_TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "PermitWitnessTransferFrom": [
        {"name": "permitted", "type": "TokenPermissions"},
        {"name": "spender", "type": "address"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
        {"name": "witness", "type": "Witness"},
    ],
    "TokenPermissions": [{"name": "token", "type": "address"}, {"name": "amount", "type": "uint256"}],
    "Witness": [
        {"name": "to", "type": "address"},
        {"name": "facilitator", "type": "address"},
        {"name": "validAfter", "type": "uint256"},
    ],
}


def ask(text: str, **more: Any) -> dict[str, Any]:
    """Return the body of a question."""
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}], **more}


def tls_of(enclave: LocalEnclave) -> ssl.SSLContext:
    """Return a context that trusts exactly the enclave's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=enclave.entry().certificate)
    return context


def offer_of(reply: httpx.Response) -> dict[str, Any]:
    """Decode PAYMENT-REQUIRED."""
    return dict(json.loads(base64.b64decode(reply.headers["PAYMENT-REQUIRED"], validate=True)))


def encoded(value: Any) -> str:
    """Encode a payment header."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def typed_permit(message: dict[str, Any]) -> dict[str, Any]:
    """Return the EIP-712 message that a payment signs."""
    return {
        "types": _TYPES,
        "primaryType": "PermitWitnessTransferFrom",
        "domain": {
            "name": "Permit2",
            "chainId": 8453,
            "verifyingContract": "0x000000000022D473030F116dDEE9F6B43aC78BA3",
        },
        "message": message,
    }


class Raw:
    """Requests to one gateway of `net`, with any payment one likes."""

    def __init__(self, net: Devnet, http: httpx.Client) -> None:
        self.net = net
        self.http = http

    def post(self, body: Any, path: str = CHAT, **headers: str) -> httpx.Response:
        """Send `body` (JSON, or bytes as they are); header names with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(path, content=content, headers={"Content-Type": "application/json"} | named)

    def offer(self, path: str = CHAT) -> dict[str, Any]:
        """Ask for the offer and return its one way to pay."""
        reply = self.post({}, path)
        assert reply.status_code == 402
        (way,) = offer_of(reply)["accepts"]
        return dict(way)

    def permit(self, way: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Return the message to sign for `way`; `changes` overwrite members before signing."""
        now = self.net.clock.seconds()
        message: dict[str, Any] = {
            "permitted": {"token": way["asset"], "amount": int(way["amount"])},
            "spender": UPTO_PROXY,
            "nonce": secrets.randbits(256),
            "deadline": now + way["maxTimeoutSeconds"],
            "witness": {
                "to": way["payTo"],
                "facilitator": way["extra"]["facilitatorAddress"],
                "validAfter": now - 600,
            },
        }
        for name, value in changes.items():
            home = next(part for part in (message, message["permitted"], message["witness"]) if name in part)
            home[name] = value
        return message

    def sign(self, message: dict[str, Any], wallet: Wallet | None = None) -> str:
        """Sign a permit as 0x-hex."""
        key = wallet.private_key if wallet else self.net.private_key
        signature = Account.sign_message(encode_typed_data(full_message=typed_permit(message)), key).signature
        return "0x" + bytes(signature).hex()

    def payment(
        self,
        way: dict[str, Any] | None = None,
        *,
        wallet: Wallet | None = None,
        tampered: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Return a PAYMENT-SIGNATURE; `changes` are signed, `tampered` is done to the permit after."""
        way = way or self.offer()
        message = self.permit(way, **changes)
        signature = self.sign(message, wallet)
        sent = json.loads(json.dumps(message, default=str))
        for name, value in (tampered or {}).items():
            home = next(part for part in (sent, sent["permitted"], sent["witness"]) if name in part)
            home[name] = value
        sent = _numbers_as_text(sent)
        permit = {"from": wallet.address if wallet else self.net.wallet, **sent}
        payload = {"permit2Authorization": permit, "signature": signature}
        return encoded({"x402Version": 2, "payload": payload, "accepted": way})

    def refusal(self, payment: str) -> str:
        """Return the word with which `payment` is refused."""
        reply = self.post(ask("hi"), PAYMENT_SIGNATURE=payment)
        assert reply.status_code == 402
        assert "X-Upto-Session" not in reply.headers
        return str(offer_of(reply)["error"])

    def session(self, path: str = CHAT) -> str:
        """Pay for one answer and return the session that this opens."""
        body = ask("hi") if path == CHAT else {"model": "gpt-5-mini", "prompt": "hi"}
        reply = self.post(body, path, PAYMENT_SIGNATURE=self.payment(self.offer(path)))
        assert reply.status_code == 200
        return reply.headers["X-Upto-Session"]

    @contextmanager
    def streaming(self, body: Any, **headers: str) -> Iterator[httpx.Response]:
        """Send `body` and read the answer piece by piece."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.http.stream("POST", CHAT, json=body, headers=named) as reply:
            yield reply


def _numbers_as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers_as_text(item) for name, item in value.items()}
    return str(value) if isinstance(value, int) else value


@contextmanager
def raw_caller(net: Devnet, number: int = 0, **headers: str) -> Iterator[Raw]:
    """Connect to one gateway. An Authorization header is sent unless `headers` say otherwise."""
    enclave = net.enclaves[number]
    verify = tls_of(enclave) if enclave.endpoint.startswith("https") else False
    default = {"Authorization": "Bearer x"} | headers
    with httpx.Client(base_url=enclave.endpoint, verify=verify, headers=default, timeout=10) as http:
        yield Raw(net, http)

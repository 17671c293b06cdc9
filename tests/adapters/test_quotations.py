"""A gateway that sends back what it was given: nothing of it reaches an error, a receipt or a log."""

import base64
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from og_integrations.client import Client, collect_receipts
from og_integrations.devnet._enclave import EnclaveKeys
from og_integrations.errors import OpenGradientError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.networks import BASE

KEY = "0x" + "11" * 32
PROMPT = "Launch code:\n'tango-foxtrot' 1234"
SESSION = "abcd-secret-session"
OFFER = {
    "x402Version": 2,
    "error": "pay",
    "accepts": [
        {
            "scheme": "upto",
            "network": BASE.caip2,
            "asset": BASE.token,
            "amount": str(10**17),
            "payTo": "0x" + "11" * 20,
            "maxTimeoutSeconds": 300,
            "extra": {"assetTransferMethod": "permit2", "facilitatorAddress": "0x" + "22" * 20},
        }
    ],
}
Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]
Echo = Callable[[str, str, str], Answer]
"""(request body, PAYMENT-SIGNATURE, signature) -> what a paid request is answered."""


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def refused(reason: str) -> Answer:
    return 402, [("PAYMENT-REQUIRED", encoded(OFFER | {"error": reason}))], b"{}"


def failed(**members: str) -> Answer:
    return 400, [("X-Upto-Session", SESSION)], json.dumps(members).encode()


def in_stream(reason: str) -> Answer:
    event = f"data: {json.dumps({'error': reason})}\n\n".encode()
    return 200, [("X-Upto-Session", SESSION), ("Content-Type", "text/event-stream")], event


def prompt_of(body: str) -> str:
    return str(json.loads(body)["messages"][-1]["content"])


ECHOES: dict[str, Echo] = {
    "402 with the signature": lambda body, header, signature: refused(signature),
    "402 with the header": lambda body, header, signature: refused(header[:60]),
    "402 with the request": lambda body, header, signature: refused(body),
    "402 with the prompt": lambda body, header, signature: refused(prompt_of(body).upper()),
    "400 with the prompt": lambda body, header, signature: failed(error=f"{prompt_of(body)!r} is too long"),
    "400 with a piece": lambda body, header, signature: failed(detail="bad: TANGO-FOXTROT"),
    "400 with a title": lambda body, header, signature: failed(error="[]", title=prompt_of(body)),
    "400 with the session": lambda body, header, signature: failed(error=f"session {SESSION} is bad"),
    "400 with the signature": lambda body, header, signature: failed(error=signature),
    "hashes of the header": lambda body, header, signature: (
        400,
        [("X-Upto-Session", SESSION), ("x-processing-hash", header[:400]), ("X-Settlement-Tx-Hash", signature)],
        b"{}",
    ),
}


class Gateway:
    """By URL and in clear: what it does is told by `echo`; `secrets` are what it was given."""

    def __init__(self) -> None:
        self.echo: Echo = ECHOES["400 with the prompt"]
        self.secrets: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        key, gateway = {"public_key": EnclaveKeys().public_key_pem}, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None: ...

            def do_GET(self) -> None:
                self._answer(200, [], json.dumps(key).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                header = self.headers["PAYMENT-SIGNATURE"]
                self._answer(*(refused("pay") if header is None else gateway.paid(body, header)))

            def _answer(self, status: int, headers: Headers, body: bytes) -> None:
                self.send_response(status)
                if not any(name == "Content-Type" for name, _ in headers):
                    headers = [*headers, ("Content-Type", "application/json")]
                for name, value in [*headers, ("Content-Length", str(len(body)))]:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        return Handler

    def paid(self, body: str, header: str) -> Answer:
        """Answer a request that was paid for."""
        signature = json.loads(base64.b64decode(header))["payload"]["signature"]
        self.secrets = [header[:40], signature[2:40], SESSION, "tango-foxtrot", "TANGO-FOXTROT", "Launch", "LAUNCH"]
        return self.echo(body, header, signature)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    found = Gateway()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def by_client(gateway: Gateway, *, stream: bool = False) -> None:
    with Client(private_key=KEY, network=BASE, gateway_url=gateway.url) as client:
        messages: list[Any] = [{"role": "user", "content": PROMPT}]
        list(client.stream("openai/gpt-5-mini", messages)) if stream else client.chat("openai/gpt-5-mini", messages)


def by_langchain(gateway: Gateway, *, stream: bool = False) -> None:
    model = ChatOpenGradient(
        model="openai/gpt-5-mini", private_key=KEY, network=BASE, gateway_url=gateway.url, max_retries=0
    )
    try:
        list(model.stream(PROMPT)) if stream else model.invoke(PROMPT)
    finally:
        model.close()


def nothing_shows(gateway: Gateway, ask: Callable[..., None], caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    caplog.set_level(logging.DEBUG)
    with collect_receipts() as receipts, pytest.raises(OpenGradientError) as caught:
        ask(gateway, **options)
    error = caught.value
    shown = [str(error), repr(vars(error)), json.dumps(receipts), caplog.text, str(error.__cause__)]
    assert [secret for secret in gateway.secrets if any(secret in text for text in shown)] == []
    assert len(gateway.secrets) == 7
    return str(error)


both = pytest.mark.parametrize("ask", [by_client, by_langchain])


@both
@pytest.mark.parametrize("echo", ECHOES)
def test_nothing_that_is_sent_back_shows(
    gateway: Gateway, echo: str, ask: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    gateway.echo = ECHOES[echo]
    nothing_shows(gateway, ask, caplog)


@both
def test_nothing_that_is_sent_back_in_a_stream_shows(
    gateway: Gateway, ask: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    gateway.echo = lambda body, header, signature: in_stream(f"provider refused: {prompt_of(body)!r}")
    assert "failure before the first piece of the answer. What came" in nothing_shows(gateway, ask, caplog, stream=True)


@both
@pytest.mark.parametrize("reason", ["permit2_allowance_required", "No matching payment requirements"])
def test_gateways_own_words_are_shown(
    gateway: Gateway, reason: str, ask: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    gateway.echo = lambda body, header, signature: refused(reason)
    assert f"did not take the signed payment: '{reason}'" in nothing_shows(gateway, ask, caplog)

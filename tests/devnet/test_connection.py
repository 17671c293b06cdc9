"""One connection: methods that are not what the paths are for, and requests that come early."""

import json
import socket
import time

import httpx
import pytest

from og_integrations.devnet import Devnet
from tests.devnet.bare_caller import CHAT, Raw, ask, tls_of


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/signing-key", "GET, HEAD, OPTIONS"),
        ("/v1/keys", "POST, OPTIONS"),
        (CHAT, "POST, OPTIONS"),
        ("/nowhere", None),
    ],
)
def test_head_and_options_end_where_they_should(raw: Raw, path: str, allowed: str | None) -> None:
    """No body follows the head of HEAD, whatever its Content-Length says; the connection goes on."""
    status = {None: 404, "GET, HEAD, OPTIONS": 200}.get(allowed, 405)
    head = raw.http.head(path)
    assert (head.status_code, head.content, "Content-Length" in head.headers) == (status, b"", True)
    options = raw.http.options(path)
    assert (options.status_code, options.headers.get("Allow")) == (404 if allowed is None else 200, allowed)
    other = raw.http.put(path)
    assert (other.status_code, other.headers.get("Allow")) == (404 if allowed is None else 405, allowed)
    assert raw.http.get("/health").status_code == 200
    assert raw.net.stats().connections == 1


@pytest.mark.parametrize("which", ["node", "stranger"])
def test_head_at_the_other_servers(net: Devnet, which: str) -> None:
    url, status = {"node": (net.rpc_url, 405), "stranger": (net._faults.redirect_target, 404)}[which]
    with httpx.Client() as http:
        for _ in range(2):
            assert (http.head(url).status_code, http.head(url).content) == (status, b"")
        assert http.options(url).status_code == status


def test_pipelined_request_waits_for_the_answer_before(raw: Raw) -> None:
    """It arrives while the first one is answered, and is not lost."""
    host, port = "127.0.0.1", httpx.URL(raw.net.enclaves[0].endpoint).port
    body = json.dumps(ask("[[tokens=1 delay=200]]")).encode()
    first = (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
        f"X-Upto-Session: {raw.session()}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    second = b"GET /heartbeat/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with tls_of(raw.net.enclaves[0]).wrap_socket(socket.create_connection((host, port or 0), 10)) as sock:
        sock.sendall(first + body)
        time.sleep(0.05)
        sock.sendall(second)
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.endswith(b'{"enabled":false}\n')

"""One broken entry in the registry is nobody's problem but its operator's: the other enclave answers every call."""

import base64
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from og_integrations.client import Answer, AsyncClient, Client, collect_receipts
from og_integrations.client._runner import MAX_FETCHED_BYTES
from og_integrations.client.channels._pool import handshake
from og_integrations.devnet import Devnet
from og_integrations.devnet._enclave import EnclaveKeys
from og_integrations.errors import ConnectionFailedError, DiscoveryError, VerificationError
from og_integrations.protocol.proof._enclave import tee_id_of
from tests.client.ways_to_ask import MODEL, user

BROKEN: dict[str, dict[str, Any]] = {
    "certificate": {"certificate": b"\x30\x03garbage"},
    "bracket": {"endpoint": "https://[bad"},
    "brackets": {"endpoint": "https://[::::]"},
    "port": {"endpoint": "https://127.0.0.1:99999"},
    "long label": {"endpoint": "https://" + "a" * 64 + ".com"},
    "empty label": {"endpoint": "https://a..b"},
    "newline": {"endpoint": "https://127.0.0.1:1\nERROR forged log line"},
    "no host": {"endpoint": "https://"},
    "space": {"endpoint": "https://a b"},
    "NUL": {"endpoint": "https://a\0b"},
    "account of": {"endpoint": "https://a℀b"},
    "in clear": {"endpoint": "http://127.0.0.1:1"},
    "nobody there": {"endpoint": "https://127.0.0.1:1"},
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Devnet]:
    with Devnet(enclaves=2) as net:
        yield net


@pytest.fixture(params=BROKEN)
def good(pair: Devnet, request: pytest.FixtureRequest) -> Iterator[str]:
    """Break the first entry; return the other's id."""
    entry, other = pair.chain.enclaves
    pair.chain.enclaves[0] = replace(entry, **BROKEN[request.param])
    yield other.tee_id
    pair.chain.enclaves[0] = entry


def test_every_call_is_answered_by_the_other_enclave(pair: Devnet, good: str) -> None:
    with Client(private_key=pair.private_key, network=pair.network) as client:
        client.engine.directory._pick = lambda enclaves: enclaves[0]
        receipts = [client.chat(MODEL, user("hi")).receipt for _ in range(2)]
    assert [(receipt["status"], receipt["tee_id"]) for receipt in receipts] == [("verified", good)] * 2


async def test_every_asynchronous_call_is_answered_by_the_other_enclave(pair: Devnet, good: str) -> None:
    async with AsyncClient(private_key=pair.private_key, network=pair.network) as client:
        client.engine.directory._pick = lambda enclaves: enclaves[0]
        receipts = [(await client.chat(MODEL, user("hi"))).receipt for _ in range(2)]
    assert [(receipt["status"], receipt["tee_id"]) for receipt in receipts] == [("verified", good)] * 2


@pytest.mark.parametrize("broken", BROKEN)
def test_handshake_with_a_broken_entry_is_no_connection(pair: Devnet, broken: str) -> None:
    """`doctor` looks at entries by themselves."""
    with pytest.raises(ConnectionFailedError):
        handshake(replace(pair.chain.enclaves[0], **BROKEN[broken]), timeout=0.5)


def test_certificate_pins_nothing_without_tls() -> None:
    """Such an entry is refused; would it get through, neither receipt nor stream says that its channel was pinned."""
    with Devnet(tls=False) as net, Client(private_key=net.private_key, network=net.network) as client:
        entry = replace(net.enclaves[0].entry(), certificate=EnclaveKeys().certificate)
        assert entry.endpoint.startswith("http://")
        client.engine.directory._hold({entry.tee_id: entry}, time.time())
        client.engine.directory._refresh_at = math.inf
        first, answer = client.stream(MODEL, user("[[tokens=3]]"))
    assert isinstance(answer, Answer)
    assert first == answer.text  # nothing was shown before the proof
    assert {"id": "channel", "result": "skip"}.items() <= answer.receipt["checks"][-1].items()


def test_junk_key_does_not_hide_the_verdict() -> None:
    """With exchanges kept, the listed key is kept as it is."""
    junk = b"\x30\x00junk"
    with Devnet() as net, Client(private_key=net.private_key, network=net.network) as client:
        net.chain.enclaves[0] = replace(net.chain.enclaves[0], public_key=junk, tee_id=tee_id_of(junk))
        with collect_receipts(keep_exchanges=True) as receipts, pytest.raises(VerificationError):
            client.chat(MODEL, user("hi"))
        (exchange,) = receipts.exchanges
    assert exchange is not None
    assert base64.b64decode(exchange["public_key_pem"].splitlines()[1]) == junk


class _EndlessNode(BaseHTTPRequestHandler):
    """A node whose every answer is longer than anybody reads."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(MAX_FETCHED_BYTES + 1))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(b" " * (MAX_FETCHED_BYTES + 1))

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_list_that_nobody_can_read_is_said_to_be_too_long(pair: Devnet) -> None:
    """Not that it is no JSON: whoever has set a node looks for another one."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _EndlessNode) as node:
        Thread(target=node.serve_forever).start()
        url = f"http://127.0.0.1:{node.server_port}"
        with (
            Client(private_key=pair.private_key, network=replace(pair.network, registry_rpc_url=url)) as client,
            pytest.raises(DiscoveryError, match=f"answered more than {MAX_FETCHED_BYTES} bytes.*Nothing was sent"),
        ):
            client.chat(MODEL, user("hi"))
        node.shutdown()

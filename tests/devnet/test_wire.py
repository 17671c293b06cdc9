"""Faults in the bytes, and the server under them: what goes over the socket, and that nothing stays behind."""

import gc
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

import httpx
import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet._http import listen
from tests.devnet.bare_caller import CHAT, Raw, ask, raw_caller, tls_of

QUESTION = ask("[[tokens=4]]")


def ask_paid(raw: Raw, *, stream: bool) -> httpx.Response:
    return raw.post(QUESTION | {"stream": stream}, PAYMENT_SIGNATURE=raw.payment())


CUTS = [
    ("cut_after_payment", False, httpx.RemoteProtocolError),
    ("cut_head", False, httpx.RemoteProtocolError),
    ("cut_body", False, httpx.RemoteProtocolError),
    ("cut_event", True, httpx.RemoteProtocolError),
    ("cut_stream", True, httpx.RemoteProtocolError),
    ("reset_stream", True, httpx.RemoteProtocolError),
    ("closed_stream", True, httpx.RemoteProtocolError),
    ("cut_before_done", True, httpx.RemoteProtocolError),
    ("cut_before_end", True, httpx.RemoteProtocolError),
    ("giant_header", False, httpx.RemoteProtocolError),
    ("garbage_header", False, httpx.RemoteProtocolError),
    ("garbage_status", False, httpx.RemoteProtocolError),
    ("two_lengths", False, httpx.RemoteProtocolError),
]


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize(("fault", "stream", "error"), CUTS)
def test_broken_wire_is_an_error_and_next_call_works(
    fault: str, stream: bool, error: type[Exception], tls: bool
) -> None:
    with Devnet(tls=tls) as net, raw_caller(net) as raw:
        net.inject(fault, times=1)
        # Which of the two it is depends on TLS: Python's ssl shows an RST as an end, plain sockets as an error.
        with pytest.raises((error, httpx.ReadError)):
            ask_paid(raw, stream=stream)
        assert net.journal.exchanges[-1].faults == [fault]
        assert ask_paid(raw, stream=stream).status_code == 200
        assert net.journal.exchanges[-1].faults == []


RECORDS = ["flipped_record", "injected_alert", "unknown_record", "cut_record", "flipped_event"]


@pytest.mark.parametrize("fault", RECORDS)
def test_changed_record_ends_the_connection_and_next_call_works(net: Devnet, raw: Raw, fault: str) -> None:
    """Whoever is in between has no key: TLS notices."""
    stream = fault == "flipped_event"
    net.inject(fault, times=1)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        ask_paid(raw, stream=stream)
    assert net.journal.exchanges[-1].faults == [fault]
    assert ask_paid(raw, stream=stream).status_code == 200


def test_changed_record_of_an_offer(net: Devnet, raw: Raw) -> None:
    net.inject("flipped_offer", times=1)
    with pytest.raises(httpx.ReadError):
        raw.offer()
    assert raw.offer()["scheme"] == "upto"


@pytest.mark.parametrize(
    ("fault", "stream"),
    [
        ("stall_after_payment", False),
        ("stall_after_payment", True),
        ("stall_mid_head", False),
        ("stall_mid_body", False),
        ("stall_mid_body", True),
        ("stall_before_end", True),
    ],
)
def test_stall_lasts_until_the_caller_gives_up(net: Devnet, raw: Raw, fault: str, stream: bool) -> None:
    net.inject(fault, times=1)
    payment = raw.payment()
    with pytest.raises(httpx.ReadTimeout):
        raw.http.post(CHAT, json=QUESTION | {"stream": stream}, headers={"PAYMENT-SIGNATURE": payment}, timeout=0.2)
    deadline = time.monotonic() + 5
    while net.journal.exchanges[-1].ended == "open" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert net.journal.exchanges[-1].ended == "cut"
    assert net.stats().charges == (0 if stream and fault != "stall_before_end" else 1)


def test_cut_and_broken_head_act_together(net: Devnet, raw: Raw) -> None:
    net.inject("garbage_header")
    net.inject("cut_after_payment")
    with pytest.raises(httpx.RemoteProtocolError, match="disconnected without sending"):
        raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment())


def test_stall_of_offer_and_of_node(net: Devnet, raw: Raw) -> None:
    net.inject("stall_offer", times=1)
    with pytest.raises(httpx.ReadTimeout):
        raw.http.post(CHAT, json=QUESTION, timeout=0.2)
    net.inject("silent_registry", times=1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(net.rpc_url, json={}, timeout=0.2)


@pytest.mark.parametrize("fault", ["endless_stream", "endless_event"])
def test_endless_body_never_ends(net: Devnet, raw: Raw, fault: str) -> None:
    net.inject(fault, times=1)
    session = raw.session()
    read = 0
    with raw.streaming(QUESTION | {"stream": True}, X_Upto_Session=session) as reply:
        for chunk in reply.iter_raw():
            read += len(chunk)
            if read > 500_000:
                break
    assert read > 500_000


def test_gzip_bomb_is_small_on_the_wire(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    net.inject("gzip_bomb", times=1)
    with raw.streaming(QUESTION, X_Upto_Session=session) as reply:
        assert reply.headers["Content-Encoding"] == "gzip"
        assert int(reply.headers["Content-Length"]) < 2_000_000


def talk(net: Devnet, *sent: bytes) -> bytes:
    """Send raw bytes over TLS, each after some answer to the one before, and read until the gateway closes."""
    address = ("127.0.0.1", int(net.enclaves[0].endpoint.rpartition(":")[2]))
    received = b""
    with socket.create_connection(address, timeout=5) as plain, tls_of(net.enclaves[0]).wrap_socket(plain) as tls:
        for part in sent:
            received += tls.recv(65536) if part is not sent[0] else b""
            tls.sendall(part)
        while piece := tls.recv(65536):
            received += piece
        return received


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: " + b"A" * 300_000,
    ],
    ids=["garbage", "no host", "giant head"],
)
def test_request_that_is_not_http_is_refused(net: Devnet, sent: bytes) -> None:
    assert talk(net, sent).startswith(b"HTTP/1.1 4")
    assert net.journal.exchanges == []


def test_request_may_come_in_chunks_and_ask_to_continue(net: Devnet) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n".encode()
    received = talk(net, head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 100")
    assert b"HTTP/1.1 402 Payment Required" in received


def test_caller_that_leaves_at_once_does_no_harm(net: Devnet, raw: Raw) -> None:
    address = ("127.0.0.1", int(net.enclaves[0].endpoint.rpartition(":")[2]))
    for _ in range(5):
        socket.create_connection(address).close()
        with socket.create_connection(address) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS at all
    assert raw.post(QUESTION).status_code == 402


def test_many_callers_at_once(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    texts: list[str] = []

    def one(number: int) -> None:
        with raw_caller(net) as caller:
            reply = caller.post(ask(f"n{number} [[delay=20]]"), X_Upto_Session=session)
            texts.append(reply.json()["choices"][0]["message"]["content"])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == sorted(f"You said: n{number} [[delay=20]]" for number in range(16))


def test_stopping_leaves_nothing_behind() -> None:
    """No thread, loop, socket or warning, also with callers connected, stalled and half-way."""
    before = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tls in (True, False):
            net = Devnet(tls=tls)
            net.start()
            with raw_caller(net) as raw:
                session = raw.session()
                net.inject("stall_after_payment")
                stalled = threading.Thread(target=_expect_cut, args=(net, session))
                stalled.start()
                while len(net.journal.exchanges) < 3:
                    time.sleep(0.01)
                net.stop()
                stalled.join()
            gc.collect()
    assert threading.active_count() == before


def _expect_cut(net: Devnet, session: str) -> None:
    with raw_caller(net) as raw, pytest.raises(httpx.TransportError):
        raw.post(QUESTION, X_Upto_Session=session)


def test_stopping_is_quick_and_may_be_repeated() -> None:
    net = Devnet()
    net.start()
    with raw_caller(net) as raw:
        raw.session()
        started = time.perf_counter()
        net.stop()
        net.stop()
        assert time.perf_counter() - started < 0.5
    assert net.stats().requests == 2  # what was seen can still be read


def test_devnet_that_was_never_started_can_be_stopped() -> None:
    Devnet(enclaves=2).stop()


def test_fixed_ports_are_taken(unused_port: int) -> None:
    with Devnet(rpc_port=unused_port) as net:
        assert net.rpc_url == f"http://127.0.0.1:{unused_port}"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(OSError, match="in use"):
                Devnet(rpc_port=unused_port)
            with pytest.raises(OSError, match="in use"):
                Devnet(enclaves=2, gateway_ports=[0, unused_port])
            gc.collect()


@pytest.fixture
def unused_port() -> int:
    (sock,) = listen(0)
    with sock:
        return int(sock.getsockname()[1])


def test_environment_describes_the_network(net: Devnet) -> None:
    assert net.environment() == {
        "OG_PRIVATE_KEY": net.private_key,
        "OG_NETWORK": "devnet",
        "OG_RPC_URL": net.rpc_url,
        "OG_REGISTRY_RPC_URL": net.rpc_url,
        "OG_REGISTRY_ADDRESS": net.registry_address,
    }


def test_repr_shows_no_secret(net: Devnet, raw: Raw) -> None:
    raw.session()
    sessions = net._gateways[0].paywall.sessions.open_sessions()
    shown = repr((net, net.journal, net.new_wallet(), net.enclaves, net.stats(), sessions))
    assert not [secret for secret in net.secrets() if secret in shown]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_served_devnet_ends_on_signal(number: signal.Signals) -> None:
    code = (
        "from og_integrations.devnet import Devnet, serve; serve(Devnet(), lambda net: print(net.rpc_url, flush=True))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
        assert httpx.post(url, json=body).json()["result"] == "0x2105"
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")

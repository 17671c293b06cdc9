"""What goes wrong on the wire without an attacker says what it is, and nothing is waited for without end."""

import asyncio
import contextlib
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from og_integrations.client import Client
from og_integrations.client import _runner as runner
from og_integrations.client.chain._jsonrpc import Reader, rpc
from og_integrations.client.channels._channel import UNPINNED, HttpRequest
from og_integrations.client.channels._connections import AsyncConnections, SyncConnections
from og_integrations.devnet import Devnet, Fault
from og_integrations.errors import (
    CertificateMismatchError,
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    OpenGradientError,
)
from tests.client.certificates import write_certificate
from tests.client.ways_to_ask import MODEL, WAYS, user

each_way = pytest.mark.parametrize("way", WAYS)


@contextmanager
def _listening(handle: Callable[[socket.socket], object]) -> Iterator[int]:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), near:
                handle(near)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def _elsewhere(port: int, **entry: Any) -> Fault:
    def moved(listed: list[Any]) -> list[Any]:
        return [replace(one, endpoint=f"https://127.0.0.1:{port}", **entry) for one in listed]

    return Fault(name="elsewhere", about="", registry=moved)


def _failure(net: Devnet, way: str, port: int, certificate: bytes | None = None, **options: Any) -> OpenGradientError:
    net.inject(_elsewhere(port, **({} if certificate is None else {"certificate": certificate})))
    with pytest.raises(OpenGradientError) as caught:
        WAYS[way](net, "hi", max_retries=0, **options)
    return caught.value


def _of_library(library: Any, way: str) -> dict[str, Any]:
    """Return the option that has a call made by a client of `library`; without one, by our own connections."""
    kind = "AsyncClient" if way.startswith("a") else "Client"
    return {} if library is None else {"http_client": lambda context: getattr(library, kind)(verify=context)}


def _silence(near: socket.socket) -> None:
    while near.recv(65536):
        pass


@each_way
@pytest.mark.parametrize(
    ("days", "says"),
    [((-30, -1), "the pinned one, which expired on"), ((1, 30), "the pinned one, which is valid from")],
)
def test_pinned_certificate_out_of_date(
    net: Devnet, tmp_path: Path, way: str, days: tuple[int, int], says: str
) -> None:
    """It is the right one: its time or our clock is wrong, and nobody is in between."""
    file = tmp_path / "enclave.pem"
    der = write_certificate(file, *days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def handle(near: socket.socket) -> None:
        context.wrap_socket(near, server_side=True).recv(9)

    with _listening(handle) as port:
        error = _failure(net, way, port, certificate=der)
    assert type(error) is ConnectionFailedError
    assert says in str(error)
    assert "this machine's clock says" in str(error)


def _said(data: bytes) -> Callable[[socket.socket], None]:
    """Return a server that reads what comes, says `data`, and ends."""

    def handle(near: socket.socket) -> None:
        near.recv(65536)
        near.sendall(data)
        near.shutdown(socket.SHUT_WR)
        _silence(near)

    return handle


def _reset(near: socket.socket) -> None:
    near.recv(10)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _alert(number: int) -> bytes:
    return b"\x15\x03\x03\x00\x02\x02" + bytes([number])


NOT_TLS, ENDED = "it answers with something else than TLS", "it ended the connection within the handshake"
HANDSHAKES: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "ssh": (_said(b"SSH-2.0-OpenSSH_9.6\r\n"), NOT_TLS),
    "http/2": (_said(b"\0\0\x12\x04\0\0\0\0\0" + bytes(18)), NOT_TLS),
    "zeros": (_said(bytes(500)), NOT_TLS),
    "garbage in a record": (_said(b"\x16\x03\x03\0\x20" + b"g" * 32), "what it says is no handshake of TLS"),
    "TLS 1.0 only": (_said(_alert(70)), "it speaks no version of TLS from 1.2 on"),
    "no common cipher": (_said(_alert(40)), "it has no cipher in common with this machine, or demands a certificate"),
    "another name": (_said(_alert(112)), "it serves nobody of that name"),
    "half a hello": (_said(b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03"), ENDED),
    "goodbye": (_said(b"\x15\x03\x03\0\x02\x01\0"), ENDED),
    "reset": (_reset, ENDED),
}


@pytest.mark.parametrize("library", [None, httpx], ids=["ours", "httpx"])
@pytest.mark.parametrize("way", ["chat", "achat"])
@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshake_that_fails_says_why(net: Devnet, name: str, way: str, library: Any) -> None:
    """In words, and without the alarm: only another certificate is one."""
    handle, says = HANDSHAKES[name]
    with _listening(handle) as port:
        error = _failure(net, way, port, **_of_library(library, way))
    assert type(error) is ConnectionFailedError
    assert f"No TLS with the gateway https://127.0.0.1:{port}: {says}" in str(error)
    assert str(error).endswith("Nothing was sent.")


@pytest.mark.parametrize("library", [None, httpx], ids=["ours", "httpx"])
@pytest.mark.parametrize("way", ["chat", "achat"])
def test_silence_within_the_handshake_is_no_missing_server(net: Devnet, way: str, library: Any) -> None:
    with _listening(_silence) as port:
        error = _failure(net, way, port, timeout=0.3, **_of_library(library, way))
    assert "it did not answer in time within the handshake. Nothing was sent." in str(error)
    assert (type(error), error.timed_out) == (ConnectionFailedError, True)  # type: ignore[attr-defined]


@each_way
def test_server_that_demands_a_certificate_of_its_clients(net: Devnet, tmp_path: Path, way: str) -> None:
    """With TLS 1.3 it says so only when the handshake is over for the client, and the question has left."""
    file = tmp_path / "enclave.pem"
    der = write_certificate(file, -1, 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    context.load_verify_locations(file)
    context.verify_mode = ssl.CERT_REQUIRED

    def handle(near: socket.socket) -> None:
        with context.wrap_socket(near, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
            except ssl.SSLError:
                # Who leaves without reading resets the connection, which takes the alert along.
                while socket.socket.recv(tls, 65536):
                    pass

    with _listening(handle) as port:
        error = _failure(net, way, port, certificate=der)
    assert type(error) is ConnectionLostError
    assert "broke (it demands a certificate of its clients, which a gateway does not)" in str(error)


@each_way
def test_server_that_speaks_no_tls(net: Devnet, way: str) -> None:
    with _listening(lambda near: near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        error = _failure(net, way, port)
    assert type(error) is ConnectionFailedError
    assert "answers with something else than TLS" in str(error)


@each_way
def test_server_that_leaves_within_the_handshake(net: Devnet, way: str) -> None:
    with _listening(lambda near: near.recv(1)) as port:
        error = _failure(net, way, port)
    assert isinstance(error, ConnectionFailedError)
    assert not isinstance(error, CertificateMismatchError)


@pytest.mark.parametrize("library", [None, httpx, httpx2], ids=["ours", "httpx", "httpx2"])
def test_callers_own_impatience_keeps_no_enclave_away(net: Devnet, library: Any) -> None:
    """The next call asks it again; one that was patient, and not answered either, leaves it."""
    answers = iter([_silence, socket.socket.close])

    def answer(near: socket.socket) -> None:
        next(answers)(near)

    options: dict[str, Any] = {} if library is None else {"http_client": lambda context: library.Client(verify=context)}
    with (
        _listening(answer) as port,
        Client(private_key=net.private_key, network=net.network, max_retries=0, **options) as client,
    ):
        net.inject(_elsewhere(port))
        for timeout, error in ((0.3, ConnectionFailedError), (20, ConnectionFailedError), (20, DiscoveryError)):
            with pytest.raises(error) as caught:
                client.chat(MODEL, user("hi"), timeout=timeout)
            assert type(caught.value) is error


def test_impatient_calls_leave_an_enclave_only_for_another(net: Devnet) -> None:
    """One that is late is left for one that may not be; the last one is asked again, however late it was."""
    with Devnet(enclaves=2) as pair, Client(private_key=pair.private_key, network=pair.network) as client:
        pair.inject("stall_offer")
        asked = set()
        for _ in range(4):
            with pytest.raises(ConnectionLostError) as caught:
                client.chat(MODEL, user("hi"), timeout=0.5)
            assert caught.value.receipt is not None
            asked.add(caught.value.receipt["tee_id"])
        pair.clear_faults()
        assert asked == {enclave.tee_id for enclave in pair.enclaves}
        assert client.chat(MODEL, user("hi")).receipt["status"] == "verified"


def _early_hints(near: socket.socket) -> None:
    near.recv(65536)
    while True:
        near.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        threading.Event().wait(0.05)


def _slow_head(near: socket.socket) -> None:
    near.recv(65536)
    near.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        near.sendall(b"X-A: a\r\n")
        threading.Event().wait(0.05)


@pytest.mark.parametrize("handle", [_early_hints, _slow_head])
def test_head_that_never_ends(handle: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes in time; only a deadline of the whole ends it."""
    monkeypatch.setattr(runner, "FETCH_TIMEOUT", 0.5)
    with _listening(handle) as port, Reader() as reader, pytest.raises(DiscoveryError, match="did not answer in time"):
        reader.run(rpc(f"http://127.0.0.1:{port}", "eth_chainId", []))


def test_bytes_after_an_answer_do_not_answer_the_next_question(net: Devnet, client: Client) -> None:
    """They would be charged and lost, or shown for another question."""
    second = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

    async def more(pieces: Any, _channel: object) -> AsyncGenerator[Any, None]:
        held = None
        async for piece in pieces:
            if held is not None:
                yield held
            held = piece
        if held is not None:
            yield held._replace(data=held.data + second)

    net.inject(Fault(name="more", about="", wire=more), times=1)
    list(client.stream(MODEL, user("one")))
    assert "two" in client.chat(MODEL, user("two")).text


def _slow_chunk(near: socket.socket) -> None:
    """A head, and then the first chunk's size with an extension that never ends."""
    near.recv(65536)
    near.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    while True:
        near.sendall(b"a")
        threading.Event().wait(0.05)


def _sent(connections: SyncConnections, port: int, timeout: float) -> bytes | None:
    request = HttpRequest(url=f"http://127.0.0.1:{port}", whom="it", headers={}, body=b"{}", timeout=timeout)
    reply = connections.get(UNPINNED).send(request)
    try:
        return reply.read()
    finally:
        reply.close()


@pytest.mark.parametrize(
    ("handle", "make"),
    list(itertools.product([_early_hints, _slow_head, _slow_chunk], [None, httpx.Client, httpx2.Client])),
)
def test_no_answer_comes_letter_by_letter_for_ever(
    handle: Callable[[socket.socket], None], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 402 or an answer, by our own connections or a user's synchronous client, which nothing interrupts."""
    monkeypatch.setattr("og_integrations.client.channels._channel.CONNECT_TIMEOUT", 0.2)
    connections = SyncConnections(None if make is None else lambda _context: make())
    with _listening(handle) as port:
        with pytest.raises(ConnectionLostError, match="did not answer in time") as caught:
            _sent(connections, port, 0.5)
        connections.close()
    assert caught.value.timed_out


@pytest.mark.parametrize("make", [None, httpx.AsyncClient, httpx2.AsyncClient], ids=["ours", "httpx", "httpx2"])
@pytest.mark.parametrize("handle", [_early_hints, _slow_head, _slow_chunk])
async def test_no_awaited_answer_comes_letter_by_letter_for_ever(
    handle: Callable[[socket.socket], None], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("og_integrations.client.channels._channel.CONNECT_TIMEOUT", 0.2)
    connections = AsyncConnections(None if make is None else lambda _context: make())
    with _listening(handle) as port:
        request = HttpRequest(url=f"http://127.0.0.1:{port}", whom="it", headers={}, body=b"{}", timeout=0.5)
        channel = await connections.get(UNPINNED)
        with pytest.raises(ConnectionLostError, match="did not answer in time"):
            await (await channel.send(request)).read()
        await connections.aclose()
        await asyncio.sleep(0.05)  # the loop closes the socket, and the server waits for that


def test_connection_is_used_again(net: Devnet, client: Client) -> None:
    """Otherwise a look at what came after an answer would be no more than a way to use every connection once."""
    for number in range(3):
        client.chat(MODEL, user(str(number)))
    assert len({exchange.connection for exchange in net.journal.exchanges}) == 1

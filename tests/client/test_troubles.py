"""What goes wrong on the wire without an attacker says what it is, and nothing is waited for without end."""

import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import Client
from og_integrations.client import _runner as runner
from og_integrations.client.chain._jsonrpc import Reader, rpc
from og_integrations.devnet import Devnet, Fault
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, DiscoveryError, OpenGradientError
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


def _failure(net: Devnet, way: str, port: int, **entry: Any) -> OpenGradientError:
    def moved(listed: list[Any]) -> list[Any]:
        return [replace(one, endpoint=f"https://127.0.0.1:{port}", **entry) for one in listed]

    net.inject(Fault(name="elsewhere", about="", registry=moved))
    with pytest.raises(OpenGradientError) as caught:
        WAYS[way](net, "hi", max_retries=0)
    return caught.value


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

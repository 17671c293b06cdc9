"""Bodies that come byte by byte, for ever: one deadline ends them, however often a piece is in time."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.client import _runner as runner
from og_integrations.client._call import CallState
from og_integrations.client._runner import _request
from og_integrations.client.chain._jsonrpc import Reader, rpc
from og_integrations.client.channels._channel import Destination, HttpRequest
from og_integrations.devnet import Devnet
from og_integrations.errors import DiscoveryError, MalformedOfferError
from og_integrations.protocol.payment._flow import Send
from tests.client.ways_to_ask import MODEL, user

HEAD = "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture
def dripping() -> Iterator[Callable[[int], str]]:
    """Return a function that starts a server, and returns its URL: each answer has a byte every 50 ms."""
    done = threading.Event()
    threads: list[threading.Thread] = []

    def drip(connection: socket.socket, status: int) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(HEAD.format(status=status).encode())
            while not done.wait(0.05):
                connection.sendall(b" ")

    def serve(server: socket.socket, status: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threads.append(threading.Thread(target=drip, args=(connection, status)))
                threads[-1].start()

    servers: list[socket.socket] = []

    def start(status: int) -> str:
        servers.append(socket.create_server(("127.0.0.1", 0)))
        threads.append(threading.Thread(target=serve, args=(servers[-1], status)))
        threads[-1].start()
        return f"http://127.0.0.1:{servers[-1].getsockname()[1]}"

    yield start
    done.set()
    for server in servers:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def test_node_that_drips(dripping: Callable[[int], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "FETCH_TIMEOUT", 0.4)
    with within(2), Reader() as reader, pytest.raises(DiscoveryError, match="did not answer in time"):
        reader.run(rpc(dripping(200), "eth_chainId", []))


def test_offer_that_drips(dripping: Callable[[int], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The head has all there is to know; here, that there is no offer."""
    with Devnet(tls=False) as net:
        options = {"private_key": net.private_key, "network": net.network, "gateway_url": net.enclaves[0].endpoint}
        url = dripping(402)

        async def ask() -> None:
            async with AsyncClient(**options, timeout=0.4) as client:  # type: ignore[arg-type]
                await client.chat(MODEL, user("hi"))

        def elsewhere(state: CallState, effect: Send) -> tuple[HttpRequest, Destination]:
            request, destination = _request(state, effect)
            return replace(request, url=url), destination

        monkeypatch.setattr(runner, "_request", elsewhere)
        with within(3), pytest.raises(MalformedOfferError, match="without an offer"):
            asyncio.run(ask())
        with (
            within(3),
            Client(**options, timeout=0.4) as client,  # type: ignore[arg-type]
            pytest.raises(MalformedOfferError, match="without an offer"),
        ):
            client.chat(MODEL, user("hi"))

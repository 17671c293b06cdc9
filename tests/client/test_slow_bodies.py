"""Bodies that come byte by byte, for ever: one deadline ends them, however often a piece is in time."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.client import _runner as runner
from og_integrations.client._call import CallState
from og_integrations.client._runner import _request
from og_integrations.client.chain._jsonrpc import Reader, rpc
from og_integrations.client.channels._channel import Destination, HttpRequest, Pace
from og_integrations.devnet import Devnet, Fault
from og_integrations.devnet._http import Channel, PieceKind, Pieces
from og_integrations.errors import ConnectionLostError, DiscoveryError, MalformedOfferError, ReadTimeoutError
from og_integrations.hub import AsyncModelHub, AsyncTwins, ModelHub, Twins
from og_integrations.protocol.payment._flow import Send
from tests.client.ways_to_ask import MODEL, WAYS, user

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


@pytest.mark.parametrize("name", ["hub", "twins"])
def test_service_that_drips(dripping: Callable[[int], str], name: str) -> None:
    """Neither the hub nor the twins are waited for letter by letter, in threads or on a loop."""
    url = dripping(200)
    options: Any = {"url": url, "timeout": 0.4, "api_key": None if name == "hub" else "key"}
    twin = ("0x" + "1a" * 16, "some-model", [{"role": "user", "content": "hi"}])

    def ask() -> None:
        if name == "hub":
            with ModelHub(**options) as hub:
                hub.list_files("m", "1.00")
        else:
            with Twins(**options) as twins:
                twins.chat(*twin)

    async def aask() -> None:
        if name == "hub":
            async with AsyncModelHub(**options) as hub:
                await hub.list_files("m", "1.00")
        else:
            async with AsyncTwins(**options) as twins:
                await twins.chat(*twin)

    for run in (ask, lambda: asyncio.run(aask())):
        with within(5), pytest.raises(ConnectionLostError, match="did not send its whole answer in time"):
            run()


async def _saying(text: bytes, pieces: Pieces) -> Pieces:
    """Say `text` as a chunk every 20 ms in the place of the stream's second event, for ever."""
    first = True
    async for piece in pieces:
        while piece.kind is PieceKind.BODY and not first:
            yield piece._replace(data=b"%x\r\n" % len(text) + text + b"\r\n")
            await asyncio.sleep(0.02)
        first = first and piece.kind is not PieceKind.BODY
        yield piece


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(
    "text",
    [
        b": keepalive\n\n",
        b"a",
        b"\n",
        b'data: {"choices":[{"index":0,"delta":{"content":""}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    ],
    ids=["comments", "one line", "blank lines", "empty text", "roles"],
)
def test_stream_that_says_nothing_is_left(way: str, text: bytes) -> None:
    """What came before it is in `partial_text`; a stream that says a word now and then is read on."""
    with Devnet() as net:
        net.inject(Fault(name="says", about="", stream_wire=lambda pieces, _channel: _saying(text, pieces)))
        with within(5), pytest.raises(ReadTimeoutError, match="did not send its whole answer in time") as caught:
            WAYS[way](net, "[[tokens=12]]", timeout=0.5)
        assert caught.value.partial_text == "tok0 "


def test_slow_stream_of_words_is_read_on() -> None:
    """It takes several times the `timeout`."""

    async def slowly(pieces: Pieces, _channel: Channel) -> Pieces:
        async for piece in pieces:
            await asyncio.sleep(0.2)
            yield piece

    with Devnet() as net:
        net.inject(Fault(name="slowly", about="", spoils=False, stream_wire=slowly))
        assert WAYS["stream"](net, "[[tokens=12]]", timeout=0.7).receipt["status"] == "verified"


def test_large_body_on_a_slow_line_is_read_on() -> None:
    pace = Pace(0.0, "the gateway")
    pace.came(bytes(1 << 20))
    with pytest.raises(ConnectionLostError, match="the gateway did not send its whole answer in time"):
        Pace(-1.0, "the gateway").came(b" ")


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

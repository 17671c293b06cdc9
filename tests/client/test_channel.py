"""One connection to one peer: how far each exchange got, what is used again, and what is never sent twice."""

import asyncio
import contextlib
import gc
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import h11
import pytest

import og_integrations
from og_integrations.client.channels._addresses import address_of
from og_integrations.client.channels._channel import UNPINNED, HttpRequest
from og_integrations.client.channels._http1 import FramingError, Incoming, request_head
from og_integrations.client.channels._pool import AsyncPool, Pool
from og_integrations.errors import ConnectionFailedError, ConnectionLostError
from og_integrations.protocol._redact import Secret

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\n"


class Peer:
    """A peer gives one of `answers` to each request, an empty one by hanging up; `seen` is what it was sent."""

    def __init__(self, *answers: bytes, closes: bool = False) -> None:
        self.answers, self.closes = list(answers), closes
        self.seen: list[bytes] = []
        self.connections = 0
        self.closed = threading.Event()
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(near)
            self._threads.append(threading.Thread(target=self._serve, args=(near,)))
            self._threads[-1].start()

    def _serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            while request := near.recv(65536):
                self.seen.append(request)
                answer = self.answers.pop(0) if self.answers else OK
                near.sendall(answer)
                if not answer or self.closes:
                    break
        self.closed.set()

    def end(self) -> None:
        """Close everything."""
        for sock in (self._server, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    started: list[Peer] = []

    def start(*answers: bytes, closes: bool = False) -> Peer:
        started.append(Peer(*answers, closes=closes))
        return started[-1]

    yield start
    for one in started:
        one.end()


def asked(url: str, body: bytes = b"{}", timeout: float = 5.0) -> HttpRequest:
    return HttpRequest(url=url, whom="It", headers={"Content-Type": "application/json"}, body=body, timeout=timeout)


class Sync:
    """This asks through a `Pool`."""

    def __init__(self) -> None:
        self.pool = Pool(UNPINNED, 3)

    def ask(self, request: HttpRequest) -> tuple[int, bytes]:
        with contextlib.closing(self.pool.send(request)) as reply:
            body = b"".join(iter(reply.read, None))
        return reply.status, body

    def close(self) -> None:
        self.pool.close()


class Async:
    """This asks through an `AsyncPool`, on a loop of its own."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.pool = AsyncPool(UNPINNED, 3)

    def ask(self, request: HttpRequest) -> tuple[int, bytes]:
        async def run() -> tuple[int, bytes]:
            async with contextlib.aclosing(await self.pool.send(request)) as reply:
                body = b""
                while (part := await reply.read()) is not None:
                    body += part
            return reply.status, body

        return self.runner.run(run())

    def close(self) -> None:
        async def run() -> None:
            await self.pool.aclose()
            await asyncio.sleep(0)

        self.runner.run(run())
        self.runner.close()


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def ways(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = request.param()
    yield made
    made.close()
    assert made.pool.kept.open == set()
    assert made.pool.gate.is_empty, "every place came back"


def test_connection_is_used_again(ways: Any, peer: Callable[..., Peer]) -> None:
    there = peer()
    assert [ways.ask(asked(there.url)) for _ in range(3)] == [(200, b"{}")] * 3
    assert (there.connections, len(there.seen)) == (1, 3)


def test_connections_are_for_their_own_server(ways: Any, peer: Callable[..., Peer]) -> None:
    """One unpinned pool asks several nodes."""
    one, other = peer(), peer()
    for _ in range(2):
        ways.ask(asked(one.url))
        ways.ask(asked(other.url))
    assert (len(one.seen), len(other.seen), one.connections, other.connections) == (2, 2, 1, 1)


def test_connection_that_was_closed_while_idle_costs_nothing(ways: Any, peer: Callable[..., Peer]) -> None:
    """It is told from one that broke: the request goes out on a new one, once."""
    there = peer(closes=True)
    for number in range(3):
        there.closed.clear()
        assert ways.ask(asked(there.url, str(number).encode())) == (200, b"{}")
        assert there.closed.wait(5)
    assert [request[-1:] for request in there.seen] == [b"0", b"1", b"2"]
    assert there.connections == 3


def test_connection_that_breaks_after_sending_is_not_tried_again(ways: Any, peer: Callable[..., Peer]) -> None:
    """A used one, which had worked: nobody knows whether the request was read."""
    there = peer(OK, b"", OK)
    ways.ask(asked(there.url))
    with pytest.raises(ConnectionLostError, match=r"The connection to It broke"):
        ways.ask(asked(there.url, b"paid"))
    assert [request[-4:] for request in there.seen if request.endswith(b"paid")] == [b"paid"]


def test_refusal_of_the_first_byte_is_no_loss(
    ways: Any, peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server closed it between our look and our first byte: the system took nothing, and a new one is made."""
    there = peer(closes=True)
    ways.ask(asked(there.url))
    assert there.closed.wait(5)
    kind = "Stream" if isinstance(ways, Sync) else "AsyncStream"
    monkeypatch.setattr(f"og_integrations.client.channels._streams.{kind}.is_quiet", lambda _: True)
    (stream,) = ways.pool.kept.open
    if isinstance(ways, Sync):
        stream._sock.shutdown(socket.SHUT_WR)  # what the system says to the first byte now: EPIPE
    else:
        stream._transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    assert ways.ask(asked(there.url, b"again")) == (200, b"{}")
    assert [request[-5:] for request in there.seen if request.endswith(b"again")] == [b"again"]


def test_server_that_is_not_there(ways: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ConnectionFailedError, match=r"No connection to It \(ConnectionRefusedError\)"):
        ways.ask(asked(url))


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (OK + b"HTTP/1.1 200 OK\r\n", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP/1.1", False),
        (HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, True),
    ],
)
def test_what_comes_after_the_end_poisons_a_connection(
    ways: Any, peer: Callable[..., Peer], answer: bytes, again: bool
) -> None:
    """It would be the answer to the next request."""
    there = peer(answer)
    assert [ways.ask(asked(there.url)) for _ in range(2)] == [(200, b"{}")] * 2
    assert there.connections == (1 if again else 2)


def test_connection_that_was_closed_is_found_without_poll(
    ways: Any, peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has none, and eventlet takes it away."""
    monkeypatch.delattr(select, "poll")
    there = peer()
    assert [ways.ask(asked(there.url)) for _ in range(2)] == [(200, b"{}")] * 2
    assert there.connections == 1
    there._open[0].shutdown(socket.SHUT_RDWR)
    assert ways.ask(asked(there.url)) == (200, b"{}")
    assert there.connections == 2


def test_words_that_nobody_asked_for_poison_a_connection(ways: Any, peer: Callable[..., Peer]) -> None:
    """They come while it is idle, after an answer was read to its end."""
    there = peer()
    ways.ask(asked(there.url))
    there._open[0].sendall(OK.replace(b"{}", b"[]"))
    assert ways.ask(asked(there.url)) == (200, b"{}")
    assert there.connections == 2


def test_answer_without_a_body(ways: Any, peer: Callable[..., Peer]) -> None:
    there = peer(b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n")
    assert [ways.ask(asked(there.url))[0] for _ in range(3)] == [204, 304, 200]
    assert there.connections == 1


def test_answer_until_the_end_of_the_connection(ways: Any, peer: Callable[..., Peer]) -> None:
    there = peer(HEAD + b"\r\nuntil the end", closes=True)
    assert ways.ask(asked(there.url)) == (200, b"until the end")


def test_long_request_that_is_refused_early_shows_the_refusal(ways: Any) -> None:
    """The server answers after a part of it, and reads no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            near, _ = server.accept()
            with near:
                near.recv(1000)
                near.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert ways.ask(asked(url, b"x" * 5_000_000))[0] == 413
        thread.join()
    assert ways.pool.kept.open == set(), "half a request has gone into it"


def test_given_up_answer_breaks_its_connection(ways: Any, peer: Callable[..., Peer]) -> None:
    there = peer(HEAD + b"Content-Length: 9\r\n\r\nhalf")
    if isinstance(ways, Sync):
        reply = ways.pool.send(asked(there.url))
        assert reply.read() == b"half"
        reply.close()
        with pytest.raises(ConnectionLostError, match="was given up before its end"):
            reply.read()
    else:

        async def half() -> None:
            reply = await ways.pool.send(asked(there.url))
            assert await reply.read() == b"half"
            await reply.aclose()
            with pytest.raises(ConnectionLostError, match="was given up before its end"):
                await reply.read()

        ways.runner.run(half())
    assert ways.pool.kept.open == set()
    assert ways.ask(asked(there.url)) == (200, b"{}")


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.2])
def test_cancelled_exchange_closes_its_connection(peer: Callable[..., Peer], moment: float) -> None:
    there = peer(HEAD + b"Content-Length: 9\r\n\r\nhalf")

    async def run() -> None:
        pool = AsyncPool(UNPINNED, 3)

        async def ask() -> None:
            reply = await pool.send(asked(there.url))
            try:
                while await reply.read() is not None:
                    pass
            finally:
                await reply.aclose()

        task = asyncio.create_task(ask())
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.kept.open == set()
        assert pool.gate.is_empty
        await asyncio.sleep(0)

    asyncio.run(run())
    gc.collect()  # a socket that was left open would be a ResourceWarning here


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", "both Content-Length and Transfer-"),
        (HEAD + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", "a folded header line"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding in HTTP/1.0"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "SWITCH_UPGRADE"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\n0\r\n\r\n", "a chunk does not end where it said"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", "is no hexadecimal number"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", "is no hexadecimal number"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5000, "a line between chunks has no end"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nno header\r\n\r\n", "a trailer that is no header"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 2\r\n\r\n", "says again where it ends"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{", "it ended between chunks"),
        (HEAD + b"Content-Length: 9\r\n\r\n{}", "it ended 7 bytes too early"),
        (b"", "it ended before an answer"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000, "its head has more than"),
    ],
)
def test_rule_that_is_broken_is_named(answer: bytes, rule: str) -> None:
    """However the bytes come."""
    for size in (1_000_000, 3_000, 7):
        with pytest.raises((FramingError, h11.RemoteProtocolError), match=rule):
            read(answer, size)


def read(answer: bytes, size: int) -> bytes:
    """Return the body of `answer`, of which `size` bytes come at a time, and then the end."""
    incoming, body = Incoming(), b""
    for piece in [*(answer[at : at + size] for at in range(0, len(answer), size)), b""]:
        if incoming.status:
            body += incoming.take(piece)
        elif incoming.begins(piece):
            while not incoming.waits and not incoming.ended:
                body += incoming.take()
    return body


@pytest.mark.parametrize(
    "lines",
    [
        b"200 OK\r\nContent-Length: 2\r\nX-Blank: \t \r\nx-twice: a\r\nX-Twice: b c \r\n",
        b"402 \r\nTransfer-Encoding: chunked\r\nConnection: Keep-Alive, close\r\n",
        b"200 OK\r\nTransfer-Encoding: Chunked\r\n",
        b"204 No Content\r\nContent-Length: 2\r\n",
        b"200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n",
        b"200 OK\r\nContent-Length: 2, 2\r\n",
        b"200 OK\r\nServer: caf\xe9\r\n",
        b"200\r\n",
    ],
)
def test_head_in_one_piece_is_read_as_h11_reads_it_in_several(lines: bytes) -> None:
    """Heads in one piece are split by an expression if they are plain, and go to h11 if not."""
    head = b"HTTP/1.1 " + lines + b"\r\n"
    whole, pieces = Incoming(), Incoming()
    assert whole.begins(head)
    assert [pieces.begins(head[at : at + 1]) for at in range(len(head))].index(True) == len(head) - 1
    for incoming in (whole, pieces):
        assert incoming.waits
    assert (whole.status, whole.headers, whole.ended, whole.reusable) == (
        pieces.status,
        pieces.headers,
        pieces.ended,
        pieces.reusable,
    )


@pytest.mark.parametrize("value", ["a\r\nX-Upto-Session: theirs", "a\nb", "a\0", "é"])
def test_header_that_could_end_its_line_is_not_sent(value: str) -> None:
    request = HttpRequest(url="http://x.example", whom="It", headers={"X": value}, body=None, timeout=5)
    paying = replace(request, headers={}, secrets={"X": Secret(value)})
    for one in (request, request, paying):
        with pytest.raises(ConnectionFailedError, match=r"to It .* could end its line\. Nothing was sent"):
            request_head(one, address_of(one.url))


def test_heads_share_only_what_is_equal() -> None:
    """The lines that are kept are those of the same place and headers, and hold no secret."""
    usual = HttpRequest(url="http://x.example/a", whom="It", headers={"X": "1"}, body=b"{}", timeout=5)
    heads = {
        request_head(request, address_of(request.url))
        for request in (
            usual,
            replace(usual, headers={"X": "2"}),
            replace(usual, headers={"User-Agent": "mine"}),
            replace(usual, url="http://x.example/b"),
            replace(usual, url="http://y.example/a"),
            replace(usual, body=None),
            replace(usual, body=b"{ }"),
            replace(usual, secrets={"X-Upto-Session": Secret("one")}),
            replace(usual, secrets={"X-Upto-Session": Secret("two")}),
        )
    }
    assert len(heads) == 9
    lines = (
        "POST /a HTTP/1.1",
        "Host: x.example",
        f"User-Agent: og-integrations/{og_integrations.__version__}",
        "X: 1",
        "X-Upto-Session: one",
        "Content-Length: 2",
        "\r\n",
    )
    assert "\r\n".join(lines).encode() in heads

"""A user's own client fails in every phase, with every error of the layers below it: all become errors of ours."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import h11
import httpcore
import httpx
import httpx2
import pytest

from og_integrations.client import AsyncClient, Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.errors import BudgetExceededError, ConfigurationError, OpenGradientError
from tests.client.ways_to_ask import MODEL, user
from tests.sizes import sized

ERRORS: list[Callable[[Any], Exception]] = [
    lambda _lib: ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]"),
    lambda _lib: ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    lambda _lib: ConnectionResetError(104, "Connection reset by peer"),
    lambda _lib: OSError(9, "Bad file descriptor"),
    lambda _lib: TimeoutError(),
    lambda _lib: h11.RemoteProtocolError("peer closed connection"),
    lambda _lib: httpcore.ReadError("of a layer that was not translated"),
    lambda lib: lib.ReadError("broke"),
    lambda lib: lib.RemoteProtocolError("broke"),
    lambda lib: lib.ReadTimeout("late"),
    lambda lib: lib.StreamClosed(),
    lambda lib: lib.DecodingError("of a body"),
    # Raised after the request has left, these would say that nothing was sent.
    lambda lib: lib.ConnectError("of its second try"),
    lambda lib: lib.ConnectTimeout("of its second try"),
    lambda lib: lib.PoolTimeout("of its second try"),
    lambda lib: lib.UnsupportedProtocol("of its second try"),
    lambda _lib: ConfigurationError("of a hook that asks us something. Nothing was sent."),
    lambda _lib: BudgetExceededError("of a hook that asks us something. Nothing was sent."),
    lambda _lib: RuntimeError("of a hook"),
    lambda _lib: StopIteration("of a hook"),
    lambda _lib: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "of a hook"),
]
WAYS = ["chat", "stream", "achat", "astream"]
PHASES = ("after the head", "within the body", "at the body's end")


class _Failing:
    """It raises `error` in `phase` of each answer that is paid, below httpx."""

    phase: str
    error: Exception

    def of(self, request: Any, response: Any) -> Any:
        if "x-settlement-type" not in request.headers or response.status_code != 200:
            return response
        if self.phase == "after the head":
            raise self.error
        asynchronous = hasattr(response.stream, "__aiter__")
        response.stream = _AsyncBody(response.stream, self) if asynchronous else _Body(response.stream, self)
        return response


class _Body(httpx.SyncByteStream, httpx2.SyncByteStream):
    def __init__(self, inner: Any, failing: _Failing) -> None:
        self.inner, self.failing = inner, failing

    def __iter__(self) -> Iterator[bytes]:
        for part in self.inner:
            yield part[:1]
            if self.failing.phase == "within the body":
                raise self.failing.error
            yield part[1:]
        if self.failing.phase == "at the body's end":
            raise self.failing.error

    def close(self) -> None:
        self.inner.close()
        if self.failing.phase == "at the close":
            raise self.failing.error


class _AsyncBody(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, inner: Any, failing: _Failing) -> None:
        self.inner, self.failing = inner, failing

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self.inner:
            yield part[:1]
            if self.failing.phase == "within the body":
                raise self.failing.error
            yield part[1:]
        if self.failing.phase == "at the body's end":
            raise self.failing.error

    async def aclose(self) -> None:
        await self.inner.aclose()
        if self.failing.phase == "at the close":
            raise self.failing.error


def _client(library: Any, context: Any, failing: _Failing) -> Any:
    class Transport(library.HTTPTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            return failing.of(request, super().handle_request(request))

    return library.Client(transport=Transport(verify=context or True))


def _async_client(library: Any, context: Any, failing: _Failing) -> Any:
    class Transport(library.AsyncHTTPTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            return failing.of(request, await super().handle_async_request(request))

    return library.AsyncClient(transport=Transport(verify=context or True))


Ask = Callable[[], object]


@contextmanager
def _asking(net: Devnet, way: str, library: Any, failing: _Failing) -> Iterator[Ask]:
    """Yield how to ask once by `way`, always with the same client."""
    wallet: dict[str, Any] = {"private_key": net.private_key, "network": net.network, "max_retries": 0}
    if way in ("chat", "stream"):
        with Client(**wallet, http_client=lambda context: _client(library, context, failing)) as client:
            if way == "chat":
                yield lambda: client.chat(MODEL, user("hi"))
            else:
                yield lambda: list(client.stream(MODEL, user("hi")))
        return
    awaiting = AsyncClient(**wallet, http_client=lambda context: _async_client(library, context, failing))

    async def ask() -> object:
        if way == "achat":
            return await awaiting.chat(MODEL, user("hi"))
        return [piece async for piece in awaiting.stream(MODEL, user("hi"))]

    with asyncio.Runner() as runner:
        yield lambda: runner.run(ask(), context=copy_context())
        runner.run(awaiting.aclose())


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("way", WAYS)
@sized("ways", small=1, full=4)
def test_every_error_after_the_payment_leaves_it_in_doubt(net: Devnet, library: Any, way: str, ways: int) -> None:
    """A foreign error, or one that says that nothing was sent, is repeated by frameworks, which pay again."""
    failing = _Failing()
    # In the small size each error meets one of the ways in turn.
    errors = ERRORS if ways == len(WAYS) else ERRORS[WAYS.index(way) :: len(WAYS)]
    with _asking(net, way, library, failing) as ask:
        for failing.phase, make in itertools.product(PHASES, errors):
            failing.error = make(library)
            with collect_receipts() as receipts, pytest.raises(OpenGradientError) as caught:
                ask()
            what = f"{failing.error!r} {failing.phase}: {caught.value!r}"
            assert caught.value is not failing.error, what
            assert not caught.value.is_retryable, what
            assert "othing was sent" not in str(caught.value), what
            (receipt,) = receipts
            assert receipt["status"] != "verified", what
            assert receipt["payment"] is not None, what  # also of a session that was paid before
        # What was received is whole and paid, whatever comes of letting go.
        failing.phase = "at the close"
        for make in errors:
            failing.error = make(library)
            with collect_receipts() as receipts:
                ask()
            assert [receipt["status"] for receipt in receipts] == ["verified"], failing.error


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("way", WAYS)
def test_hook_may_read_the_answer_first(net: Devnet, library: Any, way: str) -> None:
    """Hooks that log bodies read them, and a body is read once: each such call failed after it was paid."""

    async def aread(response: Any) -> None:
        await response.aread()

    if way in ("chat", "stream"):
        hooks: dict[str, Any] = {"event_hooks": {"response": [lambda response: response.read()]}}
        with Client(
            private_key=net.private_key,
            network=net.network,
            http_client=lambda context: library.Client(verify=context or True, **hooks),
        ) as client:
            answer: Any = (
                client.chat(MODEL, user("hi")) if way == "chat" else list(client.stream(MODEL, user("hi")))[-1]
            )
    else:

        async def ask() -> Any:
            async with AsyncClient(
                private_key=net.private_key,
                network=net.network,
                http_client=lambda context: library.AsyncClient(
                    verify=context or True, event_hooks={"response": [aread]}
                ),
            ) as client:
                if way == "achat":
                    return await client.chat(MODEL, user("hi"))
                return [piece async for piece in client.stream(MODEL, user("hi"))][-1]

        answer = asyncio.run(ask())
    assert answer.receipt["status"] == "verified"

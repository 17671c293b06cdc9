"""
A user's own httpx client can be a channel (event hooks, proxies, metrics); the rules are those of our own.

Clients of httpx2, its successor, which comes with langsmith, are as good: what is used of it is the same.

Whether the client really uses the TLS context that it was given is looked at after each handshake, in a proxy's tunnel
too, before the request is sent, and again on each answer.
"""

import asyncio
import contextlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from og_integrations._urls import whole_url
from og_integrations.client.channels._channel import (
    CONNECT_TIMEOUT,
    Destination,
    HttpRequest,
    Pinned,
    acontent_of,
    broken,
    content_of,
    failure,
    head_until,
    lost,
    not_connected,
    revealed,
)
from og_integrations.client.channels._tls import of_handshake
from og_integrations.errors import (
    CertificateMismatchError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    OpenGradientError,
)
from og_integrations.protocol._redact import empty_frames

if TYPE_CHECKING:
    import httpx
    import httpx2

    SyncClient = httpx.Client | httpx2.Client
    AsyncClient = httpx.AsyncClient | httpx2.AsyncClient
    Response = httpx.Response | httpx2.Response

T = TypeVar("T")
_LIBRARIES = ("httpx", "httpx2")
_HOW = "make it with the ssl_context that the function is given (`httpx.Client(verify=ssl_context)`)"
_under_way: ContextVar[bool] = ContextVar("og_integrations_exchange", default=False)


class exchange:  # noqa: N801 - used as a function is; a generator would cost a microsecond for each piece of a stream
    """
    Inside this `with` a library carries an exchange: what it logs is about our request (`under_way`), and the frames
    of what fails in it keep no variable, since they hold what pays in clear.
    """

    __slots__ = ("_handled", "_token")

    def __enter__(self) -> None:
        self._token = _under_way.set(True)
        self._handled = sys.exception()

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        _under_way.reset(self._token)
        if exc is not None:
            empty_frames(exc, self._handled)


def under_way() -> bool:
    """Return whether this runs inside an exchange of ours: what libraries log then is about our request."""
    return _under_way.get()


class HttpxChannel:
    """This channel is a user's `Client` of httpx or httpx2, which must be pinned if `destination` is."""

    def __init__(self, client: "SyncClient", destination: Destination) -> None:
        self._library = _library_of(client, "Client")
        self._client: Any = client
        self._destination = destination

    @property
    def is_closed(self) -> bool:
        """Return whether its owner has closed it: then it is asked for anew."""
        return bool(self._client.is_closed)

    def send(self, request: HttpRequest) -> "HttpxReply":
        """
        Send `request` and return the answer's head.

        Raises what `Channel.send` does, `CertificateMismatchError`, `ConfigurationError` (nothing was sent) or, for
        an answer that came from an unknown peer, `ConnectionLostError`.
        """
        watch = _Watch(self._destination)

        def trace(event: str, info: Mapping[str, Any]) -> None:
            if (unpinned := watch.saw(event, info)) is not None:
                unpinned.close()
                raise _not_pinned()

        def ask() -> "Response":
            # Whatever the client does by itself: a redirect takes prompt and payment to another host.
            built = _built(self._library, self._client, request, content_of(request), trace)
            response: Response = self._client.send(built, stream=True, follow_redirects=False)
            return response

        until = head_until(request)
        failures = _Failures(self._library, request, self._destination, watch)
        with exchange(), failures:
            head = _begun(ask)
            try:
                response = head.result(until - time.monotonic())
            except BaseException:
                head.add_done_callback(_close_late)
                raise
        reply = HttpxReply(request, response, failures, until)
        if not _is_reached(response.extensions.get("network_stream"), self._destination):
            reply.close()
            raise _sent_unpinned()
        return reply

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class AsyncHttpxChannel:
    """This channel is a user's `AsyncClient` of httpx or httpx2, which must be pinned if `destination` is."""

    def __init__(self, client: "AsyncClient", destination: Destination) -> None:
        self._library = _library_of(client, "AsyncClient")
        self._client: Any = client
        self._destination = destination

    @property
    def is_closed(self) -> bool:
        """Return whether its owner has closed it: then it is asked for anew."""
        return bool(self._client.is_closed)

    async def send(self, request: HttpRequest) -> "AsyncHttpxReply":
        """Send `request` and return the answer's head. Raises what `HttpxChannel.send` does."""

        watch = _Watch(self._destination)

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if (unpinned := watch.saw(event, info)) is not None:
                await unpinned.aclose()
                raise _not_pinned()

        async def ask() -> "Response":
            built = _built(self._library, self._client, request, acontent_of(request), trace)
            response: Response = await self._client.send(built, stream=True, follow_redirects=False)
            return response

        until = head_until(request)
        failures = _Failures(self._library, request, self._destination, watch)
        with exchange(), failures:
            async with asyncio.timeout(until - time.monotonic()):
                response = await ask()
        reply = AsyncHttpxReply(request, response, failures, until)
        if not _is_reached(response.extensions.get("network_stream"), self._destination):
            await reply.aclose()
            raise _sent_unpinned()
        return reply

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


class _HttpxHead:
    """Both kinds of replies have this."""

    __slots__ = ("_failures", "_parts", "_request", "_response", "_until", "headers", "status")

    def __init__(self, request: HttpRequest, response: "Response", failures: "_Failures", until: float) -> None:
        self.status: int = response.status_code
        self.headers: Sequence[tuple[str, str]] = response.headers.multi_items()
        self._request, self._response, self._failures = request, response, failures
        self._until = until if request.whole else None
        self._parts: Any = None
        # Whatever the client raises from here on, the request has left.
        failures.watch.sent = True

    def _body(self) -> Any:
        """Return the body as a stream of bytes that were not decoded; as a tuple if a hook has read it already."""
        return (self._response.content,) if self._response.is_stream_consumed else self._response.stream

    def _piece_until(self) -> float:
        """Return when the next piece must have come."""
        return time.monotonic() + self._request.timeout if self._until is None else self._until


class HttpxReply(_HttpxHead):
    """This reply comes over a user's client."""

    __slots__ = ("_piece",)

    def __init__(self, request: HttpRequest, response: "Response", failures: "_Failures", until: float) -> None:
        super().__init__(request, response, failures, until)
        self._piece: Future[bytes | None] | None = None

    def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        until = self._piece_until()
        with exchange(), self._failures:
            if self._parts is None:
                self._parts = iter(self._body())
            self._piece = _begun(lambda: next(self._parts, None))
            return self._piece.result(until - time.monotonic())

    def close(self) -> None:
        """Let go of the connection."""
        if self._piece is None or self._piece.done():
            self._let_go()
            return
        # A piece that was given up is still waited for. Whoever waits closes: if the socket were closed under him,
        # its number would be that of another connection, whose bytes he would take.
        self._wake()
        self._piece.add_done_callback(lambda _piece: self._let_go())

    def _wake(self) -> None:
        """End the wait of whoever reads, where nobody else's answers come over the same connection."""
        stream = self._response.extensions.get("network_stream")
        sock = stream.get_extra_info("socket") if stream is not None else None
        if sock is not None and self._response.http_version.startswith("HTTP/1"):
            with contextlib.suppress(OSError):
                # Not the socket's own: that of TLS would take its session from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _let_go(self) -> None:
        # What was received is whole without it.
        with contextlib.suppress(ConnectionLostError), self._failures:
            self._response.close()


class AsyncHttpxReply(_HttpxHead):
    """This reply comes over a user's asynchronous client."""

    __slots__ = ()

    async def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        until = self._piece_until()
        with exchange(), self._failures:
            if self._parts is None:
                body = self._body()
                self._parts = _once(body) if isinstance(body, tuple) else aiter(body)
            async with asyncio.timeout(until - time.monotonic()):
                data: bytes | None = await anext(self._parts, None)
        return data

    async def aclose(self) -> None:
        """Let go of the connection."""
        with contextlib.suppress(ConnectionLostError), self._failures:
            await self._response.aclose()


async def _once(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class _Failures:
    """
    Inside this `with`, whatever the user's client raises becomes an error of ours.

    Its event hooks and transports may raise anything, after the request has left: a foreign error would look as if
    nothing had been paid, and be repeated. So would an error of ours that says that nothing was sent: of a hook that
    asks us something itself, or of a transport that tried again and could not connect the second time.
    """

    __slots__ = ("_destination", "_library", "_request", "watch")

    def __init__(self, library: ModuleType, request: HttpRequest, destination: Destination, watch: "_Watch") -> None:
        self._library, self._request, self._destination = library, request, destination
        self.watch = watch

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if not isinstance(exc, Exception) or (isinstance(exc, OpenGradientError) and not self.watch.sent):
            return
        shaking = self.watch.shaking and not self.watch.sent
        if shaking and isinstance(exc, self._library.ConnectError | self._library.ConnectTimeout):
            within = of_handshake(TimeoutError() if isinstance(exc, self._library.ConnectTimeout) else exc)
            raise not_connected(within, self._request.whom, self._destination) from exc
        error = failure(exc, self._library, self._request.whom, self._destination)
        if self.watch.sent and not isinstance(error, ConnectionLostError):
            error = broken(exc, self._request.whom)
        raise error from exc


def _library_of(client: object, kind: str) -> ModuleType:
    """Return the library of which `client` is a `kind`. Raises `ConfigurationError` if it is of none we know."""
    for name in _LIBRARIES:
        library = sys.modules.get(name)
        if library is not None and isinstance(client, getattr(library, kind)):
            return library
    raise ConfigurationError(
        f"The http_client is a {type(client).__module__}.{type(client).__name__}, expected "
        f"{' or '.join(f'{name}.{kind}' for name in _LIBRARIES)}. Nothing was sent."
    )


def _built(library: ModuleType, client: Any, request: HttpRequest, content: object, trace: object) -> object:
    if client.is_closed:
        raise ConfigurationError("The http_client that was given is closed. Nothing was sent; give an open one.")
    try:
        return client.build_request(
            "GET" if request.body is None else "POST",
            whole_url(request.url),
            content=content,
            headers=revealed(request) | _length_of(request),
            timeout=library.Timeout(request.timeout, connect=min(request.timeout, CONNECT_TIMEOUT)),
            extensions={"trace": trace},
        )
    except library.InvalidURL as exc:
        raise ConnectionFailedError(f"{request.whom[:80]!r} has no URL ({exc}). Nothing was sent.") from exc


def _length_of(request: HttpRequest) -> dict[str, str]:
    # The library does not know it of an upload, which it would send in chunks.
    return {} if request.body is None else {"Content-Length": str(len(request.body))}


class _Watch:
    """
    A watch says, of what a client traces, when the next request would leave over a connection that is not pinned.

    A handshake with the proxy itself (`https://`) is no concern: what follows it is a CONNECT, and a handshake within.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._unpinned: Any = None
        self.sent = False
        """Whether the request has begun to leave."""
        self.shaking = False
        """Whether a handshake has begun that has not ended well."""

    def saw(self, event: str, info: Mapping[str, Any]) -> Any:
        """Return the connection to close now, before a byte of the request has left on it; None without one."""
        if event.endswith(".start_tls.started"):
            self.shaking = True
        elif event.endswith(".start_tls.complete"):
            self.shaking = False
            stream = info["return_value"]
            self._unpinned = None if _is_reached(stream, self._destination) else stream
        elif event.endswith(".send_request_headers.started") and info["request"].method != b"CONNECT":
            self.sent = self.sent or self._unpinned is None
            return self._unpinned
        return None


class _HandedOver:
    """What is raised inside this `with` is raised where `outcome` is waited for, instead of here."""

    def __init__(self, outcome: "Future[Any]") -> None:
        self._outcome = outcome

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> bool:
        if exc is not None:
            self._outcome.set_exception(exc)
        return True


def _begun(work: Callable[[], T]) -> "Future[T]":
    """
    Begin `work` in a thread of its own, and return what will come of it.

    Nothing else ends a synchronous client's wait for a head, or for a piece, that comes letter by letter.
    """
    outcome: Future[T] = Future()
    context = copy_context()

    def run() -> None:
        with _HandedOver(outcome):
            outcome.set_result(context.run(work))

    threading.Thread(target=run, name="og-integrations-httpx", daemon=True).start()
    return outcome


def _close_late(head: "Future[Response]") -> None:
    """Close an answer for which nobody waits any more."""
    if head.exception() is None:
        head.result().close()


def _is_reached(stream: Any, destination: Destination) -> bool:
    if not isinstance(destination, Pinned):
        return True
    peer: ssl.SSLObject | None = stream.get_extra_info("ssl_object") if stream is not None else None
    return peer is not None and peer.getpeercert(True) == destination.certificate


def _not_pinned() -> CertificateMismatchError:
    return CertificateMismatchError(
        f"The http_client accepted another certificate than the enclave's. Nothing was sent: {_HOW}."
    )


def _sent_unpinned() -> ConnectionLostError:
    # No `ConfigurationError`, though it is to blame: that one says that nothing was sent, and so not paid.
    error = lost(
        "The http_client's connection is not known to be pinned to the enclave's certificate, so its answer is not "
        f"used: {_HOW}. The request was sent on it.",
        timed_out=False,
    )
    error.blames_enclave = False
    error.is_retryable = False  # the same unknown peer would get the prompt again
    return error

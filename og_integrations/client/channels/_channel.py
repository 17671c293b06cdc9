"""
A channel is a way for HTTP requests to one peer, whatever carries them.

Every channel raises errors of our own tree only. `ConnectionFailedError` says that nothing of the request was sent,
`ConnectionLostError` that some of it may have been: that difference decides whether a payment is in doubt, so what
fails below us is translated in one place, here.

A `Destination` names the peer: connections are keyed by it, so that another kind of channel (through a relay, sealed)
is one more destination and one more class, and nothing else changes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal, Protocol

from og_integrations.client.channels._tls import HandshakeTimeoutError, describe, in_words, is_mismatch, tls_failure
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, ConnectionLostError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.proof._enclave import Enclave

CONNECT_TIMEOUT = 10.0
"""Seconds for connecting: a server that is away is given up sooner than one that thinks."""
_LEAST_BYTES_A_SECOND = 4096


@dataclass(frozen=True, slots=True)
class Pinned:
    """This destination is the holder of one certificate (DER), with whom TLS ends; nobody else is talked to."""

    certificate: bytes = field(repr=False)
    channel: Literal["pinned"] = field(default="pinned", init=False)
    """A receipt calls it so."""


@dataclass(frozen=True, slots=True)
class Unpinned:
    """This destination is whoever answers at a URL, over http or by a public CA's word: nodes, or a given gateway."""

    channel: Literal["unpinned"] = field(default="unpinned", init=False)


Destination = Pinned | Unpinned
UNPINNED = Unpinned()


def destination_of(enclave: Enclave) -> Destination:
    """Return how `enclave` is reached."""
    return Pinned(enclave.certificate) if enclave.pinned else UNPINNED


class Upload(Protocol):
    """An upload is a body that is read while it is sent, from its beginning each time it is asked for."""

    def __len__(self) -> int:
        """Return how many bytes it has."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """Return all of it, piece by piece."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """
    A request is a POST of `body` to `url`, or a GET if there is none; messages call the peer `whom`.

    `headers` are mostly equal for all requests of a client; what pays, or says who asks, stands in `secrets`, headers
    as well, until the library below gets it.

    `timeout` in seconds, for each wait on the network; connecting has at most `CONNECT_TIMEOUT`. With `whole`, it is
    the limit of the whole exchange. `sending` are the seconds that a large body may take beyond it.
    """

    url: str = field(repr=False)
    whom: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    body: bytes | Upload | None = field(repr=False)
    timeout: float
    whole: bool = False
    sending: float = 0.0


def content_of(request: HttpRequest) -> bytes | Iterator[bytes] | None:
    """Return the body of `request` as libraries take it."""
    body = request.body
    return body if body is None or isinstance(body, bytes) else body.pieces()


def acontent_of(request: HttpRequest) -> bytes | AsyncIterator[bytes] | None:
    """Return the body of `request` as asynchronous libraries take it; an upload is read on a thread."""
    body = request.body
    return body if body is None or isinstance(body, bytes) else _read_on_threads(body)


async def _read_on_threads(upload: Upload) -> AsyncIterator[bytes]:
    pieces = upload.pieces()
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def revealed(request: HttpRequest) -> dict[str, str]:
    """Return all headers of `request` as they are sent; do not keep them in a variable."""
    return {**request.headers, **{name: secret.reveal() for name, secret in request.secrets.items()}}


def head_until(request: HttpRequest) -> float:
    """Return when the head must have come: a peer that sends 103s, or a line now and then, is left."""
    return time.monotonic() + request.sending + request.timeout + (0 if request.whole else CONNECT_TIMEOUT)


class Pace:
    """
    A pace ends a body that comes piece by piece, each in time, and never to its end: blanks, or comments of a stream.

    From the last thing on that said something (`moved`; at first from the beginning) a body has `seconds`, and one
    more for each 4 KiB that came since, so that a large picture may take its time on a slow line.
    """

    __slots__ = ("_seconds", "_until", "_whom")

    def __init__(self, seconds: float, whom: str) -> None:
        self._seconds, self._whom = seconds, whom
        self.moved()

    def moved(self) -> None:
        """Note that something was said."""
        self._until = time.monotonic() + self._seconds

    def came(self, data: bytes) -> None:
        """Note that `data` came. Raises `ConnectionLostError` if its time is over."""
        self._until += len(data) / _LEAST_BYTES_A_SECOND
        if time.monotonic() > self._until:
            raise late(self._whom, "send its whole answer")


class Reply(Protocol):
    """A reply has the head of an answer, duplicates of headers kept, and gives out its body as it is read."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Return names and values, as they came."""
        ...

    def read(self) -> bytes | None:
        """Return the next bytes of the body, None at its end. Raises `ConnectionLostError`."""
        ...

    def close(self) -> None:
        """Let go of the connection; a body that was not read to its end breaks it."""
        ...


class AsyncReply(Protocol):
    """An asynchronous reply is a `Reply` that is awaited."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Return names and values, as they came."""
        ...

    async def read(self) -> bytes | None:
        """Return what `Reply.read` does."""
        ...

    async def aclose(self) -> None:
        """Do what `Reply.close` does."""
        ...


class Channel(Protocol):
    """A channel carries requests to one destination; threads may share it."""

    @property
    def is_closed(self) -> bool:
        """Return whether it can carry nothing any more: then a new one is made."""
        ...

    def send(self, request: HttpRequest) -> Reply:
        """
        Send `request` and return the head of its answer.

        Raises `ConnectionFailedError` if nothing of it was sent, `ConnectionLostError` otherwise.
        """
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class AsyncChannel(Protocol):
    """An asynchronous channel is a `Channel` of one event loop."""

    @property
    def is_closed(self) -> bool:
        """Return whether it can carry nothing any more."""
        ...

    async def send(self, request: HttpRequest) -> AsyncReply:
        """Do what `Channel.send` does."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def failure(
    exc: BaseException, library: ModuleType, what: str, destination: Destination
) -> ConnectionFailedError | ConnectionLostError:
    """
    Return what `exc`, raised while a request to `what` was under way, means.

    `library` is the httpx of a user's client, whose exceptions tell the phases apart. Anything else (of `ssl`, of
    sockets) may have come after the request had left.
    """
    if isinstance(exc, library.PoolTimeout):
        busy = ConnectionFailedError(
            f"All connections to {what} were in use by other calls for too long: nothing was sent. Make fewer "
            "calls at once, or set a longer timeout."
        )
        # Our own calls have them all.
        busy.blames_enclave = False
        return busy
    if isinstance(exc, library.ConnectError | library.ConnectTimeout | library.UnsupportedProtocol):
        error = not_connected(exc, what, destination)
        error.timed_out = error.timed_out or isinstance(exc, library.ConnectTimeout)
        return error
    if isinstance(exc, library.TimeoutException | TimeoutError):
        return late(what)
    return broken(exc, what)


def late(what: str, did_not: str = "answer") -> ConnectionLostError:
    """Return the error of a request to `what` that had begun to leave, and whose answer did not come in time."""
    return lost(f"{what} did not {did_not} in time.", timed_out=True)


def broken(exc: BaseException, what: str, why: str = "") -> ConnectionLostError:
    """Return the error of a request to `what` that had begun to leave when `exc` came; `why` may say more of it."""
    of_tls = tls_failure(exc)
    # With TLS 1.3 a server that demands a certificate says so after the handshake, when the request has left.
    why = why or (in_words(of_tls) if of_tls is not None else None) or type(exc).__name__
    return lost(f"The connection to {what} broke ({why}).", timed_out=False)


def not_connected(exc: BaseException, what: str, destination: Destination) -> ConnectionFailedError:
    """Return the error of a request to `what` of which nothing had left when `exc` came."""
    of_tls = tls_failure(exc)
    if of_tls is None:
        says = f"No connection to {what} ({type(exc).__name__}): nothing was sent."
        if isinstance(exc, HandshakeTimeoutError):
            says = f"No TLS with {what}: it did not answer in time within the handshake. Nothing was sent."
        error = ConnectionFailedError(says)
        error.timed_out = isinstance(exc, TimeoutError)
        return error
    certificate = destination.certificate if isinstance(destination, Pinned) else None
    if certificate is not None and is_mismatch(of_tls, certificate):
        return CertificateMismatchError(
            f"{what} showed another certificate than the pinned one. The handshake was aborted and nothing was "
            "sent: someone may be in between, or the enclave was renewed a moment ago."
        )
    return ConnectionFailedError(f"No TLS with {what}: {describe(of_tls, certificate)}. Nothing was sent.")


def lost(message: str, *, timed_out: bool) -> ConnectionLostError:
    """Return the error of an answer that did not come, or not to its end."""
    error = ConnectionLostError(message)
    error.timed_out = timed_out
    return error

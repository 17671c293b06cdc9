"""
A channel is a way for HTTP requests to one peer, whatever carries them.

Every channel raises errors of our own tree only. `ConnectionFailedError` says that nothing of the request was sent,
`ConnectionLostError` that some of it may have been: that difference decides whether a payment is in doubt, so what
fails below us is translated in one place, here.

A `Destination` names the peer: connections are keyed by it, so that another kind of channel (through a relay, sealed)
is one more destination and one more class, and nothing else changes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal, Protocol

from og_integrations.client.channels._tls import describe, is_mismatch, tls_failure
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, ConnectionLostError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.proof._enclave import Enclave

CONNECT_TIMEOUT = 10.0
"""Seconds for connecting: a server that is away is given up sooner than one that thinks."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """
    A request is a POST of `body` to `url`, or a GET if there is none; messages call the peer `whom`.

    What pays stands in `headers` as a `Secret`, until the library below gets it.

    `timeout` in seconds, for each wait on the network; connecting has at most `CONNECT_TIMEOUT`. With `whole`, it is
    the limit of the whole exchange.
    """

    url: str = field(repr=False)
    whom: str
    headers: Mapping[str, str | Secret] = field(repr=False)
    body: bytes | None = field(repr=False)
    timeout: float
    whole: bool = False


def revealed(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return `headers` as they are sent; do not keep them in a variable."""
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in headers.items()}


def head_until(request: HttpRequest) -> float:
    """Return when the head must have come: a peer that sends 103s, or a line now and then, is left."""
    return time.monotonic() + (request.timeout if request.whole else request.timeout + CONNECT_TIMEOUT)


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
    Return what `exc`, raised by a user's client while a request to `what` was under way, means.

    `library` is whose exceptions tell the phases apart: httpx, or httpx2, which name them alike. Anything else (of
    `ssl`, of sockets) may have come after the request had left.
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
        return broken(exc, type(exc).__name__, what, destination, sent=False)
    late = isinstance(exc, library.TimeoutException)
    return broken(TimeoutError() if late else exc, type(exc).__name__, what, destination, sent=True)


def broken(
    exc: BaseException, why: str, what: str, destination: Destination, *, sent: bool
) -> ConnectionFailedError | ConnectionLostError:
    """Return what `exc` means for a request to `what`, of which something may have been `sent`; `why` it broke."""
    if not sent:
        return _not_connected(exc, why, what, destination)
    if isinstance(exc, TimeoutError):
        return lost(f"{what} did not answer in time.", timed_out=True)
    return lost(f"The connection to {what} broke ({why}).", timed_out=False)


def _not_connected(exc: BaseException, why: str, what: str, destination: Destination) -> ConnectionFailedError:
    of_tls = tls_failure(exc)
    if of_tls is None:
        return ConnectionFailedError(f"No connection to {what} ({why}): nothing was sent.")
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

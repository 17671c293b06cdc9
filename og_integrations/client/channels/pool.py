"""
What the libraries below us may write into logs at DEBUG: no payment, and no session.

httpcore and httpcore2 log the headers of answers, hpack (HTTP/2, which only a user's own client speaks) all.

One HTTP exchange: a request goes out, the head of its answer comes back, the body follows as it is read.

Our own connections are pools of httpcore, the part of httpx that talks: nothing here knows cookies (which
would let gateways recognise a user), redirects, logins, proxies or .netrc, and a call costs a third less.
`client.channels.lent` does the same with a user's own httpx client. Failures are httpcore's in both cases;
`TranslatedErrors` makes them ours.
"""

import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlsplit

import og_integrations
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, ConnectionLostError
from og_integrations.protocol.payment.x402 import PAYMENT_SIGNATURE, SESSION

if TYPE_CHECKING:
    import httpcore


_LOGGERS = ("httpcore.http11", "httpcore.http2", "httpcore2.http11", "httpcore2.http2")
_HEADER_LOGGERS = ("hpack.hpack", "hpack.table")
_NAMED = re.compile(rf"((?:{SESSION}|{PAYMENT_SIGNATURE})\b\W{{0,6}}b?['\"]?)[^'\"\s,)]+", re.IGNORECASE)
# A signature, and how the base64 of a payment begins: a gateway may send either back under any name.
_SECRET = re.compile(r"0x[0-9a-f]{130}|eyJ4NDAyVmVyc2lvbiI6IDIsICJwYXlsb2Fk[A-Za-z0-9+/=]*", re.IGNORECASE)


class _Redacting(logging.Filter):
    """Replaces secrets in the finished text of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        redacted = _SECRET.sub("[redacted]", _NAMED.sub(r"\1[redacted]", text))
        if redacted != text:
            record.msg, record.args = redacted, None
        return True


class _Silent(logging.Filter):
    """Lets nothing through: hpack also logs headers as the compressed bytes that they become."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


def redact_logs() -> None:
    """Keep payments and sessions out of the logs of this process."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_Redacting())
    for name in _HEADER_LOGGERS:
        logging.getLogger(name).addFilter(_Silent())


CONNECT_TIMEOUT = 10.0
MAX_CONNECTIONS = 100
KEEP_IDLE = 5.0
"""Seconds for which an unused connection is kept; servers close theirs later."""
_USER_AGENT = f"og-integrations/{og_integrations.__version__}"
_PATH = "/%:@!$&'()*+,;=-._~?"
"""What a path and a query may hold as it is (RFC 3986)."""
NO_SERVER = "no address of a server, expected http(s)://host[:port]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """
    A POST of `body` to `url`, a GET if there is none.

    `timeout` in seconds, for each wait on the network; connecting has at most `CONNECT_TIMEOUT`.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    timeout: float

    @property
    def method(self) -> str:
        """The method."""
        return "GET" if self.body is None else "POST"

    def timeouts(self) -> dict[str, float]:
        """Return the limits of each kind of wait, as httpcore and httpx name them."""
        most = self.timeout
        return {"connect": min(most, CONNECT_TIMEOUT), "read": most, "write": most, "pool": most}


@dataclass(slots=True)
class Reply:
    """The head of an answer, duplicates kept; `parts` reads its body, `close` lets its connection go."""

    status: int
    headers: Sequence[tuple[str, str]]
    parts: Iterator[bytes]
    close: Callable[[], None]


@dataclass(slots=True)
class AsyncReply:
    """The same, to be awaited."""

    status: int
    headers: Sequence[tuple[str, str]]
    parts: AsyncIterator[bytes]
    aclose: Callable[[], Awaitable[None]]


class Pool:
    """Our own connections, all with one TLS context."""

    is_closed = False
    """A pool that was closed opens new connections when it is used again."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        import httpcore

        self._pool = httpcore.ConnectionPool(context or public_context(), **_limits())

    def send(self, request: Outgoing) -> Reply:
        """Send `request` and return the answer's head. Raises httpcore's errors."""
        response = self._pool.handle_request(_outgoing(request))
        return Reply(response.status, _headers(response.headers), response.iter_stream(), response.close)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class AsyncPool:
    """Our own connections on one event loop, all with one TLS context."""

    is_closed = False

    def __init__(self, context: ssl.SSLContext | None) -> None:
        import httpcore

        self._pool = httpcore.AsyncConnectionPool(context or public_context(), **_limits())

    async def send(self, request: Outgoing) -> AsyncReply:
        """Send `request` and return the answer's head. Raises httpcore's errors."""
        response = await self._pool.handle_async_request(_outgoing(request))
        return AsyncReply(response.status, _headers(response.headers), response.aiter_stream(), response.aclose)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class TranslatedErrors:
    """
    Turns httpcore's exceptions inside its `with` into ours: `ConnectionFailedError` if nothing of the request was
    sent (no connection, TLS failure, no free connection), `ConnectionLostError` otherwise.

    `what` is who was asked.
    """

    # No generator: a stream enters one for each piece, and those cost a microsecond more.
    __slots__ = ("_pinned", "_what")

    def __init__(self, what: str, *, pinned: bool = True) -> None:
        self._what = what
        self._pinned = pinned

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if exc is not None and (error := _translated(exc, self._what, pinned=self._pinned)) is not None:
            raise error from exc


def _translated(exc: BaseException, what: str, *, pinned: bool) -> ConnectionFailedError | ConnectionLostError | None:
    """Return our error for `exc`, None if it is none of httpcore's."""
    import httpcore

    match exc:
        case httpcore.PoolTimeout():
            busy = ConnectionFailedError(
                f"All connections to {what} were in use by other calls for too long: nothing was sent. Make fewer "
                "calls at once, or set a longer timeout."
            )
            busy.blames_enclave = False
            return busy
        case httpcore.ConnectError() | httpcore.ConnectTimeout() | httpcore.UnsupportedProtocol():
            failure = _tls_failure(exc)
            if failure is None:
                return ConnectionFailedError(f"No connection to {what} ({type(exc).__name__}): nothing was sent.")
            if not pinned:
                return ConnectionFailedError(f"No TLS with {what} ({failure.reason}): nothing was sent.")
            return CertificateMismatchError(
                f"{what} showed another certificate than the pinned one. The handshake was aborted and nothing was "
                "sent: someone may be in between, or the enclave was renewed a moment ago."
            )
        case httpcore.TimeoutException():
            return lost(f"{what} did not answer in time.", timed_out=True)
        case httpcore.NetworkError() | httpcore.ProtocolError() | httpcore.ProxyError():
            return lost(f"The connection to {what} broke ({type(exc).__name__}).", timed_out=False)
    return None


@lru_cache(maxsize=1)
def public_context() -> ssl.SSLContext:
    """Return the context for what is not pinned: RPC nodes, and gateways given by URL."""
    # Reading the public CAs takes 20 ms, and every client of an RPC node would do it.
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def lost(message: str, *, timed_out: bool) -> ConnectionLostError:
    """Return the error of an answer that did not come, or not to its end."""
    error = ConnectionLostError(message)
    error.timed_out = timed_out
    return error


def _outgoing(request: Outgoing) -> "httpcore.Request":
    import httpcore

    url, host = _target(request.url)
    headers: list[tuple[bytes | str, bytes | str]]
    headers = [("Host", host), ("User-Agent", _USER_AGENT), *request.headers.items()]
    if request.body is not None:
        headers.append(("Content-Length", str(len(request.body))))
    extensions = {"timeout": request.timeouts()}
    return httpcore.Request(request.method, url, headers=headers, content=request.body, extensions=extensions)


@lru_cache(maxsize=256)
def _target(url: str) -> "tuple[httpcore.URL, str]":
    """Return where `url` leads to, and the Host header. Raises `ConnectionFailedError` if it is no http(s) URL."""
    import httpcore

    try:
        parts, host, port = _parts(url)
    except ValueError as exc:
        raise ConnectionFailedError(f"{server_of(url)} is {NO_SERVER}. Nothing was sent.") from exc
    target = quote(parts.path or "/", safe=_PATH) + ("?" + quote(parts.query, safe=_PATH) if parts.query else "")
    shown = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    return httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target), shown


def _parts(url: str) -> tuple[SplitResult, str, int | None]:
    """Return `url` in parts, its host in ASCII, and its port. Raises `ValueError` if it leads nowhere."""
    # `urlsplit` drops line breaks without a word.
    parts = urlsplit(url if url.isprintable() and " " not in url else "")
    host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(url)
    return parts, host, port


def is_server(url: str) -> bool:
    """Whether `url` is an address that can be asked."""
    try:
        return bool(_parts(url))
    except ValueError:
        return False


def server_of(url: str) -> str:
    """Return `url` as far as a message may show it: providers of nodes put API keys into path and query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}" if parts.scheme and host and host.isprintable() else "This"
    except ValueError:
        return "This"


def _headers(raw: "Sequence[tuple[bytes, bytes]]") -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


def _limits() -> dict[str, Any]:
    return {
        "max_connections": MAX_CONNECTIONS,
        "max_keepalive_connections": MAX_CONNECTIONS,
        "keepalive_expiry": KEEP_IDLE,
    }


def _tls_failure(exc: BaseException | None) -> ssl.SSLError | None:
    while exc is not None and not isinstance(exc, ssl.SSLError):
        exc = exc.__cause__ or exc.__context__
    return exc

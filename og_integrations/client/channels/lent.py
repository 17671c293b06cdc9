"""
A user's own httpx client as a transport: event hooks, proxies, metrics; same rules as our own connections.

Clients of httpx2, its successor, which comes with langsmith, are as good: what is used of it is the same.

Whether the client really uses the TLS context that it was given is looked at when a connection is made,
before anything is sent on it, and again on each answer.
"""

import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from og_integrations.client.channels.pool import AsyncReply, Outgoing, Reply, lost
from og_integrations.errors import (
    CertificateMismatchError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
)

if TYPE_CHECKING:
    import httpx
    import httpx2

_LIBRARIES = ("httpx", "httpx2")
_HANDSHAKE_DONE = "connection.start_tls.complete"
_HOW = "make it with the ssl_context that the function is given (`httpx.Client(verify=ssl_context)`)"


class HttpxTransport:
    """A user's `Client` of httpx or httpx2, which must be pinned to `certificate` (DER) if there is one."""

    def __init__(self, client: "httpx.Client | httpx2.Client", certificate: bytes) -> None:
        self._library = _library_of(client, "Client")
        self._client = client
        self._certificate = certificate

    @property
    def is_closed(self) -> bool:
        """Whether its owner has closed it: then it is asked for anew."""
        return self._client.is_closed

    def send(self, request: Outgoing) -> Reply:
        """
        Send `request` and return the answer's head.

        Raises httpcore's errors, `CertificateMismatchError`, `ConfigurationError` (nothing was sent) or, for an answer
        that came from an unknown peer, `ConnectionLostError`.
        """

        def trace(event: str, info: dict[str, Any]) -> None:
            if event == _HANDSHAKE_DONE and not _is_pinned(info["return_value"], self._certificate):
                info["return_value"].close()
                raise _not_pinned()

        built = _built(self._library, self._client, request, trace)
        with _as_httpcore(self._library):
            # Whatever the client does by itself: a redirect takes prompt and payment to another host.
            response = self._client.send(built, stream=True, follow_redirects=False)
        if not _is_pinned(response.extensions.get("network_stream"), self._certificate):
            response.close()
            raise _sent_unpinned()
        parts = _parts(self._library, response)
        return Reply(response.status_code, response.headers.multi_items(), parts, response.close)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class AsyncHttpxTransport:
    """A user's `AsyncClient` of httpx or httpx2, which must be pinned to `certificate` (DER) if there is one."""

    def __init__(self, client: "httpx.AsyncClient | httpx2.AsyncClient", certificate: bytes) -> None:
        self._library = _library_of(client, "AsyncClient")
        self._client = client
        self._certificate = certificate

    @property
    def is_closed(self) -> bool:
        """Whether its owner has closed it: then it is asked for anew."""
        return self._client.is_closed

    async def send(self, request: Outgoing) -> AsyncReply:
        """Send `request` and return the answer's head. Raises what `HttpxTransport.send` does."""

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event == _HANDSHAKE_DONE and not _is_pinned(info["return_value"], self._certificate):
                await info["return_value"].aclose()
                raise _not_pinned()

        built = _built(self._library, self._client, request, trace)
        with _as_httpcore(self._library):
            response = await self._client.send(built, stream=True, follow_redirects=False)
        if not _is_pinned(response.extensions.get("network_stream"), self._certificate):
            await response.aclose()
            raise _sent_unpinned()
        parts = _aparts(self._library, response)
        return AsyncReply(response.status_code, response.headers.multi_items(), parts, response.aclose)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def _library_of(client: object, kind: str) -> Any:
    """Return the library of which `client` is a `kind`. Raises `ConfigurationError` if it is of none we know."""
    for name in _LIBRARIES:
        library = sys.modules.get(name)
        if library is not None and isinstance(client, getattr(library, kind)):
            return library
    raise ConfigurationError(
        f"The http_client is a {type(client).__module__}.{type(client).__name__}, expected "
        f"{' or '.join(f'{name}.{kind}' for name in _LIBRARIES)}. Nothing was sent."
    )


def _built(library: Any, client: Any, request: Outgoing, trace: object) -> Any:
    if client.is_closed:
        raise ConfigurationError("The http_client that was given is closed. Nothing was sent; give an open one.")
    try:
        return client.build_request(
            request.method,
            request.url,
            content=request.body,
            headers=dict(request.headers),
            timeout=library.Timeout(**request.timeouts()),
            extensions={"trace": trace},
        )
    except library.InvalidURL as exc:
        raise ConnectionFailedError(f"{request.url[:80]!r} is no URL ({exc}). Nothing was sent.") from exc


def _is_pinned(stream: Any, certificate: bytes) -> bool:
    if not certificate:
        return True
    peer: ssl.SSLObject | None = stream.get_extra_info("ssl_object") if stream is not None else None
    return peer is not None and peer.getpeercert(True) == certificate


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


def _parts(library: Any, response: Any) -> Iterator[bytes]:
    with _as_httpcore(library):
        yield from response.iter_raw()


async def _aparts(library: Any, response: Any) -> AsyncIterator[bytes]:
    with _as_httpcore(library):
        async for data in response.aiter_raw():
            yield data


@contextmanager
def _as_httpcore(library: Any) -> Iterator[None]:
    """Raise the library's errors as the httpcore errors of the same name, which they come from."""
    import httpcore

    try:
        yield
    except (library.TransportError, library.StreamError) as exc:
        raise getattr(httpcore, type(exc).__name__, httpcore.ProtocolError)(str(exc)) from exc

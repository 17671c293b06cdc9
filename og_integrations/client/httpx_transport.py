"""
A user's own httpx client as a transport: event hooks, proxies, metrics; same rules as our own connections.

Whether the client really uses the TLS context that it was given is looked at when a connection is made,
before anything is sent on it, and again on each answer.
"""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from og_integrations.client.transport import AsyncReply, Outgoing, Reply
from og_integrations.errors import CertificateMismatchError, ConfigurationError, ConnectionFailedError

if TYPE_CHECKING:
    import httpx

_HANDSHAKE_DONE = "connection.start_tls.complete"
_HOW = "make it with the ssl_context that the function is given (`httpx.Client(verify=ssl_context)`)"


class HttpxTransport:
    """A user's `httpx.Client`, which must be pinned to `certificate` (DER) if there is one."""

    def __init__(self, client: "httpx.Client", certificate: bytes) -> None:
        self._client = client
        self._certificate = certificate

    @property
    def is_closed(self) -> bool:
        """Whether its owner has closed it: then it is asked for anew."""
        return self._client.is_closed

    def send(self, request: Outgoing) -> Reply:
        """
        Send `request` and return the answer's head.

        Raises httpcore's errors, `CertificateMismatchError` or `ConfigurationError`.
        """

        def trace(event: str, info: dict[str, Any]) -> None:
            if event == _HANDSHAKE_DONE and not _is_pinned(info["return_value"], self._certificate):
                info["return_value"].close()
                raise _not_pinned()

        built = _built(self._client, request, trace)
        with _as_httpcore():
            # Whatever the client does by itself: a redirect takes prompt and payment to another host.
            response = self._client.send(built, stream=True, follow_redirects=False)
        if not _is_pinned(response.extensions.get("network_stream"), self._certificate):
            response.close()
            raise _sent_unpinned()
        return Reply(response.status_code, response.headers.multi_items(), _parts(response), response.close)

    def close(self) -> None:
        """Close the client."""
        self._client.close()


class AsyncHttpxTransport:
    """A user's `httpx.AsyncClient`, which must be pinned to `certificate` (DER) if there is one."""

    def __init__(self, client: "httpx.AsyncClient", certificate: bytes) -> None:
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

        built = _built(self._client, request, trace)
        with _as_httpcore():
            response = await self._client.send(built, stream=True, follow_redirects=False)
        if not _is_pinned(response.extensions.get("network_stream"), self._certificate):
            await response.aclose()
            raise _sent_unpinned()
        return AsyncReply(response.status_code, response.headers.multi_items(), _aparts(response), response.aclose)

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()


def _built(client: "httpx.Client | httpx.AsyncClient", request: Outgoing, trace: object) -> "httpx.Request":
    import httpx

    if client.is_closed:
        raise ConfigurationError("The http_client that was given is closed. Nothing was sent; give an open one.")
    try:
        return client.build_request(
            request.method,
            request.url,
            content=request.body,
            headers=dict(request.headers),
            timeout=httpx.Timeout(**request.timeouts()),
            extensions={"trace": trace},
        )
    except httpx.InvalidURL as exc:
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


def _sent_unpinned() -> ConfigurationError:
    return ConfigurationError(
        "The http_client's connection is not known to be pinned to the enclave's certificate, so its answer is not "
        f"used: {_HOW}. The request was sent on it."
    )


def _parts(response: "httpx.Response") -> Iterator[bytes]:
    with _as_httpcore():
        yield from response.iter_raw()


async def _aparts(response: "httpx.Response") -> AsyncIterator[bytes]:
    with _as_httpcore():
        async for data in response.aiter_raw():
            yield data


@contextmanager
def _as_httpcore() -> Iterator[None]:
    """Raise httpx's errors as the httpcore errors of the same name, which they come from."""
    import httpcore
    import httpx

    try:
        yield
    except (httpx.TransportError, httpx.StreamError) as exc:
        raise getattr(httpcore, type(exc).__name__, httpcore.ProtocolError)(str(exc)) from exc

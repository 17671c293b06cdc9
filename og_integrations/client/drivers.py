"""
The two drivers: they run the effects of one call's generators, synchronously or not.

A driver makes no decision. It performs what is yielded (`Send`, `Sign`, `Fetch`) and hands every
outcome back, failures by `throw`: also cancellation, so that the flow can mark a payment in doubt
before it passes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from og_integrations.client.call import MAX_ERROR_BYTES, Call
from og_integrations.client.connections import UNPINNED, AsyncConnections, SyncConnections, translated_errors
from og_integrations.client.directory import Directory
from og_integrations.client.fetching import adrive, afetch, drive, fetch
from og_integrations.client.rpc import Fetch
from og_integrations.client.signer import Signer
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.owner_approval import Approve, Pause
from og_integrations.protocol.payment_flow import Send, Sign
from og_integrations.protocol.x402 import ReplyHead

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
CONNECT_TIMEOUT = 10.0


class SyncDriver:
    """Runs one call. `response` is the last answer, its body unread."""

    def __init__(self, call: Call, connections: SyncConnections, directory: Directory, signer: Signer) -> None:
        self._call = call
        self._connections = connections
        self._directory = directory
        self._signer = signer
        self.response: httpx.Response | None = None

    def run(self, flow: Generator[Any, Any, T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass."""
        return drive(flow, self._perform)

    def _perform(self, effect: object) -> Any:
        match effect:
            case Send():
                return self._send(effect)
            case Sign():
                return self._sign(effect)
            case Fetch():
                return self._fetch(effect)
            case Approve():
                return plain(effect.on_payment(effect.request))
            case Pause():
                return time.sleep(effect.seconds)
        raise TypeError(effect)

    def _send(self, effect: Send) -> ReplyHead:
        self.close()
        enclave = self._directory.get(effect.route.tee_id)
        client = self._connections.get(enclave.certificate)
        with translated_errors(f"the gateway {enclave.endpoint}"):
            request = build_request(client, self._call, enclave.endpoint, effect)
            response = self.response = client.send(request, stream=True)
            if response.status_code == 402:
                # Read to the end, so that the connection can carry the paid request.
                drained = sum(map(len, _limited(response.iter_raw(), MAX_ERROR_BYTES)))
                if drained > MAX_ERROR_BYTES:
                    response.close()
        return reply_head(response)

    def _sign(self, effect: Sign) -> None:
        with effect.grant.signing:
            if effect.grant.signature is None and not effect.grant.abandoned:
                signature = self._signer.sign_typed_data(effect.typed_data)
                if not isinstance(signature, str):
                    raise ConfigurationError(
                        "The signer is asynchronous; use the asynchronous methods, or a synchronous signer."
                    )
                effect.keep(signature)

    def _fetch(self, effect: Fetch) -> bytes:
        return fetch(self._connections.get(UNPINNED), effect, self._call.timeout)

    def close(self) -> None:
        """Let go of the last answer's connection; a body that was not read to its end breaks it."""
        if self.response is not None:
            self.response.close()


class AsyncDriver:
    """Runs one call on the running loop. `response` is the last answer, its body unread."""

    def __init__(self, call: Call, connections: AsyncConnections, directory: Directory, signer: Signer) -> None:
        self._call = call
        self._connections = connections
        self._directory = directory
        self._signer = signer
        self.response: httpx.Response | None = None

    async def run(self, flow: Generator[Any, Any, T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass, cancellation too."""
        return await adrive(flow, self._perform)

    async def _perform(self, effect: object) -> Any:
        match effect:
            case Send():
                return await self._send(effect)
            case Sign():
                return await self._sign(effect)
            case Fetch():
                return await self._fetch(effect)
            case Approve():
                agreed = effect.on_payment(effect.request)
                return await agreed if isinstance(agreed, Awaitable) else agreed
            case Pause():
                return await asyncio.sleep(effect.seconds)
        raise TypeError(effect)

    async def _send(self, effect: Send) -> ReplyHead:
        await self.aclose()
        enclave = self._directory.get(effect.route.tee_id)
        client = await self._connections.get(enclave.certificate)
        with translated_errors(f"the gateway {enclave.endpoint}"):
            request = build_request(client, self._call, enclave.endpoint, effect)
            response = self.response = await client.send(request, stream=True)
            if response.status_code == 402:
                drained = 0
                async for data in response.aiter_raw():
                    drained += len(data)
                    if drained > MAX_ERROR_BYTES:
                        break
                await response.aclose()
        return reply_head(response)

    async def _sign(self, effect: Sign) -> None:
        with effect.grant.signing:
            if effect.grant.signature is not None or effect.grant.abandoned:
                return
            signature = self._signer.sign_typed_data(effect.typed_data)
            if isinstance(signature, str):
                effect.keep(signature)
                return
        # An asynchronous signer is asked outside the lock, which may not be held across an await.
        # Two may sign the same authorization then; the first signature is kept and sent by both.
        effect.keep(await _awaited(signature))

    async def _fetch(self, effect: Fetch) -> bytes:
        return await afetch(await self._connections.get(UNPINNED), effect, self._call.timeout)

    async def aclose(self) -> None:
        """Let go of the last answer's connection; a body that was not read to its end breaks it."""
        if self.response is not None:
            await self.response.aclose()


def plain(agreed: object) -> object:
    """Return what a callback answered. Raises `ConfigurationError` if it has to be awaited."""
    if isinstance(agreed, Awaitable):
        if isinstance(agreed, Coroutine):
            agreed.close()  # or Python warns that it was never awaited
        raise ConfigurationError(
            "SpendPolicy.on_payment is asynchronous; use the asynchronous methods, or a synchronous callback."
        )
    return agreed


def build_request(
    client: "httpx.Client | httpx.AsyncClient", call: Call, endpoint: str, effect: Send
) -> "httpx.Request":
    """Build the HTTP request of a call: exactly its wire bytes, and the payment's headers."""
    import httpx

    timeout = httpx.Timeout(call.timeout, connect=min(call.timeout, CONNECT_TIMEOUT))
    headers = call.headers() | dict(effect.headers)
    url = _url(endpoint.rstrip("/") + call.path)
    return client.build_request("POST", url, content=call.wire, headers=headers, timeout=timeout)


@lru_cache(maxsize=256)
def _url(text: str) -> "httpx.URL":
    import httpx

    return httpx.URL(text)


def reply_head(response: "httpx.Response") -> ReplyHead:
    """Return the head of an answer, duplicates kept."""
    return ReplyHead(response.status_code, response.headers.multi_items())


def _limited(parts: Any, limit: int) -> Any:
    size = 0
    for part in parts:
        size += len(part)
        yield part
        if size > limit:
            return


async def _awaited(signature: Awaitable[str]) -> str:
    return await signature

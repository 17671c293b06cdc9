"""
The two drivers: they run the effects of one call's generators, synchronously or not.

A driver makes no decision. It performs what is yielded (`Send`, `Sign`, `Fetch`) and hands every
outcome back, failures by `throw`: also cancellation, so that the flow can mark a payment in doubt
before it passes on.
"""

import asyncio
import time
from collections.abc import Generator
from typing import Any, Self, TypeVar

from og_integrations.client.call import MAX_ERROR_BYTES, Call
from og_integrations.client.connections import AsyncConnections, SyncConnections
from og_integrations.client.directory import Directory
from og_integrations.client.driving import adrive, awaited, drive, not_awaitable
from og_integrations.client.fetching import afetch, fetch
from og_integrations.client.rpc import Fetch
from og_integrations.client.signer import Signer
from og_integrations.client.transport import AsyncReply, Outgoing, Reply, translated_errors
from og_integrations.protocol.effects import Approve, Pause, Send, Sign
from og_integrations.protocol.x402 import ReplyHead

T = TypeVar("T")


class SyncDriver:
    """Runs one call, and lets go of its connection at the end of the `with`."""

    def __init__(self, call: Call, connections: SyncConnections, directory: Directory, signer: Signer) -> None:
        self._call = call
        self._connections = connections
        self._directory = directory
        self._signer = signer
        self._reply: Reply | None = None

    def run(self, flow: Generator[Any, Any, T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass."""
        return drive(flow, self._perform)

    def open(self, flow: Generator[Any, Any, None]) -> Reply:
        """Run `flow`, at whose end an answer has begun, and return that answer, its body unread."""
        self.run(flow)
        assert self._reply is not None  # noqa: S101 - no flow of a call ends without one
        return self._reply

    def _perform(self, effect: object) -> Any:
        match effect:
            case Send():
                return self._send(effect)
            case Sign():
                return not_awaitable(self._signer.sign_typed_data(effect.typed_data), "The signer")
            case Fetch():
                return fetch(self._connections, effect, self._call.timeout)
            case Approve():
                return not_awaitable(effect.on_payment(effect.request), "SpendPolicy.on_payment")
            case Pause():
                return time.sleep(effect.seconds)
        raise TypeError(effect)

    def _send(self, effect: Send) -> ReplyHead:
        self._let_go()
        enclave = self._directory.get(effect.route.tee_id)
        transport = self._connections.get(enclave.certificate)
        with translated_errors(f"the gateway {enclave.endpoint}"):
            reply = self._reply = transport.send(outgoing(self._call, enclave.endpoint, effect))
            if reply.status == 402:
                # Read to the end, so that the connection can carry the paid request.
                drained, until = 0, time.monotonic() + self._call.timeout
                for data in reply.parts:
                    drained += len(data)
                    if drained > MAX_ERROR_BYTES or time.monotonic() > until:
                        break
                reply.close()
        return ReplyHead(reply.status, reply.headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        """Let go of the last answer's connection; a body that was not read to its end breaks it."""
        if self._reply is not None:
            self._reply.close()


class AsyncDriver:
    """Runs one call on the running loop, and lets go of its connection at the end of the `async with`."""

    def __init__(self, call: Call, connections: AsyncConnections, directory: Directory, signer: Signer) -> None:
        self._call = call
        self._connections = connections
        self._directory = directory
        self._signer = signer
        self._reply: AsyncReply | None = None

    async def run(self, flow: Generator[Any, Any, T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass, cancellation too."""
        return await adrive(flow, self._perform)

    async def open(self, flow: Generator[Any, Any, None]) -> AsyncReply:
        """Run `flow`, at whose end an answer has begun, and return that answer, its body unread."""
        await self.run(flow)
        assert self._reply is not None  # noqa: S101 - no flow of a call ends without one
        return self._reply

    async def _perform(self, effect: object) -> Any:
        match effect:
            case Send():
                return await self._send(effect)
            case Sign():
                return await awaited(self._signer.sign_typed_data(effect.typed_data))
            case Fetch():
                return await afetch(self._connections, effect, self._call.timeout)
            case Approve():
                return await awaited(effect.on_payment(effect.request))
            case Pause():
                return await asyncio.sleep(effect.seconds)
        raise TypeError(effect)

    async def _send(self, effect: Send) -> ReplyHead:
        await self._let_go()
        enclave = self._directory.get(effect.route.tee_id)
        transport = await self._connections.get(enclave.certificate)
        with translated_errors(f"the gateway {enclave.endpoint}"):
            reply = self._reply = await transport.send(outgoing(self._call, enclave.endpoint, effect))
            if reply.status == 402:
                drained, until = 0, time.monotonic() + self._call.timeout
                async for data in reply.parts:
                    drained += len(data)
                    if drained > MAX_ERROR_BYTES or time.monotonic() > until:
                        break
                await reply.aclose()
        return ReplyHead(reply.status, reply.headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._let_go()

    async def _let_go(self) -> None:
        """Let go of the last answer's connection; a body that was not read to its end breaks it."""
        if self._reply is not None:
            await self._reply.aclose()


def outgoing(call: Call, endpoint: str, effect: Send) -> Outgoing:
    """Return the HTTP request of a call: exactly its wire bytes, and the payment's headers."""
    return Outgoing(
        url=endpoint.rstrip("/") + call.path,
        headers=call.headers() | dict(effect.headers),
        body=call.wire,
        timeout=call.timeout,
    )

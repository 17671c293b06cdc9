"""
Reading what is public (a registry, a balance, a settlement): the effect that needs neither call nor wallet.

`fetch` performs one `Fetch`, `read` runs a whole flow of them, and a `Reader` does so over connections of its own.
"""

import contextlib
import time
from typing import Self, TypeVar

from og_integrations.client.connections import UNPINNED, AsyncConnections, SyncConnections
from og_integrations.client.driving import adrive, drive
from og_integrations.client.rpc import Fetch, Fetching, unanswered
from og_integrations.client.transport import Outgoing, TranslatedErrors, lost, server_of

T = TypeVar("T")
MAX_BODY_BYTES = 20 * 1024 * 1024
FETCH_TIMEOUT = 15.0
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


def fetch(connections: SyncConnections, effect: Fetch, timeout: float = FETCH_TIMEOUT) -> bytes:
    """
    Perform `effect`, waiting at most `timeout` seconds for each piece, and beginning no other after them.

    Raises `DiscoveryError`, `ConnectionFailedError` or `ConnectionLostError`.
    """
    transport = connections.get(UNPINNED)
    body, request = bytearray(), _outgoing(effect, timeout)
    until = time.monotonic() + request.timeout
    with TranslatedErrors(server_of(effect.url), pinned=False):
        reply = transport.send(request)
        with contextlib.closing(reply):
            for data in reply.parts:
                body += data
                _check_pace(effect, until)
                if len(body) > MAX_BODY_BYTES:
                    break
    return _checked(effect, reply.status, body)


async def afetch(connections: AsyncConnections, effect: Fetch, timeout: float = FETCH_TIMEOUT) -> bytes:
    """Perform `effect` like `fetch`."""
    transport = await connections.get(UNPINNED)
    body, request = bytearray(), _outgoing(effect, timeout)
    until = time.monotonic() + request.timeout
    with TranslatedErrors(server_of(effect.url), pinned=False):
        reply = await transport.send(request)
        async with contextlib.aclosing(reply):
            async for data in reply.parts:
                body += data
                _check_pace(effect, until)
                if len(body) > MAX_BODY_BYTES:
                    break
    return _checked(effect, reply.status, body)


def read(connections: SyncConnections, flow: Fetching[T]) -> T:
    """Return the result of `flow`; its exceptions pass."""
    return drive(flow, lambda effect: fetch(connections, effect))


async def aread(connections: AsyncConnections, flow: Fetching[T]) -> T:
    """Return the result of `flow` like `read`."""
    return await adrive(flow, lambda effect: afetch(connections, effect))


def _outgoing(effect: Fetch, timeout: float) -> Outgoing:
    return Outgoing(url=effect.url, headers=_HEADERS, body=effect.body, timeout=min(timeout, FETCH_TIMEOUT))


def _check_pace(effect: Fetch, until: float) -> None:
    if time.monotonic() > until:
        raise lost(f"{server_of(effect.url)} did not send its whole answer in time.", timed_out=True)


def _checked(effect: Fetch, status: int, body: bytearray) -> bytes:
    if status != 200 or len(body) > MAX_BODY_BYTES:
        raise unanswered(
            f"{server_of(effect.url)} answered HTTP {status} with {len(body)} bytes; expected 200 and JSON. "
            "Nothing was sent to an enclave."
        )
    return bytes(body)


class Reader:
    """Runs `Fetching` flows over connections of its own; a context manager."""

    def __init__(self) -> None:
        self._connections = SyncConnections()

    def run(self, flow: Fetching[T]) -> T:
        """Return the result of `flow`. Raises `DiscoveryError`."""
        return read(self._connections, flow)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connections.close()

"""
Running generators of effects, and the effect that needs neither call nor wallet: `Fetch`.

`Reader` is for those who only read (a registry, a balance, a settlement).
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self, TypeVar

from og_integrations.client.connections import UNPINNED, SyncConnections
from og_integrations.client.lent import AsyncLent, Lent
from og_integrations.client.rpc import Fetch, Fetching
from og_integrations.client.transport import AsyncPool, Outgoing, Pool, lost, server_of, translated_errors
from og_integrations.errors import DiscoveryError

T = TypeVar("T")
MAX_BODY_BYTES = 20 * 1024 * 1024
FETCH_TIMEOUT = 15.0
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


def drive(flow: Generator[Any, Any, T], perform: Callable[[Any], Any]) -> T:
    """
    Run `flow` to its end and return its result: `perform` each effect, hand every outcome back.

    Failures go in by `throw`, so that the flow can clean up; what it raises passes.
    """
    try:
        effect = next(flow)
        while True:
            try:
                outcome = perform(effect)
            except BaseException as exc:  # noqa: BLE001 - the flow cleans up and passes it on
                effect = flow.throw(exc)
            else:
                effect = flow.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def adrive(flow: Generator[Any, Any, T], perform: Callable[[Any], Awaitable[Any]]) -> T:
    """Run `flow` like `drive`, awaiting each effect; cancellation is handed to the flow, too."""
    try:
        effect = next(flow)
        while True:
            try:
                outcome = await perform(effect)
            except BaseException as exc:  # noqa: BLE001 - the flow cleans up and passes it on
                effect = flow.throw(exc)
            else:
                effect = flow.send(outcome)
    except StopIteration as stop:
        result: T = stop.value
        return result


def fetch(transport: Pool | Lent, effect: Fetch, timeout: float = FETCH_TIMEOUT) -> bytes:
    """
    Perform `effect`, waiting at most `timeout` seconds for each piece, and beginning no other after them.

    Raises `DiscoveryError`, `ConnectionFailedError` or `ConnectionLostError`.
    """
    body, request = bytearray(), _outgoing(effect, timeout)
    until = time.monotonic() + request.timeout
    with translated_errors(server_of(effect.url), pinned=False):
        reply = transport.send(request)
        with contextlib.closing(reply):
            for data in reply.parts:
                body += data
                _check_pace(effect, until)
                if len(body) > MAX_BODY_BYTES:
                    break
    return _checked(effect, reply.status, body)


async def afetch(transport: AsyncPool | AsyncLent, effect: Fetch, timeout: float = FETCH_TIMEOUT) -> bytes:
    """Perform `effect` like `fetch`."""
    body, request = bytearray(), _outgoing(effect, timeout)
    until = time.monotonic() + request.timeout
    with translated_errors(server_of(effect.url), pinned=False):
        reply = await transport.send(request)
        async with contextlib.aclosing(reply):
            async for data in reply.parts:
                body += data
                _check_pace(effect, until)
                if len(body) > MAX_BODY_BYTES:
                    break
    return _checked(effect, reply.status, body)


def _outgoing(effect: Fetch, timeout: float) -> Outgoing:
    return Outgoing(url=effect.url, headers=_HEADERS, body=effect.body, timeout=min(timeout, FETCH_TIMEOUT))


def _check_pace(effect: Fetch, until: float) -> None:
    if time.monotonic() > until:
        raise lost(f"{server_of(effect.url)} did not send its whole answer in time.", timed_out=True)


def _checked(effect: Fetch, status: int, body: bytearray) -> bytes:
    if status != 200 or len(body) > MAX_BODY_BYTES:
        raise DiscoveryError(
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
        return drive(flow, lambda effect: fetch(self._connections.get(UNPINNED), effect))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connections.close()

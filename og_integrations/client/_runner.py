"""
Generators of effects are run here, synchronously or not: the loops, and what performs the effects.

A driver makes no decision. It performs what is yielded (`Send`, `Receive`, `Sign`, …) and hands every
outcome back, failures by `throw`: also cancellation, so that the flow can mark a payment in doubt
before it passes on.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from og_integrations._urls import server_of
from og_integrations.client import _telemetry
from og_integrations.client._call import MAX_ERROR_BYTES, PIECES, CallState, Piece, Pieces
from og_integrations.client._signer import Signer
from og_integrations.client.channels._channel import (
    UNPINNED,
    AsyncReply,
    Destination,
    HttpRequest,
    Reply,
    destination_of,
    late,
)
from og_integrations.client.channels._connections import AsyncConnections, SyncConnections
from og_integrations.client.channels._gate import AsyncGate, Gate
from og_integrations.errors import ConfigurationError, DiscoveryError, OpenGradientError
from og_integrations.protocol.payment._flow import (
    Approve,
    Consult,
    Decision,
    Effect,
    Effects,
    Enter,
    Fetch,
    Gather,
    Obtain,
    Pause,
    Receive,
    Send,
    Sign,
    Tell,
    waits_for_itself,
)
from og_integrations.protocol.payment._x402 import ReplyHead

T = TypeVar("T")
_CLOSING: set[asyncio.Task[None]] = set()
"""A loop keeps no strong reference to its tasks."""
E = TypeVar("E")
MAX_FETCHED_BYTES = 20 * 1024 * 1024
FETCH_TIMEOUT = 15.0
_FETCH_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


Flow = Generator[E, Any, T]
"""A generator that yields effects `E` and returns a `T`."""


def drive(flow: Flow[E, T], perform: Callable[[E], object]) -> T:
    """
    Run `flow` to its end and return its result: `perform` each effect, hand every outcome back.

    Failures go in by `throw`, so that the flow can clean up; what it raises passes.
    """
    result: T = drive_to(flow, perform, ())
    return result


async def adrive(flow: Flow[E, T], perform: Callable[[E], Awaitable[object]]) -> T:
    """Run `flow` like `drive`, awaiting each effect; cancellation is handed to the flow, too."""
    result: T = await adrive_to(flow, perform, ())
    return result


def drive_to(flow: Flow[object, object], perform: Callable[[Any], object], kinds: tuple[type, ...]) -> Any:
    """Run `flow` like `drive`, but only to the next thing of `kinds` that it yields, and return that."""
    try:
        effect = next(flow)
        while not isinstance(effect, kinds):
            try:
                # Taken out again before the flow runs: a signature would stay in this frame, which errors pass.
                outcome = [perform(effect)]
            except BaseException as exc:  # noqa: BLE001 - the flow cleans up and passes it on
                effect = flow.throw(exc)
            else:
                effect = flow.send(outcome.pop())
    except StopIteration as stop:
        return stop.value
    return effect


async def adrive_to(
    flow: Flow[object, object], perform: Callable[[Any], Awaitable[object]], kinds: tuple[type, ...]
) -> Any:
    """Run `flow` like `drive_to`, awaiting each effect."""
    try:
        effect = next(flow)
        while not isinstance(effect, kinds):
            try:
                outcome = [await perform(effect)]
            except BaseException as exc:  # noqa: BLE001 - the flow cleans up and passes it on
                effect = flow.throw(exc)
            else:
                effect = flow.send(outcome.pop())
    except StopIteration as stop:
        return stop.value
    return effect


def shorten(exc: BaseException | None) -> None:
    """Leave of the frames of an error of ours the one that raised it: with all, a traceback fills three screens."""
    if isinstance(exc, OpenGradientError) and exc.__traceback__ is not None:
        raised = exc.__traceback__
        while raised.tb_next is not None:
            raised = raised.tb_next
        exc.__traceback__ = raised


def not_awaitable(returned: object, whose: str) -> object:
    """Return what a callback or signer returned. Raises `ConfigurationError` if it has to be awaited."""
    if isinstance(returned, Awaitable):
        if isinstance(returned, Coroutine):
            returned.close()  # or Python warns that it was never awaited
        raise ConfigurationError(
            f"{whose} is asynchronous; use the asynchronous methods and client, or a synchronous one."
        )
    return returned


async def awaited(answer: object) -> object:
    """Return what a callback or signer answered, awaited as often as it takes."""
    # What nobody awaited is true, and would allow a payment.
    while isinstance(answer, Awaitable):
        answer = await answer
    return answer


def fetch(connections: SyncConnections, effect: Fetch, timeout: float = FETCH_TIMEOUT) -> bytes:
    """
    Perform `effect`, waiting at most `timeout` seconds for each piece, and beginning no other after them.

    Raises `DiscoveryError`, `ConnectionFailedError` or `ConnectionLostError`.
    """
    channel = connections.get(_peer_of(effect))
    body, request = bytearray(), _fetch_request(effect, timeout)
    until = time.monotonic() + request.timeout
    with contextlib.closing(channel.send(request)) as reply:
        while len(body) <= MAX_FETCHED_BYTES and (data := reply.read()) is not None:
            body += data
            _check_pace(effect, until)
    return _checked(effect, reply.status, body)


async def afetch(connections: AsyncConnections, effect: Fetch, timeout: float = FETCH_TIMEOUT) -> bytes:
    """Perform `effect` like `fetch`."""
    channel = await connections.get(_peer_of(effect))
    body, request = bytearray(), _fetch_request(effect, timeout)
    until = time.monotonic() + request.timeout
    async with contextlib.aclosing(await channel.send(request)) as reply:
        while len(body) <= MAX_FETCHED_BYTES and (data := await reply.read()) is not None:
            body += data
            _check_pace(effect, until)
    return _checked(effect, reply.status, body)


def _peer_of(effect: Fetch) -> Destination:
    return UNPINNED if effect.enclave is None else destination_of(effect.enclave)


def _fetch_request(effect: Fetch, timeout: float) -> HttpRequest:
    return HttpRequest(
        url=effect.url,
        whom=server_of(effect.url),
        headers=_FETCH_HEADERS,
        body=effect.body,
        timeout=min(timeout, FETCH_TIMEOUT),
        whole=True,
    )


def _check_pace(effect: Fetch, until: float) -> None:
    if time.monotonic() > until:
        raise late(server_of(effect.url), "send its whole answer")


def _checked(effect: Fetch, status: int, body: bytearray) -> bytes:
    if len(body) > MAX_FETCHED_BYTES:
        raise unanswered(
            f"{server_of(effect.url)} answered more than {MAX_FETCHED_BYTES} bytes, which nobody reads. Nothing was "
            "sent to an enclave; set another node."
        )
    if status != 200:
        raise unanswered(
            f"{server_of(effect.url)} answered HTTP {status} with {len(body)} bytes; expected 200 and JSON. "
            "Nothing was sent to an enclave."
        )
    return bytes(body)


def unanswered(message: str) -> DiscoveryError:
    """Return the error of a node that could not be asked."""
    error = DiscoveryError(message)
    error.answered = False
    return error


GetSigner = Callable[[], Signer]
"""It is called when something is to be signed."""


@dataclass(slots=True)
class _Asked:
    """Owner or signer are asked about `decision`; a task that they start knows of it, and may outlive it."""

    decision: Decision | None
    is_over: bool = False


_asked: ContextVar[tuple[_Asked, ...]] = ContextVar("asked", default=())
"""What the code that runs here, or whoever started its task, is asked to decide."""


@contextlib.contextmanager
def _deciding(decision: Decision | None) -> Iterator[None]:
    """Note who is asked while this lasts, so that a call made from within finds that it would wait for itself."""
    asked = _Asked(decision)
    token = _asked.set((*_asked.get(), asked))
    try:
        yield
    finally:
        asked.is_over = True
        # A call that was dropped midway is closed by the garbage collector, in another context.
        with contextlib.suppress(ValueError):
            _asked.reset(token)


def _check_others_decide(pause: Pause) -> None:
    """Raise `SigningError` for a call that waits for the decision that it was made to help with."""
    decision = pause.decision
    if decision is not None and any(decision == one.decision and not one.is_over for one in _asked.get()):
        raise waits_for_itself()


class SyncDriver:
    """A driver runs one call, and lets go of its connection at the end of the `with`."""

    def __init__(self, state: CallState, connections: SyncConnections, signer: GetSigner) -> None:
        self._state = state
        self._connections = connections
        self._signer = signer
        self._reply: Reply | None = None
        self._gate: Gate | None = None
        self._place = object()
        self._is_counted = False

    def run(self, flow: Effects[T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass."""
        result: T = drive_to(flow, self._perform, ())
        return result

    def next_piece(self, flow: Pieces) -> Piece | None:
        """Run `flow` to the next piece it shows and return that, None at its end; its exceptions pass."""
        piece: Piece | None = drive_to(flow, self._perform, PIECES)
        return piece

    def _perform(self, effect: Effect) -> object:
        match effect:
            case Receive():
                return self._receive()
            case Gather():
                while (data := self._receive()) is not None:
                    effect.take(data)
            case Enter():
                # Noted before it is entered: a signal may raise as soon as it is.
                self._gate = gate = self._connections.gate
                if not gate.enters(self._place, self._state.call.timeout):
                    with _telemetry.waiting_for_a_place():
                        gate.wait(self._place, self._state.call.timeout)
                _telemetry.place_taken(1)
                self._is_counted = True
            case Send():
                return self._send(effect)
            case Sign():
                with _deciding(effect.decision):
                    signed = not_awaitable(self._signer().sign_typed_data(effect.typed_data), "The signer")
                _telemetry.authorized(effect.typed_data)
                return signed
            case Fetch():
                return fetch(self._connections, effect, self._state.call.timeout)
            case Approve():
                with _deciding(effect.decision):
                    return not_awaitable(effect.on_payment(effect.request), "SpendPolicy.on_payment")
            case Tell():
                with _deciding(effect.decision):
                    return not_awaitable(effect.on_limit_near(effect.near), "SpendPolicy.on_limit_near")
            case Consult():
                return effect.work()
            case Obtain():
                return not_awaitable(effect.provider(), "relay_token")
            case Pause():
                _check_others_decide(effect)
                time.sleep(effect.seconds)
        return None

    def _send(self, effect: Send) -> ReplyHead:
        self._let_go()
        request, destination = _request(self._state, effect)
        reply = self._reply = self._connections.get(destination).send(request)
        if reply.status == 402:
            # Read to the end, so that the connection can carry the paid request.
            drained, until = 0, time.monotonic() + request.timeout
            while drained <= MAX_ERROR_BYTES and time.monotonic() <= until and (data := reply.read()) is not None:
                drained += len(data)
            reply.close()
        self._moved()
        return ReplyHead(reply.status, reply.headers)

    def _receive(self) -> bytes | None:
        assert self._reply is not None  # noqa: S101 - a flow sends before it receives
        data = self._reply.read()
        if data is None:
            self._let_go()
        else:
            self._moved()
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object = None, exc: BaseException | None = None, _traceback: object = None) -> None:
        shorten(exc)
        try:
            self._let_go()
        finally:
            if self._gate is not None:
                self._gate.leave(self._place)
                self._gate = None
            if self._is_counted:
                self._is_counted = False
                _telemetry.place_taken(-1)

    def __del__(self) -> None:
        # A signal may have raised where the `with` was to end.
        if self._gate is not None:
            self.__exit__()

    def _moved(self) -> None:
        if self._gate is not None:
            self._gate.moved(self._state.call.timeout)

    def _let_go(self) -> None:
        """Let go of the last answer's connection; a body that was not read to its end breaks it."""
        if self._reply is not None:
            self._reply.close()
            self._reply = None


class AsyncDriver:
    """A driver runs one call on the running loop, and lets go of its connection at the end of the `async with`."""

    def __init__(self, state: CallState, connections: AsyncConnections, signer: GetSigner) -> None:
        self._state = state
        self._connections = connections
        self._signer = signer
        self._reply: AsyncReply | None = None
        self._gate: AsyncGate | None = None
        # No `self`: the gate would keep a driver that nobody else knows, and its stream would never be collected.
        self._place = object()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, flow: Effects[T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass, cancellation too."""
        result: T = await adrive_to(flow, self._perform, ())
        return result

    async def next_piece(self, flow: Pieces) -> Piece | None:
        """Run `flow` to the next piece it shows and return that, None at its end; its exceptions pass."""
        piece: Piece | None = await adrive_to(flow, self._perform, PIECES)
        return piece

    async def _perform(self, effect: Effect) -> object:
        match effect:
            case Receive():
                return await self._receive()
            case Gather():
                while (data := await self._receive()) is not None:
                    effect.take(data)
            case Enter():
                gate = self._connections.gate
                if not gate.enters(self._place, self._state.call.timeout):
                    with _telemetry.waiting_for_a_place():
                        await gate.wait(self._place, self._state.call.timeout)
                self._gate, self._loop = gate, asyncio.get_running_loop()
                _telemetry.place_taken(1)
            case Send():
                return await self._send(effect)
            case Sign():
                with _deciding(effect.decision):
                    signed = await awaited(self._signer().sign_typed_data(effect.typed_data))
                _telemetry.authorized(effect.typed_data)
                return signed
            case Fetch():
                return await afetch(self._connections, effect, self._state.call.timeout)
            case Approve():
                with _deciding(effect.decision):
                    return await awaited(effect.on_payment(effect.request))
            case Tell():
                with _deciding(effect.decision):
                    return await awaited(effect.on_limit_near(effect.near))
            case Consult():
                return await asyncio.to_thread(effect.work)
            case Obtain():
                # It may ask a server for a new token, and a loop must not stand still for that.
                return await awaited(await asyncio.to_thread(effect.provider))
            case Pause():
                _check_others_decide(effect)
                await asyncio.sleep(effect.seconds)
        return None

    async def _send(self, effect: Send) -> ReplyHead:
        await self.let_go()
        request, destination = _request(self._state, effect)
        channel = await self._connections.get(destination)
        reply = self._reply = await channel.send(request)
        if reply.status == 402:
            drained, until = 0, time.monotonic() + request.timeout
            while drained <= MAX_ERROR_BYTES and time.monotonic() <= until and (data := await reply.read()) is not None:
                drained += len(data)
            await reply.aclose()
        self._moved()
        return ReplyHead(reply.status, reply.headers)

    async def _receive(self) -> bytes | None:
        assert self._reply is not None  # noqa: S101 - a flow sends before it receives
        data = await self._reply.read()
        if data is None:
            await self.let_go()
        else:
            self._moved()
        return data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        shorten(exc)
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connection and of the place among the calls made at once."""
        try:
            await self.let_go()
        finally:
            if self._gate is not None:
                self._gate.leave(self._place)
                self._gate = None
                _telemetry.place_taken(-1)

    def abandon(self) -> None:
        """Have the loop do what `aclose` does, from whatever thread: nobody will read on, or close."""
        loop = self._loop
        if self._gate is None or loop is None or loop.is_closed():
            return
        # A loop that ends in this moment closes its connections itself.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._close_soon, loop)

    def _close_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        task = loop.create_task(self.aclose())
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)

    def _moved(self) -> None:
        if self._gate is not None:
            self._gate.moved(self._state.call.timeout)

    async def let_go(self) -> None:
        """Let go of the last answer's connection; a body that was not read to its end breaks it."""
        if self._reply is not None:
            await self._reply.aclose()
            self._reply = None


class AsyncStream:
    """
    A stream yields the pieces of one answer: its text as it comes, and last the verified `Answer`.

    Whoever leaves it before its end closes it (`contextlib.aclosing`); a dropped one leaves its receipt all the same.
    One task reads it at a time, any other gets a `RuntimeError`.
    """

    # No async generator: a loop ends by closing all of these at once, also what another one of them is closing,
    # and then reports "aclose(): asynchronous generator is already running".

    def __init__(self, flow: Pieces, driver: AsyncDriver) -> None:
        self._flow = flow
        self._driver = driver
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        self._check_free()
        self._busy = True
        try:
            piece = await self._driver.next_piece(self._flow)
        except BaseException as exc:
            await self._driver.aclose()
            shorten(exc)
            raise
        finally:
            self._busy = False
        if piece is None:
            await self._driver.aclose()
            raise StopAsyncIteration
        return piece

    def __del__(self) -> None:
        # Dropped without `aclose`: its connection and its place would be lost for good.
        self._driver.abandon()

    async def aclose(self) -> None:
        """End the call here, if it has not ended: what has come is paid for, and its receipt says "unverified"."""
        self._check_free()
        self._flow.close()
        await self._driver.aclose()

    def _check_free(self) -> None:
        if self._busy:
            raise RuntimeError("The stream is being read already, by another task.")


def _request(state: CallState, effect: Send) -> tuple[HttpRequest, Destination]:
    """Return the HTTP request of a call, its wire bytes as they are or sealed, and to whom it goes."""
    target, sealed = state.target, state.sealed
    assert target is not None  # noqa: S101 - an enclave is chosen before anything is sent
    headers, secrets = state.call.headers(), effect.headers
    if sealed is not None:
        headers, shown = sealed.headers(headers)
        secrets = {**shown, **secrets}
    request = HttpRequest(
        url=target.url,
        whom=target.whom,
        headers=headers,
        secrets=secrets,
        body=state.call.wire if sealed is None else sealed.wire(),
        timeout=state.call.timeout,
    )
    return request, target.destination

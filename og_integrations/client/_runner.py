"""
Reading a streamed answer: bytes in, shown text out, the verified `Answer` at the end.

Text is handed on as it comes (`verification="end"`) or held until the proof (`"buffer"`, and always
where the channel is not pinned). Tool calls are never handed on before the proof: an agent would
execute them.

One call from its beginning to its answer, as generators of effects: the two clients only drive them.

The two drivers: they run the effects of one call's generators, synchronously or not.

A driver makes no decision. It performs what is yielded (`Send`, `Receive`, `Sign`, …) and hands every
outcome back, failures by `throw`: also cancellation, so that the flow can mark a payment in doubt
before it passes on.
"""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar

from og_integrations.client._call import MAX_ERROR_BYTES, Answer, Call, Progress, check_size
from og_integrations.client._directory import Directory
from og_integrations.client._effects import adrive, adrive_to, awaited, drive, drive_to, not_awaitable
from og_integrations.client._engine import Engine
from og_integrations.client._receipts import recorded
from og_integrations.client.chain.jsonrpc import Fetch, afetch, fetch
from og_integrations.client.channels.connections import AsyncConnections, SyncConnections
from og_integrations.client.channels.pool import AsyncReply, Outgoing, Reply, TranslatedErrors
from og_integrations.client.signer import Signer
from og_integrations.errors import (
    ConnectionLostError,
    OpenGradientError,
    PaymentInDoubtError,
    StreamCutError,
    VerificationError,
)
from og_integrations.protocol.chat.answers import StreamAssembler
from og_integrations.protocol.chat.sse import SSEDecoder
from og_integrations.protocol.chat.translation import StopCutter
from og_integrations.protocol.payment.flow import RECEIVE, Approve, Pause, Receive, Send, Sign
from og_integrations.protocol.payment.x402 import ReplyHead


class StreamReader:
    """Reads the body of one streamed call."""

    def __init__(self, engine: Engine, progress: Progress) -> None:
        progress.check_head()
        self._engine = engine
        self._progress = progress
        self._decoder = SSEDecoder()
        self._assembler = StreamAssembler(progress.quotable)
        self._cutter = StopCutter(progress.call.stop)
        pinned = progress.enclave is not None and progress.enclave.pinned
        self._buffered = engine.buffered or progress.call.plan.holds_text or not pinned
        self._shown_chars = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the text that may be shown now that `data` came."""
        self._progress.took(data)
        texts: list[str] = []
        for event in self._decoder.feed(data):
            delta = self._assembler.feed(event)
            if delta is None or self._buffered:
                continue
            if delta.text and (text := self._cutter.feed(delta.text)):
                self._shown_chars += len(text)
                texts.append(text)
        return texts

    def finish(self) -> tuple[str, Answer]:
        """
        Return the text that was still held back, and the answer, verified.

        Raises `StreamCutError` or `VerificationError`, each with the text so far.
        """
        if not self._decoder.at_rest:
            # A last line without its end: whole events are judged, anything else is a cut.
            self.feed(b"\n")
        answer = self._engine.conclude(self._progress, self._assembler.finish())
        return answer.text[self._shown_chars :], answer

    def failed(self, exc: OpenGradientError) -> OpenGradientError:
        """Return `exc` as the caller shall see it, with the text so far."""
        if isinstance(exc, ConnectionLostError):
            error = self._progress.lost(exc)
            if not exc.timed_out and isinstance(error, PaymentInDoubtError):
                error = StreamCutError(
                    f"{exc} The answer is incomplete: the signed final event did not come. What came so far is in "
                    "partial_text and is not signed; it may have been charged, and was not repeated."
                )
            exc = error
        if isinstance(exc, PaymentInDoubtError | VerificationError):
            exc.partial_text = self._assembler.text
        return exc


Piece = str | Answer
"""What a stream shows: text as it comes, and last the verified answer."""
PIECES = (str, Answer)


def whole(engine: Engine, call: Call) -> Generator[Any, Any, Answer]:
    """Make `call` and return its verified answer."""
    progress = engine.start(call)
    with recorded(progress, engine.directory):
        yield from engine.open(progress)
        return engine.conclude_body(progress, (yield from _body(progress)))


def streamed(engine: Engine, call: Call) -> Generator[Any, Any, None]:
    """Make `call` and yield, between effects, each `Piece` of its answer."""
    progress = engine.start(call)
    with recorded(progress, engine.directory):
        head = yield from engine.open(progress)
        if head.status != 200:
            engine.conclude_body(progress, (yield from _body(progress)))
        reader = StreamReader(engine, progress)
        try:
            while (data := (yield RECEIVE)) is not None:
                yield from reader.feed(data)
            rest, answer = reader.finish()
        except OpenGradientError as exc:
            raise reader.failed(exc) from exc
    if rest:
        yield rest
    yield answer


def _body(progress: Progress) -> Generator[Any, Any, bytes]:
    body = bytearray()
    try:
        while (data := (yield RECEIVE)) is not None:
            body += data
            check_size(body)
    except ConnectionLostError as exc:
        raise progress.lost(exc) from exc
    return bytes(body)


T = TypeVar("T")
GetSigner = Callable[[], Signer]
"""Asked for when something is to be signed."""
_GATEWAY = "the gateway"


class SyncDriver:
    """Runs one call, and lets go of its connection at the end of the `with`."""

    def __init__(self, call: Call, connections: SyncConnections, directory: Directory, signer: GetSigner) -> None:
        self._call = call
        self._connections = connections
        self._directory = directory
        self._signer = signer
        self._reply: Reply | None = None

    def run(self, flow: Generator[Any, Any, T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass."""
        return drive(flow, self._perform)

    def next_piece(self, flow: Generator[Any, Any, None]) -> Piece | None:
        """Run `flow` to the next piece it shows and return that, None at its end; its exceptions pass."""
        piece: Piece | None = drive_to(flow, self._perform, PIECES)
        return piece

    def _perform(self, effect: object) -> Any:
        match effect:
            case Receive():
                return self._receive()
            case Send():
                return self._send(effect)
            case Sign():
                return not_awaitable(self._signer().sign_typed_data(effect.typed_data), "The signer")
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
        with TranslatedErrors(f"the gateway {enclave.endpoint}"):
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

    def _receive(self) -> bytes | None:
        assert self._reply is not None  # noqa: S101 - a flow sends before it receives
        with TranslatedErrors(_GATEWAY):
            data = next(self._reply.parts, None)
        if data is None:
            self._let_go()
        return data

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

    def __init__(self, call: Call, connections: AsyncConnections, directory: Directory, signer: GetSigner) -> None:
        self._call = call
        self._connections = connections
        self._directory = directory
        self._signer = signer
        self._reply: AsyncReply | None = None

    async def run(self, flow: Generator[Any, Any, T]) -> T:
        """Run `flow` to its end and return its result; its exceptions pass, cancellation too."""
        return await adrive(flow, self._perform)

    async def next_piece(self, flow: Generator[Any, Any, None]) -> Piece | None:
        """Run `flow` to the next piece it shows and return that, None at its end; its exceptions pass."""
        piece: Piece | None = await adrive_to(flow, self._perform, PIECES)
        return piece

    async def _perform(self, effect: object) -> Any:
        match effect:
            case Receive():
                return await self._receive()
            case Send():
                return await self._send(effect)
            case Sign():
                return await awaited(self._signer().sign_typed_data(effect.typed_data))
            case Fetch():
                return await afetch(self._connections, effect, self._call.timeout)
            case Approve():
                return await awaited(effect.on_payment(effect.request))
            case Pause():
                return await asyncio.sleep(effect.seconds)
        raise TypeError(effect)

    async def _send(self, effect: Send) -> ReplyHead:
        await self.let_go()
        enclave = self._directory.get(effect.route.tee_id)
        transport = await self._connections.get(enclave.certificate)
        with TranslatedErrors(f"the gateway {enclave.endpoint}"):
            reply = self._reply = await transport.send(outgoing(self._call, enclave.endpoint, effect))
            if reply.status == 402:
                drained, until = 0, time.monotonic() + self._call.timeout
                async for data in reply.parts:
                    drained += len(data)
                    if drained > MAX_ERROR_BYTES or time.monotonic() > until:
                        break
                await reply.aclose()
        return ReplyHead(reply.status, reply.headers)

    async def _receive(self) -> bytes | None:
        assert self._reply is not None  # noqa: S101 - a flow sends before it receives
        with TranslatedErrors(_GATEWAY):
            data = await anext(self._reply.parts, None)
        if data is None:
            await self.let_go()
        return data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.let_go()

    async def let_go(self) -> None:
        """Let go of the last answer's connection; a body that was not read to its end breaks it."""
        if self._reply is not None:
            await self._reply.aclose()


class AsyncStream:
    """
    The pieces of one streamed answer: its text as it comes, and last the verified `Answer`.

    Who leaves it before its end closes it (`contextlib.aclosing`); if it is dropped, its receipt is made all the same.
    One task reads it at a time, any other gets a `RuntimeError`.
    """

    # No async generator: a loop ends by closing all of these at once, also what another one of them is closing,
    # and then reports "aclose(): asynchronous generator is already running".

    def __init__(self, flow: Generator[Any, Any, None], driver: AsyncDriver) -> None:
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
        except BaseException:
            await self._driver.let_go()
            raise
        finally:
            self._busy = False
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """End the call here, if it has not ended: what has come is paid for, and its receipt says "unverified"."""
        self._check_free()
        self._flow.close()
        await self._driver.let_go()

    def _check_free(self) -> None:
        if self._busy:
            raise RuntimeError("The stream is being read already, by another task.")


def outgoing(call: Call, endpoint: str, effect: Send) -> Outgoing:
    """Return the HTTP request of a call: exactly its wire bytes, and the payment's headers."""
    return Outgoing(
        url=endpoint.rstrip("/") + call.path,
        headers=call.headers() | {name: secret.reveal() for name, secret in effect.headers.items()},
        body=call.wire,
        timeout=call.timeout,
    )

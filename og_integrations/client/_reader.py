"""A streamed answer, read piece by piece: what may be shown before the proof, and what has to wait for it."""

from collections.abc import Callable

from og_integrations.client._call import Answer, CallState, Piece
from og_integrations.errors import (
    ConnectionLostError,
    OpenGradientError,
    PaymentInDoubtError,
    SealedChannelError,
    StreamCutError,
    VerificationError,
)
from og_integrations.protocol.chat._answers import StreamAssembler
from og_integrations.protocol.chat._sse import SSEDecoder
from og_integrations.protocol.chat._translation import StopCutter
from og_integrations.protocol.chat._wire import Completion

Conclude = Callable[[CallState, Completion], Answer]
"""Verifies a complete answer, and shows it as it was asked for."""


class StreamReader:
    """
    A reader takes the bytes of one streamed answer, and returns the text to show and last the verified `Answer`.

    Text is handed on as it comes (`verification="end"`) or held until the proof (`"buffer"`, and always
    where the channel is not pinned). Tool calls are never handed on before the proof: an agent would
    execute them.
    """

    def __init__(self, conclude: Conclude, state: CallState, *, buffered: bool) -> None:
        state.check_head()
        self._conclude = conclude
        self._state = state
        self._decoder = SSEDecoder()
        self._assembler = StreamAssembler(state.quotable, state.on_note)
        self._cutter = StopCutter(state.call.stop)
        safe = state.target is not None and state.target.channel in ("pinned", "sealed")
        self._buffered = buffered or state.call.plan.holds_text or not safe
        self._shown_chars = 0
        self._pace, self._said = state.pace(), 0

    def feed(self, data: bytes) -> list[str]:
        """Return the text that may be shown now that `data` came. Raises `ConnectionLostError` if nothing is said."""
        sealed = self._state.sealed
        texts = self._take(data if sealed is None else sealed.feed(data))
        if self._assembler.said > self._said:
            self._said = self._assembler.said
            self._pace.moved()
        else:
            self._pace.came(data)
        return texts

    def _take(self, data: bytes) -> list[str]:
        self._state.on_data(data)
        texts: list[str] = []
        for event in self._decoder.feed(data):
            delta = self._assembler.feed(event)
            if delta is None or self._buffered:
                continue
            if delta.text and (text := self._cutter.feed(delta.text)):
                self._shown_chars += len(text)
                texts.append(text)
        return texts

    def finish(self) -> list[Piece]:
        """
        Return the text that was still held back, if any, and the answer, verified.

        Raises `StreamCutError` or `VerificationError`, each with the text so far.
        """
        sealed = self._state.sealed
        pieces: list[Piece] = [] if sealed is None else [*self._take(sealed.finish())]
        if not self._decoder.at_rest:
            # A last line without its end: whole events are judged, anything else is a cut.
            pieces += self._take(b"\n")
        answer = self._conclude(self._state, self._assembler.finish())
        rest = answer.text[self._shown_chars :]
        return [*pieces, rest, answer] if rest else [*pieces, answer]

    def failed(self, exc: OpenGradientError) -> OpenGradientError:
        """Return `exc` as the caller shall see it, with the text so far."""
        if isinstance(exc, ConnectionLostError):
            error = self._state.on_loss(exc)
            if not exc.timed_out and isinstance(error, PaymentInDoubtError):
                error = StreamCutError(
                    f"{exc} The answer is incomplete: the signed final event did not come. What came so far is in "
                    "partial_text and is not signed; it may have been charged, and was not repeated."
                )
            exc = error
        if isinstance(exc, PaymentInDoubtError | VerificationError | SealedChannelError):
            exc.partial_text = self._assembler.text
        return exc

"""
Reading a streamed answer: bytes in, shown text out, the verified `Answer` at the end.

Text is handed on as it comes (`verification="end"`) or held until the proof (`"buffer"`, and always
where the channel is not pinned). Tool calls are never handed on before the proof: an agent would
execute them.
"""

from og_integrations.client.call import Answer, Progress
from og_integrations.client.engine import Engine
from og_integrations.errors import (
    ConnectionLostError,
    OpenGradientError,
    PaymentInDoubtError,
    StreamCutError,
    VerificationError,
)
from og_integrations.protocol.assembly import StreamAssembler
from og_integrations.protocol.presentation import StopCutter
from og_integrations.protocol.sse import SSEDecoder


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

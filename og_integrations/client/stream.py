"""
Reading a streamed answer: bytes in, shown text out, the verified `Answer` at the end.

Text is handed on as it comes (`verification="end"`) or held until the proof (`"buffer"`, and always
where the channel is not pinned). Tool calls are never handed on before the proof: an agent would
execute them.
"""

from og_integrations.client.call import Answer, Progress
from og_integrations.client.engine import Engine, lost_body
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
        self._assembler = StreamAssembler()
        self._cutter = StopCutter(progress.call.stop)
        pinned = progress.enclave is not None and bool(progress.enclave.certificate)
        self._buffered = progress.call.buffered or not pinned
        self._shown: list[str] = []

    def feed(self, data: bytes) -> list[str]:
        """Return the text that may be shown now that `data` came."""
        self._progress.took(data)
        texts: list[str] = []
        for event in self._decoder.feed(data):
            delta = self._assembler.feed(event)
            if delta is not None and delta.text and (text := self._cutter.feed(delta.text)):
                texts.append(text)
        self._shown += texts
        return [] if self._buffered else texts

    def finish(self) -> tuple[str, Answer]:
        """
        Return the text that was still held back, and the answer, verified.

        Raises `StreamCutError` or `VerificationError`, each with the text shown so far.
        """
        if not self._decoder.at_rest:
            self._decoder.feed(b"\n")
        completion = self._assembler.finish()
        rest = self._cutter.flush()
        self._shown.append(rest)
        shown = "".join(self._shown)
        answer = self._engine.conclude(self._progress, completion, shown, self._cutter)
        return (shown if self._buffered else rest), answer

    def failed(self, exc: OpenGradientError) -> OpenGradientError:
        """Return `exc` as the caller shall see it, with the text so far."""
        if isinstance(exc, ConnectionLostError):
            error = lost_body(self._progress, exc)
            if not exc.timed_out and isinstance(error, PaymentInDoubtError):
                error = StreamCutError(
                    f"{exc} The answer is incomplete: the signed final event did not come. What came so far is in "
                    "partial_text and is not signed; it may have been charged, and was not repeated."
                )
            exc = error
        if isinstance(exc, PaymentInDoubtError | VerificationError):
            exc.partial_text = self._assembler.text
        return exc

"""
Streamed answers: events -> `Completion` (PROTOCOL §5).

A stream counts as complete only after its final event (a `finish_reason` and the enclave's proof)
*and* `[DONE]`. Everything else (an error event, a cut, more events after the end) is an error;
none of it may ever look like a finished answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO

from og_integrations.errors import MalformedReplyError, StreamCutError, StreamFailedError
from og_integrations.protocol.answer import build_completion, list_of, only_choice, reasoning_of, text_of
from og_integrations.protocol.chat import Completion, Delta, JsonObject, ToolCall, ToolCallDelta
from og_integrations.protocol.quoting import quotable
from og_integrations.protocol.sse import DONE
from og_integrations.protocol.strict_json import parse_json_object

MAX_EVENTS = 250_000
"""
A stream of more events, or fragments of tool calls in them, is an attack on our time and memory: models answer some
thousand tokens. How many bytes it may have, `sse` says.
"""


class StreamAssembler:
    """
    Events of one stream in, deltas out; `finish` returns the whole `Completion`.

    `quote` says what of the gateway's own reason may stand in a message (`quoting.quotable`).
    """

    def __init__(self, quote: Callable[[object], str] = quotable) -> None:
        self._quote = quote
        # Not a list: of a long stream's pieces, each would cost ten times its text.
        self._text = StringIO()
        self._reasoning = StringIO()
        self._events = 0
        self._calls: dict[int | None, _PartialCall] = {}
        self._final: tuple[JsonObject, JsonObject] | None = None
        self._done = False

    @property
    def text(self) -> str:
        """All text so far."""
        return self._text.getvalue()

    def feed(self, event: str) -> Delta | None:
        """
        Take the data of one event; return what is new, or None for the final marker.

        Raises `StreamFailedError` for the gateway's error event and `MalformedReplyError` (with
        the text so far) for anything that is not an event of this protocol.
        """
        if event == DONE:
            if self._final is None:
                raise self._cut("the stream says [DONE] without a signed final event")
            self._done = True
            return None
        if self._done or self._final is not None:
            raise MalformedReplyError("The stream goes on after its signed final event; the answer was discarded.")
        chunk = parse_json_object(event, "A stream event")
        if "error" in chunk:
            reason = self._quote(chunk["error"])
            said = f" ({reason})" if reason else ""
            failed = StreamFailedError(
                f"The gateway reported a failure in the middle of the stream{said}. What came so far is not an answer "
                "and was not charged; ask again."
            )
            failed.partial_text = self.text
            raise failed
        return self._delta(chunk)

    def _delta(self, chunk: JsonObject) -> Delta:
        choice = only_choice(chunk)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            raise MalformedReplyError("A stream event's choice has no delta.")
        text = text_of(delta.get("content"), "content")
        fragments = tuple(map(_fragment, list_of(delta.get("tool_calls"), "tool_calls")))
        self._events += max(1, len(fragments))
        if self._events > MAX_EVENTS:
            raise MalformedReplyError(f"The stream goes on after {MAX_EVENTS} events; it was given up.")
        self._text.write(text)
        self._reasoning.write(reasoning_of(delta))
        for item in fragments:
            self._calls.setdefault(item.index, _PartialCall()).add(item)
        if choice.get("finish_reason") is not None:
            self._final = (chunk, choice)
        return Delta(text, fragments)

    def finish(self) -> Completion:
        """
        Return the answer after the body has ended.

        Raises `StreamCutError`, with the text so far, if it ended before the signed final event
        and `[DONE]`.
        """
        if self._final is None or not self._done:
            raise self._cut("the connection ended before the signed final event")
        chunk, choice = self._final
        calls = tuple(call.whole(index) for index, call in sorted(self._calls.items(), key=_call_order))
        return build_completion(
            chunk,
            self.text,
            calls,
            finish_reason=choice["finish_reason"],
            images=chunk.get("images"),
            reasoning=self._reasoning.getvalue(),
        )

    def _cut(self, what: str) -> StreamCutError:
        error = StreamCutError(
            f"The answer is incomplete: {what}. Expected an event with finish_reason and tee_signature, then "
            "[DONE]. What came so far is in partial_text and is not signed; it may have been charged."
        )
        error.partial_text = self.text
        return error


@dataclass(slots=True)
class _PartialCall:
    id: str = ""
    name: str = ""
    arguments: StringIO = field(default_factory=StringIO)

    def add(self, fragment: ToolCallDelta) -> None:
        self.id = fragment.id or self.id
        self.name = fragment.name or self.name
        self.arguments.write(fragment.arguments or "")

    def whole(self, index: int | None) -> ToolCall:
        arguments = self.arguments.getvalue()
        if index is None:
            # Gemini sends no index, so two calls run into one in the signed output; then the
            # arguments are two JSON texts in a row, which nobody may execute.
            parse_json_object(arguments or "{}", "A streamed tool call without index")
        return ToolCall(self.id, self.name, arguments)


def _call_order(item: tuple[int | None, _PartialCall]) -> int:
    return -1 if item[0] is None else item[0]


def _fragment(item: object) -> ToolCallDelta:
    if not isinstance(item, dict):
        raise MalformedReplyError("A streamed tool call is not an object.")
    function = item.get("function") or {}
    index = item.get("index")
    if not isinstance(function, dict) or not (index is None or type(index) is int):
        raise MalformedReplyError("A streamed tool call has a malformed function or index.")
    texts = (item.get("id"), function.get("name"), function.get("arguments"))
    if not all(text is None or isinstance(text, str) for text in texts):
        raise MalformedReplyError("A streamed tool call holds something else than text in id, name or arguments.")
    return ToolCallDelta(index, *texts)

"""
This module turns an answer, a decoded JSON object or a stream of events, into a `Completion` (docs/protocol.md §4, §5).

An answer is read strictly, since what is signed depends on it: one choice, texts that are texts, counts that are
counts. Both a whole answer and the final event of a stream go through `build_completion`.

A stream counts as complete only after its final event (a `finish_reason` and the enclave's proof)
*and* `[DONE]`. Everything else (an error event, a cut, more events after the end) is an error;
none of it may ever look like a finished answer.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from og_integrations.errors import MalformedReplyError, StreamCutError, VerificationError
from og_integrations.protocol._redact import quotable
from og_integrations.protocol._strict_json import SURROGATE, JsonObject, parse_json_object
from og_integrations.protocol.chat._sse import DONE, NamedEvent
from og_integrations.protocol.chat._wire import (
    COMPLETION_PATH,
    SEARCH_PATH,
    Completion,
    Delta,
    ReportedCost,
    TeeProof,
    ToolCall,
    ToolCallDelta,
    Usage,
)

_SETTLEMENT_KEYS = (
    "data_settlement_success",
    "data_settlement_error",
    "data_settlement_transaction_hash",
    "data_settlement_blob_id",
    "settlement_type",
    "settlement_job_id",
    "settlement_queue_nonce",
)


def parse_completion(path: str, body: bytes | str) -> Completion:
    """
    Read a whole (not streamed) answer of the endpoint `path`.

    Raises `MalformedReplyError` if it is not of that form, `VerificationError` (step `shape`) if it
    holds more than the one choice that the enclave signs.
    """
    return read_completion(path, parse_json_object(body, "The answer"))


def read_completion(path: str, reply: JsonObject) -> Completion:
    """Return what `parse_completion` does, of an answer that is decoded already."""
    if path == SEARCH_PATH:
        return _search_answer(reply)
    choice = only_choice(reply)
    finish_reason = choice.get("finish_reason")
    # Text completions have `text` beside `finish_reason` and no message (docs/protocol.md §2.5).
    if path == COMPLETION_PATH:
        text = text_of(choice.get("text"), "text")
        return build_completion(reply, text, (), finish_reason=finish_reason, citations=reply.get("citations"))
    message = choice.get("message")
    if not isinstance(message, dict):
        raise MalformedReplyError("The answer's choice has no message.")
    return build_completion(
        reply,
        text_of(message.get("content"), "content"),
        _tool_calls(message.get("tool_calls")),
        finish_reason=finish_reason,
        images=message.get("images"),
        reasoning=reasoning_of(message),
        citations=message.get("citations"),
    )


def _search_answer(reply: JsonObject) -> Completion:
    content, query = reply.get("content"), reply.get("query")
    if not isinstance(content, str) or not isinstance(query, str):
        raise MalformedReplyError("The answer to a search lacks its content or query as text.")
    named = reply | {"model": ""}
    return build_completion(
        named, content, (), finish_reason="stop", citations=reply.get("citations"), searches=(query,)
    )


def only_choice(reply: JsonObject) -> JsonObject:
    """Return the one choice of `reply`. Raises `VerificationError` (step `shape`) if there are more."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise MalformedReplyError("The answer has no choices.")
    # A second choice is not covered by the signature, and an adapter that shows it would show unproven text.
    if len(choices) != 1:
        raise VerificationError(
            f"The answer has {len(choices)} choices, expected exactly 1: the enclave signs only one.",
            step="shape",
        )
    choice = choices[0]
    if not isinstance(choice, dict):
        raise MalformedReplyError("The answer's choice is not an object.")
    return choice


def build_completion(
    reply: JsonObject,
    text: str,
    calls: tuple[ToolCall, ...],
    *,
    finish_reason: object,
    images: object = None,
    reasoning: str = "",
    citations: object = None,
    searches: tuple[str, ...] = (),
) -> Completion:
    """Return the answer whose outer object is `reply`. Raises `MalformedReplyError` or `VerificationError`."""
    model = reply.get("model")
    if not isinstance(finish_reason, str) or not isinstance(model, str):
        raise MalformedReplyError("The answer lacks finish_reason or model as text.")
    return Completion(
        text=text,
        tool_calls=calls,
        finish_reason=_storable(finish_reason),
        model=_storable(model),
        usage=_usage(reply.get("usage")),
        # These two members are not signed, so a wrong type is
        # left out rather than failing an answer that was paid.
        id=_storable(reply["id"]) if isinstance(reply.get("id"), str) else None,
        created=reply["created"] if type(reply.get("created")) is int else None,
        proof=_proof(reply),
        images=tuple([_storable(text_of(image, "images")) for image in list_of(images, "images")]),
        reasoning=_storable(reasoning),
        cost=_cost(reply.get("opengradient")),
        citations=_citations(citations),
        searches=searches,
        moderation=_moderation(reply.get("moderation")),
        settlement={key: reply[key] for key in _SETTLEMENT_KEYS if key in reply},
    )


def _storable(text: str) -> str:
    """Return unsigned `text` without halves of characters: frameworks could not write what holds it to a file."""
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)


def _proof(reply: JsonObject) -> TeeProof | None:
    request_hash, output_hash = reply.get("tee_request_hash"), reply.get("tee_output_hash")
    signature, tee_id, timestamp = reply.get("tee_signature"), reply.get("tee_id"), reply.get("tee_timestamp")
    # An answer without any member of a proof is reported by the verifier, which then lists all steps.
    if request_hash is output_hash is signature is tee_id is timestamp is None:
        return None
    # `True` is an int to Python, so the type is compared exactly: the timestamp goes into the signed digest.
    if not (
        isinstance(request_hash, str)
        and isinstance(output_hash, str)
        and isinstance(signature, str)
        and isinstance(tee_id, str)
        and type(timestamp) is int
    ):
        raise VerificationError(
            "The proof is incomplete: expected tee_request_hash, tee_output_hash, tee_signature and tee_id as "
            "text and tee_timestamp as a whole number.",
            step="proof",
        )
    return TeeProof(
        request_hash=request_hash,
        output_hash=output_hash,
        timestamp=timestamp,
        signature=signature,
        tee_id=tee_id,
    )


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    told: list[Any] = [value.get("prompt_tokens"), value.get("completion_tokens"), value.get("total_tokens")]
    for count in told:
        # Totals are added over many calls, where one negative or enormous count would spoil every sum.
        if type(count) is not int or not 0 <= count < 2**53:
            raise MalformedReplyError("The answer's usage holds something else than token counts.")
    return Usage(*told)


_DECIMAL = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")
_WHOLE = re.compile(r"[0-9]{1,40}")
_MOST_NOTES_AFTER, _LONGEST_NOTE = 8, 64 * 1024
"""Events with a name that may follow the signed one, and characters of each."""
_MOST_NOTES = 1_000
"""Citations, or searches, of one answer that are kept."""


def _cost(value: object) -> ReportedCost | None:
    # Like all notes it is not signed, so one of another form is left out rather than failing an answer that was paid.
    if not isinstance(value, dict):
        return None
    told = [value.get(name) for name in ("cost_opg", "cost_usd", "opg_price_usd")]
    texts = [text for text in told if isinstance(text, str) and _DECIMAL.fullmatch(text)]
    return ReportedCost(*texts) if len(texts) == len(told) and _WHOLE.fullmatch(texts[0]) else None


def _citations(value: object) -> tuple[JsonObject, ...]:
    listed = value if isinstance(value, list) else []
    found = []
    for item in listed[:_MOST_NOTES]:
        texts = {name: text for name, text in item.items() if isinstance(text, str)} if isinstance(item, dict) else {}
        if "url" in texts:
            found.append({name: _storable(texts[name]) for name in ("title", "url", "published_date") if name in texts})
    return tuple(found)


def _search_of(value: object) -> list[str]:
    query = value.get("query") if isinstance(value, dict) else None
    return [_storable(query)] if isinstance(query, str) else []


def _moderation(value: object) -> JsonObject | None:
    if not isinstance(value, dict):
        return None
    flags = {name: value[name] for name in ("checked", "flagged", "blocked") if isinstance(value.get(name), bool)}
    texts = {name: _storable(value[name]) for name in ("model", "error") if isinstance(value.get(name), str)}
    named = value.get("categories")
    categories = [_storable(name) for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return {**texts, **flags, "categories": categories}


def text_of(value: object, name: str) -> str:
    """Return `value` as text, null as none. Raises `MalformedReplyError`, naming `name`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedReplyError(f"The answer's {name} is a {type(value).__name__}, expected text.")
    return value


def reasoning_of(message: JsonObject) -> str:
    """Return what a message or delta says of the model's thoughts; what is no text says nothing."""
    value = message.get("reasoning_content")
    return value if isinstance(value, str) else ""


def list_of(value: object, name: str) -> list[object]:
    """Return `value` as a list, null as an empty one. Raises `MalformedReplyError`, naming `name`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedReplyError(f"The answer's {name} is a {type(value).__name__}, expected a list.")
    return value


def _tool_calls(value: object) -> tuple[ToolCall, ...]:
    calls = []
    for item in list_of(value, "tool_calls"):
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(function, dict):
            raise MalformedReplyError("A tool call of the answer has no function.")
        members = (item.get("id"), function.get("name"), function.get("arguments"))
        if not all(isinstance(member, str) for member in members):
            raise MalformedReplyError("A tool call of the answer lacks its id, name or arguments as text.")
        calls.append(ToolCall(*members))  # type: ignore[arg-type]
    return tuple(calls)


MAX_EVENTS = 250_000
"""
A stream of more events, or fragments of tool calls in them, is an attack on our time and memory: models answer some
thousand tokens. How many bytes it may have, `_sse` says.
"""


class StreamAssembler:
    """
    An assembler turns the events of one stream into deltas; `finish` returns the whole `Completion`.

    `quote` says what of the gateway's own reason may stand in a message (`_redact.quotable`). `on_note` is told name
    and data of what follows the signed event under a name of its own.
    """

    def __init__(
        self,
        quote: Callable[[object], str] = quotable,
        on_note: Callable[[str, JsonObject], None] = lambda name, data: None,
    ) -> None:
        self._quote = quote
        self._on_note = on_note
        # Not a list: of a long stream's pieces, each would cost ten times its text.
        self._text = StringIO()
        self._reasoning = StringIO()
        self._searches: list[str] = []
        self._notes = 0
        self._events = 0
        self._said = 0
        self._calls: dict[int | None, _PartialCall] = {}
        self._final: tuple[JsonObject, JsonObject] | None = None
        self._done = False

    @property
    def text(self) -> str:
        """Return all text so far."""
        return self._text.getvalue()

    @property
    def said(self) -> int:
        """Return how many events so far said something; an empty one may come now and then for ever."""
        return self._said

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
        # What follows under a name of its own, such as word of a settlement, is no part of the answer.
        if self._final is not None and not self._done and self._take_note(event):
            return None
        # Text after the signed event is not in the signed hash, and would be shown as if it were.
        if self._done or self._final is not None:
            raise MalformedReplyError("The stream goes on after its signed final event; the answer was discarded.")
        chunk = parse_json_object(event, "A stream event")
        # The gateway reports a provider's failure inside HTTP
        # 200 (docs/protocol.md §5), so the status says nothing.
        if "error" in chunk:
            from og_integrations.protocol.chat._failures import Failure, stream_error

            failed = stream_error(Failure.of(200, chunk), self._quote, began=self._events > 0)
            failed.partial_text = self.text
            raise failed
        return self._delta(chunk)

    def _take_note(self, event: str) -> bool:
        if not isinstance(event, NamedEvent) or event.name == "message" or len(event) > _LONGEST_NOTE:
            return False
        data = parse_json_object(event, "A stream event")
        self._notes += 1
        if "choices" in data or self._notes > _MOST_NOTES_AFTER:
            return False
        self._on_note(event.name, data)
        return True

    def _delta(self, chunk: JsonObject) -> Delta:
        choice = only_choice(chunk)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            raise MalformedReplyError("A stream event's choice has no delta.")
        text = text_of(delta.get("content"), "content")
        calls, said_search = delta.get("tool_calls"), chunk.get("web_search")
        fragments = () if calls is None else tuple(map(_fragment, list_of(calls, "tool_calls")))
        # An event may hold thousands of fragments, each of which
        # costs an object, so fragments are counted as well.
        self._events += max(1, len(fragments))
        if self._events > MAX_EVENTS:
            raise MalformedReplyError(f"The stream goes on after {MAX_EVENTS} events; it was given up.")
        self._text.write(text)
        if thought := reasoning_of(delta):
            self._reasoning.write(thought)
        for item in fragments:
            self._calls.setdefault(item.index, _PartialCall()).add(item)
        # Status events of newer gateways have an empty delta too; only a finish_reason marks the final event.
        self._searches += (found := [] if said_search is None else _search_of(said_search))
        finish_reason = choice.get("finish_reason")
        self._said += bool(text or thought or fragments or found or finish_reason)
        if finish_reason is not None:
            self._final = (chunk, choice)
        return Delta(_storable(text), fragments)

    def finish(self) -> Completion:
        """
        Return the answer after the body has ended.

        Raises `StreamCutError`, with the text so far, if it ended before the signed final event
        and `[DONE]`.
        """
        # A body that ends without `[DONE]` was cut, even if the
        # signed event came: an unsigned error may have followed.
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
            citations=chunk.get("citations"),
            searches=tuple(self._searches),
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
        # Only the first fragment of xAI has id and name. Later ones are null or empty and must not erase them.
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
    # The gateway signs the calls in the order of their index, and None cannot be compared with an int.
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

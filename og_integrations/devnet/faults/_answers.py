"""These faults change what is said and signed, and the order and number of a stream's events."""

import base64
import copy
import dataclasses
from collections.abc import Callable

from og_integrations.devnet._enclave import END_OF_STREAM, Output, StreamEvent
from og_integrations.devnet._fault import Events, Fault
from og_integrations.devnet._http import Reply
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import ToolCall

_DAY = 24 * 60 * 60
_ADDED = " (and send your seed phrase)"
_CALL = {"id": "call_smuggled", "type": "function", "function": {"name": "transfer", "arguments": "{}"}}
HOME_OF_PICTURES = "https://198.51.100.1/who-looks.png"
"""Of a network for documents (RFC 5737), where nobody is."""
_Change = Callable[[JsonObject], None]


def on_body(change: _Change) -> Callable[[JsonObject], JsonObject]:
    """Return a hook that applies `change` to a copy of a JSON answer."""

    def whole(body: JsonObject) -> JsonObject:
        changed = copy.deepcopy(body)
        change(changed)
        return changed

    return whole


def both(name: str, about: str, change: _Change, *, only_final: bool = False, spoils: bool = True) -> Fault:
    """
    Return a fault that applies `change` to the JSON answer, and to the events of a stream.

    With `only_final` it sees of a stream only the signed event.
    """
    whole = on_body(change)

    async def events(stream: Events) -> Events:
        async for event in stream:
            value = event.value
            if isinstance(value, dict) and ("tee_signature" in value or not only_final):
                yield dataclasses.replace(event, value=whole(value))
            else:
                yield event

    return Fault(name=name, about=about, spoils=spoils, signed=whole, events=events)


def altering(alter: Callable[[JsonObject], bool]) -> _Change:
    """
    Return a change of the message, delta or completion choice of an answer.

    `alter` gets it and says whether it found something to alter.
    """

    def change(value: JsonObject) -> None:
        # The answer to a web search has its text at the top.
        for choice in value.get("choices", (value,)):
            alter(choice.get("message") or choice.get("delta") or choice)

    return change


def _alter_text(message: JsonObject) -> bool:
    for name in ("content", "text"):
        if isinstance(message.get(name), str) and message[name]:
            message[name] = message[name] + _ADDED
            return True
    return False


def _alter_call(message: JsonObject) -> bool:
    for call in message.get("tool_calls", ()):
        arguments = call["function"].get("arguments", "")
        # Of a call in fragments only the last one is altered.
        if arguments.endswith("}"):
            more = '"amount":1000000}' if arguments == "{}" else ',"amount":1000000}'
            call["function"]["arguments"] = arguments[:-1] + more
    return bool(message.get("tool_calls"))


def _flip_signature(value: JsonObject) -> None:
    raw = bytearray(base64.b64decode(value["tee_signature"]))
    raw[17] ^= 1
    value["tee_signature"] = base64.b64encode(raw).decode()


def _swap_model(value: JsonObject) -> None:
    value["model"] = "gpt-4.1-nano"


def _add_choice(value: JsonObject) -> None:
    if "choices" not in value:  # the answer to a web search
        return
    value["choices"] = value["choices"] + [{**copy.deepcopy(value["choices"][0]), "index": 1}]


def _smuggle_call(value: JsonObject) -> None:
    if "choices" not in value:
        return
    choice = value["choices"][0]
    carrier = choice.get("message") or choice.get("delta")
    if carrier is None:
        carrier = choice["delta" if "delta" in choice else "message"] = {"role": "assistant"}
    carrier["tool_calls"] = [{"index": 0, **_CALL}]


def _drop(*names: str) -> _Change:
    def change(value: JsonObject) -> None:
        for name in names:
            value.pop(name, None)

    return change


def _set(name: str, make: Callable[[JsonObject], object]) -> _Change:
    def change(value: JsonObject) -> None:
        value[name] = make(value)

    return change


def _older_request(request: JsonObject) -> JsonObject:
    """Return the request of another conversation: its answer is genuinely signed, but for that one."""
    if "messages" in request:
        return {**request, "messages": [{"role": "user", "content": "an earlier question"}]}
    return {**request, ("query" if "query" in request else "prompt"): "an earlier question"}


def _unoffered_call(_output: Output) -> Output:
    return Output(text="", calls=(ToolCall("call_unoffered", "transfer_everything", "{}"),))


def _wrong_reason(value: JsonObject) -> None:
    for choice in value.get("choices", ()):
        if choice.get("finish_reason") is not None:
            choice["finish_reason"] = "stop" if choice["finish_reason"] == "tool_calls" else "tool_calls"


def _add_picture(value: JsonObject) -> None:
    """Hand out a picture by its address at a stranger's, who would learn of everybody that looks at it."""
    if "tee_signature" not in value or "choices" not in value:
        return
    message = value["choices"][0].get("message")
    (value if message is None else message)["images"] = [HOME_OF_PICTURES]


def _cite_nothing(value: JsonObject) -> None:
    if "query" in value:
        value["citations"] = [{"title": "A page that nobody found", "url": "https://example.org/made-up"}]


def _as_text(reply: Reply) -> Reply:
    kept = [header for header in reply.headers if header[0] != "Content-Type"]
    reply.headers = [("Content-Type", "text/plain"), *kept]
    return reply


async def _first_text_altered(stream: Events) -> Events:
    altered = False
    async for event in stream:
        value = event.value
        if not altered and isinstance(value, dict):
            value = copy.deepcopy(value)
            altered = any(_alter_text(choice["delta"]) for choice in value.get("choices", ()))
        yield StreamEvent(value, event.compact)


ANSWER_FAULTS = (
    both("bad_signature", "one bit of the signature is flipped", _flip_signature, only_final=True),
    Fault(name="unknown_enclave", about="signed by an enclave that no registry lists", as_impostor=True),
    Fault(
        name="altered_text",
        about="the text is changed after signing",
        signed=on_body(altering(_alter_text)),
        events=_first_text_altered,
    ),
    both("altered_tool_call", "a tool call is changed after signing", altering(_alter_call)),
    Fault(
        name="replayed_answer",
        about="an answer that was signed for another request",
        hashed_request=_older_request,
    ),
    both("swapped_model", "another model answered", _swap_model),
    both("second_choice", "a second, unsigned choice", _add_choice),
    both("smuggled_tool_call", "a tool call beside a text answer", _smuggle_call, only_final=True),
    both("wrong_finish_reason", "the finish_reason says that the other half was signed", _wrong_reason),
    Fault(
        name="unoffered_tool",
        about="a signed call of a tool that was not sent, as models make them up",
        spoils=False,
        output=_unoffered_call,
    ),
    Fault(name="stale_timestamp", about="signed a day ago", timestamp=lambda seconds: seconds - _DAY),
    Fault(name="future_timestamp", about="signed tomorrow", timestamp=lambda seconds: seconds + _DAY),
    Fault(name="clock_ahead", about="the enclave's clock is 10 minutes fast", timestamp=lambda seconds: seconds + 600),
    Fault(name="clock_behind", about="the enclave's clock is 10 minutes slow", timestamp=lambda seconds: seconds - 600),
    Fault(
        name="clock_drift",
        about="the enclave's clock is 2 minutes fast, as clocks without NTP are",
        spoils=False,
        timestamp=lambda seconds: seconds + 120,
    ),
    both(
        "unsigned_answer",
        "no proof at all",
        _drop("tee_signature", "tee_timestamp", "tee_request_hash", "tee_output_hash", "tee_id"),
        only_final=True,
    ),
    both("missing_signature", "hashes without signature", _drop("tee_signature"), only_final=True),
    both("wrong_tee_id", "another enclave's id", _set("tee_id", lambda _: "0x" + "ab" * 32), only_final=True),
    both(
        "wrong_request_hash",
        "another request hash beside a good signature",
        _set("tee_request_hash", lambda value: value["tee_request_hash"][::-1]),
        only_final=True,
    ),
    both(
        "wrong_output_hash",
        "another output hash beside a good signature",
        _set("tee_output_hash", lambda value: value["tee_output_hash"][::-1]),
        only_final=True,
    ),
    both(
        "loose_base64",
        "the signature's base64 holds characters that a lax decoder skips",
        _set("tee_signature", lambda value: "\n" + value["tee_signature"]),
        only_final=True,
    ),
    both(
        "text_timestamp",
        "the time is text",
        _set("tee_timestamp", lambda value: str(value["tee_timestamp"])),
        only_final=True,
    ),
    both(
        "garbage_usage",
        "usage counts are not numbers",
        _set("usage", lambda _: {"prompt_tokens": "many", "completion_tokens": -1, "total_tokens": 1.5}),
        only_final=True,
        spoils=False,
    ),
    both(
        "contradictory_cost",
        "the cost block names a sum in dollars that is not the one in OPG",
        _set("opengradient", lambda _: {"cost_opg": "1000", "cost_usd": "5.0", "opg_price_usd": "0.1"}),
        only_final=True,
        spoils=False,
    ),
    both("calling_picture", "a picture comes as the address of a stranger's server", _add_picture, spoils=False),
    Fault(
        name="made_up_citation",
        about="the answer to a web search cites a page that does not stand in its signed text",
        signed=on_body(_cite_nothing),
    ),
    both("no_choices", "no choice at all", _set("choices", lambda _: []), only_final=True),
    Fault(name="wrong_content_type", spoils=False, about="the answer calls itself text/plain", reply=_as_text),
    Fault(
        name="settlement_failure",
        spoils=False,
        about="the facilitator cannot post an individual answer; the answer itself is good",
        settle_data='Facilitator settle_data failed (500): {"error":"devnet: settle_data failure"}',
    ),
)


_ERROR = StreamEvent({"error": "Stream processing failed"})


def _is_final(event: StreamEvent) -> bool:
    return isinstance(event.value, dict) and "tee_signature" in event.value


def _edited(edit: Callable[[StreamEvent], list[StreamEvent]]) -> Callable[[Events], Events]:
    """Return a hook that replaces each event by any number of others."""

    async def events(stream: Events) -> Events:
        async for event in stream:
            for item in edit(event):
                yield item

    return events


async def _error_after_first(stream: Events) -> Events:
    async for event in stream:
        yield event
        yield _ERROR
        return


async def _without_first(stream: Events) -> Events:
    skipped = False
    async for event in stream:
        if skipped or _is_final(event):
            yield event
        skipped = True


async def _swapped(stream: Events) -> Events:
    first: StreamEvent | None = None
    async for event in stream:
        if first is None:
            first = event
            continue
        if _is_final(event):
            yield first
        yield event


def _extra_text(event: StreamEvent) -> list[StreamEvent]:
    if not _is_final(event) or not isinstance(event.value, dict):
        return [event]
    late = {**event.value, "choices": [{"delta": {"content": " P.S."}, "index": 0, "finish_reason": None}]}
    return [event, StreamEvent({name: late[name] for name in ("choices", "model")})]


STREAM_FAULTS = (
    Fault(name="error_event", about="the stream reports a failure after its first event", events=_error_after_first),
    Fault(
        name="missing_final_event",
        about="the stream ends with [DONE], without its signed event",
        events=_edited(lambda event: [] if _is_final(event) else [event]),
    ),
    Fault(
        name="missing_done",
        about="the stream ends after its signed event, without [DONE]",
        events=_edited(lambda event: [] if event == END_OF_STREAM else [event]),
    ),
    Fault(
        name="duplicate_final_event",
        about="the signed event comes twice",
        events=_edited(lambda event: [event, event] if _is_final(event) else [event]),
    ),
    Fault(name="text_after_final", about="text follows the signed event", events=_edited(_extra_text)),
    Fault(name="lost_event", about="the first event is missing", events=_without_first),
    Fault(name="reordered_events", about="the first event comes last", events=_swapped),
    Fault(
        name="garbage_event",
        about="an event that is not JSON before the signed one",
        events=_edited(lambda event: [StreamEvent("{oops"), event] if _is_final(event) else [event]),
    ),
)

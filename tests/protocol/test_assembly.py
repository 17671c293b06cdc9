"""Bodies of answers -> whole answers; nothing unfinished ever looks like one."""

import base64
import json
from typing import Any

import pytest

from og_integrations.errors import (
    MalformedReplyError,
    StreamCutError,
    StreamFailedError,
    VerificationError,
)
from og_integrations.protocol.chat import _answers as assembly
from og_integrations.protocol.chat._answers import StreamAssembler, parse_completion
from og_integrations.protocol.chat._sse import NamedEvent
from og_integrations.protocol.chat._wire import CHAT_PATH, Completion, Delta, ToolCall, Usage, image_data
from tests.protocol.captures import (
    CAPTURES,
    FAILED_STREAMS,
    REFUSED,
    STREAMS,
    Capture,
    each,
    proof_of,
    read,
    read_stream,
)
from tests.protocol.test_answer import MESSAGE, chat


def event(delta: object = None, finish_reason: str | None = None, **members: Any) -> str:
    choice = {"delta": {} if delta is None else delta, "finish_reason": finish_reason}
    return json.dumps({"model": "m", "choices": [choice]} | members)


def assemble(*events: str) -> Completion:
    assembler = StreamAssembler()
    for item in events:
        assembler.feed(item)
    return assembler.finish()


def fragment(index: int | None, name: str | None = None, arguments: str | None = None, **members: Any) -> str:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return event({"tool_calls": [{"index": index, "function": function} | members]})


CALLED = event(finish_reason="tool_calls")


def test_whole_answer_of_chat() -> None:
    completion = read(CAPTURES["plain"])
    assert completion.text == "Hello from the fake upstream."
    assert (completion.finish_reason, completion.model, completion.usage) == ("stop", "gpt-5-mini", Usage(4, 5, 9))
    assert (completion.id or "").startswith("chatcmpl-")


def test_whole_answer_of_completions() -> None:
    assert read(CAPTURES["completion"]).text == "Hello from the fake upstream."


def test_streamed_answer() -> None:
    completion = read(CAPTURES["stream-text"])
    assert completion.text == "".join(f"tok{n} " for n in range(11)) + "tok11"
    assert (completion.id, completion.created) == (None, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tool-calls-parallel", [("get_weather", '{"city": "Oslo"}'), ("add", '{"b": 2, "a": 1}')]),
        ("stream-tool-calls-openai", [("get_weather", '{"city":"Oslo"}'), ("add", '{"b":2,"a":1}')]),
        ("stream-tool-calls-xai-fragments", [("get_weather", '{"city":"Oslo"}'), ("add", '{"b":2,"a":1}')]),
        (
            "stream-text-then-tool-anthropic-index-1",
            [("get_weather", '{"city": "Oslo"}'), ("add", '{"b": 2, "a": 1}')],
        ),
    ],
)
def test_tool_calls_of_each_provider(name: str, expected: list[tuple[str, str]]) -> None:
    """Whole, in fragments, or counted from 1: always the calls in order, arguments untouched."""
    assert [(call.name, call.arguments) for call in read(CAPTURES[name]).tool_calls] == expected


def test_settlement_of_a_streamed_individual_call_is_kept() -> None:
    settlement = read(CAPTURES["individual-stream"]).settlement
    assert settlement["data_settlement_transaction_hash"].startswith("0xc9feae03")
    assert settlement["settlement_queue_nonce"] == "1004"


@pytest.mark.parametrize("name", REFUSED)
def test_captured_refusal_is_never_an_answer(name: str) -> None:
    """Even if someone overlooked the status, the body of an HTTP error does not parse."""
    with pytest.raises(MalformedReplyError, match="The answer has no choices"):
        parse_completion(CAPTURES[name].path, CAPTURES[name].body)


@pytest.mark.parametrize("name", FAILED_STREAMS)
def test_captured_failure_in_a_stream(name: str) -> None:
    """The error event ends it, with the text so far, though `[DONE]` may follow."""
    said = r"in the middle of the stream \(Stream processing failed\).*not charged"
    with pytest.raises(StreamFailedError, match=said) as caught:
        read(CAPTURES[name])
    assert caught.value.partial_text == "tok0 tok1 tok2 tok3 "


@each(STREAMS)
def test_stream_cut_after_any_event(capture: Capture) -> None:
    """Only a stream with its final event and `[DONE]` is an answer."""
    events = capture.body.split(b"\n\n")[:-1]
    for count in range(len(events)):
        with pytest.raises(StreamCutError, match="The answer is incomplete: the connection ended before"):
            read_stream([event + b"\n\n" for event in events[:count]])


def test_cut_stream_tells_what_came() -> None:
    with pytest.raises(StreamCutError, match="it may have been charged") as caught:
        assemble(event({"content": "half an "}), event({"content": "ans"}))
    assert caught.value.partial_text == "half an ans"


def test_done_without_a_final_event_is_a_cut() -> None:
    with pytest.raises(StreamCutError, match=r"says \[DONE\] without a signed final event"):
        assemble(event({"content": "hi"}), "[DONE]")


@pytest.mark.parametrize("late", [event({"content": "!"}), event(finish_reason="stop"), '{"error": "x"}'])
@pytest.mark.parametrize("end", [[], ["[DONE]"]])
def test_events_after_the_final_one_are_refused(end: list[str], late: str) -> None:
    """Nothing can be added to what was signed."""
    with pytest.raises(MalformedReplyError, match="goes on after its signed final event; the answer was discarded"):
        assemble(event({"content": "hi"}), event(finish_reason="stop"), *end, late)


def test_deltas_are_what_is_new() -> None:
    assembler = StreamAssembler()
    assert assembler.feed(event({"content": "a", "role": "assistant"})) == Delta("a")
    assert assembler.feed(event({"content": None})) == Delta()
    assert assembler.feed(event(finish_reason="stop")) == Delta()
    assert assembler.feed("[DONE]") is None
    assert assembler.text == "a"


def test_fragments_are_joined_by_index_and_sorted() -> None:
    """Non-empty ids and names overwrite, arguments append, any key may be absent."""
    calls = assemble(
        fragment(2, "late", "{}", id="c2"),
        fragment(1, "x", '{"a"', id="c1"),
        fragment(1, "early", id=""),
        fragment(1, "", ":1}"),
        event({"tool_calls": [{"index": 1}]}),
        CALLED,
        "[DONE]",
    ).tool_calls
    assert calls == (ToolCall("c1", "early", '{"a":1}'), ToolCall("c2", "late", "{}"))


def test_call_without_index_is_taken_if_it_is_one() -> None:
    """Gemini sends whole calls with `index: null`; one of them is unambiguous."""
    (call,) = assemble(fragment(None, "f", '{"a":1}', id="c"), CALLED, "[DONE]").tool_calls
    assert call == ToolCall("c", "f", '{"a":1}')


def test_two_calls_without_index_are_refused() -> None:
    """They run into one text in the signed output, which nobody may execute."""
    with pytest.raises(MalformedReplyError, match="A streamed tool call without index is not JSON"):
        assemble(fragment(None, "f", '{"a":1}'), fragment(None, "g", '{"b":2}'), CALLED, "[DONE]")


@pytest.mark.parametrize(("index", "arguments"), [(0, '{"a":'), (0, "[1]"), (None, "")])
def test_arguments_are_what_the_model_wrote(index: int | None, arguments: str) -> None:
    """They are signed: whoever executes the call judges them, and a call may have none."""
    (call,) = assemble(fragment(index, "f", arguments, id="c"), CALLED, "[DONE]").tool_calls
    assert call == ToolCall("c", "f", arguments)


@pytest.mark.parametrize("arguments", ["[1]", '"x"'])
def test_call_without_index_has_an_object_as_arguments(arguments: str) -> None:
    with pytest.raises(MalformedReplyError, match="expected an object"):
        assemble(fragment(None, "f", arguments), CALLED, "[DONE]")


@pytest.mark.parametrize(
    ("malformed", "said"),
    [
        ("nonsense", "A stream event is not JSON"),
        ("[1]", "A stream event is a JSON list, expected an object"),
        (event("text"), "choice has no delta"),
        (event({"content": 1}), "content is a int, expected text"),
        (event({"tool_calls": [1]}), "A streamed tool call is not an object"),
        (event({"tool_calls": [{"index": "0"}]}), "malformed function or index"),
        (event({"tool_calls": [{"index": True}]}), "malformed function or index"),
        (event({"tool_calls": [{"index": 0, "function": "f"}]}), "malformed function or index"),
        (event({"tool_calls": [{"index": 0, "id": 7}]}), "something else than text in id, name or arguments"),
    ],
)
def test_malformed_event(malformed: str, said: str) -> None:
    with pytest.raises(MalformedReplyError, match=said):
        StreamAssembler().feed(malformed)


def test_two_choices_are_not_proven() -> None:
    """The enclave signs the first only, so none is taken."""
    two = json.dumps({"model": "m", "choices": [{"message": MESSAGE}] * 2})
    with pytest.raises(
        VerificationError, match="has 2 choices, expected exactly 1: the enclave signs only one"
    ) as caught:
        parse_completion(CHAT_PATH, two)
    assert caught.value.step == "shape"


@pytest.mark.parametrize("name", ["tee_request_hash", "tee_output_hash", "tee_signature", "tee_id", "tee_timestamp"])
@pytest.mark.parametrize("value", [None, 1.5, [], True])
def test_incomplete_proof_is_refused(name: str, value: object) -> None:
    reply = json.loads(CAPTURES["plain"].body) | {name: value}
    with pytest.raises(VerificationError, match="The proof is incomplete: expected tee_request_hash") as caught:
        parse_completion(CHAT_PATH, json.dumps(reply))
    assert caught.value.step == "proof"


def test_answer_without_any_proof_has_none() -> None:
    assert parse_completion(CHAT_PATH, chat()).proof is None
    assert proof_of(read(CAPTURES["plain"])).timestamp == 1795181472


def test_stream_that_drips_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MAX_EVENTS", 1)
    assembler = StreamAssembler()
    assembler.feed(event())
    with pytest.raises(MalformedReplyError, match="goes on after 1 events; it was given up"):
        assembler.feed(event())


def test_tool_calls_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is kept, so that a fragment of ten bytes counts like an event."""
    monkeypatch.setattr(assembly, "MAX_EVENTS", 2)
    StreamAssembler().feed(event({"tool_calls": [{"index": 0}, {"index": 1}]}))
    with pytest.raises(MalformedReplyError, match="goes on after 2 events"):
        StreamAssembler().feed(event({"tool_calls": [{"index": index} for index in range(3)]}))


def test_reasoning_is_kept_if_it_is_text() -> None:
    """Nothing signs it, and it is no part of the text."""
    completion = parse_completion(CHAT_PATH, chat({"message": MESSAGE | {"reasoning_content": "so"}}))
    assert (completion.reasoning, completion.text) == ("so", "hi")
    assert not parse_completion(CHAT_PATH, chat({"message": MESSAGE | {"reasoning_content": [1]}})).reasoning
    streamed = assemble(
        event({"reasoning_content": "so "}),
        event({"reasoning_content": None}),
        event({"content": "hi", "reasoning_content": "far"}),
        event(finish_reason="stop"),
        "[DONE]",
    )
    assert (streamed.reasoning, streamed.text) == ("so far", "hi")


SIGNED_STREAM = [event({"content": "hi"}), event({}, "stop"), "[DONE]"]
SETTLED = NamedEvent('{"success": true, "paymentResponse": "eyJ9"}', "x402-settlement")


def test_named_events_may_follow_the_signed_one() -> None:
    """A scheme that settles each request says how it went there; it is no part of the answer."""
    noted: list[tuple[str, object]] = []
    stream = StreamAssembler(on_note=lambda name, data: noted.append((name, data)))
    for data in SIGNED_STREAM[:-1]:
        stream.feed(data)
    assert stream.feed(SETTLED) is None
    stream.feed(SIGNED_STREAM[-1])
    with pytest.raises(MalformedReplyError, match="goes on after its signed final event"):
        stream.feed(SETTLED)
    assert stream.finish().text == "hi"
    assert noted == [("x402-settlement", {"success": True, "paymentResponse": "eyJ9"})]


@pytest.mark.parametrize(
    "late",
    [
        NamedEvent('{"choices": [{"delta": {"content": " P.S."}}]}', "x402-settlement"),
        NamedEvent('{"success": true}', "message"),
        NamedEvent('{"success": "' + "a" * 70_000 + '"}', "x402-settlement"),
        '{"success": true}',
    ],
    ids=["a chunk", "no name of its own", "too long", "no name"],
)
def test_nothing_else_may_follow_the_signed_event(late: str) -> None:
    stream = StreamAssembler()
    for data in SIGNED_STREAM[:-1]:
        stream.feed(data)
    with pytest.raises(MalformedReplyError, match="goes on after its signed final event"):
        stream.feed(late)


def test_named_events_are_few() -> None:
    stream = StreamAssembler()
    for data in SIGNED_STREAM[:-1]:
        stream.feed(data)
    assert [stream.feed(SETTLED) for _ in range(8)] == [None] * 8
    with pytest.raises(MalformedReplyError, match="goes on after"):
        stream.feed(SETTLED)


def test_what_the_gateway_notes_beside_a_stream_is_kept_apart_from_its_text() -> None:
    status = json.loads(event({})) | {"web_search": {"status": "searching", "query": "opg"}}
    cited = event(
        {}, "stop", citations=[{"title": "t", "url": "u", "x": 1}, "no"], moderation={"flagged": False, "y": 2}
    )
    answer = assemble(json.dumps(status), event({"content": "hi"}), cited, "[DONE]")
    assert (answer.text, answer.searches) == ("hi", ("opg",))
    assert answer.citations == ({"title": "t", "url": "u"},)
    assert answer.moderation == {"flagged": False, "categories": []}


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"who knows", "image/jpeg"),
    ],
)
def test_pictures_are_what_their_bytes_say(first: bytes, kind: str) -> None:
    """Gateways call all of them JPEG."""
    data = base64.b64encode(first + b"\0" * 20).decode()
    assert image_data("data:image/jpeg;base64," + data) == (kind, data)
    assert image_data("https://example.org/a.png") is None

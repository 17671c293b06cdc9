"""Requests and outputs -> the exact bytes that the enclave hashes (PROTOCOL §4)."""

import json
from typing import Any

import pytest
from hypothesis import given

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chain.abi import keccak
from og_integrations.protocol.chat.wire import CHAT_PATH, COMPLETION_PATH, ToolCall
from og_integrations.protocol.proof.canonical import (
    APRIL,
    NEXT,
    canonical_output,
    canonical_request,
    drops_attachments,
    not_hashed,
    output_hash,
    request_hash,
    signed_digest,
)
from tests.protocol.captures import CAPTURES, SIGNED, Capture, each, proof_of, read
from tests.protocol.reference import Json, chat_requests, completion_requests, reference_chat, reference_completion
from tests.sizes import examples

USER = {"role": "user", "content": "hi"}


def hashed(hashing: str = APRIL, **members: Any) -> Json:
    """Return what is hashed of a chat request with `members`."""
    request = {"model": "m", "messages": [USER]} | members
    rebuilt: Json = json.loads(canonical_request(CHAT_PATH, request, hashing))
    return rebuilt


def hashed_message(message: Json, hashing: str = APRIL) -> Json:
    found: Json = hashed(hashing, messages=[message])["messages"][0]
    return found


def test_keccak_is_the_original_one() -> None:
    """Not SHA-3, which differs in its padding."""
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@each(SIGNED)
def test_request_hash_of_capture(capture: Capture) -> None:
    """What the gateway signed is what we compute from the bytes that were sent."""
    got = request_hash(capture.path, json.loads(capture.wire))
    assert got.hex() == proof_of(read(capture)).request_hash


@each(SIGNED)
def test_output_hash_of_capture(capture: Capture) -> None:
    """What the gateway signed is what we compute from the answer, streamed or not."""
    completion = read(capture)
    got = output_hash(completion.text, completion.tool_calls, completion.finish_reason)
    assert got.hex() == proof_of(completion).output_hash


def test_chat_bytes_are_pythons_sorted_json() -> None:
    """Blanks after the separators, keys in order, ASCII escapes: byte for byte what Python dumps."""
    request = {"messages": [{"content": "ż", "role": "user"}], "model": "m", "temperature": 1}
    expected = b'{"messages": [{"content": "\\u017c", "role": "user"}], "model": "m", "temperature": 1.0}'
    assert canonical_request(CHAT_PATH, request) == expected


def test_completion_bytes_have_the_endpoints_own_defaults() -> None:
    request = {"model": "m", "prompt": "p"}
    expected = b'{"max_tokens": 16, "model": "m", "prompt": "p", "temperature": 1.0}'
    assert canonical_request(COMPLETION_PATH, request) == expected


def test_completion_nulls_are_not_the_defaults() -> None:
    request = {"model": "m", "prompt": "p", "temperature": None, "max_tokens": None}
    assert canonical_request(COMPLETION_PATH, request) == b'{"model": "m", "prompt": "p", "temperature": 0.0}'


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {"temperature": 0.0}),
        ({"temperature": None}, {"temperature": 0.0}),
        ({"max_tokens": None}, {"temperature": 0.0}),
        ({"max_tokens": 0}, {"temperature": 0.0, "max_tokens": 0}),
        ({"stop": [], "tools": [], "response_format": {}}, {"temperature": 0.0}),
        ({"stop": "x"}, {"temperature": 0.0, "stop": "x"}),
        ({"tools": [{"b": 1, "a": None}]}, {"temperature": 0.0, "tools": [{"a": None, "b": 1}]}),
        ({"top_p": 0.5, "seed": 1, "tool_choice": "auto", "stream": True, "user": "u"}, {"temperature": 0.0}),
        ({"web_search": True}, {"temperature": 0.0}),
    ],
)
def test_chat_members(members: Json, expected: Json) -> None:
    """Exactly these members are hashed, absent where null or empty."""
    assert hashed(**members) == {"model": "m", "messages": [USER]} | expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "system", "content": "s", "name": "n"}, {"role": "system", "content": "s"}),
        ({"role": "user", "content": "u", "name": "n"}, {"role": "user", "content": "u"}),
        (
            {"role": "user", "content": [{"type": "text", "text": "it's"}]},
            {"role": "user", "content": """[{'type': 'text', 'text': "it's"}]"""},
        ),
        ({"role": "assistant"}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "content": None, "tool_calls": []}, {"role": "assistant", "content": ""}),
        ({"role": "tool", "content": "t", "tool_call_id": "c"}, {"role": "tool", "content": "t", "tool_call_id": "c"}),
        ({"role": "function", "content": "f", "name": "n"}, {"role": "function", "content": "f", "name": "n"}),
    ],
)
def test_messages_of_april(message: Json, expected: Json) -> None:
    assert hashed_message(message) == expected


def test_history_of_tool_calls_keeps_their_arguments_untouched() -> None:
    """Blanks and unknown members around them do not matter; inside the text they do."""
    function = {"name": "f", "arguments": '{ "a":1}', "strict": True}
    message = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "index": 0, "function": function}]}
    kept = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{ "a":1}'}}
    assert hashed_message(message)["tool_calls"] == [kept]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "t", "x": 1}, {"type": "text", "text": "t"}),
        ({"type": "image_url", "image_url": {"url": "data:"}}, {"type": "image_url"}),
        ({"type": "file", "file": {"filename": "a", "data": "x"}}, {"type": "file", "filename": "a"}),
        ({"type": "file", "filename": "b"}, {"type": "file", "filename": "b"}),
    ],
)
def test_content_parts_of_next(part: Json, expected: Json) -> None:
    """Newer gateways hash text parts whole and of attachments only the type and file name."""
    assert hashed_message({"role": "user", "content": [part]}, NEXT)["content"] == [expected]


def test_next_hashes_developer_as_system_and_web_search() -> None:
    developer = {"role": "developer", "content": "d"}
    rebuilt = hashed(NEXT, messages=[developer], web_search=True)
    assert (rebuilt["messages"], rebuilt["web_search"]) == ([{"role": "system", "content": "d"}], True)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"model": None}, "'model' is NoneType, expected str"),
        ({"messages": {}}, "'messages' is dict, expected list"),
        ({"messages": ["hi"]}, "A message is a str, expected a JSON object"),
        ({"messages": [{"role": "developer", "content": "d"}]}, "the role 'developer'; the gateway knows system"),
        ({"messages": [{"role": ["user"]}]}, "the role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "not of the form"),
        ({"messages": [{"role": "assistant", "tool_calls": 1}]}, "not of the form"),
        ({"messages": [{"role": "assistant", "tool_calls": ["c"]}]}, "not of the form"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": "f"}]}]}, "not of the form"),
        ({"temperature": "1"}, "temperature is a str, expected a number"),
        ({"temperature": True}, "temperature is a bool, expected a number"),
        ({"temperature": 10**400}, "temperature is too large"),
    ],
)
def test_request_that_has_no_hash(members: Json, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        hashed(**members)


def test_what_is_not_hashed_is_named_once_and_in_order() -> None:
    """Of a content that is hashed as text, nothing is left out."""
    named = USER | {"content": {"z": 1}, "name": "n"}
    request = {"seed": 1, "model": "m", "messages": [named, named], "logprobs": True}
    assert not_hashed(CHAT_PATH, request) == ["logprobs", "messages[].name", "seed"]


@pytest.mark.parametrize(
    ("messages", "dropped"),
    [
        ([USER | {"content": [{"type": "text"}, {"type": "file"}]}], True),
        ([USER, {"role": "user"}, USER | {"content": [{"type": "text"}, "text"]}], False),
        ([{"role": "tool", "content": [{"type": "file"}]}], False),
        (["no message", USER], False),
        (5, False),
    ],
)
def test_attachments_that_april_drops(messages: object, dropped: bool) -> None:
    """Those of users' messages; what is none, whoever wrote it, is not looked into."""
    request = {"messages": messages}
    assert (drops_attachments(request, APRIL), drops_attachments(request, NEXT)) == (dropped, False)


@pytest.mark.parametrize("content", [{"type": "text"}, ["text"]])
def test_next_refuses_content_that_is_no_list_of_parts(content: object) -> None:
    with pytest.raises(InvalidRequestError, match="expected"):
        hashed_message({"role": "user", "content": content}, NEXT)


def test_unknown_path_and_hashing_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="No request to '/v1/images' is signed; expected /v1/chat"):
        canonical_request("/v1/images", {})
    with pytest.raises(InvalidRequestError, match="Unknown hashing '2030'; expected one of 2026-04, next"):
        canonical_request(CHAT_PATH, {}, "2030")


def test_output_is_the_text_unless_it_ended_in_tool_calls() -> None:
    call = ToolCall("c", "f", '{"ż":1}')
    expected = b'[{"function": {"arguments": "{\\"\\u017c\\":1}", "name": "f"}, "id": "c", "type": "function"}]'
    assert canonical_output("text", [call], "tool_calls") == expected
    assert canonical_output("żółć", [call], "stop") == "żółć".encode()


def test_output_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="lone surrogate"):
        canonical_output("\ud800", (), "stop")


def test_signed_digest_is_both_hashes_and_a_uint256() -> None:
    packed = b"\x01" * 32 + b"\x02" * 32 + bytes(31) + b"\x07"
    assert signed_digest(b"\x01" * 32, b"\x02" * 32, 7) == keccak(packed)


def test_wire_blanks_and_encoding_do_not_change_the_hash() -> None:
    """Escapes, blanks and key order on the wire are forgotten by parsing; numbers keep their kind."""
    loose = json.loads(CAPTURES["wire-whitespace"].wire)
    tight = {"model": "gpt-5-mini", "temperature": 0.1, "messages": [{"role": "user", "content": "hi"}]}
    assert canonical_request(CHAT_PATH, loose) == canonical_request(CHAT_PATH, tight)


@given(chat_requests)
@examples(70)
def test_any_chat_request_is_hashed_like_the_reference(request: Json) -> None:
    """Any JSON request canonicalises like PROTOCOL §4 rebuilt from the wire bytes alone."""
    wire = json.dumps(request).encode()
    assert canonical_request(CHAT_PATH, json.loads(wire)) == reference_chat(wire)


@given(completion_requests)
@examples(60)
def test_any_completion_request_is_hashed_like_the_reference(request: Json) -> None:
    wire = json.dumps(request).encode()
    assert canonical_request(COMPLETION_PATH, json.loads(wire)) == reference_completion(wire)

"""Requests and outputs -> the exact bytes that the enclave hashes (docs/protocol.md §4)."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chain._keccak import _hash_object, keccak
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, SEARCH_PATH, ToolCall
from og_integrations.protocol.proof._canonical import (
    APRIL,
    DIGEST,
    EFFORT,
    REDUCED,
    RULES,
    VERBATIM,
    canonical_output,
    canonical_request,
    drops_attachments,
    not_hashed,
    output_hash,
    plainest_rule,
    request_hash,
    signed_digest,
    unsigned_members,
)
from og_integrations.receipt import EARLIER_RULES, rule_name
from tests.protocol.captures import CAPTURES, SIGNED, Capture, each, proof_of, read
from tests.protocol.captures import VECTORS as FOLDER
from tests.protocol.reference import Json, chat_requests, completion_requests, reference_chat, reference_completion
from tests.sizes import examples

USER = {"role": "user", "content": "hi"}


def hashed(rule: str = APRIL, **members: Any) -> Json:
    """Return what is hashed of a chat request with `members`."""
    request = {"model": "m", "messages": [USER]} | members
    rebuilt: Json = json.loads(canonical_request(CHAT_PATH, request, rule))
    return rebuilt


def hashed_message(message: Json, rule: str = APRIL) -> Json:
    found: Json = hashed(rule, messages=[message])["messages"][0]
    return found


def test_keccak_is_the_original_one() -> None:
    """Not SHA-3, which differs in its padding."""
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_keccak_is_that_of_another_way_to_it() -> None:
    """The direct call and the library's own objects agree, also where threads hash at once."""
    texts = [bytes(range(256)) * 3 + bytes(length) for length in range(300)] + [b"a" * length for length in range(300)]
    expected = [_hash_object(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: [keccak(text) for text in texts], range(16)))
    assert found == [expected] * 16
    assert keccak is not _hash_object, "this pycryptodome has no direct call any more: see `_checked_keccak`"


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
        ({"type": "text"}, {"type": "text", "text": ""}),
        ({"type": "text", "text": None}, {"type": "text", "text": ""}),
        ("bare", {"type": "text", "text": "bare"}),
        (5, {"type": "text", "text": "5"}),
    ],
)
@pytest.mark.parametrize("rule", [REDUCED, EFFORT, DIGEST])
def test_reduced_parts(part: Any, expected: Json, rule: str) -> None:
    """Text is hashed as sent, of attachments only the type and file name; a part that is no object, as text."""
    assert hashed_message({"role": "user", "content": [part]}, rule)["content"] == [expected]


DIGESTED = {"mime_type": "application/pdf", "sha256": hashlib.sha256(b"aGk=").hexdigest()}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}}, DIGESTED),
        ({"type": "input_file", "file_data": "data:application/pdf;name=a;base64,aGk="}, DIGESTED),
        ({"type": "image_url", "image_url": {"url": "DATA:application/pdf;BASE64,aGk="}}, DIGESTED),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, {}),
        ({"type": "file", "file": {"file_id": "f"}}, {}),
        ({"type": "file", "file": {"file_data": "data:application/pdf,hi"}}, {}),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,\ud800"}}, {}),
        ({"type": "file", "file": 5}, {}),
    ],
)
def test_digested_parts(part: Json, expected: Json) -> None:
    """Data that is in the request is digested, as the base64 text that it is; an address or id is left out."""
    assert hashed_message({"role": "user", "content": [part]}, DIGEST)["content"] == [{"type": part["type"]} | expected]


@pytest.mark.parametrize("rule", RULES)
def test_role_developer_has_no_hash_by_any_rule(rule: str) -> None:
    with pytest.raises(InvalidRequestError, match="the role 'developer'; the gateway knows system"):
        hashed_message({"role": "developer", "content": "d"}, rule)


@pytest.mark.parametrize("rule", RULES)
def test_options_that_not_every_rule_hashes(rule: str) -> None:
    asked = {"web_search": "yes", "reasoning_effort": "low"}
    expected = ({} if rule == APRIL else {"web_search": True}) | ({"reasoning_effort": "low"} if rule == EFFORT else {})
    assert hashed(rule, **asked) == {"model": "m", "messages": [USER], "temperature": 0.0} | expected
    falsy: Json = {"web_search": 0, "reasoning_effort": ""}
    assert hashed(rule, **falsy) == {"model": "m", "messages": [USER], "temperature": 0.0}


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
    assert (drops_attachments(request, APRIL), drops_attachments(request, REDUCED)) == (dropped, False)


@pytest.mark.parametrize("rule", [REDUCED, EFFORT, DIGEST])
def test_content_that_is_neither_text_nor_a_list_has_no_reduced_form(rule: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected text or parts"):
        hashed_message({"role": "user", "content": {"type": "text"}}, rule)


def test_unknown_path_and_rule_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="No request to '/v1/images' is signed; expected /v1/chat"):
        canonical_request("/v1/images", {})
    with pytest.raises(InvalidRequestError, match="Unknown hash rule '2030'; expected one of april, reduced, reduced"):
        canonical_request(CHAT_PATH, {}, "2030")


def test_rules_are_known_by_their_earlier_names() -> None:
    assert {name: rule_name(name) for name in (*EARLIER_RULES, *RULES)} == {
        "2026-04": "april",
        "next": "reduced",
    } | dict(zip(RULES, RULES, strict=True))


VECTORS = json.loads((FOLDER / "generations.json").read_text())
BY_NAME = {vector["name"]: vector for vector in VECTORS["requests"]}
OUTPUTS = {vector["name"]: vector for vector in VECTORS["outputs"]}


@pytest.mark.parametrize(
    ("vector", "rule"),
    [
        pytest.param(vector, rule, id=f"{vector['name']}-{rule}")
        for vector in VECTORS["requests"]
        for rule in vector["hashes"]
    ],
)
def test_request_of_vector(vector: Json, rule: str) -> None:
    """64 requests, 241 hashes; of a search every rule makes the same one."""
    request, expected = json.loads(vector["wire"]), vector["hashes"][rule]
    assert request == vector["request"]
    for name in RULES if vector["path"] == SEARCH_PATH else (rule,):
        assert canonical_request(vector["path"], request, name).decode() == expected["canonical"]
        assert request_hash(vector["path"], request, name).hex() == expected["keccak256"]


def test_there_are_64_requests_and_241_hashes() -> None:
    assert (len(BY_NAME), sum(len(vector["hashes"]) for vector in BY_NAME.values())) == (64, 241)


@pytest.mark.parametrize("vector", VECTORS["outputs"], ids=lambda vector: vector["name"])
def test_output_of_vector(vector: Json) -> None:
    text, calls, reason = vector["canonical"], [], vector.get("finish_reason", "stop")
    if reason == "tool_calls":
        listed = json.loads(text)
        text = ""
        calls = [ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in listed]
    assert canonical_output(text, calls, reason).decode() == vector["canonical"]
    assert output_hash(text, calls, reason).hex() == vector["keccak256"]


@pytest.mark.parametrize("vector", VECTORS["digests"], ids=lambda vector: f"{vector['request']}-{vector['rule']}")
def test_signed_digest_of_vector(vector: Json) -> None:
    asked, answered = BY_NAME[vector["request"]], OUTPUTS[vector["output"]]
    rule = vector["rule"] if vector["rule"] in RULES else APRIL
    digest = signed_digest(
        request_hash(asked["path"], asked["request"], rule),
        bytes.fromhex(answered["keccak256"]),
        vector["tee_timestamp"],
    )
    assert digest.hex() == vector["signed_digest"]


@pytest.mark.parametrize("name", BY_NAME)
def test_plainest_rule_of_vector(name: str) -> None:
    """It is the first of all that make the same bytes."""
    path, request = BY_NAME[name]["path"], BY_NAME[name]["request"]
    made = {rule: canonical_request(path, request, rule) for rule in RULES}
    for rule in RULES:
        assert plainest_rule(path, request, rule) == next(other for other in RULES if made[other] == made[rule])


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
ELSEWHERE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("members", "names", "rules"),
    [
        ({}, [], ()),
        ({"reasoning_effort": "low"}, ["reasoning_effort"], (APRIL, REDUCED, VERBATIM, DIGEST)),
        ({"reasoning_effort": None, "web_search": False, "n": 1}, [], ()),
        ({"web_search": True}, ["web_search"], (APRIL,)),
        ({"n": 2, "aspect_ratio": "16:9"}, ["aspect_ratio", "n"], RULES),
        ({"messages": [USER | {"content": [PICTURE]}]}, ["attachments"], (REDUCED, EFFORT)),
        ({"messages": [USER | {"content": [ELSEWHERE]}]}, ["attachments"], (REDUCED, EFFORT, DIGEST)),
        ({"messages": [USER | {"name": "ann"}]}, ["messages[].name"], RULES),
        ({"messages": [{"role": "system", "content": "s", "name": "n"}]}, ["messages[].name"], RULES),
        ({"messages": [{"role": "function", "content": "s", "name": "n"}]}, [], ()),
    ],
)
def test_what_a_rule_does_not_commit_to(members: Json, names: list[str], rules: tuple[str, ...]) -> None:
    """Named in the receipt: another picture, speaker or option would have had the same hash."""
    request = {"model": "m", "messages": [USER]} | members
    for rule in RULES:
        assert unsigned_members(CHAT_PATH, request, rule) == (names if rule in rules else [])
    assert unsigned_members(SEARCH_PATH, request, APRIL) == []


def test_effort_of_a_text_completion_is_hashed_by_no_rule() -> None:
    request = {"model": "m", "prompt": "p", "reasoning_effort": "low"}
    assert unsigned_members(COMPLETION_PATH, request, EFFORT) == ["reasoning_effort"]


@pytest.mark.parametrize(
    ("rule", "left"),
    [(REDUCED, ["messages[].content[].image_url"]), (VERBATIM, []), (DIGEST, []), (APRIL, [])],
)
def test_what_of_a_picture_is_not_hashed(rule: str, left: list[str]) -> None:
    request = {"model": "m", "messages": [USER | {"content": [PICTURE]}]}
    assert not_hashed(CHAT_PATH, request, rule) == left


@pytest.mark.parametrize("role", ["user", "system"])
def test_names_of_speakers_change_no_hash(role: str) -> None:
    """No rule commits to who a user or system turn says it is from, so the receipt says so."""
    request: Json = {"model": "m", "messages": [USER, {"role": role, "content": "c"}]}
    named = request | {"messages": [USER, {"role": role, "content": "c", "name": "zoe"}]}
    for rule in RULES:
        assert request_hash(CHAT_PATH, named, rule) == request_hash(CHAT_PATH, request, rule)
        assert unsigned_members(CHAT_PATH, named, rule) == ["messages[].name"]


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
    """Any JSON request canonicalises like docs/protocol.md §4 rebuilt from the wire bytes alone, by every rule."""
    wire = json.dumps(request).encode()
    made = {rule: canonical_request(CHAT_PATH, json.loads(wire), rule) for rule in RULES}
    assert made == {rule: reference_chat(wire, rule) for rule in RULES}
    for rule in RULES:
        assert plainest_rule(CHAT_PATH, request, rule) == next(other for other in RULES if made[other] == made[rule])


@given(completion_requests)
@examples(60)
def test_any_completion_request_is_hashed_like_the_reference(request: Json) -> None:
    wire = json.dumps(request).encode()
    assert canonical_request(COMPLETION_PATH, json.loads(wire)) == reference_completion(wire)


OWN = json.loads((Path(__file__).parent.parent / "vectors/own_generations.json").read_text())["requests"]


@pytest.mark.parametrize("vector", OWN, ids=lambda vector: vector["name"])
def test_own_vectors_of_what_no_rule_commits_to(vector: dict[str, Any]) -> None:
    """A `developer` turn has no hash in any generation; the names of turns have none of their own."""
    for rule in RULES:
        if vector["hash"] is None:
            with pytest.raises(InvalidRequestError, match="has the role 'developer'"):
                request_hash(CHAT_PATH, vector["request"], rule)
        else:
            assert request_hash(CHAT_PATH, vector["request"], rule).hex() == vector["hash"]
            assert unsigned_members(CHAT_PATH, vector["request"], rule) == vector["unsigned"]

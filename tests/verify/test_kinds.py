"""
What two things with one hash may be taken for: a text for a tool call, a tool call for a text, a list for its text.

The gateway hashes a tool call as the JSON text of it, and in its first generation a list of parts as Python's text of
it; what tells them apart is not signed.
"""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from og_integrations.protocol.proof._verification import STEPS
from og_integrations.verify import Verdict, Verifier
from tests.protocol.own_enclave import NOW, enclave, key, sign

MALLORY = {"function": {"arguments": '{"to": "mallory", "amount": 1000000}', "name": "send_money"}, "id": "call_7"}
CALLS = [MALLORY | {"type": "function"}]
SPELT = json.dumps(CALLS, sort_keys=True)
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "send_money", "parameters": {"type": "object"}}}
]


def saved(
    request: dict[str, Any],
    message: dict[str, Any],
    *,
    signed: str,
    shown: object = None,
    streamed: dict[str, Any] | None = None,
    content_type: str = "application/json",
) -> Verdict:
    """
    Return the verdict on an answer of our enclave, which signed the text `signed` to what `request` hashes to.

    With `streamed` the answer is a stream of one event with that delta, and the signed end.
    """
    hashed: dict[str, Any] = {"model": "m", "temperature": 0.0, "messages": request["messages"]}
    if "tools" in request:
        hashed["tools"] = request["tools"]
    proof = sign(json.dumps(hashed, sort_keys=True).encode(), signed.encode())
    finish = "tool_calls" if "tool_calls" in message else "stop"
    answer = {
        "id": "x", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "tee_request_hash": proof.request_hash, "tee_output_hash": proof.output_hash, "tee_timestamp": NOW,
        "tee_signature": proof.signature, "tee_id": proof.tee_id,
    }  # fmt: skip
    response = json.dumps(answer)
    if streamed is not None:
        said = {"id": "x", "model": "m", "choices": [{"index": 0, "delta": streamed, "finish_reason": None}]}
        end = answer | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        events = [json.dumps(event, ensure_ascii=False) for event in (said, end)]
        response = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
    pem = key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    members = {
        "path": "/v1/chat/completions", "request": json.dumps(request if shown is None else shown),
        "content_type": content_type, "response": response, "tee_id": enclave().tee_id,
        "public_key_pem": pem,
    }  # fmt: skip
    return Verifier.unsafe_file_key().verify(json.dumps(members).encode())


def asked(content: object, **more: object) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


def as_text(text: str = SPELT) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def as_call() -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": CALLS}


def refused(verdict: Verdict, said: str) -> None:
    assert (verdict.status, verdict.step) == ("failed", "output-hash")
    detail = next(check.detail for check in verdict.checks if check.id == "output-hash")
    assert said in detail
    assert [check.result for check in verdict.checks][STEPS.index("output-hash") + 1 :] == ["skip"] * 5


def test_tool_call_is_not_taken_for_a_text() -> None:
    """Whoever hides that the model called a tool shows the call as words."""
    verdict = saved(asked("Pay my bills.", tools=TOOLS), as_text(), signed=SPELT)
    refused(verdict, "the text spells a tool call, and tools were sent")


def test_text_that_spells_a_call_is_a_text_where_no_tool_was_sent() -> None:
    """A model that was offered nothing calls nothing, or by a slip: nobody would run it. It is named."""
    verdict = saved(asked("Write an example."), as_text(), signed=SPELT)
    assert verdict.verified
    assert "whether it is a tool call or a text that spells one" in verdict.not_covered["answer"]


@pytest.mark.parametrize(
    "text", [SPELT + " ", SPELT.replace('": ', '":'), "[]", '[{"function": {"arguments": 5}, "type": "function"}]']
)
def test_text_that_no_tool_call_hashes_to_is_a_text(text: str) -> None:
    """It is about the very bytes: what is spelt in another way cannot have been a call."""
    assert saved(asked("Write JSON.", tools=TOOLS), as_text(text), signed=text).verified


@pytest.mark.parametrize(
    "prompt",
    [
        f"Repeat this: {SPELT}",
        f"Repeat this:\n{json.dumps(CALLS, indent=4)}",
        [{"type": "text", "text": "Repeat this:"}, {"type": "text", "text": json.dumps(SPELT)}],
        "Print a call of send_money with id call_7 and the arguments " + MALLORY["function"]["arguments"],  # type: ignore[index]
    ],
    ids=["as it is", "indented", "escaped, in parts", "in words"],
)
def test_text_is_not_taken_for_a_tool_call(prompt: object) -> None:
    """Whoever can ask can have the enclave sign any text; a call's id is made with it and stands in no question."""
    request = asked(prompt, tools=TOOLS)
    hashed = asked(str(prompt) if isinstance(prompt, list) else prompt, tools=TOOLS)
    refused(saved(hashed, as_call(), signed=SPELT, shown=request), "the request holds this very tool call as a text")


@pytest.mark.parametrize(
    "function",
    [{"description": f"Repeat: {SPELT}"}, {"parameters": {"type": "object", "properties": {"a": {"const": SPELT}}}}],
    ids=["description", "parameters"],
)
def test_text_in_a_tool_is_not_taken_for_a_call_of_it(function: dict[str, Any]) -> None:
    """The model reads what tools say, and repeats what it is told to."""
    tools = [{"type": "function", "function": TOOLS[0]["function"] | function}]
    verdict = saved(asked("Do it.", tools=tools), as_call(), signed=SPELT)
    refused(verdict, "the request holds this very tool call as a text")


def test_text_in_two_parts_of_a_message_is_not_taken_for_a_call() -> None:
    """They are one text to the model."""
    half = len(SPELT) // 2
    parts = [{"type": "text", "text": SPELT[:half]}, {"type": "text", "text": SPELT[half:]}]
    request = asked(parts, tools=TOOLS)
    verdict = saved(asked(str(parts), tools=TOOLS), as_call(), signed=SPELT, shown=request)
    refused(verdict, "the request holds this very tool call as a text")


@pytest.mark.parametrize(
    ("member", "named"),
    [
        ({"refusal": "I will not."}, "refusal"),
        ({"function_call": {"name": "send_money", "arguments": "{}"}}, "function_call"),
        ({"audio": {"id": "a"}, "x\n": 1}, "1 members that no answer has"),
        ({"refusal": None, "annotations": []}, None),
    ],
)
def test_what_else_an_answer_says_is_named(member: dict[str, Any], named: str | None) -> None:
    """No signature covers it, and programs that know the older forms would show or run it."""
    verdict = saved(asked("Hi"), as_text("hello") | member, signed="hello")
    assert verdict.verified
    known = ("finish_reason", "id", "model")
    assert {*verdict.not_covered["answer"]} - {*known, "audio"} == ({named} if named else set())


@pytest.mark.parametrize("content_type", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
def test_what_else_a_stream_says_is_named_beside_any_text(content_type: str) -> None:
    """U+2028 ends no line of a stream, and a type may have parameters: neither hides a refusal."""
    text = "a\u2028b"
    delta = {"role": "assistant", "content": text, "refusal": "I will not."}
    shown = saved(asked("Hi", stream=True), as_text(text), signed=text, streamed=delta, content_type=content_type)
    assert shown.verified
    assert "refusal" in shown.not_covered["answer"]


def test_tool_call_is_verified_and_what_it_could_have_been_is_named() -> None:
    verdict = saved(asked("Pay mallory a million.", tools=TOOLS), as_call(), signed=SPELT)
    assert verdict.verified
    assert "whether it is a tool call or a text that spells one" in verdict.not_covered["answer"]
    text = saved(asked("Pay mallory a million.", tools=TOOLS), as_text("I will not."), signed="I will not.")
    assert text.verified
    assert not any("tool call" in name for name in text.not_covered["answer"])


PARTS = [{"type": "text", "text": "hi"}]


@pytest.mark.parametrize("shown", [PARTS, str(PARTS)], ids=["as parts", "as their text"])
def test_parts_and_their_text_are_named(shown: object) -> None:
    """Both say the same to the model of a first-generation gateway; which of them was sent is open."""
    verdict = saved(asked(str(PARTS)), as_text("hello"), signed="hello", shown=asked(shown))
    assert verdict.verified
    assert "whether messages[].content is a list or its text" in verdict.not_covered["request"]


def test_plain_text_leaves_nothing_open() -> None:
    assert "request" not in saved(asked("[1] is a footnote"), as_text("hello"), signed="hello").not_covered

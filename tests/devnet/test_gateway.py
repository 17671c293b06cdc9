"""The gateway behind the paywall: order of checks, error bodies, schema, settlement (wire/06, 07, 09, 12, 13, 18)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.devnet import Devnet
from tests.devnet.bare_caller import CHAT, COMPLETION, Raw, ask, raw_caller
from tests.sizes import examples

NO_TOKEN = "No authorization token provided"
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def paid() -> Iterator[tuple[Raw, str]]:
    with Devnet(cap=10**20) as net, raw_caller(net) as raw:
        yield raw, raw.session()


def sent(paid: tuple[Raw, str], body: Any, **headers: str) -> Any:
    raw, session = paid
    reply = raw.post(body, X_Upto_Session=session, **headers)
    assert reply.headers["X-Upto-Session"] == session  # on every answer after payment
    return reply


def problem(status: int, title: str, detail: str) -> str:
    body = {"detail": detail, "status": status, "title": title, "type": "about:blank"}
    return json.dumps(body, indent=2) + "\n"


@pytest.mark.parametrize("token", ["", "Basic eDp5", "bearer x"])
def test_missing_bearer_is_401_after_payment(paid: tuple[Raw, str], token: str) -> None:
    reply = sent(paid, ask("hi"), Authorization=token)
    assert (reply.status_code, reply.text) == (401, problem(401, "Unauthorized", NO_TOKEN))
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(("model", "status"), [("gpt-5-mini", 200), ("claude-haiku-4-5", 500)])
def test_nan_breaks_only_models_that_are_told_the_temperature(paid: tuple[Raw, str], model: str, status: int) -> None:
    assert sent(paid, json.dumps(ask("hi", model=model, temperature=float("nan"))).encode()).status_code == status


def test_unknown_model_comes_before_missing_bearer(paid: tuple[Raw, str]) -> None:
    reply = sent(paid, {"model": "nope"}, Authorization="")
    assert (reply.status_code, reply.text) == (400, '{"error":"Model \'nope\' is not supported"}\n')


def test_missing_bearer_comes_before_schema(paid: tuple[Raw, str]) -> None:
    assert sent(paid, b"{bad json", Authorization="").status_code == 401


def test_provider_prefix_is_not_part_of_the_name(paid: tuple[Raw, str]) -> None:
    assert sent(paid, ask("hi") | {"model": "openai/gpt-5-mini"}).status_code == 400


def test_other_content_type_is_415(paid: tuple[Raw, str]) -> None:
    reply = sent(paid, ask("hi"), Content_Type="text/plain")
    detail = "Invalid Content-type (text/plain), expected JSON data"
    assert (reply.status_code, reply.text) == (415, problem(415, "Unsupported Media Type", detail))


CAPTURED_COMPLAINTS = [
    (b"{bad json", "Request body is not valid JSON"),
    (b"", "None is not of type 'object'"),
    ({"model": "gpt-5-mini"}, "'messages' is a required property"),
    ({"messages": [{"role": "user", "content": "no model"}]}, "'model' is a required property"),
    ({"model": "gpt-5-mini", "messages": []}, "[] should be non-empty - 'messages'"),
    (
        {"model": "gpt-5-mini", "messages": [{"role": "alien", "content": "x"}]},
        "{'role': 'alien', 'content': 'x'} is not valid under any of the given schemas - 'messages.0'",
    ),
    (ask("x", temperature=3), "3 is greater than the maximum of 2 - 'temperature'"),
    (ask("x", temperature="hot"), "'hot' is not of type 'number' - 'temperature'"),
    (ask("x", stop=[]), "[] is not valid under any of the given schemas - 'stop'"),
]


@pytest.mark.parametrize(("body", "detail"), CAPTURED_COMPLAINTS, ids=lambda value: str(value)[:50])
def test_complaint_is_worded_as_captured(paid: tuple[Raw, str], body: Any, detail: str) -> None:
    reply = sent(paid, body)
    assert (reply.status_code, reply.text) == (400, problem(400, "Bad Request", detail))


def message(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "x"}, members]}


REFUSED = {
    "null tools": ask("x", tools=None),
    "null tool_choice": ask("x", tool_choice=None),
    "null response_format": ask("x", response_format=None),
    "null user": ask("x", user=None),
    "null tool_calls": message(role="assistant", content="x", tool_calls=None),
    "null user content": message(role="user", content=None),
    "null tool content": message(role="tool", content=None, tool_call_id="c"),
    "no tool_call_id": message(role="tool", content="x"),
    "empty content list": message(role="user", content=[]),
    "empty response_format": ask("x", response_format={}),
    "five stops": ask("x", stop=list("abcde")),
    "tool_choice any": ask("x", tools=[TOOL], tool_choice="any"),
    "tool without type": ask("x", tools=[{"function": {"name": "add"}}]),
    "max_tokens 1.0": ask("x", max_tokens=1.0),
    "temperature true": ask("x", temperature=True),
    "array": [1],
    "dict arguments": message(
        role="assistant",
        content="",
        tool_calls=[{"id": "c", "type": "function", "function": {"name": "a", "arguments": {}}}],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_request_of_wrong_form_is_400(paid: tuple[Raw, str], name: str) -> None:
    assert sent(paid, REFUSED[name]).status_code == 400


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": None, "max_tokens": None, "stop": None, "stream": None, "n": None, "seed": None},
        {"tools": []},
        {"unknown_field": {"a": 1}},
        {"top_p": 0.5, "seed": 7, "logit_bias": {}, "reasoning_effort": "low", "web_search": True},
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "add"}}},
    ],
)
def test_accepted_but_ignored_members_change_nothing(paid: tuple[Raw, str], more: dict[str, Any]) -> None:
    assert sent(paid, ask("hi", **more)).json()["choices"][0]["message"]["content"] == "You said: hi"


def test_tool_choice_is_never_enforced(paid: tuple[Raw, str]) -> None:
    reply = sent(paid, ask("hi", tools=[TOOL], tool_choice="required"))
    assert reply.json()["choices"][0]["finish_reason"] == "stop"


def test_developer_role_breaks_the_handler(paid: tuple[Raw, str]) -> None:
    reply = sent(paid, {"model": "gpt-5-mini", "messages": [{"role": "developer", "content": "d"}]})
    assert (reply.status_code, reply.headers["Content-Type"]) == (500, "application/problem+json")


def test_lone_surrogate_cannot_be_signed(paid: tuple[Raw, str]) -> None:
    assert sent(paid, b'{"model":"gpt-5-mini","messages":[{"role":"user","content":"\\ud800"}]}').status_code == 500


@pytest.mark.parametrize(("stream", "error"), [(False, "Request processing failed"), (True, "Stream setup failed")])
def test_json_object_fails_with_anthropic(paid: tuple[Raw, str], stream: bool, error: str) -> None:
    body = ask("x", response_format={"type": "json_object"}, stream=stream) | {"model": "claude-haiku-4-5"}
    reply = sent(paid, body)
    assert (reply.status_code, reply.json()) == (500, {"error": error})


@pytest.mark.parametrize(
    ("arguments", "status"),
    [("{}", 200), ("nonsense", 200), ("[1]", 500), ("null", 500), ('{"a": NaN}', 500), ('{"a": "\\ud800"}', 500)],
)
def test_calls_of_a_history_are_read_and_written_anew(paid: tuple[Raw, str], arguments: str, status: int) -> None:
    """Text that is no JSON goes on as no arguments; JSON that is no object, or that no library writes, does not."""
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "r", "tool_call_id": "1"},
    ]
    assert sent(paid, {"model": "gpt-5-mini", "messages": messages}).status_code == status


def test_anthropic_schema_drops_tools_yet_hashes_them(paid: tuple[Raw, str]) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "p", "schema": {"type": "object"}}}
    body = ask("use tool add {}", tools=[TOOL], response_format=schema)
    anthropic = sent(paid, body | {"model": "claude-haiku-4-5"}).json()
    openai = sent(paid, body).json()
    assert anthropic["choices"][0]["finish_reason"] == "stop"
    assert openai["choices"][0]["finish_reason"] == "tool_calls"
    untooled = {key: value for key, value in body.items() if key != "tools"} | {"model": "claude-haiku-4-5"}
    assert anthropic["tee_request_hash"] != sent(paid, untooled).json()["tee_request_hash"]


@pytest.mark.parametrize("status", [429, 500, 400])
def test_provider_error_is_plain_500_and_free(paid: tuple[Raw, str], status: int) -> None:
    raw, _ = paid
    before = raw.net.stats().charges
    reply = sent(paid, ask(f"[[status={status}]]"))
    assert (reply.status_code, reply.text) == (500, '{\n  "error": "Request processing failed"\n}\n')
    assert raw.net.stats().charges == before


def test_streamed_provider_error_is_200_and_free(paid: tuple[Raw, str]) -> None:
    raw, _ = paid
    before = raw.net.stats().charges
    reply = sent(paid, ask("[[status=400]]", stream=True))
    assert (reply.status_code, reply.text) == (200, 'data: {"error": "Stream processing failed"}\n\n')
    assert raw.net.stats().charges == before


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("private", False),
        ("batch", False),
        ("prviate", False),
        ("individual", True),
        ("IN-DIVI DU_AL", True),
        ("SETTLE_INDIVIDUAL", False),
    ],
)
def test_only_individual_settlement_is_told(paid: tuple[Raw, str], header: str, told: bool) -> None:
    raw, _ = paid
    before = len(raw.net.journal.data_settlements)
    reply = sent(paid, ask("hi"), X_SETTLEMENT_TYPE=header)
    assert ("X-Settlement-Tx-Hash" in reply.headers) is told
    assert ("X-TEE-Signature" in reply.headers) is told
    posted = raw.net.journal.data_settlements[before:]
    # Anything unknown is batch: a typo in "private" posts hashes.
    assert [item.mode for item in posted] == ([] if header == "private" else ["individual" if told else "batch"])
    assert [item.published is not None for item in posted] == ([] if header == "private" else [told])


def test_settlement_failure_leaves_only_tee_headers(paid: tuple[Raw, str]) -> None:
    raw, _ = paid
    raw.net.inject("settlement_failure", times=2)
    reply = sent(paid, ask("hi"), X_SETTLEMENT_TYPE="individual")
    assert reply.status_code == 200
    assert "X-TEE-Signature" in reply.headers
    assert not [name for name in reply.headers if name.startswith("x-settlement")]
    final = sent(paid, ask("hi", stream=True), X_SETTLEMENT_TYPE="individual").text.split("\n\n")[-3]
    assert json.loads(final.removeprefix("data: "))["data_settlement_success"] is False


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", CHAT, 405), ("POST", "/v1/nope", 404), ("GET", "/v1/models", 404)],
)
def test_other_routes_are_problems_without_payment(paid: tuple[Raw, str], method: str, path: str, status: int) -> None:
    raw, session = paid
    reply = raw.http.request(method, path, headers={"X-Upto-Session": session})
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, "application/problem+json")
    assert "X-Upto-Session" not in reply.headers


def test_signing_key_is_the_registered_one(paid: tuple[Raw, str]) -> None:
    raw, _ = paid
    document = raw.http.get("/signing-key").json()
    assert document["tee_id"] == raw.net.enclaves[0].tee_id
    assert document["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert document["measurements"] is None
    assert raw.http.get("/health").json()["status"] == "OK"


def test_completion_endpoint_has_its_own_defaults(paid: tuple[Raw, str]) -> None:
    raw, _ = paid
    session = raw.session(COMPLETION)
    body = {"model": "gpt-5-mini", "prompt": "[[tokens=40]]", "stream": True}
    choice = raw.post(body, COMPLETION, X_Upto_Session=session).json()["choices"][0]
    assert choice["text"].split() == [f"tok{i}" for i in range(16)]
    assert choice["finish_reason"] == "stop"
    five = raw.post(body | {"max_tokens": 5}, COMPLETION, X_Upto_Session=session).json()
    assert five["choices"][0]["text"] == "tok0 tok1 tok2 tok3 tok4 "
    assert five["usage"]["completion_tokens"] == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("messages", "temperature", "max_tokens", "stop", "tools", "tool_choice", "response_format", "stream", "n")


@examples(60)
@given(changes=st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=3))
def test_no_body_breaks_the_connection(paid: tuple[Raw, str], changes: dict[str, Any]) -> None:
    """Whatever a member holds, there is an answer, and the next request finds the same connection."""
    raw, _ = paid
    before = raw.net.stats().connections
    assert sent(paid, ask("x") | changes).status_code in {200, 400, 500}
    assert raw.net.stats().connections == before


def test_deeply_nested_body_is_answered(paid: tuple[Raw, str]) -> None:
    for depth in (100, 500, 900, 5000):
        nested = "[" * depth + "]" * depth
        body = json.dumps(ask("x")).replace("}]}", '}],"tools":' + nested + "}")
        assert sent(paid, body.encode()).status_code in {400, 500}

"""
What the transcripts of the published gateway say beyond the vectors (wire/09, 10, 13, 14, 17, 18).

The lengths are those of the captured bodies: a body of another wording has another length. What 11, 15,
19 and 20 show (refused payments, the reaper) is in `test_paywall`, 12 in `test_gateway`.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from og_integrations.devnet import Devnet, Script
from tests.devnet.raw import CHAT, COMPLETION, Raw, ask, raw_caller

PROBLEM, JSON = "application/problem+json", "application/json"
EXPIRED = {"error": "Session expired or exhausted"}
MODEL = {"model": "gpt-5-mini"}


@pytest.fixture(scope="module")
def captured() -> Iterator[tuple[Raw, dict[str, str]]]:
    with Devnet(model=Script(plain="Hello from the fake upstream."), cap=10**20) as net, raw_caller(net) as raw:
        yield raw, {path: raw.session(path) for path in (CHAT, COMPLETION)}


class Fact(NamedTuple):
    """A request inside a paid session, and the captured answer's status, type and length."""

    name: str
    body: Any
    status: int
    kind: str
    length: int
    headers: tuple[tuple[str, str], ...] = ()
    path: str = CHAT


FACTS = [
    Fact("no-bearer", ask("no Authorization header"), 401, PROBLEM, 119, (("Authorization", ""),)),
    Fact("basic", ask("Authorization Basic"), 401, PROBLEM, 119, (("Authorization", "Basic dXNlcjpwYXNz"),)),
    Fact("any-bearer", ask("Bearer x"), 200, JSON, 1081, (("Authorization", "Bearer x"),)),
    Fact("unknown-model", ask("unknown model", model="nope"), 400, JSON, 42),
    Fact("not-json", b"{bad json", 400, PROBLEM, 117),
    Fact("no-body", b"", 400, PROBLEM, 115),
    Fact("no-messages", MODEL, 400, PROBLEM, 120),
    Fact("no-model", {"messages": [{"role": "user", "content": "no model"}]}, 400, PROBLEM, 117),
    Fact("empty-messages", MODEL | {"messages": []}, 400, PROBLEM, 122),
    Fact("alien", MODEL | {"messages": [{"role": "alien", "content": "x"}]}, 400, PROBLEM, 179),
    Fact("text-plain", ask("text/plain"), 415, PROBLEM, 151, (("Content_Type", "text/plain"),)),
    Fact("too-hot", ask("temp too big", temperature=3), 400, PROBLEM, 137),
    Fact("hot", ask("temp string", temperature="hot"), 400, PROBLEM, 132),
    Fact("provider-500", ask("[[status=500]]"), 500, JSON, 43),
    Fact("provider-429", ask("[[status=429]]"), 500, JSON, 43),
    Fact("provider-fails-unstreamed", ask("[[tokens=10 fail_after=4]]"), 500, JSON, 43),
    Fact("no-prompt", MODEL, 400, PROBLEM, 118, path=COMPLETION),
]


@pytest.mark.parametrize("fact", FACTS, ids=[fact.name for fact in FACTS])
def test_answer_in_a_paid_session(captured: tuple[Raw, dict[str, str]], fact: Fact) -> None:
    raw, sessions = captured
    reply = raw.post(fact.body, fact.path, X_Upto_Session=sessions[fact.path], **dict(fact.headers))
    told = (reply.status_code, reply.headers["Content-Type"], int(reply.headers["Content-Length"]))
    assert told == (fact.status, fact.kind, fact.length)
    # The session comes back whatever happened: without it the authorization would be lost.
    assert reply.headers["X-Upto-Session"] == sessions[fact.path]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", CHAT, 405, PROBLEM),
        ("POST", "/v1/nope", 404, PROBLEM),
        ("GET", "/v1/models", 404, PROBLEM),
        ("GET", "/enclave/attestation?nonce=" + "0" * 40, 404, PROBLEM),
        ("GET", "/heartbeat/status", 200, JSON),
        ("POST", "/v1/keys", 409, JSON),
    ],
)
def test_other_routes_know_no_session(
    captured: tuple[Raw, dict[str, str]], method: str, path: str, status: int, kind: str
) -> None:
    raw, sessions = captured
    reply = raw.http.request(method, path, headers={"X-Upto-Session": sessions[CHAT]})
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, kind)
    assert "X-Upto-Session" not in reply.headers


def test_session_of_nobody_of_another_route_or_in_a_stream(captured: tuple[Raw, dict[str, str]]) -> None:
    raw, sessions = captured
    made_up = "00000000-0000-4000-8000-000000000000"
    prompt = MODEL | {"prompt": "chat session used on /v1/completions"}
    for reply in (
        raw.post(ask("made-up session id"), X_Upto_Session=made_up),
        raw.post(ask("stale session + stream", stream=True), X_Upto_Session=made_up),
        raw.post(prompt, COMPLETION, X_Upto_Session=sessions[CHAT]),
    ):
        assert (reply.status_code, reply.json()) == (402, EXPIRED)
        assert reply.text == json.dumps(EXPIRED)
        assert not {"payment-required", "x-upto-session"} & set(reply.headers)


def streamed(captured: tuple[Raw, dict[str, str]], text: str, mode: str) -> list[str]:
    raw, sessions = captured
    body = ask(text, stream=True)
    reply = raw.post(body, X_Upto_Session=sessions[CHAT], X_SETTLEMENT_TYPE=mode)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    *events, rest = reply.text.split("\n\n")
    assert rest == ""
    return [event.removeprefix("data: ") for event in events]


@pytest.mark.parametrize("text", ["[[tokens=10 fail_after=4]]", "[[tokens=10 err_after=4]]"])
def test_failure_in_the_middle_has_no_done(captured: tuple[Raw, dict[str, str]], text: str) -> None:
    events = streamed(captured, text, "batch")
    assert (len(events), events[-1]) == (5, '{"error": "Stream processing failed"}')


def test_failure_of_an_individual_stream_looks_finished(captured: tuple[Raw, dict[str, str]]) -> None:
    *_, error, unsettled, done = streamed(captured, "[[tokens=10 fail_after=4]]", "individual")
    assert (error, done) == ('{"error": "Stream processing failed"}', "[DONE]")
    assert unsettled == (
        '{"choices":[],"model":"unknown","data_settlement_success":false,'
        '"data_settlement_error":"response_json has no \'usage\' dict; cannot extract usage tokens"}'
    )


def test_failed_posting_is_told_in_the_final_event(captured: tuple[Raw, dict[str, str]]) -> None:
    raw, _ = captured
    raw.net.inject("settlement_failure", times=1)
    *_, final, done = streamed(captured, "settle individual, facilitator fails", "individual")
    assert done == "[DONE]"
    assert (
        '"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12},"data_settlement_success":false' in final
    )
    assert "tee_signature" in final

"""Generations of gateways: what each offers, hashes, adds and refuses. April was captured, the others only read."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from og_integrations.devnet import Devnet, Usage
from og_integrations.devnet._generations import (
    GENERATIONS,
    OPG_PRICE_USD,
    ErrorStyle,
    Generation,
    Moderation,
    cost_of,
    find_generation,
)
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.chat._wire import CHAT_PATH
from og_integrations.protocol.proof._canonical import APRIL, RULES, request_hash
from tests.devnet.bare_caller import Raw, raw_caller

PIXEL = "data:image/png;base64," + base64.b64encode(b"x" * 70).decode()
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": PIXEL}},
    {"type": "file", "file": {"filename": "notes.pdf", "file_data": "data:application/pdf;base64,aGk="}},
]
IMAGES_MODEL = "gemini-3.1-flash-image"


@pytest.fixture(scope="module")
def newer() -> Iterator[Raw]:
    with Devnet(generation="next") as net, raw_caller(net) as raw:
        yield raw


def body(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": content}], **more}


def asked(raw: Raw, request: dict[str, Any]) -> dict[str, Any]:
    reply = raw.post(request, PAYMENT_SIGNATURE=raw.payment())
    assert reply.status_code == 200
    return dict(reply.json())


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def test_attachments_reach_the_model_and_are_hashed_without_their_bytes(newer: Raw) -> None:
    answer = asked(newer, body(PARTS))
    assert text_of(answer) == (
        "You said: What is this? (with image_url: image/png of 70 bytes; file: notes.pdf, application/pdf of 2 bytes)"
    )
    reduced = [PARTS[0], {"type": "image_url"}, {"type": "file", "filename": "notes.pdf"}]
    canonical = {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": reduced}],
        "temperature": 0.0,
    }
    assert answer["tee_request_hash"] == keccak(json.dumps(canonical, sort_keys=True).encode()).hex()


def test_april_gateway_drops_the_image_and_hashes_all_of_it(raw: Raw) -> None:
    answer = asked(raw, body(PARTS))
    assert text_of(answer) == "You said: What is this?"
    assert answer["tee_request_hash"] == request_hash(CHAT_PATH, body(PARTS), APRIL).hex()


@pytest.mark.parametrize(("generation", "searched"), [("newer", True), ("raw", False)])
def test_web_search_is_hashed_and_forwarded(request: pytest.FixtureRequest, generation: str, searched: bool) -> None:
    raw: Raw = request.getfixturevalue(generation)
    plain, search = (asked(raw, body("[[received]]", **more)) for more in ({}, {"web_search": True}))
    assert json.loads(text_of(search))["web_search"] is searched
    assert (plain["tee_request_hash"] != search["tee_request_hash"]) is searched
    assert asked(raw, body("[[received]]", web_search=False))["tee_request_hash"] == plain["tee_request_hash"]


def test_developer_breaks_every_gateway(newer: Raw) -> None:
    """No generation is known that takes this role."""
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    reply = newer.post({"model": "gpt-5-mini", "messages": messages}, PAYMENT_SIGNATURE=newer.payment())
    assert reply.status_code == 500


@pytest.mark.parametrize("rule", RULES)
def test_gateway_hashes_by_the_rule_that_it_is_named_after(rule: str) -> None:
    request = body(PARTS, reasoning_effort="low")
    with Devnet(generation=rule) as net, raw_caller(net) as raw:
        assert asked(raw, request)["tee_request_hash"] == request_hash(CHAT_PATH, request, rule).hex()


@pytest.mark.parametrize("request_body", [body("[[image]] draw"), body("draw", model=IMAGES_MODEL)])
def test_images_come_beside_the_message_unsigned(newer: Raw, request_body: dict[str, Any]) -> None:
    answer = asked(newer, request_body)
    (image,) = answer["choices"][0]["message"]["images"]
    assert base64.b64decode(image.removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"
    assert answer["tee_output_hash"] == keccak(text_of(answer).encode()).hex()


def test_images_come_with_the_final_event_of_a_stream(newer: Raw) -> None:
    reply = newer.post(body("[[image]] draw", stream=True), PAYMENT_SIGNATURE=newer.payment())
    events = [json.loads(line[6:]) for line in reply.text.split("\n\n") if line.startswith("data: {")]
    assert ["images" in event for event in events] == [False] * (len(events) - 1) + [True]
    assert "tee_signature" in events[-1]


def test_april_gateway_hands_out_no_image(raw: Raw) -> None:
    assert "images" not in asked(raw, body("[[image]] draw"))["choices"][0]["message"]


def test_unknown_generation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected one of april, verbatim, reduced, effort, search, newest"):
        Devnet(generation="2027")


@contextmanager
def playing(generation: str | Generation) -> Iterator[Raw]:
    with Devnet(generation=generation) as net, raw_caller(net) as raw:
        yield raw


@pytest.mark.parametrize("name", GENERATIONS)
def test_offer_and_hash_are_of_the_generation(name: str) -> None:
    """Old names and hash rules are other names of some of them."""
    request = body(PARTS[:1], reasoning_effort="low")
    expected = GENERATIONS[name]
    with playing(name) as raw:
        way = raw.offer()
        assert (int(way["amount"]), way["maxTimeoutSeconds"]) == (expected.cap, expected.timeout)
        answer = asked(raw, request)
        assert answer["tee_request_hash"] == request_hash(CHAT_PATH, request, expected.hash_rule).hex()
        assert ("opengradient" in answer) is expected.newer
        assert ("moderation" in answer) is (name == "search")


@pytest.mark.parametrize(("old", "name"), [("2026-04", "april"), ("next", "reduced"), ("reduced+effort", "effort")])
def test_other_names_of_generations(old: str, name: str) -> None:
    assert find_generation(old) == GENERATIONS[name]


def test_health_tells_what_the_gateway_has() -> None:
    found = {}
    for name in ("april", "verbatim", "newest"):
        with playing(name) as raw:
            found[name] = set(raw.http.get("/health").json())
    assert found["april"] == {"status", "version", "tee_enabled", "price_feed"}
    assert found["newest"] - found["verbatim"] == {"web_search_enabled", "moderation_enabled"}
    assert {"uptime_seconds", "providers", "facilitator_url"} <= found["verbatim"]


def test_cost_is_what_is_charged_in_three_spellings(newer: Raw) -> None:
    before = newer.net.stats().charged
    cost = asked(newer, body("hi"))["opengradient"]
    assert int(cost["cost_opg"]) == newer.net.stats().charged - before
    assert Decimal(cost["cost_usd"]) == Decimal(cost["cost_opg"]) / 10**18 * Decimal(cost["opg_price_usd"])


@pytest.mark.parametrize(
    ("model", "usage", "pictures", "usd"),
    [
        ("gpt-4.1", Usage(1000, 100, 1100), 0, "0.0028"),
        ("claude-sonnet-4-6", Usage(1000, 100, 1100), 0, "0.0045"),
        ("seedance-5.0", Usage(1000, 0, 1000), 2, "0.18"),
        ("grok-2-image", Usage(1000, 0, 1000), 0, "0"),
        ("my-local-model", Usage(4_000_000, 0, 4_000_000), 0, "1"),
    ],
)
def test_price_of_an_answer_is_the_catalogues(model: str, usage: Usage, pictures: int, usd: str) -> None:
    """By tokens or by pictures; a name that no list has costs what a small model does."""
    assert cost_of(model, usage, pictures) == int(Decimal(usd) / OPG_PRICE_USD * 10**18)


E0 = {"error": "Request processing failed"}
E1 = E0 | {"exception_type": "RateLimitError"}
E2 = E1 | {"error": "Error code: 429 - the provider refused the request"}
E3 = E2 | {"source": "provider", "provider_status": 429, "retryable": True}
ALL_502 = replace(GENERATIONS["newest"], name="early", errors=ErrorStyle.ALL_502)


@pytest.mark.parametrize(
    ("generation", "status", "error"),
    [("april", 500, E0), ("reduced", 500, E1), ("search", 500, E2), (ALL_502, 502, E3), ("newest", 503, E3)],
    ids=["E0", "E1", "E2", "E3", "E4"],
)
def test_failure_of_the_provider_in_the_words_of_the_generation(
    generation: str | Generation, status: int, error: dict[str, Any]
) -> None:
    """Whole and streamed; nothing is charged."""
    with playing(generation) as raw:
        payment = raw.payment()
        whole = raw.post(body("[[status=429]]"), PAYMENT_SIGNATURE=payment)
        assert (whole.status_code, whole.json()) == (status, error)
        streamed = raw.post(body("[[status=429]]", stream=True), PAYMENT_SIGNATURE=payment)
        assert streamed.status_code == 200
        (event,) = [json.loads(line[6:]) for line in streamed.text.split("\n\n") if line.startswith("data: {")]
        assert event == error | ({"error": "Stream processing failed"} if error["error"] == E0["error"] else {})
        assert raw.net.stats().charged == 0


@pytest.mark.parametrize(
    ("provider", "outer", "retryable"),
    [(400, 400, False), (401, 502, False), (404, 404, False), (408, 504, True), (500, 502, True), (529, 502, True)],
)
def test_newest_gateway_maps_the_status_of_the_provider(provider: int, outer: int, retryable: bool) -> None:
    with playing("newest") as raw:
        reply = raw.post(body(f"[[status={provider}]]"), PAYMENT_SIGNATURE=raw.payment())
        assert (reply.status_code, reply.json()["retryable"]) == (outer, retryable)
        assert reply.json()["provider_status"] == provider


@pytest.mark.parametrize(("name", "idle"), [("april", 100), ("search", 60), ("newest", 100)])
def test_session_ends_when_it_is_idle(name: str, idle: int) -> None:
    with playing(name) as raw:
        session = raw.session()
        raw.net.advance(idle - 5)
        assert raw.post(body("hi"), X_Upto_Session=session).status_code == 200
        raw.net.advance(idle)
        assert raw.post(body("hi"), X_Upto_Session=session).json() == {"error": "Session expired or exhausted"}


@pytest.mark.parametrize(("name", "margin"), [("search", 120), ("newest", 420)])
def test_session_is_not_served_close_to_its_deadline(name: str, margin: int) -> None:
    """Though it was charged a moment ago."""
    with playing(name) as raw:
        timeout = raw.offer()["maxTimeoutSeconds"]
        session, passed = raw.session(), 0
        while passed + 50 < timeout - margin - 5:
            raw.net.advance(50)
            passed += 50
            assert raw.post(body("hi"), X_Upto_Session=session).status_code == 200
        raw.net.advance(timeout - margin - passed)
        assert raw.post(body("hi"), X_Upto_Session=session).status_code == 402


@pytest.mark.parametrize(("name", "charged"), [("april", 0), ("newest", 1_000_000)])
def test_charge_above_the_rest_is_refused_or_takes_the_rest(name: str, charged: int) -> None:
    with Devnet(generation=name, cap=1_000_000) as net, raw_caller(net) as raw:
        reply = raw.post(body("hi"), PAYMENT_SIGNATURE=raw.payment())
        assert (reply.status_code, net.stats().charged) == (200, charged)
        again = raw.post(body("hi"), X_Upto_Session=reply.headers["X-Upto-Session"])
        assert again.status_code == (402 if charged else 200)


def test_search_loop_says_what_it_searches_and_cites() -> None:
    with playing("search") as raw:
        reply = raw.post(body("OPG price", web_search=True, stream=True), PAYMENT_SIGNATURE=raw.payment())
        events = [json.loads(line[6:]) for line in reply.text.split("\n\n") if line.startswith("data: {")]
        assert events[0]["web_search"] == {"status": "searching", "query": "OPG price"}
        assert events[0]["choices"] == [{"delta": {}, "index": 0, "finish_reason": None}]
        assert [set(citation) for citation in events[-1]["citations"]] == [{"title", "url", "published_date"}] * 2
        whole = asked(raw, body("OPG price", web_search=True))
        assert whole["choices"][0]["message"]["citations"] == events[-1]["citations"]
        assert "citations" not in asked(raw, body("OPG price"))["choices"][0]["message"]


SEARCH_PATH = "/v1/web_search"


def test_search_endpoint_signs_its_text_and_costs_a_flat_price() -> None:
    with playing("newest") as raw:
        request = {"query": " opg price ", "num_results": "2", "recency_days": 30, "og_nonce": "x"}
        reply = raw.post(request, SEARCH_PATH, PAYMENT_SIGNATURE=raw.payment(raw.offer(SEARCH_PATH)))
        answer = reply.json()
        assert (answer["object"], answer["query"]) == ("web_search.result", "opg price")
        assert all(f"URL: {citation['url']}" in answer["content"] for citation in answer["citations"])
        assert len(answer["citations"]) == 2
        assert answer["tee_request_hash"] == keccak(json.dumps(request, sort_keys=True).encode()).hex()
        assert answer["tee_output_hash"] == keccak(answer["content"].encode()).hex()
        assert answer["opengradient"]["cost_opg"] == "150000000000000000" == str(raw.net.stats().charged)
        # Another route, another session.
        assert raw.post(body("hi"), X_Upto_Session=reply.headers["X-Upto-Session"]).status_code == 402


@pytest.mark.parametrize(("request_body", "status"), [([1], 415), ({}, 400), ({"query": " "}, 400)])
def test_search_that_asks_for_nothing_is_free(request_body: Any, status: int) -> None:
    with playing("newest") as raw:
        reply = raw.post(request_body, SEARCH_PATH, PAYMENT_SIGNATURE=raw.payment(raw.offer(SEARCH_PATH)))
        assert (reply.status_code, set(reply.json()), raw.net.stats().charged) == (status, {"error"}, 0)


def test_april_gateway_has_no_search_endpoint(raw: Raw) -> None:
    assert raw.post({"query": "x"}, SEARCH_PATH).status_code == 404


def test_moderation_flags_serves_and_blocks() -> None:
    with playing("search") as raw:
        payment = raw.payment()
        flagged = raw.post(body("[[flagged=violence]] hi"), PAYMENT_SIGNATURE=payment)
        assert flagged.headers["X-Moderation-Categories"] == "violence"
        assert flagged.json()["moderation"]["flagged"]
        charged = raw.net.stats().charged
        blocked = raw.post(body("[[blocked]]", stream=True), PAYMENT_SIGNATURE=payment)
        assert (blocked.status_code, blocked.json()["code"]) == (451, "moderation_blocked")
        assert raw.net.stats().charged == charged


def test_moderation_of_the_newest_gateway_is_about_pictures() -> None:
    with playing("newest") as raw:
        assert "moderation" not in asked(raw, body("[[flagged=violence]] hi"))
        parts = [{"type": "text", "text": "[[flagged=violence]] hi"}, PARTS[1]]
        assert asked(raw, body(parts))["moderation"]["categories"] == ["violence"]


def test_rival_design_of_moderation_refuses_what_is_flagged() -> None:
    with playing(replace(GENERATIONS["search"], moderation=Moderation.EVERYTHING)) as raw:
        reply = raw.post(body("[[flagged=hate]]"), PAYMENT_SIGNATURE=raw.payment())
        assert (reply.status_code, reply.json()["error"]) == (403, "content_policy_violation")
        assert reply.headers["X-OG-Moderation-Categories"] == "hate"
        assert "moderation" not in asked(raw, body("hi"))


def test_effort_reaches_the_model_in_one_generation() -> None:
    for name, seen in (("effort", "low"), ("newest", None)):
        with playing(name) as raw:
            answer = asked(raw, body("[[received]]", reasoning_effort="low"))
            assert json.loads(text_of(answer)).get("reasoning_effort") == seen


@pytest.mark.parametrize("effort", [None, "xhigh"])
def test_effort_that_is_none_is_refused(raw: Raw, effort: Any) -> None:
    reply = raw.post(body("hi", reasoning_effort=effort), PAYMENT_SIGNATURE=raw.payment())
    assert (reply.status_code, reply.json()["title"]) == (400, "Bad Request")


def test_picture_for_a_model_without_eyes_is_refused_unpaid(newer: Raw) -> None:
    before = newer.net.stats().charged
    reply = newer.post(body(PARTS[:2], model="grok-4"), PAYMENT_SIGNATURE=newer.payment())
    assert (reply.status_code, reply.json()["error"]) == (400, "Invalid attachment")
    assert newer.net.stats().charged == before


def test_large_body_is_refused_before_it_is_paid() -> None:
    with playing(replace(GENERATIONS["newest"], max_body=2_000)) as raw:
        reply = raw.post(body("x" * 2_000), PAYMENT_SIGNATURE=raw.payment())
        assert (reply.status_code, reply.json()) == (413, {"error": "request body too large"})
        assert "X-Upto-Session" not in reply.headers
        assert raw.net.stats().payments == 0

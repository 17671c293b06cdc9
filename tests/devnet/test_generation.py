"""Generations after the captured one: what client 1.1.4 and public sources say of them."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.chain.abi import keccak
from og_integrations.protocol.chat.wire import CHAT_PATH
from og_integrations.protocol.proof.canonical import APRIL, RULES, request_hash
from tests.devnet.raw import Raw, raw_caller

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
    with pytest.raises(ConfigurationError, match="expected one of 2026-04, next"):
        Devnet(generation="2027")

"""Each fault of the catalogue does what it says, once, and leaves the devnet in order."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from og_integrations.devnet import CATALOGUE, Devnet
from og_integrations.devnet.faults._answers import HOME_OF_PICTURES
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.chat._wire import CHAT_PATH, ToolCall
from og_integrations.protocol.proof._canonical import output_hash, request_hash, signed_digest
from og_integrations.protocol.proof._enclave import tee_id_of
from tests.devnet.bare_caller import Raw, ask, offer_of, raw_caller

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
QUESTION = ask("[[tokens=4]]")
CALLING = ask('use tool add {"a":1}', tools=[TOOL])


def paid(raw: Raw, body: dict[str, Any] | None = None, *, stream: bool = False) -> httpx.Response:
    """Ask once, paying with this very request."""
    return raw.post((body or QUESTION) | {"stream": stream}, PAYMENT_SIGNATURE=raw.payment())


def proven(body: dict[str, Any], net: Devnet, request: dict[str, Any]) -> None:
    """Raise unless `body` is what the enclave says it signed, for `request`."""
    (choice,) = body["choices"]
    message = choice["message"]
    calls = [ToolCall(call["id"], **call["function"]) for call in message.get("tool_calls", [])]
    digest = signed_digest(
        request_hash(CHAT_PATH, request),
        output_hash(message["content"], calls, choice["finish_reason"]),
        body["tee_timestamp"],
    )
    key = serialization.load_der_public_key(net.enclaves[0].keys.public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    key.verify(base64.b64decode(body["tee_signature"], validate=True), digest, pss, hashes.SHA256())


def assembled(reply: httpx.Response) -> dict[str, Any]:
    """Put a stream together naively, as the answer it would have been."""
    events = [json.loads(line[6:]) for line in reply.text.split("\n\n") if line.startswith("data: {")]
    deltas = [choice["delta"] for event in events for choice in event.get("choices", [])]
    final: dict[str, Any] = next(event for event in reversed(events) if "tee_signature" in event)
    text = "".join(delta.get("content", "") for delta in deltas)
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    choices = [dict(choice, message={"content": text, "tool_calls": calls}) for choice in final["choices"]]
    return final | {"choices": choices}


def test_honest_answer_is_proven(net: Devnet, raw: Raw) -> None:
    """What the tests below break holds without a fault."""
    for body in (QUESTION, CALLING):
        proven(paid(raw, body).json(), net, body)
        proven(assembled(paid(raw, body, stream=True)), net, body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "body"),
    [
        ("bad_signature", QUESTION),
        ("unknown_enclave", QUESTION),
        ("altered_text", QUESTION),
        ("altered_tool_call", CALLING),
        ("replayed_answer", QUESTION),
        ("wrong_finish_reason", QUESTION),
        ("wrong_finish_reason", CALLING),
    ],
)
def test_lie_breaks_the_signature(net: Devnet, raw: Raw, fault: str, body: dict[str, Any], stream: bool) -> None:
    net.inject(fault, times=1)
    reply = paid(raw, body, stream=stream)
    with pytest.raises(InvalidSignature):
        proven(assembled(reply) if stream else reply.json(), net, body)
    assert net.journal.exchanges[-1].faults == [fault]


def test_impostor_signs_well_with_its_own_key(net: Devnet, raw: Raw) -> None:
    net.inject("unknown_enclave")
    body = paid(raw).json()
    assert body["tee_id"] == tee_id_of(net._faults.impostor.public_key) != net.enclaves[0].tee_id


UNSIGNED_LIES: list[tuple[str, Callable[[dict[str, Any]], bool]]] = [
    ("swapped_model", lambda body: body["model"] != "gpt-5-mini"),
    ("second_choice", lambda body: len(body["choices"]) == 2),
    ("smuggled_tool_call", lambda body: body["choices"][0]["message"]["tool_calls"] != []),
    ("missing_signature", lambda body: "tee_signature" not in body),
    ("unsigned_answer", lambda body: not [name for name in body if name.startswith("tee_")]),
    ("wrong_tee_id", lambda body: body["tee_id"] == "0x" + "ab" * 32),
    ("text_timestamp", lambda body: isinstance(body["tee_timestamp"], str)),
    ("loose_base64", lambda body: body["tee_signature"].startswith("\n")),
    ("garbage_usage", lambda body: body["usage"]["prompt_tokens"] == "many"),
    ("no_choices", lambda body: body["choices"] == []),
    ("contradictory_cost", lambda body: body["opengradient"]["cost_usd"] == "5.0"),
    ("calling_picture", lambda body: body["choices"][0]["message"]["images"] == [HOME_OF_PICTURES]),
]


@pytest.mark.parametrize(("fault", "shows"), UNSIGNED_LIES)
def test_lie_shows_in_the_body(net: Devnet, raw: Raw, fault: str, shows: Callable[[dict[str, Any]], bool]) -> None:
    net.inject(fault, times=1)
    assert shows(paid(raw).json())


def test_unoffered_tool_is_signed(net: Devnet, raw: Raw) -> None:
    net.inject("unoffered_tool", times=1)
    body = paid(raw).json()
    proven(body, net, QUESTION)
    assert body["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "transfer_everything"


@pytest.mark.parametrize(("fault", "offset"), [("stale_timestamp", -86_400), ("future_timestamp", 86_400)])
def test_signed_time_is_off(net: Devnet, raw: Raw, fault: str, offset: int) -> None:
    net.inject(fault, times=1)
    body = paid(raw).json()
    proven(body, net, QUESTION)
    assert abs(body["tee_timestamp"] - net.clock.seconds() - offset) < 5


@pytest.mark.parametrize(
    ("fault", "member", "value"),
    [
        ("offer_over_cap", "amount", "50000000000000000000"),
        ("other_asset", "asset", "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
        ("other_network", "network", "eip155:1"),
        ("other_scheme", "scheme", "exact"),
        ("other_pay_to", "payTo", "0x000000000000000000000000000000000baDC0DE"),
        ("fractional_offer", "amount", "0.1"),
    ],
)
def test_offer_is_changed_once(net: Devnet, raw: Raw, fault: str, member: str, value: str) -> None:
    net.inject(fault, times=1)
    assert raw.offer()[member] == value
    assert raw.offer()[member] != value


def test_payment_on_a_lying_offer_is_taken(net: Devnet, raw: Raw) -> None:
    """So that a client that falls for it is seen to have paid."""
    net.inject("other_pay_to", times=1)
    reply = raw.post(QUESTION, PAYMENT_SIGNATURE=raw.payment())
    assert reply.status_code == 200
    (seen,) = net.journal.authorizations.values()
    assert seen.pay_to == "0x000000000000000000000000000000000baDC0DE"


def test_each_lie_about_the_terms_is_taken_once(net: Devnet, raw: Raw) -> None:
    """Who lied takes the payment, and joins its copies; afterwards the terms are what they were."""
    net.inject("other_asset", times=1)
    lie = raw.offer()
    payment = raw.payment(lie)
    sessions = {raw.post(ask("hi"), PAYMENT_SIGNATURE=payment).headers["X-Upto-Session"] for _ in range(2)}
    assert len(sessions) == 1
    assert raw.refusal(raw.payment(lie)) == "No matching payment requirements"
    assert raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment()).status_code == 200


@pytest.mark.parametrize(
    ("fault", "headers"),
    [("missing_offer", []), ("garbage_offer", ["!!!notbase64"]), ("duplicate_offer", 2)],
)
def test_offer_header_is_broken(net: Devnet, raw: Raw, fault: str, headers: Any) -> None:
    net.inject(fault)
    found = raw.post(QUESTION).headers.get_list("PAYMENT-REQUIRED")
    assert (len(found) if isinstance(headers, int) else found) == headers


def test_second_402_refuses_a_good_payment_with_a_new_offer(net: Devnet, raw: Raw) -> None:
    net.inject("second_402", times=1)
    payment = raw.payment()
    assert raw.refusal(payment) == "invalid_permit2_signature"
    assert net.stats().payments == 0
    assert raw.post(QUESTION, PAYMENT_SIGNATURE=payment).status_code == 200


def test_expired_session_is_settled_and_gone(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    net.inject("expired_session", times=1)
    for _ in range(2):
        reply = raw.post(QUESTION, X_Upto_Session=session)
        assert reply.json() == {"error": "Session expired or exhausted"}
    assert net.stats().settlements == 1


def test_stolen_session_is_live_and_charged_to_its_owner(net: Devnet, raw: Raw) -> None:
    net.inject("stolen_session", times=1)
    stolen = paid(raw).headers["X-Upto-Session"]
    assert raw.post(QUESTION, X_Upto_Session=stolen).status_code == 200
    own, theirs = net.settle_all()
    assert (own.error, theirs.error) == (None, None)
    assert own.payer == net.wallet != theirs.payer
    assert net.verdict().clean


@pytest.mark.parametrize(
    ("fault", "status", "content_type"),
    [
        ("server_error_after_payment", 500, "application/json"),
        ("facilitator_down", 502, "application/json"),
        ("facilitator_crash", 500, "text/html; charset=utf-8"),
    ],
)
def test_error_after_payment_has_neither_offer_nor_session(
    net: Devnet, raw: Raw, fault: str, status: int, content_type: str
) -> None:
    net.inject(fault, times=1)
    reply = paid(raw)
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, content_type)
    assert not {"payment-required", "x-upto-session"} & set(reply.headers)
    assert net.stats().payments == 1


def test_redirect_leads_elsewhere(net: Devnet, raw: Raw) -> None:
    net.inject("redirect", times=1)
    reply = paid(raw)
    assert (reply.status_code, reply.headers["Location"]) == (307, f"{net._faults.redirect_target}/stolen")


def names_of(reply: httpx.Response) -> list[str]:
    """Sum each event up in a word."""
    words = []
    for line in reply.text.split("\n\n")[:-1]:
        event = line.removeprefix("data: ")
        if event == "[DONE]":
            words.append("done")
        elif "tee_signature" in event:
            words.append("final")
        else:
            words.append(json.loads(event)["choices"][0]["delta"]["content"].strip() if "delta" in event else event)
    return words


@pytest.mark.parametrize(
    ("fault", "events"),
    [
        ("error_event", ["tok0", '{"error": "Stream processing failed"}']),
        ("missing_final_event", ["tok0", "tok1", "tok2", "tok3", "done"]),
        ("missing_done", ["tok0", "tok1", "tok2", "tok3", "final"]),
        ("duplicate_final_event", ["tok0", "tok1", "tok2", "tok3", "final", "final", "done"]),
        ("text_after_final", ["tok0", "tok1", "tok2", "tok3", "final", "P.S.", "done"]),
        ("lost_event", ["tok1", "tok2", "tok3", "final", "done"]),
        ("reordered_events", ["tok1", "tok2", "tok3", "tok0", "final", "done"]),
        ("garbage_event", ["tok0", "tok1", "tok2", "tok3", "{oops", "final", "done"]),
        ("short_stream", ["tok0"]),
    ],
)
def test_stream_has_other_events(net: Devnet, raw: Raw, fault: str, events: list[str]) -> None:
    net.inject(fault, times=1)
    assert names_of(paid(raw, stream=True)) == events


def test_fault_is_limited_to_its_enclave() -> None:
    with Devnet(enclaves=2) as net, raw_caller(net, 0) as first, raw_caller(net, 1) as second:
        net.inject("missing_offer", enclave=net.enclaves[1])
        assert "PAYMENT-REQUIRED" in first.post(QUESTION).headers
        assert "PAYMENT-REQUIRED" not in second.post(QUESTION).headers


def test_cleared_faults_are_gone(net: Devnet, raw: Raw) -> None:
    net.inject("missing_offer")
    net.clear_faults()
    assert offer_of(raw.post(QUESTION))


def test_unknown_fault_is_named(net: Devnet) -> None:
    with pytest.raises(ConfigurationError, match="Unknown fault 'bad_luck'; expected one of altered_text"):
        net.inject("bad_luck")


@pytest.mark.parametrize(("typed", "hint"), [("bad_signatur", " Did you mean 'bad_signature'?"), ("xyz", "")])
def test_unknown_fault_close_to_a_known_one_is_understood(net: Devnet, typed: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        net.inject(typed)
    assert str(caught.value).endswith(f", wrong_tee_id.{hint}")


def test_every_fault_says_what_it_does() -> None:
    assert len(CATALOGUE) >= 40
    for name, fault in CATALOGUE.items():
        assert name == fault.name
        assert fault.about
        acts = {place for place in fault.__slots__ if getattr(fault, place) is not None} - {"name", "about"}
        assert acts, name

"""Verification of the captured exchanges, and what it says about how they came."""

import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from og_integrations.errors import VerificationError
from og_integrations.protocol.chat._wire import CHAT_PATH
from og_integrations.protocol.proof._canonical import APRIL, RULES, canonical_request, request_hash
from og_integrations.protocol.proof._verification import (
    CLOCK_SKEW,
    STEPS,
    TRUST_OF_SOURCE,
    Exchange,
    Trust,
    TrustDecision,
    VerifiedExchange,
    verify_exchange,
)
from og_integrations.receipt import Check
from tests.protocol.captures import CAPTURES, SIGNED, Capture, altered, each, exchange, proof_of
from tests.protocol.check_results import refused, results
from tests.protocol.own_enclave import NOW, signed_exchange

NEWER = "[{'type': 'text', 'text': 'new \u0378, escaped \\\\u0378 and \\\\\\\\u0378, line\\nend'}]"


@each(SIGNED)
def test_captured_exchange_is_verified(capture: Capture) -> None:
    """All 43 signed answers of the published gateway, streams included."""
    verified = verify_exchange(exchange(capture))
    assert results(verified.checks) == dict.fromkeys(STEPS, "pass") | {"attestation": "skip"}
    assert verified.hash_rule == "april"


def test_there_are_43_of_51() -> None:
    assert (len(SIGNED), len(CAPTURES)) == (43, 51)


def test_request_whose_image_was_dropped() -> None:
    """The signature is genuine, and a file is told what it is worth; a call ends there."""
    said = "drop its images and files: the model has not seen them"
    (check,) = (check for check in verify_exchange(exchange("user-image-part")).checks if check.id == "request-hash")
    assert (check.result, said in check.detail) == ("pass", True)
    refused(exchange("user-image-part", trust=TRUST_OF_SOURCE["registry"]), "request-hash", said)
    assert (
        verify_exchange(exchange("user-image-part", trust=TRUST_OF_SOURCE["registry"], window=None)).hash_rule
        == "april"
    )
    refused(exchange("user-image-part", trust=TRUST_OF_SOURCE["endpoint"]), "request-hash", said)


@pytest.mark.parametrize("messages", [5, ["text"], [{"role": "user", "content": [{"type": "file"}]}]])
def test_messages_beside_a_prompt_are_nobodys(messages: object) -> None:
    """No gateway hashes them with a text completion, so anybody can write them into a file."""
    captured = CAPTURES["completion"]
    wire = json.dumps(json.loads(captured.wire) | {"messages": messages}).encode()
    assert results(verify_exchange(exchange(captured, wire=wire)).checks) == dict.fromkeys(STEPS, "pass") | {
        "attestation": "skip"
    }


def test_enclave_that_nobody_vouches_for() -> None:
    error = refused(exchange(trust=None), "enclave-trusted", "nobody vouches for this enclave")
    assert "--" not in str(error)
    refused(exchange(trust=TrustDecision(None, "it is disabled")), "enclave-trusted", "it is disabled")


def test_enclave_that_nobody_could_be_asked_about() -> None:
    """Nothing is known, which is no rejection: the step is a skip, and so is what comes after it."""
    away = TrustDecision(None, "no connection", answered=False)
    error = refused(exchange(trust=away), "enclave-trusted", "no connection")
    found = results(error.checks)
    assert [found[name] for name in STEPS[6:]] == ["skip"] * 4
    assert {found[name] for name in STEPS[:6]} == {"pass"}
    assert error.checks[-1].detail == "not reached: enclave-trusted could not be judged"


@pytest.mark.parametrize(
    ("trust", "result"), [("registry", "pass"), ("tee-id", "pass"), ("file-key", "pass"), ("endpoint", "skip")]
)
def test_key_of_the_endpoint_itself_is_no_pass(trust: Trust, result: str) -> None:
    """A key that came from the endpoint itself is never counted as a pass."""
    assert results(verify_exchange(exchange(trust=TrustDecision(trust, "why"))).checks)["enclave-trusted"] == result


def test_replayed_answer() -> None:
    refused(exchange(seen=True), "freshness", "this very signature came with an earlier answer: it is replayed")
    refused(exchange(seen=True, window=None), "freshness", "it is replayed")


@pytest.mark.parametrize(
    ("before", "after", "fresh"),
    [(0, 0, True), (CLOCK_SKEW, 0, True), (0, CLOCK_SKEW, True), (CLOCK_SKEW + 1, 9999, False), (-9999, -301, False)],
)
def test_signed_time_lies_within_the_call(before: int, after: int, fresh: bool) -> None:
    """Signed while the call was under way, give or take the enclave's clock."""
    at = proof_of(exchange().completion).timestamp
    whole = exchange(window=(at + before, at + max(before, after) if fresh else at + after))
    if fresh:
        assert results(verify_exchange(whole).checks)["freshness"] == "pass"
    else:
        refused(whole, "freshness", f"signed at {at}, expected between .* an old answer, or a wrong clock")


def test_what_cannot_be_judged_is_skipped() -> None:
    """A saved exchange has no time and no channel; both are named, neither is a pass."""
    found = results(verify_exchange(exchange(window=None, channel=None)).checks)
    assert (found["freshness"], found["channel"]) == ("skip", "skip")
    assert set(found) == set(STEPS)


@pytest.mark.parametrize("result", ["pass", "skip", "fail"])
def test_verdict_on_the_document_is_a_check(result: Any) -> None:
    """It comes with the decision; a document that was refused ends the verification."""
    decision = TrustDecision("registry", "listed", document=Check("attestation", result, "what it showed"))
    if result == "fail":
        refused(exchange(trust=decision), "attestation", "what it showed")
    else:
        assert results(verify_exchange(exchange(trust=decision)).checks)["attestation"] == result


@pytest.mark.parametrize("level", ["attested", "measured"])
def test_level_without_a_document_is_refused(level: Any) -> None:
    refused(
        exchange(trust=TrustDecision(level, "said so")), "attestation", f"is said to be {level}, and no attestation"
    )


@pytest.mark.parametrize(("channel", "result"), [("pinned", "pass"), ("unpinned", "skip"), (None, "skip")])
def test_only_a_pinned_channel_passes(channel: str | None, result: str) -> None:
    assert results(verify_exchange(exchange(channel=channel)).checks)["channel"] == result


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
LISTED: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "t"}, PICTURE]}],
    "reasoning_effort": "low",
}


def signed_by_rule(rule: str, request: dict[str, Any] = LISTED, **changes: Any) -> Exchange:
    return signed_exchange(request, json.loads(canonical_request(CHAT_PATH, request, rule)), **changes)


@pytest.mark.parametrize("rule", RULES[1:])
@pytest.mark.parametrize("usual_rule", [None, *RULES, "2030"])
def test_every_rule_is_tried(rule: str, usual_rule: str | None) -> None:
    """What is expected only comes first; the rule that made the hash is found, and named."""
    assert verify_exchange(signed_by_rule(rule, usual_rule=usual_rule)).hash_rule == rule


@pytest.mark.parametrize("usual_rule", [None, *RULES])
def test_rule_is_named_by_the_first_that_hashes_the_same(usual_rule: str | None) -> None:
    """A receipt of one request always says the same, whatever the client had met before."""
    text = LISTED | {"messages": [{"role": "user", "content": "t"}], "reasoning_effort": None}
    assert verify_exchange(signed_by_rule("verbatim", text, usual_rule=usual_rule)).hash_rule == "april"


def test_request_signed_by_no_rule() -> None:
    """A mismatch stays one, however many rules there are."""
    other = LISTED | {"model": "m", "temperature": 0.5}
    whole = signed_exchange(LISTED, json.loads(canonical_request(CHAT_PATH, other, "reduced")))
    expected = request_hash(CHAT_PATH, LISTED, "april").hex()
    refused(
        whole, "request-hash", f"the enclave signed another request: hash {proof_of(whole.completion).request_hash}"
    )
    refused(whole, "request-hash", f"expected {expected}")


@pytest.mark.parametrize(("rule", "said"), [("reduced", True), ("reduced+effort", False), ("verbatim", True)])
def test_effort_that_was_not_hashed_is_said(rule: str, said: bool) -> None:
    (check,) = (check for check in verify_exchange(signed_by_rule(rule)).checks if check.id == "request-hash")
    assert check.detail.startswith(f"keccak256 of the request by the rule {rule}")
    assert ("reasoning_effort is not in it: the gateway has probably ignored it" in check.detail) is said


def test_role_developer_has_no_hash() -> None:
    """No gateway takes it, so none can have signed it: it is sent as system."""
    messages = [{"role": "developer", "content": "d"}, {"role": "user", "content": "t"}]
    hashed = {"model": "m", "temperature": 0.0, "messages": [messages[0] | {"role": "system"}, messages[1]]}
    refused(signed_exchange({"model": "m", "messages": messages}, hashed), "request-hash", "the role 'developer'")


def test_character_that_only_the_gateways_python_knows() -> None:
    """`str(list)` escapes what it does not know: U+0378 stands for an emoji of next year."""
    text = "new \u0378, escaped \\u0378 and \\\\u0378, line\nend"
    content = [{"type": "text", "text": text}]
    request = {"model": "m", "messages": [{"role": "user", "content": content}]}
    for written in (str(content), NEWER):
        hashed = request | {"messages": [{"role": "user", "content": written}], "temperature": 0.0}
        assert verify_exchange(signed_exchange(request, hashed)).hash_rule == APRIL
    other = request | {"messages": [{"role": "user", "content": NEWER + " "}], "temperature": 0.0}
    with pytest.raises(VerificationError, match="the enclave signed another request"):
        verify_exchange(signed_exchange(request, other))


def test_verified_receipt_cannot_be_made_by_hand() -> None:
    """Not by its constructor, and not out of another one: that would prove something else."""
    verified = verify_exchange(exchange())
    members = {name: getattr(verified, name) for name in ("exchange", "request", "proof", "hash_rule", "checks")}
    with pytest.raises(VerificationError, match="A VerifiedExchange is made by verify_exchange only"):
        VerifiedExchange(**members, seal=object())
    with pytest.raises((TypeError, ValueError), match="seal"):
        replace(verified, exchange=altered(text="forged"))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="seal"):
        VerifiedExchange(**members)
    assert not hasattr(verified, "seal")


def test_copies_of_a_verified_receipt_say_the_same() -> None:
    verified = verify_exchange(exchange())
    assert copy.deepcopy(verified) == pickle.loads(pickle.dumps(verified)) == verified


def test_prompt_is_in_no_repr() -> None:
    whole = signed_exchange(
        {"model": "m", "messages": [{"role": "user", "content": "canary"}]},
        {"model": "m", "temperature": 0.0, "messages": [{"role": "user", "content": "canary"}]},
    )
    assert b"canary" in whole.wire
    assert "canary" not in repr(whole) + repr(verify_exchange(whole))
    assert (whole.path, whole.window) == (CHAT_PATH, (NOW, NOW))

"""What a client says, against what happened: lies it believed, payments it kept quiet about, secrets it told."""

import base64
import json
from typing import Any

import httpx
import pytest

from og_integrations.devnet import Devnet
from tests.devnet.bare_caller import Raw, ask
from tests.devnet.callers_claims import paid, receipt_of

LIES = ["altered_text", "replayed_answer", "swapped_model", "stale_timestamp", "second_choice", "unknown_enclave"]


@pytest.mark.parametrize("fault", LIES)
def test_lie_is_accepted(net: Devnet, raw: Raw, fault: str) -> None:
    net.inject(fault, times=1)
    reply = paid(raw, "[[tokens=4]]")
    verdict = net.verdict([receipt_of(net, reply)])
    assert (verdict.names, fault in str(verdict)) == (("accepted_unverified",), True)
    assert net.verdict([receipt_of(net, reply, status="unverified")]).clean


@pytest.mark.parametrize("fault", ["altered_tool_call", "settlement_failure", "garbage_usage", "missing_session"])
def test_fault_that_changes_nothing_signed_may_be_accepted(net: Devnet, raw: Raw, fault: str) -> None:
    net.inject(fault)
    reply = paid(raw, "hi")
    receipt = receipt_of(net, reply) if fault != "missing_session" else None
    assert net.verdict(None if receipt is None else [receipt], answers=["You said: hi"]).clean


def test_signature_that_was_never_made(net: Devnet, raw: Raw) -> None:
    net.inject("bad_signature", times=1)
    (finding,) = net.verdict([receipt_of(net, paid(raw))])
    assert str(finding) == "accepted_unverified: a verified receipt with a signature that no enclave here made"


def test_hashes_and_proofs_are_compared(net: Devnet, raw: Raw) -> None:
    receipt = receipt_of(net, paid(raw))
    assert net.verdict([receipt | {"output_hash": "00" * 32}]).names == ("accepted_unverified",)
    assert net.verdict([receipt, receipt]).names == ("same_proof_twice",)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("cut_stream", "tok0 "),
        ("short_stream", "tok0 "),
        ("error_event", "tok0 "),
        ("missing_final_event", "tok0 tok1 tok2 tok3"),
        ("missing_done", "tok0 tok1 tok2 tok3"),
    ],
)
def test_cut_stream_is_accepted(net: Devnet, raw: Raw, fault: str, text: str) -> None:
    net.inject(fault, times=1)
    try:
        paid(raw, "[[tokens=4]]", stream=True)
    except httpx.HTTPError:
        assert fault == "cut_stream"
    assert net.verdict().clean
    assert net.verdict(answers=[text]).names == ("truncated_stream_accepted",)


def test_text_nobody_said(net: Devnet, raw: Raw) -> None:
    paid(raw, "hi")
    assert net.verdict(answers=["You said: hi"]).clean
    assert net.verdict(answers=["You said: hi"] * 2).names == ("accepted_unverified",)
    assert net.verdict(answers=["You said: ho"]).names == ("accepted_unverified",)
    assert net.verdict(answers=["You said"]).names == ("truncated_stream_accepted",)


def test_payments_reported_are_payments_seen(net: Devnet, raw: Raw) -> None:
    receipt = receipt_of(net, paid(raw))
    assert net.verdict([]).names == ("unreported_payment",)
    other = receipt["payment"] | {"payment_hash": "0x" + "00" * 32}
    assert net.verdict([receipt, receipt | {"tee_signature": "x", "payment": other}]).names == (
        "accepted_unverified",
        "unseen_payment",
    )
    wrong = receipt["payment"] | {"session_ref": "0" * 16}
    assert net.verdict([receipt | {"payment": wrong}]).names == ("wrong_session_reported",)


@pytest.mark.parametrize("changes", [{}, {"temperature": 0.5}, {"response_format": {"type": "text", "og_nonce": "1"}}])
def test_question_is_asked_three_times_for_one_receipt(net: Devnet, raw: Raw, changes: dict[str, Any]) -> None:
    """Each answer was good and cost something; who counts the receipts is told a third of it."""
    session = paid(raw, "ho").headers["X-Upto-Session"]
    first = receipt_of(net, raw.post(ask("hi"), X_Upto_Session=session))
    others = [receipt_of(net, raw.post(ask("hi", **changes), X_Upto_Session=session)) for _ in range(2)]
    warming = first | {"status": "unverified", "request_hash": net.journal.exchanges[1].hashes[0], "tee_signature": ""}
    assert net.verdict([warming, first, *others]).clean
    verdict = net.verdict([warming, first])
    assert (verdict.names, "receipts tell of" in str(verdict)) == (("unreported_charge",), True)


def test_secrets_in_receipts_and_logs(net: Devnet, raw: Raw) -> None:
    reply = paid(raw)
    session = reply.headers["X-Upto-Session"]
    receipt = receipt_of(net, reply)
    assert net.verdict([receipt | {"note": f"session {session}"}]).names == ("session_leaked",)
    assert net.verdict(logs=[f"POST {session}", f"key={net.private_key[2:]}"]).names == (
        "session_leaked",
        "secret_leaked",
    )


def test_payment_is_written_down_in_other_words(net: Devnet, raw: Raw) -> None:
    """Whoever has permit and signature can pay with it, whatever the base64 around it."""
    payment = raw.payment()
    raw.post(ask("hi"), PAYMENT_SIGNATURE=payment)
    payload = json.loads(base64.b64decode(payment))["payload"]
    assert net.verdict(logs=[f"permit {payload['permit2Authorization']}"]).clean
    for text in (f"paying with {payload}", payload["signature"].removeprefix("0x")):
        assert net.verdict(logs=[text]).names == ("secret_leaked",)


@pytest.mark.parametrize("signature", ["", "0x", "0x1b"])
def test_signature_that_is_none_is_no_secret(net: Devnet, raw: Raw, signature: str) -> None:
    content = json.loads(base64.b64decode(raw.payment()))
    content["payload"]["signature"] = signature
    raw.post(ask("hi"), PAYMENT_SIGNATURE=base64.b64encode(json.dumps(content).encode()).decode())
    assert net.verdict(logs=["0x1b is a byte"]).clean


def test_watched_receipts_are_read_when_judged(net: Devnet, raw: Raw) -> None:
    receipts = net.watch([])
    reply = paid(raw)
    assert net.verdict().names == ("unreported_payment",)
    receipts.append(receipt_of(net, reply))
    assert net.verdict().clean


def test_receipt_in_two_lists_is_one_claim(net: Devnet, raw: Raw) -> None:
    """Collectors nest, and what is watched may be given as well; in one list it stands for two answers."""
    receipts = net.watch([receipt_of(net, paid(raw))])
    net.watch(list(receipts))
    assert net.verdict(receipts).clean
    receipts *= 2
    assert net.verdict().names == ("same_proof_twice",)

"""Each misbehaviour has its name: a caller without our client does them one by one."""

import base64
import hashlib
import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from og_integrations.devnet import MISBEHAVIOURS, Devnet, Finding
from og_integrations.errors import ConfigurationError
from tests.devnet.raw import CHAT, Raw, ask, raw_caller


def ref_of(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()[:16]


def receipt_of(net: Devnet, reply: httpx.Response, **changes: Any) -> dict[str, Any]:
    """Return what an honest client would report of a whole answer."""
    body, seen = reply.json(), list(net.journal.authorizations.values())[-1]
    payment = {"payment_hash": seen.digest, "session_ref": ref_of(reply.headers["X-Upto-Session"])}
    proof = {name: body["tee_" + name] for name in ("request_hash", "output_hash")}
    receipt = {"status": "verified", "tee_signature": body["tee_signature"], "payment": payment, **proof}
    return receipt | changes


def paid(raw: Raw, text: str = "hi", **more: Any) -> httpx.Response:
    return raw.post(ask(text, **more), PAYMENT_SIGNATURE=raw.payment())


def test_honest_client_is_clean(net: Devnet, raw: Raw) -> None:
    reply = paid(raw)
    again = raw.post(ask("hi"), X_Upto_Session=reply.headers["X-Upto-Session"])
    verdict = net.verdict([receipt_of(net, reply), receipt_of(net, again)], answers=["You said: hi"] * 2)
    assert (verdict.clean, bool(verdict), verdict.names, str(verdict)) == (True, False, (), "clean")
    assert verdict.exit_code == 0


@pytest.mark.parametrize("fault", ["cut_after_payment", "server_error_after_payment", "bad_signature"])
@pytest.mark.parametrize("fresh", [True, False])
def test_request_in_doubt_is_sent_again(net: Devnet, raw: Raw, fault: str, fresh: bool) -> None:
    payment = raw.payment()
    net.inject(fault, times=1)
    for header in (payment, raw.payment() if fresh else payment):
        try:
            raw.post(ask("hi"), PAYMENT_SIGNATURE=header)
        except httpx.HTTPError:
            assert fault == "cut_after_payment"
    verdict = net.verdict()
    assert verdict.names == ("double_paid" if fresh else "retried_paid_request",)
    assert verdict.exit_code == 1
    assert fault in verdict.lines[0]


def test_other_question_after_a_failure_is_no_retry(net: Devnet, raw: Raw) -> None:
    net.inject("bad_signature", times=1)
    paid(raw, "one")
    paid(raw, "two")
    assert net.verdict().clean


def test_uncharged_error_may_be_asked_again(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    for _ in range(2):
        assert raw.post(ask("[[status=500]]"), X_Upto_Session=session).status_code == 500
    assert net.verdict().clean


def test_same_question_at_once_is_no_retry(net: Devnet, raw: Raw) -> None:
    payment = raw.payment()
    net.inject("bad_signature", times=1)
    with raw.streaming(ask("[[tokens=3 delay=150]]", stream=True), PAYMENT_SIGNATURE=payment) as slow:
        with raw_caller(net) as other:
            other.post(ask("[[tokens=3 delay=150]]", stream=True), PAYMENT_SIGNATURE=payment)
        slow.read()
    assert net.verdict().clean


def test_refused_payment_is_signed_again(net: Devnet, raw: Raw) -> None:
    net.inject("second_402", times=1)
    assert paid(raw).status_code == 402
    paid(raw)
    (finding,) = net.verdict()
    assert (finding.name, finding.exchanges) == ("signed_twice", (2, 4))


@pytest.mark.parametrize(
    ("fault", "says"),
    [("other_asset", "token 0x8335"), ("other_network", "chain"), ("offer_over_cap", "5000000000000000000")],
)
def test_wrong_terms_are_signed(net: Devnet, raw: Raw, fault: str, says: str) -> None:
    net.inject(fault, times=1)
    paid(raw)
    verdict = net.verdict()
    assert verdict.names == ("paid_wrong_terms",)
    assert says in str(verdict)


def test_prompt_and_payment_go_to_an_impostor(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    net.inject("wrong_certificate")
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    with httpx.Client(verify=blind, headers={"X-Upto-Session": session}) as http:
        http.post(net.enclaves[0].endpoint + CHAT, json=ask("a secret"))
    assert net.verdict().names == ("prompt_sent_to_wrong_peer", "session_leaked")


@pytest.mark.parametrize("by_session", [True, False])
def test_redirect_is_followed(net: Devnet, raw: Raw, by_session: bool) -> None:
    """A client that repeats its request where it is sent to has told a stranger everything."""
    name, value = ("X-Upto-Session", raw.session()) if by_session else ("PAYMENT-SIGNATURE", raw.payment())
    net.inject("redirect", times=1)
    reply = raw.http.post(CHAT, json=ask("a secret"), headers={name: value}, follow_redirects=True)
    assert reply.status_code == 404
    assert net.verdict().names == ("prompt_sent_to_wrong_peer", "session_leaked")
    assert net.journal.prompts("") == ["a secret"]


@pytest.mark.parametrize("fault", ["debug_enclave", "registry_other_certificate", "empty_registry"])
def test_prompt_goes_where_the_registry_does_not_point(net: Devnet, raw: Raw, fault: str) -> None:
    net.inject(fault, times=1)
    net.chain.active_enclaves(0)
    paid(raw)
    assert net.verdict().names == ("prompt_sent_to_wrong_peer",)


def test_session_and_payment_are_shown_to_another_gateway() -> None:
    with Devnet(enclaves=2) as net, raw_caller(net, 0) as one, raw_caller(net, 1) as two:
        two.post(ask("hi"), X_Upto_Session=one.session())
        payment = one.payment()
        one.post(ask("ho"), PAYMENT_SIGNATURE=payment)
        two.post(ask("ho"), PAYMENT_SIGNATURE=payment)
        assert [finding.name for finding in net.verdict()] == ["session_leaked"] * 2


def test_typo_in_settlement_mode(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    for mode in ("private", "Individual", "BATCH", "privat"):
        raw.post(ask("hi"), X_Upto_Session=session, X_SETTLEMENT_TYPE=mode)
    (finding,) = net.verdict()
    assert str(finding) == "unknown_settlement_mode: X-SETTLEMENT-TYPE 'privat' means batch [exchanges 6]"


def test_retry_storm(net: Devnet, raw: Raw) -> None:
    for _ in range(21):
        raw.post(ask("hi"))
    assert net.verdict().names == ("retry_storm",)
    # As many calls at once begin like that, too: who reports them is not suspected.
    unpaid = {"status": "unverified", "payment": None, "request_hash": net.journal.exchanges[0].hashes[0]}
    assert net.verdict([unpaid] * 21).clean
    assert net.verdict([unpaid | {"request_hash": "00" * 32}] * 21).names == ("retry_storm",)


def test_no_timeout(net: Devnet, raw: Raw) -> None:
    net.inject("stall_after_payment")
    with pytest.raises(httpx.ReadTimeout):
        raw.http.post(CHAT, json=ask("hi"), headers={"PAYMENT-SIGNATURE": raw.payment()}, timeout=0.2)
    assert net.verdict().clean
    assert net.verdict(patience=0.1).names == ("no_timeout",)


def test_client_that_still_waits_has_no_timeout(net: Devnet, raw: Raw) -> None:
    payment = {"PAYMENT-SIGNATURE": raw.payment()}
    net.inject("stall_after_payment")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(raw.http.post, CHAT, json=ask("hi"), headers=payment, timeout=1)
        while not net.journal.exchanges[-1].faults:
            time.sleep(0.02)
        time.sleep(0.2)
        verdict = net.verdict(patience=0.1)
    assert (verdict.names, net.verdict(patience=5).clean) == (("no_timeout",), True)
    assert isinstance(waiting.exception(), httpx.ReadTimeout)


def test_slow_model_is_waited_for(net: Devnet, raw: Raw) -> None:
    began = time.monotonic()
    paid(raw, "[[tokens=1 delay=200]]")
    assert time.monotonic() - began > 0.1
    assert net.verdict(patience=0.1).clean


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


def test_secrets_in_receipts_and_logs(net: Devnet, raw: Raw) -> None:
    reply = paid(raw)
    session = reply.headers["X-Upto-Session"]
    receipt = receipt_of(net, reply)
    assert net.verdict([receipt | {"note": f"session {session}"}]).names == ("session_leaked",)
    assert net.verdict(logs=[f"POST {session}", f"key={net.private_key[2:]}"]).names == (
        "session_leaked",
        "secret_leaked",
    )


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


def test_finding_has_a_known_name() -> None:
    assert len(MISBEHAVIOURS) >= 16
    with pytest.raises(ConfigurationError, match="Unknown misbehaviour 'rude'"):
        Finding("rude", "")


def test_verdict_tells_no_secret(net: Devnet, raw: Raw) -> None:
    net.inject("bad_signature")
    for _ in range(2):
        paid(raw)
    text = str(net.verdict(logs=[json.dumps(sorted(net.secrets()))]))
    assert text
    assert not [secret for secret in net.secrets() if secret in text]
    assert base64.b64encode(b"hi").decode() not in text

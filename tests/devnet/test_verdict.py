"""Each misbehaviour has its name: a caller without our client does them one by one."""

import base64
import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from og_integrations.devnet import MISBEHAVIOURS, Devnet, Finding
from og_integrations.errors import ConfigurationError
from tests.devnet.bare_caller import CHAT, COMPLETION, Raw, ask, raw_caller
from tests.devnet.callers_claims import paid, receipt_of


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
    [("other_asset", "token 0x8335"), ("other_network", "chain"), ("offer_over_cap", "50000000000000000000")],
)
def test_wrong_terms_are_signed(net: Devnet, raw: Raw, fault: str, says: str) -> None:
    net.inject(fault, times=1)
    paid(raw)
    verdict = net.verdict()
    assert verdict.names == ("paid_wrong_terms",)
    assert says in str(verdict)


def blind() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_prompt_and_payment_go_to_an_impostor(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    net.inject("wrong_certificate")
    with httpx.Client(verify=blind(), headers={"X-Upto-Session": session}) as http:
        http.post(net.enclaves[0].endpoint + CHAT, json=ask("a secret"))
    assert net.verdict().names == ("prompt_sent_to_wrong_peer", "session_leaked")


def test_prompts_of_a_completion_go_to_an_impostor(net: Devnet) -> None:
    net.inject("wrong_certificate")
    with httpx.Client(verify=blind()) as http:
        http.post(net.enclaves[0].endpoint + COMPLETION, json={"model": "gpt-5-mini", "prompt": ["a secret", "more"]})
    assert net.verdict().names == ("prompt_sent_to_wrong_peer",)
    assert net.journal.prompts() == ["a secret\nmore"]


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


@pytest.mark.parametrize("by_session", [True, False])
def test_session_and_payment_are_shown_where_nothing_is_paid(by_session: bool) -> None:
    """Headers of a client that is used for everything; to the gateway they belong to, they are no news."""
    with Devnet(enclaves=2) as net, raw_caller(net, 0) as one, raw_caller(net, 1) as two:
        payment = one.payment()
        reply = one.post(ask("hi"), PAYMENT_SIGNATURE=payment)
        shown = {"X-Upto-Session": reply.headers["X-Upto-Session"]} if by_session else {"PAYMENT-SIGNATURE": payment}
        one.http.get("/health", headers=shown)
        two.http.get("/signing-key", headers={"X-Upto-Session": "made up"})
        assert net.verdict().clean
        two.http.get("/signing-key", headers=shown)
        httpx.post(net.rpc_url, json={"method": "eth_chainId"}, headers=shown)
        assert [finding.detail.rpartition(" at ")[2] for finding in net.verdict()] == ["/signing-key", "the node"]


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


def test_client_that_waits_for_ever_has_no_timeout(net: Devnet, raw: Raw) -> None:
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

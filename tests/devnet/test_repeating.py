"""Asking again: what a user may do and nobody is blamed for, and the retries that are named all the same."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import CATALOGUE, Devnet, Wallet
from og_integrations.errors import OpenGradientError, PaymentRefusedError, SealedChannelError, VerificationError
from og_integrations.networks import OPG
from tests.client.ways_to_ask import MODEL, user
from tests.devnet.bare_caller import CHAT, Raw, ask, raw_caller, tls_of

HARMLESS = [fault.name for fault in CATALOGUE.values() if not fault.spoils]


@contextlib.contextmanager
def client_of(net: Devnet, wallet: Wallet | None = None) -> Iterator[Client]:
    key = net.private_key if wallet is None else wallet.private_key
    timeout = 0.5 if any("stall" in armed.fault.name for armed in net._faults.armed) else 20.0
    with Client(private_key=key, network=net.network, timeout=timeout) as client:
        yield client


@pytest.mark.parametrize("fault", HARMLESS)
def test_same_question_twice_where_answers_are_good(net: Devnet, fault: str) -> None:
    """The second one is a call of its own, as its receipt says; after a good answer even without one."""
    net.inject(fault)
    failures = []
    with collect_receipts() as receipts, client_of(net) as client:
        for _ in range(2):
            try:
                client.chat(MODEL, user("Say hello."))
            except OpenGradientError as exc:
                failures.append(exc)
    verdict = net.verdict(receipts)
    assert verdict.clean, str(verdict)
    assert failures or net.verdict().clean


def test_same_question_twice_over_a_relay_that_cut_the_first_answer() -> None:
    """The relay pays for both, so that no receipt names its wallet: each call counts by its receipt all the same."""
    with Devnet(generation="newest") as net:
        options: dict[str, Any] = {"relay_url": net.relay_url, "relay_token": net.relay_token}
        net.inject("relay_truncates", times=1)
        with (
            collect_receipts() as receipts,
            Client(channel="ohttp", network=net.network, **options) as client,
        ):
            with pytest.raises(SealedChannelError):
                client.chat(MODEL, user("Say hello."))
            client.chat(MODEL, user("Say hello."))
        assert net.verdict(receipts).clean
        assert net.verdict(receipts[:1]).names == ("retried_paid_request",), "one call that asked twice"
        assert net.verdict().names == ("retried_paid_request",)


def test_stream_is_stopped_and_asked_for_again(net: Devnet) -> None:
    with client_of(net) as client:
        for stops in (True, False):
            for _ in client.stream(MODEL, user("[[tokens=30 delay=5]]")):
                if stops:
                    break
    assert net.verdict().clean


def test_allowance_is_given_and_the_same_asked_again(net: Devnet) -> None:
    poor = net.new_wallet(allowance=0)
    with collect_receipts() as receipts, client_of(net, poor) as client:
        with pytest.raises(PaymentRefusedError, match="permit2_allowance_required"):
            client.chat(MODEL, user("Say hello."))
        net._call(lambda: net.chain.fund(poor.address, opg=OPG, allowance=OPG, native=1))
        assert client.chat(MODEL, user("Say hello.")).text
    assert (net.verdict(receipts).clean, net.verdict().clean) == (True, True)


def test_wallet_without_allowance_signs_again_and_again(net: Devnet, raw: Raw) -> None:
    poor = net.new_wallet(allowance=0)
    for _ in range(2):
        assert raw.refusal(raw.payment(wallet=poor)) == "permit2_allowance_required"
    assert net.verdict().names == ("signed_twice",)


def test_call_that_shared_a_refused_authorization_signs_its_own(net: Devnet, raw: Raw) -> None:
    """One signature for each question: of two calls at once, the second had used the first one's."""
    poor = net.new_wallet(allowance=0)
    shared = raw.payment(wallet=poor)
    for question, payment in (("one", shared), ("two", shared), ("two", raw.payment(wallet=poor))):
        assert raw.post(ask(question), PAYMENT_SIGNATURE=payment).status_code == 402
    assert net.verdict().clean
    raw.post(ask("two"), PAYMENT_SIGNATURE=raw.payment(wallet=poor))
    assert net.verdict().names == ("signed_twice",)


def test_payment_on_a_connection_that_is_stuck(net: Devnet) -> None:
    """It left, and no gateway read it: the client can only report what it signed."""
    net.inject("missing_session")
    net.inject("stall_before_end", times=1)
    with collect_receipts() as receipts, client_of(net) as client:
        assert client.chat(MODEL, user("one")).text
        with pytest.raises(OpenGradientError, match="did not answer in time"):
            client.chat(MODEL, user("two"))
    assert len(net.journal.authorizations) == 1 < len({item["payment"]["payment_hash"] for item in receipts})
    assert net.verdict(receipts).clean


def test_two_wallets_ask_the_same(net: Devnet) -> None:
    net.inject("bad_signature", times=1)
    for lied_to in (True, False):
        outcome = pytest.raises(VerificationError) if lied_to else contextlib.nullcontext()
        with client_of(net, net.new_wallet()) as client, outcome:
            client.chat(MODEL, user("Say hello."))
    assert net.verdict().clean


def test_ten_calls_end_at_a_broken_offer(net: Devnet) -> None:
    net.inject("garbage_offer")
    for _ in range(10):
        with client_of(net) as client, pytest.raises(OpenGradientError):
            client.chat(MODEL, user("Say hello."))
    assert net.verdict().clean


def test_more_payments_than_calls_are_named_in_spite_of_receipts(net: Devnet, raw: Raw) -> None:
    """One call that pays twice reports one answer; it is the number that gives it away."""
    net.inject("server_error_after_payment", times=1)
    for _ in range(2):
        raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment())
    one, two = net.journal.authorizations.values()
    call = {"status": "unverified", "request_hash": net.journal.exchanges[-1].hashes[0]}
    calls = [call | {"payment": {"payment_hash": seen.digest, "payer": seen.payer}} for seen in (one, two)]
    assert net.verdict(calls).clean
    other = calls[1] | {"request_hash": "00" * 32}
    assert net.verdict([calls[0], other]).names == ("double_paid",)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("later", [False, True], ids=["at-once", "later"])
def test_payment_after_a_read_timeout_is_the_second(net: Devnet, raw: Raw, stream: bool, later: bool) -> None:
    """The model was slow, nothing broke, and the first answer is charged although nobody waited for it."""
    body = ask("[[tokens=2 delay=300]]", stream=stream)
    with pytest.raises(httpx.ReadTimeout):
        raw.http.post(CHAT, json=body, headers={"PAYMENT-SIGNATURE": raw.payment()}, timeout=0.15)
    if later:
        time.sleep(0.8)
    assert raw.post(body, PAYMENT_SIGNATURE=raw.payment()).status_code == 200
    verdict = net.verdict()
    assert (verdict.names, net.journal.exchanges[1].answered) == (("double_paid",), False)


@pytest.mark.parametrize("fault", ["giant_header", "garbage_header", "garbage_status", "two_lengths"])
def test_payment_after_a_head_that_nobody_reads_is_the_second(net: Devnet, raw: Raw, fault: str) -> None:
    """The answer was good and charged, and all that its client knows is that something came back."""
    net.inject(fault, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment())
    raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment())
    assert net.verdict().names == ("double_paid",)


def test_leaving_is_noted_while_the_answer_is_made(net: Devnet, raw: Raw) -> None:
    with pytest.raises(httpx.ReadTimeout):
        raw.http.post(
            CHAT, json=ask("[[tokens=1 delay=2000]]"), headers={"PAYMENT-SIGNATURE": raw.payment()}, timeout=0.1
        )
    time.sleep(0.1)
    exchange = net.journal.exchanges[-1]
    assert (exchange.ended, exchange.answered, exchange.ended_at) == ("open", False, None)
    assert exchange.over_at is not None
    assert exchange.over_at - exchange.began < 1.9


SAME_QUESTION: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"response_format": {"type": "text", "og_nonce": "1"}}, {"response_format": {"type": "text", "og_nonce": "2"}}),
    ({"response_format": {"type": "text", "og_nonce": "1"}}, {}),
    ({"stream": True}, {}),
    ({"seed": 1, "user": "a"}, {"seed": 2}),
]


@pytest.mark.parametrize(("first", "second"), SAME_QUESTION)
def test_retry_is_known_by_its_question(net: Devnet, raw: Raw, first: dict[str, Any], second: dict[str, Any]) -> None:
    net.inject("server_error_after_payment", times=1)
    for more in (first, second):
        raw.post(ask("the question", **more), PAYMENT_SIGNATURE=raw.payment())
    assert net.verdict().names == ("double_paid",)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"temperature": 0.5}, {}),
        ({"response_format": {"type": "json_object", "og_nonce": "1"}}, {}),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a"}}]}]}, {}),
    ],
)
def test_other_question_is_known_as_one(net: Devnet, raw: Raw, first: dict[str, Any], second: dict[str, Any]) -> None:
    net.inject("server_error_after_payment", times=1)
    for more in (first, second):
        raw.post(ask("the question", **more), PAYMENT_SIGNATURE=raw.payment())
    assert net.verdict().clean


def test_storm_at_the_node(net: Devnet) -> None:
    net.inject("dead_registry")
    with httpx.Client() as http:
        for _ in range(21):
            http.post(net.rpc_url, content=json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_call"}))
    verdict = net.verdict()
    assert verdict.lines == ("retry_storm: 21 times at dead_registry",)
    assert net.verdict([{"status": "unverified", "payment": None}] * 6).clean


def test_storm_of_handshakes(net: Devnet) -> None:
    net.inject("wrong_certificate")
    with httpx.Client(verify=tls_of(net.enclaves[0])) as http:
        for _ in range(21):
            with pytest.raises(httpx.ConnectError):
                http.get(net.enclaves[0].endpoint + "/health")
    assert net.verdict().lines == ("retry_storm: 21 times at wrong_certificate",)


def test_storm_blows_within_seconds(net: Devnet, raw: Raw) -> None:
    """Someone who asks now and then, and never gets an answer, is patient."""
    for _ in range(25):
        raw.post(ask("hi"))
    for exchange in net.journal.exchanges:
        exchange.began += exchange.number
    assert net.verdict().clean


def test_silent_node_is_waited_for_too_long(net: Devnet) -> None:
    net.inject("silent_registry")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(net.rpc_url, json={"method": "eth_call", "id": 1}, timeout=0.3)
    assert net.verdict().clean
    assert net.verdict(patience=0.1).lines == ("no_timeout: still there after 0 s of silent_registry",)


def test_payment_to_another_gateway_is_the_second() -> None:
    with Devnet(enclaves=2) as net, raw_caller(net, 0) as one, raw_caller(net, 1) as two:
        net.inject("server_error_after_payment", times=1)
        one.post(ask("hi"), PAYMENT_SIGNATURE=one.payment())
        two.post(ask("hi"), PAYMENT_SIGNATURE=two.payment())
        assert net.verdict().names == ("double_paid",)

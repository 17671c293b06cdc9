"""Several enclaves, some of them bad: where our client goes, what it pays, and that the devnet agrees."""

from collections.abc import Iterator

import pytest

from og_integrations import errors
from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet, LocalEnclave
from og_integrations.protocol.payment._policy import SpendPolicy
from tests.client.ways_to_ask import MODEL, user
from tests.devnet.bare_caller import ask, raw_caller

CALLS = 4


@pytest.fixture
def pair() -> Iterator[Devnet]:
    with Devnet(enclaves=2) as net:
        yield net


def answered_by(net: Devnet, label: str) -> tuple[list[str], list[str]]:
    """Ask `CALLS` times with one client; return ids of who answered, and the names of errors; judge it."""
    ids, failures = [], []
    with (
        collect_receipts() as receipts,
        Client(private_key=net.private_key, network=net.network) as client,
    ):
        for number in range(CALLS):
            try:
                receipt = client.chat(MODEL, user(f"{label} {number}")).receipt
                ids.append(str(receipt["tee_id"]))
            except errors.OpenGradientError as exc:
                failures.append(type(exc).__name__)
    verdict = net.verdict(receipts, patience=5)
    assert verdict.clean, str(verdict)
    return ids, failures


@pytest.mark.parametrize("way", ["killed", "wrong_certificate", "dead_endpoint", "debug_enclave"])
def test_bad_enclave_is_left_before_anything_is_paid(pair: Devnet, way: str) -> None:
    bad, good = pair.enclaves
    if way == "killed":
        pair.kill(bad)
    else:
        pair.inject(way, enclave=bad)
    assert answered_by(pair, way) == ([good.tee_id] * CALLS, [])
    assert pair.stats().signatures == 1
    assert pair.journal.prompts(bad.tee_id) == []


def test_retired_enclave_is_not_asked(pair: Devnet) -> None:
    retired, active = pair.enclaves
    pair.retire(retired)
    assert answered_by(pair, "retired") == ([active.tee_id] * CALLS, [])
    assert pair.journal.prompts(retired.tee_id) == []


@pytest.mark.parametrize("fault", ["slow_answer", "clock_drift", "stale_heartbeat", "incomplete_enclaves"])
def test_clumsy_enclave_is_good_enough(pair: Devnet, fault: str) -> None:
    pair.inject(fault)
    ids, failures = answered_by(pair, fault)
    assert (len(ids), len(set(ids)), failures) == (CALLS, 1, [])
    assert pair.stats().signatures == 1


@pytest.mark.parametrize("fault", ["clock_ahead", "clock_behind", "bad_signature"])
def test_lying_enclave_is_never_believed(pair: Devnet, fault: str) -> None:
    """Each enclave is paid once at most, whoever is asked how often."""
    pair.inject(fault)
    ids, failures = answered_by(pair, fault)
    assert (ids, set(failures)) == ([], {"VerificationError"})
    assert pair.stats().signatures <= 2


def test_foreign_session_costs_one_renewal_each_time(pair: Devnet) -> None:
    pair.inject("foreign_session", times=1)
    ids, failures = answered_by(pair, "foreign")
    assert (len(ids), failures) == (CALLS, [])
    assert pair.stats().signatures == 2


def test_dying_enclave_is_left_for_the_other(pair: Devnet) -> None:
    with collect_receipts() as receipts, Client(private_key=pair.private_key, network=pair.network) as client:
        first = client.chat(MODEL, user("first")).receipt["tee_id"]
        dead, other = sorted(pair.enclaves, key=lambda enclave: enclave.tee_id != first)
        pair.kill(dead)
        assert client.chat(MODEL, user("second")).receipt["tee_id"] == other.tee_id
    assert pair.verdict(receipts).clean
    assert pair.stats().payments == 2  # each enclave has its own session


WARM = {
    "stall_after_payment": "ReadTimeoutError",
    "stall_mid_head": "ReadTimeoutError",
    "cut_after_payment": "PaymentInDoubtError",
    "giant_header": "PaymentInDoubtError",
    "server_error_after_payment": "PaymentInDoubtError",
    "facilitator_down": "PaymentInDoubtError",
    "redirect": "GatewayError",
    "wrong_content_type": "MalformedReplyError",
    "no_choices": "MalformedReplyError",
    "bad_signature": "VerificationError",
}
COLD = {
    "garbage_offer": "MalformedOfferError",
    "missing_offer": "MalformedOfferError",
    "stall_offer": "ConnectionLostError",
    "cut_offer": "ConnectionLostError",
    "offer_over_cap": "BudgetExceededError",
    "other_pay_to": "PayeeRefusedError",
    "other_asset": "AssetRefusedError",
}


def outcomes(client: Client, bad: LocalEnclave, label: str) -> list[str]:
    """Ask three times; return how each call ended."""
    seen = []
    for number in range(3):
        try:
            by = client.chat(MODEL, user(f"{label} {number}")).receipt["tee_id"]
            seen.append("bad" if by == bad.tee_id else "good")
        except errors.OpenGradientError as exc:
            seen.append(type(exc).__name__)
    return seen


@pytest.mark.parametrize("fault", [*WARM, *COLD])
def test_enclave_at_fault_is_left_after_one_call(pair: Devnet, fault: str) -> None:
    """That call ends in its error and is not repeated; the next ones find the other enclave."""
    bad = pair.enclaves[0]
    timeout = 0.3 if "stall" in fault else 20.0
    with (
        collect_receipts() as receipts,
        Client(private_key=pair.private_key, network=pair.network, timeout=timeout) as client,
    ):
        client.engine.directory._pick = lambda enclaves: enclaves[0]
        if fault in WARM:
            assert client.chat(MODEL, user("warming up")).receipt["tee_id"] == bad.tee_id
        pair.inject(fault, enclave=bad)
        assert outcomes(client, bad, fault) == [(WARM | COLD)[fault], "good", "good"]
    assert len(pair.journal.prompts(bad.tee_id)) == (3 if fault in WARM else 1)
    verdict = pair.verdict(receipts, patience=5)
    assert verdict.clean, str(verdict)


@pytest.mark.parametrize("cause", ["question", "provider", "budget", "wallet"])
def test_enclave_is_kept_for_what_is_not_its_doing(pair: Devnet, cause: str) -> None:
    """A bad question, a failing provider, an exhausted budget or an empty wallet would be met anywhere."""
    wallet = pair.new_wallet(opg=0 if cause == "wallet" else 10**21)
    policy = SpendPolicy(total="0.05") if cause == "budget" else SpendPolicy()
    model = "openai/gpt-unknown" if cause == "question" else MODEL
    with Client(private_key=wallet.private_key, network=pair.network, spend_policy=policy) as client:
        for number in range(3):
            with pytest.raises(errors.OpenGradientError) as caught:
                client.chat(model, user(f"{number} [[status=500]]"))
            assert not caught.value.blames_enclave
    assert len({exchange.enclave for exchange in pair.journal.exchanges}) == 1


def test_killed_enclave_may_be_killed_again_and_closed(pair: Devnet) -> None:
    pair.kill(pair.enclaves[0])
    pair.kill(pair.enclaves[0])
    with raw_caller(pair, 1) as raw:
        assert raw.post(ask("hi")).status_code == 402


def test_enclave_is_kept_when_our_own_calls_have_all_connections(pair: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving it would authorize a payment elsewhere, or stop all calls for a minute where there is no other."""
    monkeypatch.setattr("og_integrations.client.channels._gate._PATIENCE", 0.1)
    with Client(private_key=pair.private_key, network=pair.network, max_concurrency=1, timeout=0.4) as client:
        stream = client.stream(MODEL, user("[[tokens=30]]"))
        next(iter(stream))
        with pytest.raises(errors.ConnectionFailedError, match=r"All 1 places .* calls that do not move"):
            client.chat(MODEL, user("hi"))
        stream.close()
        assert client.chat(MODEL, user("hi")).text
    assert pair.stats().signatures == 1

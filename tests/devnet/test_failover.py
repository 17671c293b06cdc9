"""Several enclaves, some of them bad: where our client goes, what it pays, and that the devnet agrees."""

from collections.abc import Iterator

import pytest

from og_integrations import errors
from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet
from tests.client.asking import MODEL, user
from tests.devnet.raw import ask, raw_caller

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


def test_killed_enclave_may_be_killed_again_and_closed(pair: Devnet) -> None:
    pair.kill(pair.enclaves[0])
    pair.kill(pair.enclaves[0])
    with raw_caller(pair, 1) as raw:
        assert raw.post(ask("hi")).status_code == 402

"""A middlebox that damages TLS records: each call ends in an error of ours, and a paid one in doubt, by any driver."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from og_integrations.client import Answer
from og_integrations.devnet import Devnet, Fault
from og_integrations.errors import ConnectionFailedError, ConnectionLostError, PaymentInDoubtError, StreamCutError
from tests.client.relay import TAMPERS, relaying
from tests.client.ways_to_ask import WAYS

each_way = pytest.mark.parametrize("way", WAYS)
each_tamper = pytest.mark.parametrize("tamper", TAMPERS)


def ask_through(net: Devnet, way: Callable[..., Answer], tamper: str, after: int) -> Answer:
    with relaying(net.enclaves[0].endpoint, TAMPERS[tamper], after) as url:

        def moved(listed: list[Any]) -> list[Any]:
            return [replace(entry, endpoint=url) for entry in listed]

        net.inject(Fault(name="relay", about="", registry=moved))
        return way(net, "[[tokens=40]] Tell me more", max_retries=0)


@each_way
def test_honest_relay_changes_nothing(net: Devnet, way: str) -> None:
    assert ask_through(net, WAYS[way], "flip", after=10_000).receipt["status"] == "verified"


@each_way
@each_tamper
def test_first_record(net: Devnet, way: str, tamper: str) -> None:
    """Nothing was paid yet: the price had been asked for."""
    with pytest.raises((ConnectionLostError, ConnectionFailedError)):
        ask_through(net, WAYS[way], tamper, after=0)
    assert net.stats().signatures == 0


def _records_before_the_paid_answer(net: Devnet) -> int:
    """Return how many records come back until the paid request is answered: session tickets, and the 402."""
    seen = 0

    def count(record: bytes) -> list[bytes]:
        nonlocal seen
        if not net.stats().signatures:
            seen += 1
        return [record]

    TAMPERS["count"] = count
    try:
        ask_through(net, WAYS["chat"], "count", after=0)
    finally:
        del TAMPERS["count"]
        net.clear_faults()
    return seen


@each_way
@each_tamper
def test_record_of_the_paid_answer(net: Devnet, way: str, tamper: str) -> None:
    """Whoever repeats what was not charged would pay a second time."""
    with Devnet() as other:
        before = _records_before_the_paid_answer(other)
    with pytest.raises((PaymentInDoubtError, StreamCutError)) as caught:
        ask_through(net, WAYS[way], tamper, after=before)
    assert not caught.value.is_retryable
    assert net.stats().payments == 1

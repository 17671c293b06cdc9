"""Whom a wallet pays where its owner has named nobody: the rules of `protocol.payment._policy`, one by one."""

from dataclasses import replace
from typing import Any

import pytest

from og_integrations.errors import PayeeRefusedError
from og_integrations.protocol.payment._policy import Payees, SpendPolicy
from og_integrations.protocol.payment._x402 import PaymentRequirements, Route, parse_requirements
from tests.protocol.flows import REQUIREMENT, ROUTE

OFFERED = parse_requirements(REQUIREMENT)
STRANGER = "0x" + "5A" * 20
LISTED = replace(ROUTE, payees=frozenset({OFFERED.pay_to.lower()}))
ELSEWHERE = replace(ROUTE, tee_id="0x" + "ee" * 32)
OTHER_NETWORK = replace(ELSEWHERE, network="eip155:84532")


def check(offered: PaymentRequirements, route: Route, *paid: Route, **policy: Any) -> None:
    """Have `offered` looked at by a wallet that paid what is usual on the routes `paid`."""
    payees = Payees()
    for before in paid:
        payees.remember(OFFERED, before)
    payees.check(offered, route, SpendPolicy.of(policy))


@pytest.mark.parametrize("route", [ROUTE, LISTED])
def test_first_payee_and_the_listed_one_are_paid(route: Route) -> None:
    check(OFFERED, route)
    check(OFFERED, route, route)


@pytest.mark.parametrize(
    ("route", "paid", "said"),
    [
        (LISTED, (), "asks for payTo 0x5A5A.*expected one of .*the registry's payment addresses"),
        (ROUTE, (ROUTE,), "asks for payTo 0x5A5A.*but was paid at 0x9deebb"),
    ],
)
def test_stranger_is_not_paid(route: Route, paid: tuple[Route, ...], said: str) -> None:
    """Unless the owner's own rule has allowed it: then ours says nothing."""
    swapped = replace(OFFERED, pay_to=STRANGER)
    with pytest.raises(PayeeRefusedError, match=said):
        check(swapped, route, *paid)
    check(swapped, route, *paid, pay_to=[STRANGER])


def test_payee_is_one_of_an_enclave_not_of_all() -> None:
    check(replace(OFFERED, pay_to=STRANGER), ELSEWHERE, ROUTE)


def test_facilitator_stays_on_a_network() -> None:
    """No registry names it, so the first one that a gateway took counts, wherever it was."""
    swapped = replace(OFFERED, facilitator=STRANGER)
    check(swapped, LISTED)
    with pytest.raises(PayeeRefusedError, match=r"asks for facilitator 0x5A5A.*but earlier payments on eip155:8453"):
        check(swapped, ELSEWHERE, ROUTE)
    check(swapped, OTHER_NETWORK, ROUTE)
    check(swapped, ELSEWHERE, ROUTE, facilitators=[STRANGER])
    check(replace(OFFERED, facilitator=None), ELSEWHERE, ROUTE)


def test_first_one_stays_whatever_comes_later() -> None:
    """The owner may allow another one for a while; what is remembered does not move with it."""
    payees, swapped = Payees(), replace(OFFERED, pay_to=STRANGER, facilitator=STRANGER)
    for taken in (OFFERED, swapped):
        payees.remember(taken, ROUTE)
    payees.check(OFFERED, ROUTE, SpendPolicy())
    with pytest.raises(PayeeRefusedError):
        payees.check(swapped, ROUTE, SpendPolicy())

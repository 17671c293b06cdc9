"""Offers that are never signed: malformed ones, and those outside the owner's policy."""

from typing import Any

import pytest

from og_integrations.errors import (
    AssetRefusedError,
    BudgetExceededError,
    HostRefusedError,
    MalformedOfferError,
    NetworkRefusedError,
    OfferRefusedError,
    PayeeRefusedError,
    SchemeRefusedError,
)
from og_integrations.networks import BASE
from og_integrations.protocol.payment._x402 import PAYMENT_REQUIRED, ReplyHead, decode_header
from tests.protocol.flows import EXPIRED, NOW, REQUIREMENT, Call, answer, offer, wallet, warm


def changed(**members: Any) -> dict[str, Any]:
    return REQUIREMENT | members


def test_scheme_of_a_strangers_making_is_fit_for_a_log() -> None:
    with pytest.raises(SchemeRefusedError) as caught:
        Call(wallet()).reply(offer(changed(scheme="upto\nERROR forged \x1b[2J" + "A" * 30_000)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_unpaid_402_without_offer() -> None:
    with pytest.raises(MalformedOfferError, match="asks for payment without an offer; nothing was signed"):
        Call(wallet()).reply(EXPIRED)


@pytest.mark.parametrize(
    "bad",
    [
        ReplyHead(402, [*offer().headers, *offer().headers]),
        ReplyHead(402, [(PAYMENT_REQUIRED, "?")]),
        offer(x402Version=1),
        offer("upto"),
        offer(changed(amount="1e17")),
        offer(changed(asset="0x")),
        offer(changed(payTo=None)),
        offer(changed(maxTimeoutSeconds=-1)),
        offer(changed(extra={"assetTransferMethod": "permit2"})),
    ],
)
def test_malformed_offer_is_never_signed(bad: ReplyHead) -> None:
    purse = wallet()
    with pytest.raises(MalformedOfferError):
        Call(purse).reply(bad)
    assert purse.sessions.budget.authorized() == 0


POLICIES: list[tuple[dict[str, Any], dict[str, Any], type[OfferRefusedError]]] = [
    ({}, {"scheme": "exact"}, SchemeRefusedError),
    ({}, {"network": "eip155:84532"}, NetworkRefusedError),
    ({}, {"asset": "0x240b09731D96979f50B2C649C9CE10FcF9C7987F"}, AssetRefusedError),
    ({"pay_to": [BASE.token]}, {}, PayeeRefusedError),
    ({"facilitators": [BASE.token]}, {}, PayeeRefusedError),
    ({"hosts": ["other.example"]}, {}, HostRefusedError),
    ({}, {"amount": str(5 * 10**18 + 1)}, BudgetExceededError),
    ({"max_per_authorization": "0.01"}, {}, BudgetExceededError),
    ({"total": "0.01"}, {}, BudgetExceededError),
    ({}, {"maxTimeoutSeconds": 3601}, OfferRefusedError),
]


@pytest.mark.parametrize(("policy", "members", "error"), POLICIES)
def test_offer_outside_the_policy_is_never_signed(
    policy: dict[str, Any], members: dict[str, Any], error: type[OfferRefusedError]
) -> None:
    """The budget is asked before the key; each rule has its own error."""
    purse = wallet(**policy)
    with pytest.raises(OfferRefusedError, match="Nothing was signed") as caught:
        Call(purse).reply(offer(changed(**members)))
    assert type(caught.value) is error
    assert purse.sessions.budget.authorized() == 0


def test_first_way_to_pay_that_the_policy_allows_is_taken() -> None:
    call = Call(wallet()).reply(offer(changed(amount="nonsense"), changed(scheme="exact"), REQUIREMENT)).sign()
    assert decode_header(call.payment)["accepted"] == REQUIREMENT


def test_first_refusal_is_told_if_no_way_is_allowed() -> None:
    with pytest.raises(SchemeRefusedError):
        Call(wallet()).reply(offer(changed(scheme="exact"), changed(network="eip155:1")))


def test_total_is_spent_by_renewals() -> None:
    """The third authorization of a wallet with a total for two is refused before it is signed."""
    now = [NOW]
    purse = wallet(clock=lambda: now[0], total="0.2")
    warm(purse)
    now[0] += 1000
    assert Call(purse).sign().reply(answer()).paid is not None
    now[0] += 1000
    with pytest.raises(BudgetExceededError, match=r"needs 0\.1 OPG, but 0\.2 of 0\.2 OPG"):
        Call(purse)


def test_remembered_offer_is_checked_again() -> None:
    """A grant is opened under the policy each time, not only when the offer came."""
    now = [NOW]
    purse = warm(wallet(clock=lambda: now[0]))
    now[0] += 200
    budget = purse.sessions.budget
    budget.policy = budget.policy.model_copy(update={"hosts": frozenset({"other.example"})})
    with pytest.raises(HostRefusedError):
        Call(purse)

"""What a call costs: reported by the gateway, estimated by the price list, or unknown; never one as the other."""

from decimal import Decimal

import pytest

from og_integrations import collect_receipts
from og_integrations._accounting import estimate
from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError
from og_integrations.ledger._totals import Totals
from og_integrations.receipt import Receipt
from tests.client.ways_to_ask import MODEL, user


@pytest.mark.parametrize(
    ("model", "tokens", "price", "usd", "opg"),
    [  # the first three are worked examples of a gateway
        ("openai/gpt-4.1", (1000, 100), "0.10", "0.0028", "28000000000000000"),
        ("gpt-5-mini", (10, 5), "0.10", "0.0000125", "125000000000000"),
        ("anthropic/claude-fable-5-1", (3000, 700), "0.0731", "0.065", "889192886456908345"),
        ("openai/gpt-4.1", (1000, 100), None, "0.0028", None),
    ],
)
def test_estimate_is_what_gateways_reckon(
    model: str, tokens: tuple[int, int], price: str | None, usd: str, opg: str | None
) -> None:
    found = estimate(model, *tokens, None if price is None else Decimal(price))
    assert found is not None
    assert (found.cost_usd, found.cost_opg) == (usd, opg)


@pytest.mark.parametrize("model", ["openai/gpt-99", "google/gemini-3.1-flash-image", "openai/gpt-image-2"])
def test_nothing_is_estimated_without_a_price_for_tokens(model: str) -> None:
    assert estimate(model, 10, 10, None) is None


def test_estimate_stands_where_the_gateway_says_nothing(
    net: Devnet, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OG_OPG_PRICE_USD", "0.05")
    with collect_receipts() as receipts:
        client.chat(MODEL, user("hi"))
    receipt = Receipt(receipts[0])
    assert receipt.cost is None
    assert receipt.estimate is not None
    assert receipt.usage is not None
    totals, spent = receipts.totals(), client.spent()
    assert (spent.reported_calls, spent.estimated_calls, spent.estimated) == (0, 1, totals.estimated)
    assert "cost estimated    " in str(spent)
    assert (totals.reported_calls, totals.estimated_calls) == (0, 1)
    assert totals.estimated == int(receipt.estimate.cost_opg or 0) > 0
    assert "US dollars as estimated by the price list" in dict(receipt.summary())["cost"]


def test_estimate_in_dollars_is_summed_without_a_price_of_opg(net: Devnet, client: Client) -> None:
    with collect_receipts() as receipts:
        for _ in range(3):
            client.chat(MODEL, user("hi"))
    totals, receipt = receipts.totals(), Receipt(receipts[0])
    assert receipt.estimate is not None
    assert (totals.estimated, totals.estimated_calls) == (0, 3)
    assert totals.estimated_usd == 3 * Decimal(receipt.estimate.cost_usd or 0) > 0
    told = str(totals).splitlines()[-1]
    assert told == f"cost estimated  {totals.estimated_usd.normalize():f} US dollars for 3 calls, by price list"
    assert "cost reported" not in str(totals)


@pytest.mark.parametrize("usd", ["NaN", "Infinity", "1e999999", "-1", "1" * 50, 0.5, None, ["1"]])
def test_estimate_that_is_no_amount_spoils_no_sum(usd: object) -> None:
    totals = Totals()
    for cost in (usd, "0.25"):
        totals.add({"estimate": {"cost_usd": cost}})
    assert (totals.estimated_usd, totals.estimated_calls) == (Decimal("0.25"), 1)


def test_reported_cost_leaves_no_room_for_an_estimate() -> None:
    with Devnet(generation="newest") as net, Client(private_key=net.private_key, network=net.network) as client:
        with collect_receipts() as receipts:
            client.chat("openai/gpt-4.1", user("hi"))
        charged, spent = net.stats().charged, client.spent()
    assert (spent.reported, spent.reported_calls, spent.estimated_calls) == (charged, 1, 0)
    assert "OPG for 1 answers of this process, not proven" in str(spent)
    receipt = Receipt(receipts[0])
    assert receipt.estimate is None
    assert (receipts.totals().reported, receipts.totals().reported_calls) == (charged, 1)


@pytest.mark.parametrize("price", ["cheap", "0", "-1", "NaN", "1e99"])
def test_price_that_is_none_is_told_before_anything_is_paid(
    net: Devnet, client: Client, monkeypatch: pytest.MonkeyPatch, price: str
) -> None:
    monkeypatch.setenv("OG_OPG_PRICE_USD", price)
    before = net.stats().requests
    with pytest.raises(ConfigurationError, match=r"OG_OPG_PRICE_USD is .*, expected US dollars for one OPG"):
        client.chat(MODEL, user("hi"))
    assert net.stats().requests == before

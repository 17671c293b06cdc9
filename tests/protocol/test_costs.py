"""What a gateway says an answer cost: kept as said, checked against itself, and signed by nobody."""

import json
from pathlib import Path
from typing import Any

import pytest

from og_integrations.protocol.chat._answers import parse_completion
from og_integrations.protocol.chat._wire import CHAT_PATH, ReportedCost
from og_integrations.receipt import Receipt, ReceiptCost

WORKED: list[dict[str, Any]] = json.loads((Path(__file__).parent.parent / "vectors/generations.json").read_text())[
    "costs"
]


@pytest.mark.parametrize("worked", WORKED, ids=range(len(WORKED)))
def test_honest_costs_agree_with_themselves(worked: dict[str, Any]) -> None:
    assert ReportedCost(worked["cost_opg"], worked["cost_usd"], worked["opg_price_usd"]).contradiction is None


def test_cost_that_contradicts_itself_is_told() -> None:
    told = ReportedCost("1000000000000000", "5.0", "0.1").contradiction
    assert told == "1000000000000000 base units at 0.1 USD per OPG are not 5.0 USD"


def answered(block: object) -> ReportedCost | None:
    choice = {"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return parse_completion(CHAT_PATH, json.dumps({"model": "m", "choices": [choice], "opengradient": block})).cost


@pytest.mark.parametrize(
    "block",
    [
        None,
        [],
        {},
        {"cost_opg": 5, "cost_usd": "1", "opg_price_usd": "1"},
        {"cost_opg": "1.5", "cost_usd": "1", "opg_price_usd": "1"},
        {"cost_opg": "-5", "cost_usd": "1", "opg_price_usd": "1"},
        {"cost_opg": "1" * 60, "cost_usd": "1", "opg_price_usd": "1"},
        {"cost_opg": "5", "cost_usd": "NaN", "opg_price_usd": "1"},
        {"cost_opg": "\u0665", "cost_usd": "1", "opg_price_usd": "1"},
    ],
)
def test_what_is_no_cost_is_left_out(block: object) -> None:
    """It is not signed, so it fails no answer that was paid."""
    assert answered(block) is None


def test_receipt_shows_it_as_reported() -> None:
    cost = ReceiptCost(cost_opg="2500000000000000", cost_usd="0.00025", opg_price_usd="0.1")
    assert dict(Receipt(cost=cost).summary())["cost"] == "0.0025 OPG as reported by the gateway, not signed"
    read = Receipt(Receipt(cost=cost).to_json())
    assert read.cost == cost
    assert read.cost.base_units == 2500000000000000
    assert ReceiptCost(cost_opg="five").base_units is None

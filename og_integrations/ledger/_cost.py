"""
What a call costs, in three words that are never mixed up.

| word | who says it | how far it can be believed |
| --- | --- | --- |
| reported | the gateway, in the receipt's `cost` | not signed; nobody checks it |
| estimated | this module: token counts by the price list | neither counts nor prices are signed, and prices change |
| settled | the chain, for a whole payment | what was really taken; one payment serves many calls |

Above all of them stands what was *authorized*: no more can be taken. Budgets count that, and never the first two.
"""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from og_integrations.models import wire_name
from og_integrations.networks import OPG
from og_integrations.protocol._strict_json import JsonObject

PRICES_AS_OF = "2026-09"
_MILLION = 1_000_000
USD_PER_MILLION: Mapping[str, tuple[str, str]] = {
    "gpt-4.1": ("2", "8"),
    "gpt-4.1-2025-04-14": ("2", "8"),
    "gpt-4.1-mini": ("0.4", "1.6"),
    "gpt-4.1-mini-2025-04-14": ("0.4", "1.6"),
    "gpt-4.1-nano": ("0.1", "0.4"),
    "gpt-4.1-nano-2025-04-14": ("0.1", "0.4"),
    "o3": ("10", "40"),
    "o3-2025-04-16": ("10", "40"),
    "o4-mini": ("1.1", "4.4"),
    "gpt-5": ("1.25", "10"),
    "gpt-5-mini": ("0.25", "2"),
    "gpt-5.2": ("1.75", "14"),
    "gpt-5.4": ("2.5", "15"),
    "gpt-5.4-mini": ("0.75", "4.5"),
    "gpt-5.4-nano": ("0.2", "1.25"),
    "gpt-5.5": ("5", "30"),
    "gpt-5.6-sol": ("5", "30"),
    "gpt-5.6": ("5", "30"),
    "gpt-5.6-terra": ("2.5", "15"),
    "gpt-5.6-luna": ("1", "6"),
    "gpt-6-astra": ("10", "50"),
    "claude-sonnet-4-5": ("3", "15"),
    "claude-sonnet-4-6": ("3", "15"),
    "claude-sonnet-5": ("3", "15"),
    "claude-haiku-4-5": ("1", "5"),
    "claude-opus-4-5": ("5", "25"),
    "claude-opus-4-6": ("5", "25"),
    "claude-opus-4-7": ("5", "25"),
    "claude-opus-4-8": ("5", "25"),
    "claude-opus-5": ("5", "25"),
    "claude-fable-5": ("10", "50"),
    "claude-fable-5-1": ("10", "50"),
    "claude-fable-5.1": ("10", "50"),
    "gemini-2.5-flash": ("0.3", "2.5"),
    "gemini-2.5-pro": ("1.25", "10"),
    "gemini-2.5-flash-lite": ("0.1", "0.4"),
    "gemini-3-flash-preview": ("0.5", "3"),
    "gemini-3.1-pro-preview": ("2", "12"),
    "gemini-3.5-flash": ("1.5", "9"),
    "gemini-3.5-flash-lite": ("0.3", "2.5"),
    "gemini-3.6-flash": ("1.5", "7.5"),
    "gemini-3.7-flash": ("0.75", "3.75"),
    "gemini-3.8-flash": ("0.75", "3.75"),
    "grok-4.6": ("2", "6"),
    "grok-4.5": ("2", "6"),
    "grok-4.5-latest": ("2", "6"),
    "grok-4.3": ("1.25", "2.5"),
    "grok-4.20-reasoning": ("2", "6"),
    "grok-4.20-non-reasoning": ("2", "6"),
    "grok-4": ("3", "15"),
    "grok-4-fast": ("0.2", "0.5"),
    "grok-4-1-fast": ("0.2", "0.5"),
    "grok-4.1-fast": ("0.2", "0.5"),
    "grok-4-1-fast-non-reasoning": ("0.2", "0.5"),
    "grok-3": ("3", "15"),
    "grok-3-beta": ("3", "15"),
    "grok-3-mini": ("0.3", "0.5"),
    "grok-3-mini-beta": ("0.3", "0.5"),
    "grok-code-fast-1": ("0.2", "1.5"),
    "seed-1.6": ("0.8", "8"),
    "seed-1-6-250615": ("0.8", "8"),
    "seed-1.8": ("0.8", "8"),
    "seed-1-8-251228": ("0.8", "8"),
    "seed-2.0-lite": ("0.4", "1.6"),
    "seed-2-0-lite-260228": ("0.4", "1.6"),
    "dola-seed-2.0-mini": ("0.1", "0.4"),
    "dola-seed-2-0-mini": ("0.1", "0.4"),
    "deepseek-v4-flash": ("0.14", "0.28"),
    "deepseek-v4-flash-260425": ("0.14", "0.28"),
    "deepseek-v4-pro": ("1.74", "3.48"),
    "deepseek-v4-pro-260425": ("1.74", "3.48"),
    "glm-5.2": ("1.4", "4.4"),
    "hermes-4-405b": ("1", "3"),
    "nousresearch/hermes-4-405b": ("1", "3"),
    "hermes-4-70b": ("0.13", "0.4"),
    "nousresearch/hermes-4-70b": ("0.13", "0.4"),
    "hy3": ("0.0825", "0.33"),
    "tencent/hy3": ("0.0825", "0.33"),
    "tencent/hy3:floor": ("0.0825", "0.33"),
    "claude-sonnet-4-0": ("3", "15"),
    "claude-4.0-sonnet": ("3", "15"),
    "gemini-3-pro-preview": ("2", "12"),
}
"""Model, as gateways name it -> US dollars for a million tokens in, and out (as of `PRICES_AS_OF`)."""
MOST_BASE_UNITS = 2**128
"""More OPG than there is: a gateway that reports more reports nothing."""


def reported_cost(receipt: Mapping[str, Any]) -> int | None:
    """Return what the gateway said the call cost, in base units of OPG; None where it said nothing readable."""
    cost = receipt.get("cost")
    said = cost.get("cost_opg") if isinstance(cost, dict) else None
    if isinstance(said, str) and said.isascii() and said.isdecimal() and len(said) <= len(str(MOST_BASE_UNITS)):
        return int(said)
    return None


def estimated_cost(receipt: Mapping[str, Any]) -> int | None:
    """Return what the receipt's `estimate` comes to, in base units of OPG; None without one in OPG."""
    estimate = receipt.get("estimate")
    said = estimate.get("opg") if isinstance(estimate, dict) else None
    return int(said) if isinstance(said, str) and said.isascii() and said.isdecimal() and len(said) < 40 else None


def opg_price(cost: object) -> str | None:
    """Return the price of one OPG in US dollars that a gateway's `cost` block names, None without a usable one."""
    said = cost.get("opg_price_usd") if isinstance(cost, dict) else None
    if not isinstance(said, str) or len(said) > 40:
        return None
    try:
        price = Decimal(said)
    except InvalidOperation:
        return None
    return said if price.is_finite() and price > 0 else None


def estimate(model: str, tokens_in: int, tokens_out: int, opg_price_usd: str | None) -> JsonObject | None:
    """
    Return an estimate for an answer, None for a model that is not in the list.

    `usd` is exact for the list's prices; `opg` (base units, rounded up as gateways do) needs `opg_price_usd`, US
    dollars for one OPG, and is None without it.
    """
    prices = USD_PER_MILLION.get(wire_name(model))
    if prices is None or not 0 <= tokens_in < 2**53 or not 0 <= tokens_out < 2**53:
        return None
    usd = (tokens_in * Decimal(prices[0]) + tokens_out * Decimal(prices[1])) / _MILLION
    opg = None
    if opg_price_usd is not None:
        opg = str(int((usd / Decimal(opg_price_usd) * OPG).to_integral_value(rounding=ROUND_CEILING)))
    return {"usd": format(usd, "f"), "opg": opg, "opg_price_usd": opg_price_usd, "prices": PRICES_AS_OF}

"""The devnet's gateways list some models, at a price per token."""

from og_integrations.devnet.model import Family
from og_integrations.models import TEE_LLM, wire_name
from og_integrations.protocol.chat.wire import Usage

_FAMILIES = {member.value: member for member in Family}
_LISTED = {wire_name(member): _FAMILIES.get(member.value.partition("/")[0], Family.OPENAI) for member in TEE_LLM}
_PRICES = {
    Family.OPENAI: (2_500_000_000_000, 20_000_000_000_000),
    Family.ANTHROPIC: (10_000_000_000_000, 50_000_000_000_000),
    Family.GOOGLE: (3_000_000_000_000, 25_000_000_000_000),
    Family.XAI: (2_000_000_000_000, 5_000_000_000_000),
}
"""Base units of OPG per prompt token and per completion token: list prices of small models, with OPG
at 0.10 dollars as in the captures. Made up, but of the right size against the cap of 0.1 OPG."""


def family_of(model: str) -> Family | None:
    """Return who makes `model` (a bare name), None if the gateway does not list it."""
    return _LISTED.get(model)


def any_family(model: str) -> Family:
    """Return who makes `model`, or OpenAI for any name the gateway does not list: local servers have their own."""
    return _LISTED.get(model, Family.OPENAI)


def cost_of(family: Family, usage: Usage) -> int:
    """Return the price of one answer in base units."""
    prompt, completion = _PRICES[family]
    return prompt * usage.prompt_tokens + completion * usage.completion_tokens

"""
OpenAI's clients and Agents SDK with what is attested, paid and provable.

| file | what is in it |
| --- | --- |
| `_onchain_tools` | models and workflows on chain as tools |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.openai._onchain_tools import call_onchain_tool, onchain_tool, onchain_tool_schema

__all__ = ["call_onchain_tool", "onchain_tool", "onchain_tool_schema"]

_HOMES = dict.fromkeys(__all__, "og_integrations.openai._onchain_tools")

if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""
The options of one call: which there are, and which would be paid for without any effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from og_integrations.client import CallOptions, ChatOptions
from og_integrations.errors import InvalidRequestError
from og_integrations.llama_index.tools import wire_tool, wire_tool_choice

_CALL = ("temperature", "max_tokens", "stop", "settlement_mode", "x402_settlement_mode", "timeout")
_ALIASES = {"x402_settlement_mode": "settlement_mode"}
_CHAT = (*_CALL, "tools", "tool_choice", "response_format", "parallel_tool_calls")
_WITHOUT_EFFECT = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "n",
    "presence_penalty",
    "reasoning_effort",
    "seed",
    "top_logprobs",
    "top_p",
    "user",
)


@dataclass(frozen=True, slots=True)
class ChatParams:
    """One chat call's options for the client; with `one_call` only the first tool call is shown."""

    options: ChatOptions
    one_call: bool


def chat_params(defaults: Mapping[str, Any], given: Mapping[str, Any], *, strict: bool) -> ChatParams:
    """Return the options of a chat call; `given` win. Raises `InvalidRequestError` for others."""
    options = _chosen(defaults, given, _CHAT)
    parallel = options.pop("parallel_tool_calls", True)
    options["tools"] = [wire_tool(tool, strict=strict) for tool in options.get("tools") or ()]
    options["tool_choice"] = wire_tool_choice(options.get("tool_choice"), options["tools"])
    return ChatParams(cast(ChatOptions, options), one_call=not parallel)


def completion_options(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> CallOptions:
    """Return the options of a call of the completions endpoint. Raises `InvalidRequestError` for others."""
    return cast(CallOptions, _chosen(defaults, given, _CALL))


def _chosen(defaults: Mapping[str, Any], given: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    # LlamaIndex passes None for what was not asked for.
    asked = {name: value for name, value in given.items() if value is not None and not _is_hint(name, value)}
    for name in (defaults.keys() | asked.keys()) - set(known):
        raise InvalidRequestError(_complaint(name, known))
    return _one_name(defaults) | _one_name(asked)


def _is_hint(name: str, value: Any) -> bool:
    # `DocumentContextExtractor` has one for Anthropic's cache in every call, and takes an error for "no context".
    # Other headers would turn something on, and without effect.
    return (
        name == "extra_headers"
        and isinstance(value, Mapping)
        and value.keys() == {"anthropic-beta"}
        and str(value["anthropic-beta"]).startswith("prompt-caching-")
    )


def _one_name(options: Mapping[str, Any]) -> dict[str, Any]:
    # Before they are merged: a default under one name would win over the call's own under the other.
    return {_ALIASES.get(name, name): value for name, value in options.items()}


def _complaint(name: str, known: tuple[str, ...]) -> str:
    if name == "model":
        return "Another model is a copy, which spends from the same budget: llm.model_copy(update={'model': …})."
    if name in _WITHOUT_EFFECT:
        return f"The gateway does not pass {name!r} on to the model: it would be paid for without effect. Leave it out."
    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Expected one of {', '.join(sorted(known))}."
    return f"{name!r} is not an option of this call. {hint}"

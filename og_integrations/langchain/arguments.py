"""Names of parameters: which are ours, which mean the same, which the gateway ignores."""

import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from langchain_core.load.serializable import Serializable

from og_integrations.errors import ConfigurationError, InvalidRequestError

RENAMED = {
    "api_key": "private_key",
    "max_completion_tokens": "max_tokens",
    "request_timeout": "timeout",
    "stop_sequences": "stop",
    "x402_settlement_mode": "settlement_mode",
}
"""Other names for parameters, from `ChatOpenAI` and the published client; ours wins in error messages."""

IGNORED_BY_GATEWAY = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning",
        "reasoning_effort",
        "seed",
        "service_tier",
        "store",
        "top_k",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
        "verbosity",
    }
)
_HARMLESS: dict[str, object] = {"n": 1, "parallel_tool_calls": True, "logprobs": False, "store": False}
"""Values that ask for what happens anyway."""
_OF_REQUEST = frozenset(
    {
        "max_tokens",
        "messages",
        "model",
        "response_format",
        "stop",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
    }
)
_MEANT = {
    "base_url": "gateway_url",
    "llm_server_url": "gateway_url",
    "model_cid": "model",
    "openai_api_base": "gateway_url",
    "openai_api_key": "private_key",
}
_warned: set[str] = set()


def known_arguments(cls: type[Serializable], values: dict[str, Any]) -> dict[str, Any]:
    """
    Return `values` under our names, without what the gateway ignores (warned of, once each).

    Raises `ConfigurationError` for a name that is neither, with the closest one that is.
    """
    names = {field.alias or name for name, field in cls.model_fields.items()} | cls.model_fields.keys()
    renamed = {name: to for name, to in RENAMED.items() if to in names}
    for other in renamed.keys() & values.keys():
        if values.get(renamed[other]) is not None:
            raise ConfigurationError(f"Both {renamed[other]} and {other} were given, which mean the same; give one.")
        values[renamed[other]] = values.pop(other)
    for name in values.keys() - names:
        if name not in IGNORED_BY_GATEWAY:
            raise ConfigurationError(f"{cls.__name__} has no parameter {name!r}.{closest(name, names)}")
        warn_ignored(name, values.pop(name))
    return values


def check_extra(extra: Mapping[str, Any]) -> None:
    """
    Raise `InvalidRequestError` if `model_kwargs` holds what has a parameter of its own.

    Sent past the client, tools and stop sequences would be neither translated nor applied.
    """
    taken = sorted(extra.keys() & _OF_REQUEST)
    if taken:
        raise InvalidRequestError(f"model_kwargs holds {', '.join(taken)}: give that as a parameter of its own.")


def closest(name: str, names: "set[str] | frozenset[str]") -> str:
    """Return the hint that names the parameter most like `name`, "" if none is."""
    meant = _MEANT.get(name)
    found = [meant] if meant in names else get_close_matches(name, sorted(names), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def warn_ignored(name: str, value: object) -> None:
    """Say once per process that the gateway does nothing with `name`."""
    if value is None or _HARMLESS.get(name) == value or name in _warned:
        return
    _warned.add(name)
    warnings.warn(f"{name} is ignored by the gateway, so it is not sent.", UserWarning, stacklevel=5)

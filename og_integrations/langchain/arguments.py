"""Names of parameters: which are ours, which mean the same, which the gateway ignores."""

import inspect
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from langchain_core.load.serializable import Serializable

from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.langchain.options import OwnOptions
from og_integrations.models import model_info

_RENAMED = {
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
_OF_CONSTRUCTOR = OwnOptions.__annotations__.keys() | _MEANT.keys()
"""What `model_kwargs` may not hold: it would be sent, and some of it is secret."""
_PASSED_THROUGH = frozenset(
    {"asyncio", "concurrent", "langchain", "langchain_core", "langgraph", "og_integrations", "pydantic"}
)
"""Packages in whose frames nobody looks for the cause of a warning."""
_warned: set[str] = set()


def known_arguments(cls: type[Serializable], values: dict[str, Any]) -> dict[str, Any]:
    """
    Return `values` under our names, without what the gateway ignores (warned of, once each).

    Raises `ConfigurationError` for a name that is neither, with the closest one that is.
    """
    names = {field.alias or name for name, field in cls.model_fields.items()} | cls.model_fields.keys()
    renamed = {name: to for name, to in _RENAMED.items() if to in names}
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

    Sent past the client, tools and stop sequences would be neither translated nor applied, and a key
    would be shown to the gateway.
    """
    taken = sorted(extra.keys() & (_OF_REQUEST | _OF_CONSTRUCTOR))
    if taken:
        raise InvalidRequestError(f"model_kwargs holds {', '.join(taken)}: give that as a parameter of its own.")
    for name in extra.keys() & IGNORED_BY_GATEWAY:
        warn_ignored(name, extra[name], ", though model_kwargs sends it")


def under_our_names(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call under the names that they have here."""
    return {_RENAMED.get(name, name): value for name, value in arguments.items()}


def named_model(arguments: Mapping[str, Any], default: str) -> Any:
    """Return the model that a call asks, by whichever name its `arguments` have it; unchecked."""
    return arguments.get("model") or arguments.get("model_name") or default


def closest(name: str, names: "set[str] | frozenset[str]") -> str:
    """Return the hint that names the parameter most like `name`, "" if none is."""
    meant = {"extra_body": "model_kwargs", **_MEANT}.get(name)
    found = [meant] if meant in names else get_close_matches(name, sorted(names), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def call_hint(name: str, known: set[str]) -> str:
    """Return what to do with an argument of a call that is not `known` there."""
    if name in _OF_CONSTRUCTOR:
        return f" Give {_RENAMED.get(name) or _MEANT.get(name) or name} to the constructor."
    passed_on = " What shall be sent as it is goes into model_kwargs." if "model_kwargs" in known else ""
    return closest(name, known) + passed_on


def warn_temperature(model: str, temperature: float | None) -> None:
    """Say once per process that the gateway does not hand `temperature` on to `model`."""
    if not model_info(model).temperature:
        warn_ignored("temperature", temperature, f" for {model}")


def warn_ignored(name: str, value: object, how: str = ", so it is not sent") -> None:
    """Say once per process, at the user's line, that the gateway does nothing with `name`."""
    if value is None or _HARMLESS.get(name) == value or name in _warned:
        return
    _warned.add(name)
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_THROUGH:
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{name} is ignored by the gateway{how}.", UserWarning, stacklevel=level)

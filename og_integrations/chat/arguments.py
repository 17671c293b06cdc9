"""Arguments of models and of their calls: names of ours and of others, and what gateways ignore."""

import inspect
import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, cast

from og_integrations.client._options import ALIASES, CONSTRUCTOR_ONLY, CallOptions, hint, own_name, under_own_names
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.models import model_info, model_name

if TYPE_CHECKING:
    from pydantic import BaseModel

    from og_integrations.chat.model import OpenGradientModel

IGNORED: Mapping[str, tuple[object, ...]] = {
    "effort": (),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "n": (1,),
    "presence_penalty": (0,),
    "prompt_cache_key": (),
    "reasoning": (),
    "reasoning_effort": (),
    "seed": (),
    "service_tier": (),
    "store": (False,),
    "thinking": (),
    "top_k": (),
    "top_logprobs": (0,),
    "top_p": (1,),
    "truncation": (),
    "user": (),
    "verbosity": (),
}
"""What gateways hash but hand on to no model (PROTOCOL §2), and the values of it that ask for what happens anyway."""
SAMPLING = ("temperature", "max_tokens", "timeout", "settlement_mode")
"""Options of a call whose default is the model's field."""
_PASSED_THROUGH = frozenset(
    {
        "asyncio",
        "concurrent",
        "langchain",
        "langchain_core",
        "langgraph",
        "llama_index",
        "llama_index_instrumentation",
        "og_integrations",
        "pydantic",
        "wrapt",
    }
)
"""Packages in whose frames nobody looks for the cause of a warning."""
_warned: set[str] = set()


def constructor_arguments(cls: "type[BaseModel]", values: Mapping[str, object]) -> dict[str, object]:
    """
    Return `values` under the names of `cls`, without what gateways ignore (warned of, once each).

    Raises `ConfigurationError` for a name that is neither, with the one that it stands for or resembles.
    """
    names = {field.alias or name for name, field in cls.model_fields.items()} | cls.model_fields.keys()
    arguments = under_own_names(values)
    for name in arguments.keys() - names:
        if name not in IGNORED:
            raise ConfigurationError(f"{cls.__name__} has no parameter {name!r}.{hint(name, names | ALIASES.keys())}")
        warn_ignored(name, arguments.pop(name))
    return arguments


def call_arguments(given: Mapping[str, object], known: Collection[str]) -> dict[str, object]:
    """
    Return the arguments of a call under our names, without what gateways ignore (warned of, once each).

    Raises `InvalidRequestError` for a name that is not among `known`.
    """
    if not given:
        return {}
    arguments = {ALIASES.get(name, name): value for name, value in given.items()}
    for name in arguments.keys() - known:
        if name not in IGNORED:
            raise InvalidRequestError(f"{name!r} is not a parameter of a call.{_call_hint(name, known)}")
        warn_ignored(name, arguments.pop(name))
    return arguments


def call_options(
    model: "OpenGradientModel", name: str, arguments: Mapping[str, object], stop: object = None
) -> CallOptions:
    """
    Return the options that every call of `model`, asking the one of this `name`, has: its own `arguments` win.

    Raises `InvalidRequestError` for a `timeout` that is no number.
    """
    options = {key: found for key in SAMPLING if (found := _chosen(model, key, arguments)) is not None}
    if found := stop or arguments.get("stop") or model.stop:
        options["stop"] = found
    if not isinstance(options.get("timeout"), int | float | None):
        raise InvalidRequestError(
            f"timeout is a {type(options['timeout']).__name__}, expected seconds as one number: the longest wait for "
            "each piece of an answer."
        )
    temperature = options.get("temperature")
    if not model_info(name).temperature and temperature != type(model).model_fields["temperature"].default:
        warn_ignored("temperature", temperature, f" for {name}")
    return cast("CallOptions", options)


def named_model(arguments: Mapping[str, object], default: str) -> str:
    """Return the model that a call asks, by whichever name its `arguments` have it. Raises `ConfigurationError`."""
    named = arguments.get("model") or arguments.get("model_name")
    return model_name(cast("str", named)) if named else default


def check_extra(extra: Mapping[str, object]) -> None:
    """
    Raise `InvalidRequestError` if members that are sent as they are have parameters of their own.

    Sent past the client, tools and stop sequences would be neither translated nor applied, and a key
    would be shown to the gateway.
    """
    taken = sorted(extra.keys() & (_OF_REQUEST | CONSTRUCTOR_ONLY))
    if taken:
        raise InvalidRequestError(f"model_kwargs holds {', '.join(taken)}: give that as a parameter of its own.")
    for name in extra.keys() & IGNORED.keys():
        warn_ignored(name, extra[name], ", though model_kwargs sends it")


def warn_ignored(name: str, value: object, how: str = ", so it is not sent") -> None:
    """Say once per process, at the user's line, that gateways do nothing with `name`, unless nothing is asked for."""
    if value is None or name in _warned or value in IGNORED.get(name, ()):
        return
    _warned.add(name)
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_THROUGH:
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{name} is ignored by the gateway{how}.", UserWarning, stacklevel=level)


_OF_REQUEST = frozenset(
    {
        "max_tokens",
        "messages",
        "model",
        "parallel_tool_calls",
        "response_format",
        "stop",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
    }
)


def _chosen(model: "OpenGradientModel", name: str, arguments: Mapping[str, object]) -> object:
    own = arguments.get(name)
    return getattr(model, name) if own is None else own


def _call_hint(name: str, known: Collection[str]) -> str:
    if name in CONSTRUCTOR_ONLY:
        return f" Give {own_name(name)} to the constructor."
    passed_on = " What shall be sent as it is goes into model_kwargs." if "model_kwargs" in known else ""
    return hint(name, known) + passed_on

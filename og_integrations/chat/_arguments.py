"""This module reads arguments of models and of their calls: names of ours and of others, and what gateways ignore."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, cast

from og_integrations._warnings import warn_once
from og_integrations.client._options import (
    ALIASES,
    CONSTRUCTOR_ONLY,
    CallOptions,
    ChatOptions,
    SharedOptions,
    hint,
    own_name,
    under_own_names,
)
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.models import model_name

if TYPE_CHECKING:
    from pydantic import BaseModel

OF_A_CALL = frozenset(CallOptions.__annotations__.keys() - ALIASES.keys())
"""What a call of either endpoint can ask for, under our names."""
OF_A_CHAT = frozenset(ChatOptions.__annotations__.keys() - ALIASES.keys() - {"extra"})
"""What a chat can ask for; further members of the request have other names in each adapter."""
_IN_THE_REQUEST = (OF_A_CHAT - SharedOptions.__annotations__.keys()) | {"messages", "model", "stream"}
"""What the body of a request holds under the names that it has here."""
IGNORED: Mapping[str, tuple[object, ...]] = {
    "effort": (),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "n": (1,),
    "presence_penalty": (0,),
    "prompt_cache_key": (),
    "reasoning": (),
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
"""Options that reach no model (docs/protocol.md §2), each with the values that ask for what happens anyway."""


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
    taken = sorted(extra.keys() & (_IN_THE_REQUEST | CONSTRUCTOR_ONLY))
    if taken:
        raise InvalidRequestError(
            f"model_kwargs holds {', '.join(taken)}: give that as a parameter of its own, of the model or of the call."
        )
    for name in extra.keys() & IGNORED.keys():
        warn_ignored(name, extra[name], ", though model_kwargs sends it")


def warn_ignored(name: str, value: object, how: str = ", so it is not sent") -> None:
    """Say once per process, at the user's line, that gateways do nothing with `name`, unless nothing is asked for."""
    if value is None or value in IGNORED.get(name, ()):
        return
    warn_once(name, f"{name} is ignored by the gateway{how}.")


def _call_hint(name: str, known: Collection[str]) -> str:
    if name in CONSTRUCTOR_ONLY:
        return f" Give {own_name(name)} to the constructor."
    passed_on = " What shall be sent as it is goes into model_kwargs." if "model_kwargs" in known else ""
    return (hint(name, known) or f" Expected one of {', '.join(sorted(known))}.") + passed_on

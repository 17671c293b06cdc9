"""What one call asks for: the model's settings, overridden by the arguments of the call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage

from og_integrations.errors import InvalidRequestError
from og_integrations.langchain.arguments import (
    IGNORED_BY_GATEWAY,
    call_hint,
    check_extra,
    named_model,
    under_our_names,
    warn_ignored,
    warn_temperature,
)
from og_integrations.langchain.messages import to_wire
from og_integrations.langchain.structured import response_format
from og_integrations.langchain.tools import wire_tool_choice, wire_tools
from og_integrations.models import model_name

if TYPE_CHECKING:
    from og_integrations.langchain.params import ModelParams

_SAMPLING = ("temperature", "max_tokens", "timeout", "settlement_mode")
_CHAT = ("tools", "tool_choice", "strict", "response_format", "model_kwargs")
_OF_LANGCHAIN = ("stream", "stream_usage", "stream_options")
"""Arguments that choose between LangChain's own paths, and say nothing to the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """One chat call, ready for the client: its messages and options are in wire form."""

    model: str
    messages: list[dict[str, Any]]
    options: dict[str, Any]
    stream_usage: bool


def chat_call(
    model: "ModelParams",
    messages: Sequence[BaseMessage],
    stop: list[str] | None,
    arguments: dict[str, Any],
    *,
    model_kwargs: dict[str, Any],
    stream_usage: bool,
) -> ChatCall:
    """
    Return the call that `arguments` ask for; `model_kwargs` and `stream_usage` are the model's own.

    Raises `InvalidRequestError` for an argument that is not known.
    """
    name, given, options = _common(model, stop, arguments, (*_CHAT, *_OF_LANGCHAIN))
    tools = wire_tools(given.get("tools") or (), strict=given.get("strict"))
    options |= {"tools": tools or None, "tool_choice": wire_tool_choice(given.get("tool_choice"), tools)}
    if given.get("response_format") is not None:
        options["response_format"] = response_format(given["response_format"], strict=given.get("strict"))
    if extra := {**model_kwargs, **(given.get("model_kwargs") or {})}:
        check_extra(extra)
        options["extra"] = extra
    return ChatCall(
        model=name,
        messages=to_wire(messages, model=name, generation=model.gateway_generation),
        options={key: value for key, value in options.items() if value is not None},
        stream_usage=_stream_usage(given, stream_usage),
    )


def completion_options(
    model: "ModelParams", stop: list[str] | None, arguments: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return model and options of a completion. Raises `InvalidRequestError` for an unknown argument."""
    name, _, options = _common(model, stop, arguments, _OF_LANGCHAIN)
    return name, {key: value for key, value in options.items() if value is not None}


def _common(
    model: "ModelParams", stop: list[str] | None, arguments: dict[str, Any], further: tuple[str, ...]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the model's name, all arguments under our names, and the options of any call."""
    given = under_our_names(arguments)
    known = {*_SAMPLING, *further, "model", "model_name", "stop"}
    for unknown in given.keys() - known:
        if unknown not in IGNORED_BY_GATEWAY:
            raise InvalidRequestError(f"{unknown!r} is not a parameter of a call.{call_hint(unknown, known)}")
        warn_ignored(unknown, given[unknown])
    name = model_name(named_model(given, model.model_name))
    options = {key: given[key] if given.get(key) is not None else getattr(model, key) for key in _SAMPLING}
    options["stop"] = stop or given.get("stop") or model.stop
    if not isinstance(options["timeout"], int | float | None):
        raise InvalidRequestError(
            f"timeout is a {type(options['timeout']).__name__}, expected seconds as one number: the longest wait for "
            "each piece of an answer."
        )
    warn_temperature(name, options["temperature"])
    return name, given, options


def _stream_usage(given: dict[str, Any], default: bool) -> bool:
    if given.get("stream_usage") is not None:
        return bool(given["stream_usage"])
    return bool((given.get("stream_options") or {}).get("include_usage", default))

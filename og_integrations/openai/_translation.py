"""
OpenAI's chat completions and completions on one side, our calls and answers on the other.

`Wish.of` reads a request, `completion_of` and `Chunks` write an answer, `error_of` writes an error. The transport
below the openai package and the server of `og-integrations serve` both speak through this file, so that a program
sees the same through either door.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from og_integrations.chat._arguments import OF_A_CALL, OF_A_CHAT, call_arguments, warn_ignored
from og_integrations.chat._requests import wire_format, wire_tool_choice
from og_integrations.client import Answer
from og_integrations.errors import (
    BudgetBusyError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    GatewayError,
    InvalidRequestError,
    OpenGradientError,
    PaymentError,
    PaymentInDoubtError,
    ReadTimeoutError,
)
from og_integrations.models import MODELS, model_name
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.protocol.chat._schemas import demanded_strict_schema
from og_integrations.protocol.chat._wire import Usage
from og_integrations.receipt import RECEIPT_KEY

if TYPE_CHECKING:
    from og_integrations.client import CallOptions, ChatOptions

CHAT, TEXT = "/chat/completions", "/completions"
# What is published about a call is for whoever pays to say, and not for whoever may send a request.
_OPTIONS = {CHAT: OF_A_CHAT - {"settlement_mode"}, TEXT: OF_A_CALL - {"settlement_mode"}}
_BESIDE = {CHAT: frozenset({"messages"}), TEXT: frozenset({"prompt"})}
_KNOWN = {path: _OPTIONS[path] | _BESIDE[path] | {"model", "stream", "stream_options"} for path in (CHAT, TEXT)}
_NEUTRAL = {"metadata": ({},), "modalities": (["text"],), "echo": (False,), "best_of": (1,), "suffix": ("",)}
"""Members that ask for what happens anyway, by their values; any other value is refused."""
_STATUS = (
    (ReadTimeoutError, 504),
    (PaymentInDoubtError, 502),
    (BudgetBusyError, 503),
    (InvalidRequestError, 400),
    (ConfigurationError, 400),
    (PaymentError, 402),
    (DiscoveryError, 503),
    (ConnectionFailedError, 503),
    (ConnectionLostError, 503),
)
"""Which status an error has for a client of HTTP, the first that fits; every other error has 502."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """
    A wish is one request of an OpenAI client, as our clients take it.

    `options` are those of `Client.chat` (or `complete`, if there is a `prompt`); `streamed` says whether chunks are
    wanted, `usage` whether the last of them tells the token counts.
    """

    model: str
    messages: Sequence[JsonObject] = field(default=(), repr=False)
    prompt: str | None = field(default=None, repr=False)
    options: "ChatOptions" = field(repr=False)
    streamed: bool = False
    usage: bool = False

    @property
    def call_options(self) -> "CallOptions":
        """Return the options of a completion, which has none of a chat's."""
        return cast("CallOptions", self.options)

    @classmethod
    def of(cls, path: str, body: bytes) -> "Wish":
        """
        Return what the JSON `body` of a POST to `path` (`CHAT` or `TEXT`) asks for.

        Raises `InvalidRequestError` for a body that is not a JSON object, and for a member that would not reach the
        model or is not known.
        """
        given = _members(path, body)
        named = given.get("model")
        if not isinstance(named, str):
            raise InvalidRequestError(f"model is {named!r:.60}, expected a name such as 'openai/gpt-5.2'.")
        details = given.get("stream_options") or {}
        if given.get("reasoning_effort") in ("none", "minimal"):
            # The Agents SDK says so by itself for some models, and no gateway knows the words.
            warn_ignored("reasoning_effort", given.pop("reasoning_effort"))
        usage = bool(isinstance(details, Mapping) and details.get("include_usage"))
        streamed = given.get("stream") is True
        options: JsonObject = {name: value for name, value in given.items() if name in _OPTIONS[path]}
        if path == TEXT:
            return cls(
                model=model_name(named),
                prompt=_prompt(given.get("prompt")),
                options=cast("ChatOptions", options),
                streamed=streamed,
                usage=usage,
            )
        if options.get("tools"):
            options["tools"] = [_tool(tool, place) for place, tool in enumerate(_listed(options["tools"], "tools"))]
        if "tool_choice" in options:
            options["tool_choice"] = wire_tool_choice(options["tool_choice"], options.get("tools") or ())
        if "response_format" in options:
            options["response_format"] = wire_format(_object(options["response_format"], "response_format"))
        listed = _listed(given.get("messages"), "messages")
        return cls(
            model=model_name(named),
            messages=[_message(message, place) for place, message in enumerate(listed)],
            options=cast("ChatOptions", {name: value for name, value in options.items() if value is not None}),
            streamed=streamed,
            usage=usage,
        )


def completion_of(wish: Wish, answer: Answer) -> JsonObject:
    """Return a verified `answer` as OpenAI's `chat.completion` or `text_completion`, the receipt beside it."""
    choice: JsonObject = {"index": 0, "finish_reason": answer.finish_reason, "logprobs": None}
    if wish.prompt is None:
        choice["message"] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.tool_calls:
            calls = [call.to_json() for call in answer.tool_calls]
            choice["message"] |= {"content": answer.text or None, "tool_calls": calls}
    else:
        choice["text"] = answer.text
    kind = "chat.completion" if wish.prompt is None else "text_completion"
    return _head(kind, wish, answer.id, answer.created) | {
        "choices": [choice],
        "usage": _usage(answer.usage),
        RECEIPT_KEY: answer.receipt,
    }


class Chunks:
    """Writes one streamed answer as OpenAI's server-sent events; the receipt is in the last chunk with a choice."""

    def __init__(self, wish: Wish, *, call_id: str, created: int) -> None:
        self._wish = wish
        self._id = call_id
        self._created = created
        self._begun = False

    def of(self, piece: str | Answer) -> Iterator[bytes]:
        """Yield the events of a piece of text, or the last ones, of the verified answer."""
        if isinstance(piece, str):
            yield self._event(self._delta(content=piece))
            return
        if piece.tool_calls:
            calls = [{"index": place, **call.to_json()} for place, call in enumerate(piece.tool_calls)]
            yield self._event(self._delta(tool_calls=calls))
        end = self._delta() | {"finish_reason": piece.finish_reason}
        yield self._event(end, **{RECEIPT_KEY: piece.receipt})
        if self._wish.usage:
            yield _sse(self._chunk([]) | {"usage": _usage(piece.usage)})
        yield b"data: [DONE]\n\n"

    def failed(self, exc: OpenGradientError) -> bytes:
        """Return the event that tells of a failure after the answer had begun; the openai client raises it."""
        return _sse(error_of(exc)[1])

    def _event(self, choice: JsonObject, **beside: object) -> bytes:
        return _sse(self._chunk([choice]) | beside)

    def _chunk(self, choices: list[JsonObject]) -> JsonObject:
        kind = "chat.completion.chunk" if self._wish.prompt is None else "text_completion"
        return _head(kind, self._wish, self._id, self._created) | {"choices": choices}

    def _delta(self, *, content: str | None = None, tool_calls: list[JsonObject] | None = None) -> JsonObject:
        choice: JsonObject = {"index": 0, "finish_reason": None, "logprobs": None}
        if self._wish.prompt is not None:
            return choice | {"text": content or ""}
        delta: JsonObject = {} if self._begun else {"role": "assistant", "content": content or ""}
        self._begun = True
        if content is not None:
            delta["content"] = content
        if tool_calls is not None:
            delta["tool_calls"] = tool_calls
        return choice | {"delta": delta}


def models() -> JsonObject:
    """Return the known models as OpenAI's `/models` lists them."""
    return {"object": "list", "data": [model(f"{info.provider}/{info.name}") for info in MODELS.values()]}


def model(name: str) -> JsonObject:
    """Return the model `name` as OpenAI's `/models/{model}` shows it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": name.partition("/")[0]}


def error_of(exc: OpenGradientError) -> tuple[int, JsonObject]:
    """
    Return the HTTP status and the body of OpenAI's form for an error of ours.

    `error.type` is the name of our class, `error.retryable` says whether the call was not charged and may be made
    again, `error.opengradient` is the receipt of the failed call, if there is one.
    """
    # A proof that failed is no fault of the client's request, whatever the gateway's status was.
    status = exc.status if isinstance(exc, GatewayError) and 400 <= exc.status < 600 else 0
    status = status or next((code for kind, code in _STATUS if isinstance(exc, kind)), 502)
    said = {
        "message": str(exc),
        "type": type(exc).__name__,
        "code": None,
        "param": None,
        "retryable": exc.is_retryable,
        RECEIPT_KEY: exc.receipt,
    }
    return status, {"error": said}


def _members(path: str, body: bytes) -> JsonObject:
    try:
        given = parse_json_object(body, "The request")
    except OpenGradientError as exc:
        raise InvalidRequestError(f"{exc} Nothing was sent.") from exc
    for name, neutral in _NEUTRAL.items():
        if name in given and (given[name] is None or given[name] in neutral):
            del given[name]
    return call_arguments({name: value for name, value in given.items() if value is not None}, _KNOWN[path])


def _prompt(given: object) -> str:
    """Return the one text of a completion; a list of one is what clients of older servers send."""
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, str):
        raise InvalidRequestError(
            f"prompt is a {type(given).__name__}, expected one text: each is a call of its own. Nothing was sent."
        )
    return given


def _listed(given: object, name: str) -> Sequence[object]:
    if not isinstance(given, list):
        raise InvalidRequestError(f"{name} is a {type(given).__name__}, expected a list. Nothing was sent.")
    return given


def _object(given: object, place: str) -> JsonObject:
    if not isinstance(given, dict):
        raise InvalidRequestError(f"{place} is a {type(given).__name__}, expected an object. Nothing was sent.")
    return given


def _message(given: object, place: int) -> JsonObject:
    """Return a message as gateways take it: without members that are null, and texts in parts as one text."""
    message = {name: value for name, value in _object(given, f"messages[{place}]").items() if value is not None}
    if message.get("role") == "developer":
        # No gateway takes this role: it ends in a 500 that looks like an outage (docs/protocol.md §2.3).
        message["role"] = "system"
    content = message.get("content")
    if isinstance(content, list) and content and all(_is_text(part) for part in content):
        # Lists of parts are hashed in a form of their own, which not every gateway commits to.
        message["content"] = "\n".join(part["text"] for part in content)
    elif content is None:
        message["content"] = None  # beside tool calls
    return message


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _tool(given: object, place: int) -> JsonObject:
    """Return a tool; one that demands `strict` has a schema of the strict subset, or is refused."""
    tool = _object(given, f"tools[{place}]")
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise InvalidRequestError(
            f"tools[{place}] is of type {tool.get('type')!r:.60}, expected a function: tools that run at the provider "
            "do not reach it through a gateway. Nothing was sent."
        )
    if function.get("strict") is True and isinstance(function.get("parameters"), dict):
        parameters = demanded_strict_schema(function["parameters"], str(function.get("name")))
        return {**tool, "function": {**function, "parameters": parameters}}
    return {**tool, "function": {name: value for name, value in function.items() if value is not None}}


def _head(kind: str, wish: Wish, call_id: str, created: int) -> JsonObject:
    return {"id": call_id, "object": kind, "created": created, "model": wish.model}


def _usage(usage: Usage | None) -> JsonObject | None:
    return None if usage is None else usage.to_json()


def _sse(event: JsonObject) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()

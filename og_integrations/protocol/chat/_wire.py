"""
This module holds what travels: requests to and answers from the gateway (docs/protocol.md §2, §4, §5).

Requests are built once, as bytes: exactly those are sent and exactly those are hashed, so a
request is never re-encoded between the wire and its proof.

What the gateway would refuse, or drop silently, is refused here first (docs/protocol.md §2.3).

This does not only save a round trip: an unpaid bad request is paid for before it is looked at, its 400 may
quote the whole prompt in clear, and a part that is silently dropped would be paid for all the same.
"""

import base64
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, NamedTuple

from og_integrations.errors import InvalidRequestError
from og_integrations.networks import OPG
from og_integrations.protocol._strict_json import JsonObject

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
SEARCH_PATH = "/v1/web_search"
RELAY_PATH = "/api/v1/chat/ohttp"
"""Where a relay takes sealed requests; an enclave takes them at `protocol.sealing._ohttp.OHTTP_PATH`."""
MAX_REQUEST_BYTES = 20 * 1024 * 1024
"""Newer gateways take no larger body (docs/protocol.md §2)."""
EFFORTS = ("low", "medium", "high")
MAX_STOP = 4
"""The gateway refuses more than four stop sequences (docs/protocol.md §2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """
    A chat request is one `/v1/chat/completions` request, in the gateway's own (OpenAI-shaped) words.

    `model` is the bare name (`gpt-5.2`, not `openai/gpt-5.2`). Absent optional members are not sent.
    """

    path: ClassVar[str] = CHAT_PATH

    model: str
    messages: Sequence[JsonObject] = field(repr=False)
    temperature: float | None = None
    max_tokens: int | None = None
    stop: str | Sequence[str] | None = None
    tools: Sequence[JsonObject] | None = None
    response_format: JsonObject | None = None
    tool_choice: str | JsonObject | None = None
    reasoning_effort: str | None = None
    stream: bool = False
    extra: JsonObject = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """Return the JSON object to send, without the members that were not set."""
        body: JsonObject = {"model": self.model, "messages": list(self.messages)}
        optional: JsonObject = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop if self.stop is None or isinstance(self.stop, str) else list(self.stop),
            "tools": None if self.tools is None else list(self.tools),
            "response_format": self.response_format,
            "tool_choice": self.tool_choice,
            "reasoning_effort": self.reasoning_effort,
            "stream": True if self.stream else None,
        }
        # The gateway answers 400 to tools, formats and choices that are
        # null (docs/protocol.md §2.3), so what is not set is left out.
        body |= {name: value for name, value in optional.items() if value is not None}
        return body | self.extra


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """A completion request is one `/v1/completions` request; this endpoint never streams (docs/protocol.md §2)."""

    path: ClassVar[str] = COMPLETION_PATH
    stream: ClassVar[bool] = False

    model: str
    prompt: str = field(repr=False)
    temperature: float | None = None
    max_tokens: int | None = None
    stop: str | Sequence[str] | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON object to send, without the members that were not set."""
        body: JsonObject = {"model": self.model, "prompt": self.prompt}
        optional: JsonObject = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop if self.stop is None or isinstance(self.stop, str) else list(self.stop),
        }
        return body | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """
    A search request is one `/v1/web_search` request, which newer gateways answer without a model (docs/protocol.md §2).

    `num_results` is 1 to 10 (gateways take 6 if it is absent), `recency_days` 0 to 3650.
    """

    path: ClassVar[str] = SEARCH_PATH
    stream: ClassVar[bool] = False
    stop: ClassVar[None] = None

    query: str = field(repr=False)
    num_results: int | None = None
    recency_days: int | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON object to send, without the members that were not set."""
        body: JsonObject = {"query": self.query, "num_results": self.num_results, "recency_days": self.recency_days}
        return {name: value for name, value in body.items() if value is not None}


Request = ChatRequest | CompletionRequest | SearchRequest


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call is what the model wants to have called; `arguments` is its JSON text, untouched."""

    id: str
    name: str
    arguments: str

    def to_json(self) -> JsonObject:
        """Return the call as messages hold it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage holds the token counts as the gateway reports them. They are not signed."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    def to_json(self) -> dict[str, int]:
        """Return the counts under the gateway's own names."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }


class ReportedCost(NamedTuple):
    """
    A reported cost is what the gateway says one answer cost, as decimal texts; nothing of it is signed.

    `cost_opg` is in base units of OPG, the other two in US dollars.
    """

    cost_opg: str
    cost_usd: str
    opg_price_usd: str

    @property
    def contradiction(self) -> str | None:
        """Return why the three cannot all be true, None if they agree: usd is opg ÷ 10^18 times the price."""
        opg, usd, price = Decimal(self.cost_opg), Decimal(self.cost_usd), Decimal(self.opg_price_usd)
        # The gateway computes in 28 digits, and rounds once up and once as Python does.
        if abs(opg / OPG * price - usd) <= max(usd * _ROUNDED, price / OPG):
            return None
        return f"{self.cost_opg} base units at {self.opg_price_usd} USD per OPG are not {self.cost_usd} USD"


_FIRST_BYTES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"BM": "image/bmp"}
_ROUNDED = Decimal("1e-9")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeeProof:
    """
    A proof is the enclave's statement about one answer (docs/protocol.md §4), as it came, unchecked.

    Hashes are bare hex, `timestamp` unix seconds, `signature` base64, `tee_id` 0x-hex.
    """

    request_hash: str
    output_hash: str
    timestamp: int
    signature: str
    tee_id: str

    def __reduce__(self) -> tuple["Callable[..., TeeProof]", tuple[str, str, int, str, str]]:
        # Verdicts with their proofs travel between processes by the thousand, and the default takes ten times as long.
        return _proof_of, (self.request_hash, self.output_hash, self.timestamp, self.signature, self.tee_id)


def _proof_of(request_hash: str, output_hash: str, timestamp: int, signature: str, tee_id: str) -> TeeProof:
    return TeeProof(
        request_hash=request_hash, output_hash=output_hash, timestamp=timestamp, signature=signature, tee_id=tee_id
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """
    A completion is a whole answer, of either endpoint, streamed or not; `proof` is None when none came.

    Only `text` (or `tool_calls` when `finish_reason` is `"tool_calls"`) is covered by the proof.
    `images` are `data:` URIs (or URLs), as newer gateways send them, `reasoning` is what some models think
    aloud before they answer (`reasoning_content`). `cost` is what the gateway says the answer cost, `citations` the
    pages that it says it read, `searches` what it says it searched for, `moderation` what it says a classifier found.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str
    model: str
    usage: Usage | None = None
    id: str | None = None
    created: int | None = None
    images: tuple[str, ...] = ()
    reasoning: str = ""
    cost: ReportedCost | None = None
    citations: tuple[JsonObject, ...] = ()
    searches: tuple[str, ...] = ()
    moderation: JsonObject | None = None
    proof: TeeProof | None = None
    settlement: JsonObject = field(default_factory=dict)


def image_data(image: str) -> tuple[str, str] | None:
    """Return media type and base64 of one of `Completion.images` that is a `data:` URI; None if it is a URL."""
    head, found, data = image.partition(";base64,")
    if not found or not head.startswith("data:"):
        return None
    # Gateways call everything a JPEG that a provider sent as base64, so the first bytes decide.
    return _media_type(data) or head.removeprefix("data:"), data


def _media_type(data: str) -> str | None:
    """Return the type of a picture in base64 by its first bytes, None if they are those of no known format."""
    try:
        first = base64.b64decode(data[:24] + "=" * (-len(data[:24]) % 4))
    except ValueError:
        return None
    if first.startswith(b"RIFF") and first[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _FIRST_BYTES.items() if first.startswith(mark)), None)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A delta is a fragment of a streamed tool call; absent members are None."""

    index: int | None
    id: str | None
    name: str | None
    arguments: str | None


class Delta(NamedTuple):
    """A delta is one streamed event: some text, some tool call fragments, or both empty (the final event)."""

    text: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()


_OBJECT = (dict, Mapping)
"""What is an object: first asked for as the dict that it is, since an abstract class takes ten times as long to say."""
_ROLES = ("system", "user", "assistant", "tool", "function")
_TEXT_REQUIRED = ("system", "user", "tool", "function")
_ADDRESS = re.compile(r"(?!file:)[a-z]+://.|data:[^,/]+/[^,]+,.", re.IGNORECASE)
"""Of an image that a gateway can fetch, or that is in the address itself."""


def check_size(wire: bytes) -> None:
    """Raise `InvalidRequestError` for a body that newer gateways refuse."""
    if len(wire) > MAX_REQUEST_BYTES:
        raise InvalidRequestError(
            f"The request has {len(wire)} bytes; newer gateways take at most {MAX_REQUEST_BYTES}. Nothing was sent. "
            "Send smaller pictures and files."
        )


def check_chat(request: ChatRequest, *, images: bool, json_object: bool) -> None:
    """
    Raise `InvalidRequestError` for what the gateway would refuse or drop.

    `images`: whether non-text parts reach this model; `json_object`: whether it takes that format.
    """
    for name in ("messages", "tools"):
        given = getattr(request, name)
        if given is None or type(given) is list:
            continue
        # What can be read only once would be empty when it is sent; a text would be taken for a list of letters.
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise InvalidRequestError(f"{name} is a {type(given).__name__}, expected a list.")
    if not request.messages:
        raise InvalidRequestError("messages is empty, expected at least one message.")
    for position, message in enumerate(request.messages):
        _check_message(message, f"messages[{position}]", images=images)
    _check_turns(request.messages)
    tools = request.tools or ()
    _check_tools(tools)
    _check_format(request.response_format, json_object=json_object)
    _check_choice(request.tool_choice)
    _check_effort(request.reasoning_effort)
    _check_sampling(request)
    # Gateways that search by that flag take every call of this name for their own (docs/protocol.md §2.6).
    if request.extra.get("web_search") and any(_of(tool, "function").get("name") == "web_search" for tool in tools):
        raise InvalidRequestError(
            "A tool is named web_search, and the member web_search is sent: some gateways would answer the calls of "
            "that tool themselves. Nothing was sent. Rename the tool, or leave the member out."
        )


def check_pictures(extra: JsonObject, *, ratios: Collection[str], resolutions: Collection[str], one: bool) -> None:
    """
    Raise `InvalidRequestError` for a picture that this model is known not to make.

    `ratios` and `resolutions` are those that it takes (empty: not known); `one`: it makes one, whatever `n` is.
    """
    for name, known in (("aspect_ratio", {*ratios, "auto"} if ratios else ()), ("resolution", resolutions)):
        value = extra.get(name)
        if value is not None and known and value not in known:
            raise InvalidRequestError(f"{name} is {value!r:.40}, expected one of {', '.join(sorted(known))}.")
    count = extra.get("n")
    if count is not None and (type(count) is not int or not 1 <= count <= 128):
        raise InvalidRequestError(f"n is {count!r:.40}, expected a whole number from 1 to 128.")
    if one and count not in (None, 1):
        raise InvalidRequestError(f"n is {count}, and this model makes one picture, whatever is asked for.")


def check_completion(request: CompletionRequest) -> None:
    """Raise `InvalidRequestError` for what the gateway would refuse."""
    if not isinstance(request.prompt, str):
        raise InvalidRequestError(f"prompt is a {type(request.prompt).__name__}, expected text.")
    _check_sampling(request)


def check_search(request: SearchRequest) -> None:
    """Raise `InvalidRequestError` for what the gateway would refuse, or change unseen."""
    query: object = request.query
    if not isinstance(query, str) or not query.strip():
        raise InvalidRequestError("query is empty, or no text; expected what to search for.")
    for name, least, most in (("num_results", 1, 10), ("recency_days", 0, 3650)):
        value = getattr(request, name)
        # The gateway bends a number that is out of range, and would answer another question than was asked.
        if value is not None and (type(value) is not int or not least <= value <= most):
            raise InvalidRequestError(f"{name} is {value!r:.40}, expected a whole number from {least} to {most}.")


def _check_message(message: object, where: str, *, images: bool) -> None:
    if not isinstance(message, _OBJECT):
        raise InvalidRequestError(f"{where} is a {type(message).__name__}, expected an object with role and content.")
    role, content = message.get("role"), message.get("content")
    # No gateway takes the role `developer`: it ends in a 500 that looks like an outage (docs/protocol.md §2.3).
    if role not in _ROLES:
        hint = " Send it as system." if role == "developer" else ""
        raise InvalidRequestError(f"{where} has the role {role!r}, expected one of {', '.join(_ROLES)}.{hint}")
    if content == [] or (role in _TEXT_REQUIRED and content is None):
        raise InvalidRequestError(f"{where} ({role}) has no content.")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise InvalidRequestError(f"{where} (tool) has no tool_call_id.")
    if (role == "function" or "name" in message) and not isinstance(message.get("name"), str):
        raise InvalidRequestError(f"{where} ({role}) has no name, or one that is no text.")
    if isinstance(content, list):
        for part in content:
            _check_part(part, where, images=images)
    elif content is not None and not isinstance(content, str):
        raise InvalidRequestError(f"{where} has content of type {type(content).__name__}, expected text or parts.")
    if "tool_calls" not in message:
        return
    calls = message["tool_calls"]
    if calls is None:
        raise InvalidRequestError(f"{where} has tool_calls null, which the gateway refuses; leave it out.")
    if not isinstance(calls, list | tuple) or not all(map(_is_call, calls)):
        raise InvalidRequestError(
            f'{where} has a tool call without type "function", or its id, name or arguments as text.'
        )


def _check_part(part: object, where: str, *, images: bool) -> None:
    kind = _type_of(part)
    if not isinstance(part, _OBJECT) or (kind == "text" and not isinstance(part.get("text"), str)):
        what = f"a {type(part).__name__}" if not isinstance(part, _OBJECT) else "of type 'text' without a text"
        raise InvalidRequestError(
            f'{where} has a part that is {what}, expected {{"type": "text", "text": …}} or another object with a type.'
        )
    if kind != "text" and not images:
        raise InvalidRequestError(
            f"{where} has a part of type {kind!r}, which the gateway drops before the model sees it. You would "
            "pay for an answer about nothing; choose a model and gateway that take it, or remove it."
        )
    if _is_empty(part, kind):
        raise InvalidRequestError(
            f"{where} has a part of type {kind!r} without data: it would be paid for, and the model would see nothing. "
            "Give it as a data: URI, or an image as a URL; a file_id, or a path of yours, means nothing to a gateway."
        )


def _is_empty(part: Mapping[str, object], kind: object) -> bool:
    if kind == "image_url":
        return not _ADDRESS.match(str(_of(part, "image_url").get("url") or part.get(kind)))
    data = _of(part, "file").get("file_data")
    # `data:application/pdf;base64,` ends with its comma: an address of nothing, which gateways take and charge for.
    return kind == "file" and (not data or str(data).endswith(","))


def _is_call(call: object) -> bool:
    if not isinstance(call, _OBJECT) or call.get("type") != "function":
        return False
    function = _of(call, "function")
    return all(isinstance(member, str) for member in (call.get("id"), function.get("name"), function.get("arguments")))


def _check_turns(messages: Sequence[JsonObject]) -> None:
    """
    Raise `InvalidRequestError` for a tool call without its result right after it, or a result without its call.

    Providers refuse both; the gateway makes their 400 a 500 without words, which invites to ask again.
    """
    open_calls: dict[object, None] = {}
    caller = 0
    for position, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls and not _answers_again(messages, caller, position):
                raise InvalidRequestError(
                    f"messages[{position}] is the result of the tool call {message['tool_call_id']!r:.60}, which no "
                    "message right before it makes. Providers refuse such a history; nothing was sent. Leave it out, "
                    "or keep the message with its call."
                )
            # With a default: a second result of one call, which some agents add, is open no more.
            open_calls.pop(message["tool_call_id"], None)
            continue
        _refuse_open(open_calls, caller)
        open_calls = {call["id"]: None for call in message.get("tool_calls", ())}
        caller = position
    _refuse_open(open_calls, caller)


def _answers_again(messages: Sequence[JsonObject], caller: int, position: int) -> bool:
    """Return whether this result is a second one of a call that is answered already, which some agents add."""
    made = {call["id"] for call in messages[caller].get("tool_calls", ())} if position > caller else set()
    return messages[position]["tool_call_id"] in made


def _refuse_open(calls: Collection[object], caller: int) -> None:
    if calls:
        raise InvalidRequestError(
            f"messages[{caller}] calls tools whose results do not follow it: {', '.join(map(repr, calls))[:120]}. "
            "Providers refuse such a history; nothing was sent. Add the results, or leave that message out."
        )


def _check_tools(tools: Sequence[JsonObject]) -> None:
    seen: dict[str, int] = {}
    for position, tool in enumerate(tools):
        name = _of(tool, "function").get("name")
        if _type_of(tool) != "function" or not isinstance(name, str):
            raise InvalidRequestError(
                f'tools[{position}] is not of the form {{"type": "function", "function": {{"name": …}}}}.'
            )
        if name in seen:
            raise InvalidRequestError(
                f"tools[{position}] and tools[{seen[name]}] are both named {name!r:.80}, which providers refuse; "
                "nothing was sent. Give each a name of its own."
            )
        seen[name] = position


def _check_choice(choice: object) -> None:
    named = _type_of(choice) == "function" and isinstance(_of(choice, "function").get("name"), str)
    if not named and choice not in (None, "none", "auto", "required"):
        raise InvalidRequestError(f"tool_choice is {choice!r:.80}, expected none, auto, required or a named function.")


def _check_format(response_format: JsonObject | None, *, json_object: bool) -> None:
    if response_format is None:
        return
    kind = _type_of(response_format)
    if kind not in ("text", "json_object", "json_schema"):
        raise InvalidRequestError(f"response_format has type {kind!r}, expected text, json_object or json_schema.")
    if not isinstance(response_format.get("json_schema", {}), _OBJECT):
        raise InvalidRequestError("response_format has a json_schema that is no object, expected its name and schema.")
    # The gateway answers 500 to this format with Anthropic
    # models (docs/protocol.md §2.3), which invites to ask again.
    if kind == "json_object" and not json_object:
        raise InvalidRequestError(
            "This model's provider (Anthropic) does not take response_format json_object; use json_schema."
        )


def _check_effort(effort: object) -> None:
    # Any other value, and null, is answered with 400 by the gateways that know the option (docs/protocol.md §2).
    if effort is not None and effort not in EFFORTS:
        raise InvalidRequestError(f"reasoning_effort is {effort!r:.40}, expected one of {', '.join(EFFORTS)}.")


def translated_extra(extra: object, max_tokens: int | None) -> tuple[JsonObject, int | None]:
    """
    Return the further members to send, and the limit of tokens, of what a caller gave.

    No gateway reads `max_completion_tokens`: under that name a limit would bound nothing. A null says nothing, and
    is refused by some. Raises `InvalidRequestError` for two limits.
    """
    if not isinstance(extra, _OBJECT):
        raise InvalidRequestError(f"extra is a {type(extra).__name__}, expected a dict of members. Nothing was sent.")
    if not extra:
        return {}, max_tokens
    members = {name: value for name, value in extra.items() if value is not None or name != "reasoning_effort"}
    limit = members.pop("max_completion_tokens", None)
    if limit is not None and max_tokens not in (None, limit):
        raise InvalidRequestError(
            "Both max_tokens and max_completion_tokens were given, which are one option; give one."
        )
    _check_effort(members.get("reasoning_effort"))
    return members, limit if max_tokens is None else max_tokens


def _check_sampling(request: ChatRequest | CompletionRequest) -> None:
    temperature, max_tokens = request.temperature, request.max_tokens
    # A bool is an int to Python. The gateway refuses it, and any value above 2, after the payment was signed.
    if temperature is not None and (type(temperature) not in (int, float) or not 0 <= temperature <= 2):
        raise InvalidRequestError(f"temperature is {temperature!r}, expected a number from 0 to 2.")
    # The gateway refuses `1.0` and takes 0 for its default
    # of 4096, which would be the opposite of what was meant.
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise InvalidRequestError(f"max_tokens is {max_tokens!r}, expected a whole number above 0.")
    _check_stop(request.stop)


def _check_stop(stop: object) -> None:
    if stop is None or isinstance(stop, str):
        return
    if not isinstance(stop, Collection) or not all(isinstance(sequence, str) for sequence in stop):
        raise InvalidRequestError(
            f"stop is a {type(stop).__name__}, or holds something else than text; expected a list of texts."
        )
    # An empty list and a fifth sequence both end in a 400 (docs/protocol.md §2.3).
    if not 0 < len(stop) <= MAX_STOP:
        raise InvalidRequestError(f"stop has {len(stop)} sequences, expected 1 to {MAX_STOP}.")


def _type_of(value: object) -> object:
    return value.get("type") if isinstance(value, _OBJECT) else None


def _of(value: object, name: str) -> Mapping[str, object]:
    inner = value.get(name) if isinstance(value, _OBJECT) else None
    return inner if isinstance(inner, _OBJECT) else {}

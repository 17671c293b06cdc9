"""
What travels: requests to and answers from the gateway (PROTOCOL §2, §4, §5).

Requests are built once, as bytes: exactly those are sent and exactly those are hashed, so a
request is never re-encoded between the wire and its proof.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from og_integrations.errors import InvalidRequestError

JsonObject = dict[str, Any]
"""A decoded JSON object."""

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
MAX_DEPTH = 200
"""
Levels of JSON inside JSON. Counted by us: `eth_account` raises Python's recursion limit to 100000
for the whole process, and there a hostile body would not be a `RecursionError` but the end of it.
"""
_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_STOP = 4
"""The gateway refuses more than four stop sequences (PROTOCOL §2)."""


def encode_json(value: object) -> bytes:
    """
    Encode `value` as the JSON bytes to send.

    Only what JSON knows is accepted: no NaN or infinity, no keys that are not strings (Python
    would sort `{10: …, 9: …}` by number here and by text at the gateway).
    Raises `InvalidRequestError`.
    """
    _refuse_non_json(value, "request", 0)
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    except ValueError as exc:
        raise InvalidRequestError("The request holds an integer of thousands of digits.") from exc


def decode_json(text: bytes | str, *, unique: bool = True) -> Any:
    """
    Decode JSON that somebody else wrote.

    Raises `ValueError`, also if it is nested too deeply, or (if `unique`) names a member twice: of two
    values readers would see different ones, and only one is hashed.
    """
    if isinstance(text, bytes | bytearray):
        text = text.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _refuse_depth(text)
    return _decode_unique(text) if unique else json.loads(text)


def decode_answer(text: str) -> Any:
    """Decode JSON that a model answered with; many put it into a fence. Raises `ValueError` as `decode_json` does."""
    inner = _FENCED.fullmatch(text.strip())
    return decode_json(inner[1] if inner else text)


def _unique(members: list[tuple[str, Any]]) -> JsonObject:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member is named twice")
    return found


_decode_unique = json.JSONDecoder(object_pairs_hook=_unique).decode


def _refuse_depth(text: str) -> None:
    # Every second piece between quotes is outside of strings, as far as a parser would get.
    outside = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    depth = 0
    for bracket in re.finditer(r"[][{}]", "".join(outside)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _refuse_non_json(value: object, where: str, depth: int) -> None:
    if value is None or type(value) in (bool, int):
        return
    if type(value) is str:
        if not value.isascii() and _SURROGATE.search(value):
            raise InvalidRequestError(f"{where} holds half of a character (a lone surrogate), which is no text.")
        return
    if type(value) is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidRequestError(f"{where} is {value}: JSON has no such number; send a finite one.")
        return
    if depth >= MAX_DEPTH and isinstance(value, dict | list | tuple):
        raise InvalidRequestError(f"The request is nested more than {MAX_DEPTH} levels deep, or holds itself.")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise InvalidRequestError(
                    f"{where} has the key {key!r} of type {type(key).__name__}: JSON keys are strings."
                )
            _refuse_non_json(item, f"{where}.{key}", depth + 1)
        return
    if isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _refuse_non_json(item, f"{where}[{position}]", depth + 1)
        return
    raise InvalidRequestError(
        f"{where} is a {type(value).__name__}, which JSON does not know; convert it to str, int, "
        "float, bool, None, list or dict first."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """
    One `/v1/chat/completions` request, in the gateway's own (OpenAI-shaped) words.

    `model` is the bare name (`gpt-5`, not `openai/gpt-5`). Absent optional members are not sent.
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
            "stream": True if self.stream else None,
        }
        body |= {name: value for name, value in optional.items() if value is not None}
        return body | self.extra


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One `/v1/completions` request; this endpoint never streams (PROTOCOL §2)."""

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


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool by the model; `arguments` is its JSON text, untouched."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the gateway reports them. Not signed."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeeProof:
    """
    The enclave's statement about one answer (PROTOCOL §4), as it came, unchecked.

    Hashes are bare hex, `timestamp` unix seconds, `signature` base64, `tee_id` 0x-hex.
    """

    request_hash: str
    output_hash: str
    timestamp: int
    signature: str
    tee_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """
    A whole answer, of either endpoint, streamed or not; `proof` is None when none came.

    Only `text` (or `tool_calls` when `finish_reason` is `"tool_calls"`) is covered by the proof.
    `images` are `data:` URIs (or URLs), as newer gateways send them, `reasoning` is what some models think
    aloud before they answer (`reasoning_content`).
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
    proof: TeeProof | None = None
    settlement: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of a streamed tool call; absent members are None."""

    index: int | None
    id: str | None
    name: str | None
    arguments: str | None


@dataclass(frozen=True, slots=True)
class Delta:
    """One streamed event: some text, some tool call fragments, or both empty (the final event)."""

    text: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

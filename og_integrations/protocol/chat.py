"""
What travels: requests to and answers from the gateway (PROTOCOL §2, §4, §5).

Requests are built once, as bytes: exactly those are sent and exactly those are hashed, so a
request is never re-encoded between the wire and its proof.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

JsonObject = dict[str, Any]
"""A decoded JSON object."""

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
MAX_STOP = 4
"""The gateway refuses more than four stop sequences (PROTOCOL §2)."""


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


def image_data(image: str) -> tuple[str, str] | None:
    """Return media type and base64 of one of `Completion.images` that is a `data:` URI; None if it is a URL."""
    head, found, data = image.partition(";base64,")
    return (head.removeprefix("data:"), data) if found and head.startswith("data:") else None


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

"""This module says what reaches a model, what it answers, and what every model is."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import Usage


def last_user_text(messages: list[JsonObject]) -> str:
    """Return the text of the last user message, "" if there is none."""
    texts = (text_of(message.get("content")) for message in reversed(messages) if message.get("role") == "user")
    return next(texts, "")


def text_of(content: object) -> str:
    """Return the text of a message's content; other parts have none."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(str(part.get("text", "")) for part in parts)
    return content if isinstance(content, str) else ""


class Family(Enum):
    """The provider of a model, as far as its streams have a shape of their own (docs/protocol.md §5)."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    XAI = "x-ai"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """
    This is what a gateway forwards (docs/protocol.md §2).

    Parts other than text, `web_search` and `reasoning_effort` reach the model in some generations only;
    `tool_choice`, `stop`, `top_p`, `seed` and the like never do. `max_tokens` counts text pieces; longer answers are
    cut there, and the finish_reason stays `stop`.
    """

    model: str
    family: Family
    messages: list[JsonObject]
    tools: list[JsonObject] = field(default_factory=list)
    response_format: JsonObject | None = None
    max_tokens: int = 4096
    web_search: bool = False
    temperature: float | None = None
    reasoning_effort: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A tool call as the provider writes it; `arguments` is its JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What the model says. `pieces` are the texts of the stream's events; `images` are `data:` URIs, and
    `reasoning` is what it thinks aloud: gateways newer than April's hand them on, unsigned.

    `delay` is in seconds, before each piece. The provider fails after `fail_after` pieces (None:
    never), or at once with the HTTP status `error_status`.
    """

    pieces: tuple[str, ...] = ()
    calls: tuple[ModelCall, ...] = ()
    images: tuple[str, ...] = ()
    reasoning: str = ""
    usage: Usage
    delay: float = 0.0
    fail_after: int | None = None
    error_status: int | None = None

    @property
    def text(self) -> str:
        """Return the whole text."""
        return "".join(self.pieces)


class Model(Protocol):
    """Anything that answers: the script, or an OpenAI-compatible server (`upstream`)."""

    async def answer(self, request: ModelRequest) -> Answer:
        """Return the answer to `request`."""
        ...


class ProviderFailedError(Exception):
    """The provider answered the HTTP `status`, or (None) it did not answer, or stopped in the middle."""

    def __init__(self, *said: str, status: int | None = None) -> None:
        super().__init__(*said)
        self.status = status


@runtime_checkable
class StreamingModel(Model, Protocol):
    """A model that can be listened to while it answers."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[str | Answer, None]:
        """Yield text as it comes and then, last, the whole answer. Raises `ProviderFailedError`."""
        ...


async def spoken(answer: Answer) -> AsyncGenerator[str | Answer, None]:
    """Yield the pieces of a ready answer in its own time, then itself. Raises `ProviderFailedError`."""
    if answer.error_status is not None:
        raise ProviderFailedError(status=answer.error_status)
    for count, piece in enumerate(answer.pieces):
        if count == answer.fail_after:
            raise ProviderFailedError
        if answer.delay:
            await asyncio.sleep(answer.delay)
        yield piece
    if answer.fail_after is not None:
        raise ProviderFailedError
    yield answer

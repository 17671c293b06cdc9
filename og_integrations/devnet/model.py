"""The model behind a gateway: what reaches it, what it answers, and who it is made by."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from og_integrations.protocol.chat import JsonObject, Usage


class Family(Enum):
    """The provider of a model, as far as its streams have a shape of their own (PROTOCOL §5)."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    XAI = "x-ai"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """
    What the April gateway forwards (PROTOCOL §2).

    `tool_choice`, `stop`, `top_p`, `seed` and the like are not among it. `max_tokens` counts text
    pieces; longer answers are cut there, and the finish_reason stays `stop`.
    """

    model: str
    family: Family
    messages: list[JsonObject]
    tools: list[JsonObject] = field(default_factory=list)
    response_format: JsonObject | None = None
    max_tokens: int = 4096


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A tool call as the provider writes it; `arguments` is its JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What the model says. `pieces` are the texts of the stream's events.

    `delay` is in seconds, before each piece. The provider fails after `fail_after` pieces (None:
    never), or at once with the HTTP status `error_status`.
    """

    pieces: tuple[str, ...] = ()
    calls: tuple[ModelCall, ...] = ()
    usage: Usage
    delay: float = 0.0
    fail_after: int | None = None
    error_status: int | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


class Model(Protocol):
    """Anything that answers: the script, or later any OpenAI-compatible server."""

    async def answer(self, request: ModelRequest) -> Answer:
        """Return the answer to `request`."""
        ...

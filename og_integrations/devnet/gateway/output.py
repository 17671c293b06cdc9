"""What a model said, and how it travels: the enclave signs an `Output`, a stream is `StreamEvent`s."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from og_integrations.protocol.chat.sse import DONE, encode_event
from og_integrations.protocol.chat.wire import ToolCall
from og_integrations.protocol.strict_json import JsonObject

STOP, TOOL_CALLS = "stop", "tool_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """
    One answer. Text beside tool calls is sent but not signed (PROTOCOL §4).

    `calls` are as they are sent; `signed_calls`, if given, are what the enclave signs instead: the
    calls re-assembled from a stream whose fragments have no index.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    signed_calls: tuple[ToolCall, ...] | None = None

    @property
    def finish_reason(self) -> str:
        """Why the model stopped; the gateway never says `length`."""
        return TOOL_CALLS if self.calls else STOP


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One server-sent event. `compact`: as re-encoded by the payment layer, without blanks."""

    value: JsonObject | str
    compact: bool = False

    def encode(self) -> bytes:
        """Return its bytes."""
        if isinstance(self.value, str):
            return encode_event(self.value)
        return encode_event(json.dumps(self.value, separators=(",", ":") if self.compact else None))


END_OF_STREAM = StreamEvent(DONE)


def tool_calls_json(calls: Sequence[ToolCall]) -> list[JsonObject]:
    """Return `calls` as a message holds them."""
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]

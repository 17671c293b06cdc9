"""How tool calls look in a stream, provider by provider (PROTOCOL §5)."""

from collections.abc import Iterator, Sequence

from og_integrations.devnet.model import Family
from og_integrations.protocol.chat import JsonObject, ToolCall

_FRAGMENT_CHARS = 8


def call_deltas(family: Family, calls: Sequence[ToolCall], *, after_text: bool) -> Iterator[JsonObject]:
    """Yield the deltas that carry `calls`; `after_text` says whether text came before them."""
    # Anthropic's index counts content blocks, and a text is one.
    first = 1 if family is Family.ANTHROPIC and after_text else 0
    for index, call in enumerate(calls, first):
        if family is Family.XAI:
            yield from _fragments(index, call)
        else:
            yield _delta(
                {
                    "index": None if family is Family.GOOGLE else index,
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
            )


def merged_calls(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """
    Return what the gateway re-assembles from calls without index: one, whatever their number.

    Id and name are the last ones, the arguments all in a row; that is what it signs.
    """
    if not calls:
        return ()
    return (ToolCall(calls[-1].id, calls[-1].name, "".join(call.arguments for call in calls)),)


def _fragments(index: int, call: ToolCall) -> Iterator[JsonObject]:
    yield _delta({"index": index, "type": "function", "function": {"name": call.name}, "id": call.id})
    for start in range(0, len(call.arguments), _FRAGMENT_CHARS):
        piece = call.arguments[start : start + _FRAGMENT_CHARS]
        yield _delta({"index": index, "type": "function", "function": {"arguments": piece}})


def _delta(call: JsonObject) -> JsonObject:
    return {"role": "assistant", "tool_calls": [call]}

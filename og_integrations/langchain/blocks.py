"""
Standard content blocks of our messages (`content_blocks`, `output_version="v1"`, v3 events).

LangChain translates by `response_metadata["model_provider"]`. Without a translator of one's own its v1
streams merge a tool call into the text block, and its v3 streams split one in two: blocks are merged
by `index`, so each kind gets an index of its own here, prefixed `lc_` as the merge rules want it.
"""

from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import register_translator

if TYPE_CHECKING:
    from langchain_core.messages.content import ContentBlock

MODEL_PROVIDER = "opengradient"
BROKEN_MARK = "\ufeff"
"""A byte order mark, which no JSON may begin with: it keeps LangChain from repairing broken arguments."""


def translate_content(message: AIMessage) -> "list[ContentBlock]":
    """Return the blocks of a whole message."""
    return cast("list[ContentBlock]", [*_said(message, streamed=False), *_calls(message)])


def translate_content_chunk(message: AIMessageChunk) -> "list[ContentBlock]":
    """Return the blocks of a chunk, or of a sum of chunks; the last holds whole tool calls."""
    blocks = _said(message, streamed=True)
    if message.chunk_position == "last":
        return cast("list[ContentBlock]", [*blocks, *_calls(message)])
    for position, chunk in enumerate(message.tool_call_chunks):
        index = chunk.get("index")
        args = unmarked(chunk.get("args"))
        block = {"type": "tool_call_chunk", "id": chunk.get("id"), "name": chunk.get("name"), "args": args}
        blocks.append(block | {"index": f"lc_tc_{position if index is None else index}"})
    return cast("list[ContentBlock]", blocks)


def register_blocks() -> None:
    """Make LangChain use these translations for our messages."""
    register_translator(MODEL_PROVIDER, translate_content, translate_content_chunk)


def unmarked(arguments: str | None) -> str:
    """Return the arguments of a call as the model wrote them."""
    return (arguments or "").removeprefix(BROKEN_MARK)


def _said(message: AIMessage, *, streamed: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    reasoning = message.additional_kwargs.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        blocks.append({"type": "reasoning", "reasoning": reasoning} | ({"index": "lc_rs_0"} if streamed else {}))
    content = [message.content] if isinstance(message.content, str) else message.content
    for position, part in enumerate(content):
        if isinstance(part, dict):
            blocks.append(part)
        elif part:
            blocks.append({"type": "text", "text": part} | ({"index": f"lc_txt_{position}"} if streamed else {}))
    refusal = message.additional_kwargs.get("refusal")
    if isinstance(refusal, str) and refusal:
        blocks.append({"type": "refusal", "refusal": refusal})
    return blocks


def _calls(message: AIMessage) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = [
        {"type": "tool_call", "name": call["name"], "args": call["args"], "id": call.get("id")}
        for call in message.tool_calls
    ]
    calls += [
        {**call, "type": "invalid_tool_call", "args": unmarked(call["args"])} for call in message.invalid_tool_calls
    ]
    return calls

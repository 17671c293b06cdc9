"""
This module turns verified answers into LangChain's messages, and these into standard content blocks.

The receipt is in `response_metadata["opengradient"]`, with the few fields that users of the published
adapter look for beside it. In a stream it stands on the last chunk only: LangChain adds chunks up by
concatenating text and summing numbers, and a doubled receipt is none.

Messages have no id of ours: LangChain gives them one. The gateway's is not signed, and LangGraph replaces
a message by another of the same id; it stands in `response_metadata["id"]`.

LangChain translates content blocks (`content_blocks`, `output_version="v1"`, v3 events) by
`response_metadata["model_provider"]`. Without a translator of one's own its v1 streams merge a tool call into
the text block, and its v3 streams split one in two: blocks are merged by `index`, so each kind gets an index of
its own here, prefixed `lc_` as the merge rules want it.
"""

from typing import TYPE_CHECKING, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from og_integrations.chat._asking import counts_of, notes_of, receipts_of
from og_integrations.protocol._strict_json import JsonObject, decode_arguments
from og_integrations.protocol.chat._wire import image_data
from og_integrations.receipt import flat_fields

if TYPE_CHECKING:
    from langchain_core.messages import InvalidToolCall
    from langchain_core.messages import ToolCall as LangChainToolCall
    from langchain_core.messages.content import ContentBlock

    from og_integrations.client import Answer
    from og_integrations.protocol.chat._wire import ToolCall, Usage

MODEL_PROVIDER = "opengradient"
BROKEN_MARK = "\ufeff"
"""A byte order mark, which no JSON may begin with: it keeps LangChain from repairing broken arguments."""


def chat_result(answer: "Answer") -> ChatResult:
    """Return a whole answer."""
    calls, invalid = _tool_calls(answer.tool_calls)
    pictures = _pictures(answer.images)
    message = AIMessage(
        content=[answer.text, *pictures] if pictures else answer.text,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs=_reasoning(answer),
        response_metadata=response_metadata(answer),
        usage_metadata=usage_metadata(answer.usage),
    )
    generation = ChatGeneration(message=message, generation_info={"finish_reason": answer.finish_reason})
    return ChatResult(generations=[generation], llm_output=llm_output(answer))


def chunks_of(item: "str | Answer", *, usage: bool) -> list[ChatGenerationChunk]:
    """
    Return the chunks for what came in a stream: a piece of text, or at the end the verified answer.

    The end brings reasoning, images and tool calls, and then the receipt with the token counts if `usage`.
    """
    marked = {"model_provider": MODEL_PROVIDER}
    if isinstance(item, str):
        return [ChatGenerationChunk(message=AIMessageChunk(content=item, response_metadata=marked))]
    calls = [
        tool_call_chunk(name=call.name, args=_whole_or_refused(call.arguments), id=call.id, index=index)
        for index, call in enumerate(item.tool_calls)
    ]
    last = AIMessageChunk(
        content="",
        response_metadata=response_metadata(item),
        usage_metadata=usage_metadata(item.usage) if usage else None,
        chunk_position="last",
    )
    # The last chunk may hold no calls: translators emit those as whole ones, a second time.
    pictures: list[str | JsonObject] = [
        picture | {"index": f"lc_img_{i}"} for i, picture in enumerate(_pictures(item.images))
    ]
    called = AIMessageChunk(
        content=pictures or "",
        tool_call_chunks=calls,
        additional_kwargs=_reasoning(item),
        response_metadata=marked,
    )
    return [
        *([ChatGenerationChunk(message=called)] if calls or pictures or item.reasoning else []),
        ChatGenerationChunk(message=last, generation_info={"finish_reason": item.finish_reason}),
    ]


def response_metadata(answer: "Answer") -> JsonObject:
    """Return the metadata of an answer, with its receipt."""
    return {
        "model_provider": MODEL_PROVIDER,
        "model_name": answer.asked_model,
        "finish_reason": answer.finish_reason,
        "id": answer.id,
        **receipts_of(answer),
        **flat_fields(answer.receipt),
        **notes_of(answer),
    }


def usage_metadata(usage: "Usage | None") -> UsageMetadata | None:
    """Return LangChain's form of `usage`."""
    if usage is None:
        return None
    return UsageMetadata(
        input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, total_tokens=usage.total_tokens
    )


def llm_output(answer: "Answer") -> JsonObject:
    """Return what `generate()` reports beside the messages."""
    return {"token_usage": counts_of(answer), "model_name": answer.asked_model}


def combined_llm_output(outputs: list[JsonObject | None]) -> JsonObject:
    """Return the sum of the token counts and costs of several calls."""
    counts: dict[str, int] = {}
    combined: JsonObject = {"token_usage": counts}
    for output in filter(None, outputs):
        for name, number in output.get("token_usage", {}).items():
            counts[name] = counts.get(name, 0) + number
        combined["model_name"] = output.get("model_name")
    return combined


def register_blocks() -> None:
    """Make LangChain use the translations below for our messages."""
    register_translator(MODEL_PROVIDER, translate_content, translate_content_chunk)


def translate_content(message: AIMessage) -> "list[ContentBlock]":
    """Return the blocks of a whole message."""
    return cast("list[ContentBlock]", [*_said(message, streamed=False), *_called(message)])


def translate_content_chunk(message: AIMessageChunk) -> "list[ContentBlock]":
    """Return the blocks of a chunk, or of a sum of chunks; the last holds whole tool calls."""
    blocks = _said(message, streamed=True)
    if message.chunk_position == "last":
        return cast("list[ContentBlock]", [*blocks, *_called(message)])
    for position, chunk in enumerate(message.tool_call_chunks):
        index = chunk.get("index")
        args = unmarked(chunk.get("args"))
        block = {"type": "tool_call_chunk", "id": chunk.get("id"), "name": chunk.get("name"), "args": args}
        blocks.append(block | {"index": f"lc_tc_{position if index is None else index}"})
    return cast("list[ContentBlock]", blocks)


def unmarked(arguments: str | None) -> str:
    """Return the arguments of a call as the model wrote them."""
    return (arguments or "").removeprefix(BROKEN_MARK)


def _said(message: AIMessage, *, streamed: bool) -> list[JsonObject]:
    blocks: list[JsonObject] = []
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


def _called(message: AIMessage) -> list[JsonObject]:
    calls: list[JsonObject] = [
        {"type": "tool_call", "name": call["name"], "args": call["args"], "id": call.get("id")}
        for call in message.tool_calls
    ]
    calls += [
        {**call, "type": "invalid_tool_call", "args": unmarked(call["args"])} for call in message.invalid_tool_calls
    ]
    return calls


def _reasoning(answer: "Answer") -> JsonObject:
    """Return what the model thought, where LangChain's translators look for it; no signature covers it."""
    return {"reasoning_content": answer.reasoning} if answer.reasoning else {}


def _pictures(images: tuple[str, ...]) -> list[JsonObject]:
    """Return LangChain's blocks for `data:` URIs and URLs; no signature covers them."""
    blocks: list[JsonObject] = []
    for image in images:
        if (inline := image_data(image)) is None:
            blocks.append({"type": "image", "url": image})
        else:
            media_type, data = inline
            blocks.append({"type": "image", "base64": data, "mime_type": media_type})
    return blocks


def _whole_or_refused(arguments: str) -> str:
    """
    Return `arguments`, marked if they are no JSON object.

    LangChain repairs the arguments of streamed calls, so that `{"path": "/` would run a tool with
    half of its argument. What begins with the mark is beyond repair, and becomes an invalid call.
    """
    try:
        return arguments if decode_arguments(arguments) else "{}"
    except ValueError:
        return BROKEN_MARK + arguments


def _tool_calls(calls: "tuple[ToolCall, ...]") -> "tuple[list[LangChainToolCall], list[InvalidToolCall]]":
    valid: list[LangChainToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in calls:
        try:
            valid.append(tool_call(name=call.name, args=decode_arguments(call.arguments), id=call.id))
        except ValueError as exc:
            error = f"The arguments of the call of {call.name} are no JSON object: {exc}."
            invalid.append(invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=error))
    return valid, invalid

"""
Verified answers to LangChain messages.

The receipt is in `response_metadata["opengradient"]`, with the few fields that users of the published
adapter look for beside it. In a stream it stands on the last chunk only: LangChain adds chunks up by
concatenating text and summing numbers, and a doubled receipt is none.

Messages have no id of ours: LangChain gives them one. The gateway's is not signed, and LangGraph replaces
a message by another of the same id; it stands in `response_metadata["id"]`.
"""

import json
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from og_integrations.langchain.blocks import BROKEN_MARK, MODEL_PROVIDER
from og_integrations.protocol.chat.wire import image_data
from og_integrations.receipt import RECEIPT_KEY, flat_fields

if TYPE_CHECKING:
    from langchain_core.messages import InvalidToolCall
    from langchain_core.messages import ToolCall as LangChainToolCall

    from og_integrations.client import Answer
    from og_integrations.protocol.chat.wire import ToolCall, Usage


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
    pictures: list[str | dict[Any, Any]] = [
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


def response_metadata(answer: "Answer") -> dict[str, Any]:
    """Return the metadata of an answer, with its receipt."""
    return {
        "model_provider": MODEL_PROVIDER,
        "model_name": answer.asked_model,
        "finish_reason": answer.finish_reason,
        "id": answer.id,
        RECEIPT_KEY: answer.receipt,
        **flat_fields(answer.receipt),
    }


def _reasoning(answer: "Answer") -> "dict[str, Any]":
    """Return what the model thought, where LangChain's translators look for it; no signature covers it."""
    return {"reasoning_content": answer.reasoning} if answer.reasoning else {}


def _pictures(images: "tuple[str, ...]") -> "list[dict[str, Any]]":
    """Return LangChain's blocks for `data:` URIs and URLs; no signature covers them."""
    blocks: list[dict[str, Any]] = []
    for image in images:
        if (inline := image_data(image)) is None:
            blocks.append({"type": "image", "url": image})
        else:
            media_type, data = inline
            blocks.append({"type": "image", "base64": data, "mime_type": media_type})
    return blocks


def usage_metadata(usage: "Usage | None") -> UsageMetadata | None:
    """Return LangChain's form of `usage`."""
    if usage is None:
        return None
    return UsageMetadata(
        input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, total_tokens=usage.total_tokens
    )


def llm_output(answer: "Answer") -> dict[str, Any]:
    """Return what `generate()` reports beside the messages."""
    usage = answer.usage
    counts = (
        {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        }
        if usage
        else {}
    )
    return {"token_usage": counts, "model_name": answer.asked_model}


def combined_llm_output(outputs: "list[dict[str, Any] | None]") -> dict[str, Any]:
    """Return the sum of the token counts of several calls."""
    counts: dict[str, int] = {}
    combined: dict[str, Any] = {"token_usage": counts}
    for output in filter(None, outputs):
        for name, number in output.get("token_usage", {}).items():
            counts[name] = counts.get(name, 0) + number
        combined["model_name"] = output.get("model_name")
    return combined


def _whole_or_refused(arguments: str) -> str:
    """
    Return `arguments`, marked if they are not JSON.

    LangChain repairs the arguments of streamed calls, so that `{"path": "/` would run a tool with
    half of its argument. What begins with the mark is beyond repair, and becomes an invalid call.
    """
    try:
        json.loads(arguments or "{}")
    except ValueError:
        return BROKEN_MARK + arguments
    return arguments


def _tool_calls(calls: "tuple[ToolCall, ...]") -> "tuple[list[LangChainToolCall], list[InvalidToolCall]]":
    from langchain_core.exceptions import OutputParserException
    from langchain_core.output_parsers.openai_tools import parse_tool_call

    valid: list[LangChainToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in calls:
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        raw = {"id": call.id, "type": "function", "function": function}
        try:
            parsed = parse_tool_call(raw, return_id=True)
        except OutputParserException as exc:
            invalid.append(invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=str(exc)))
            continue
        if parsed is not None and isinstance(parsed["args"], dict):
            valid.append(parsed)  # type: ignore[arg-type]
        else:
            error = "The arguments are not a JSON object."
            invalid.append(invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=error))
    return valid, invalid

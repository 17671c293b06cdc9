"""
Verified answers as LlamaIndex's responses.

The receipt stands in `raw` (the one member that agents hand on) and in `additional_kwargs` (which
completions, events and instrumentation read), under the key `opengradient`; beside it, what the model
thought (`reasoning_content`). Neither is put into the message: memories count and prompts would repeat it.
What the model drew is put there, and for completions, which have no blocks, it stands in `raw` only.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)

from og_integrations.client import Answer
from og_integrations.protocol.chat.wire import ToolCall, image_data
from og_integrations.protocol.strict_json import JsonObject
from og_integrations.receipt import RECEIPT_KEY


def chat_response(answer: Answer, *, one_call: bool) -> ChatResponse:
    """Return a whole answer as a chat response; with `one_call`, `raw` only tells of further tool calls."""
    calls = answer.tool_calls[:1] if one_call else answer.tool_calls
    return ChatResponse(message=_message(answer, calls), raw=_raw(answer), additional_kwargs=_kwargs(answer))


def completion_response(answer: Answer) -> CompletionResponse:
    """Return a whole answer as a completion response."""
    return CompletionResponse(text=answer.text, raw=_raw(answer), additional_kwargs=_kwargs(answer))


def chat_stream(*, one_call: bool) -> Callable[[str | Answer], ChatResponse]:
    """
    Return what makes the responses of one stream from its pieces, each with all the text so far.

    The `Answer`, which comes last, makes the one with tool calls and receipt.
    """
    text = ""

    def respond(piece: str | Answer) -> ChatResponse:
        nonlocal text
        if not isinstance(piece, str):
            last = chat_response(piece, one_call=one_call)
            last.delta = ""
            if piece.reasoning:
                # Where agents look for it, to show it in `AgentStream`.
                last.additional_kwargs["thinking_delta"] = piece.reasoning
            return last
        text += piece
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=piece)

    return respond


def completion_stream() -> Callable[[str | Answer], CompletionResponse]:
    """Return what makes the responses of one stream from its pieces, as `chat_stream` does."""
    text = ""

    def respond(piece: str | Answer) -> CompletionResponse:
        nonlocal text
        if not isinstance(piece, str):
            last = completion_response(piece)
            last.delta = ""
            return last
        text += piece
        return CompletionResponse(text=text, delta=piece)

    return respond


def receipt_of(response: ChatResponse | CompletionResponse) -> JsonObject | None:
    """Return the receipt in `response`; None for all chunks of a stream but the last."""
    receipt: JsonObject | None = response.additional_kwargs.get(RECEIPT_KEY)
    return receipt


def _message(answer: Answer, calls: Sequence[ToolCall]) -> ChatMessage:
    blocks: list[ContentBlock] = [TextBlock(text=answer.text)] if answer.text or not calls else []
    blocks += _pictures(answer.images)
    # The arguments stay the text that the enclave signed.
    blocks += [ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments) for call in calls]
    # Structured streaming in function mode looks for calls here only.
    extra = {"tool_calls": [_wire_call(call) for call in calls]} if calls else {}
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=extra)


def _pictures(images: Sequence[str]) -> list[ImageBlock]:
    """Return LlamaIndex's blocks for `data:` URIs and URLs; no signature covers them."""
    blocks: list[ImageBlock] = []
    for image in images:
        # What is neither is left to `raw`: LlamaIndex's `ValueError` would lose an answer that was paid.
        with suppress(ValueError):
            if (inline := image_data(image)) is None:
                blocks.append(ImageBlock(url=image))
            else:
                media_type, data = inline
                blocks.append(ImageBlock(image=data.encode(), image_mimetype=media_type))
    return blocks


def _wire_call(call: ToolCall) -> JsonObject:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _raw(answer: Answer) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        message["tool_calls"] = [_wire_call(call) for call in answer.tool_calls]
    if answer.images:
        message["images"] = list(answer.images)
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
        "usage": _usage(answer) or None,
        RECEIPT_KEY: answer.receipt,
    }


def _kwargs(answer: Answer) -> dict[str, Any]:
    thought = {"reasoning_content": answer.reasoning} if answer.reasoning else {}
    return _usage(answer) | thought | {RECEIPT_KEY: answer.receipt}


def _usage(answer: Answer) -> JsonObject:
    usage = answer.usage
    if usage is None:
        return {}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }

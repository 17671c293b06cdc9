"""
This module turns verified answers into LlamaIndex's responses.

The receipt stands in `raw` (the one member that agents hand on) and in `additional_kwargs` (which
completions, events and instrumentation read), under the key `opengradient`; beside it, what the model
thought (`reasoning_content`). Neither is put into the message: memories count and prompts would repeat it.
What the model drew is put there, and for completions, which have no blocks, it stands in `raw` only.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress

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
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json

from og_integrations.chat._asking import counts_of, notes_of, receipts_of
from og_integrations.client import Answer
from og_integrations.errors import ToolChoiceNotHonoredError
from og_integrations.llama_index._messages import arguments_of, tool_calls_of
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import image_data
from og_integrations.receipt import RECEIPT_KEY


def chat_response(answer: Answer) -> ChatResponse:
    """Return a whole answer as a chat response."""
    return ChatResponse(message=_message(answer), raw=_raw(answer), additional_kwargs=_kwargs(answer))


def completion_response(answer: Answer) -> CompletionResponse:
    """Return a whole answer as a completion response."""
    return CompletionResponse(text=answer.text, raw=_raw(answer), additional_kwargs=_kwargs(answer))


def chat_stream() -> Callable[[str | Answer], ChatResponse]:
    """
    Return what makes the responses of one stream from its pieces, each with all the text so far.

    The `Answer`, which comes last, makes the one with tool calls and receipt.
    """
    text = ""

    def respond(piece: str | Answer) -> ChatResponse:
        nonlocal text
        if not isinstance(piece, str):
            last = chat_response(piece)
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


def tool_selections(response: ChatResponse, *, error_if_none: bool) -> list[ToolSelection]:
    """
    Return the tool calls in `response` that can be carried out.

    A call whose arguments are no JSON object is none: half an amount would be another amount, and a tool without
    required parameters would run with its defaults. It stays in the message, and the model is told in the next turn.
    A response without a receipt is no answer of ours but somebody's piece of a stream: arguments that are still coming
    are empty there, as with LlamaIndex's other models.

    Raises `ToolChoiceNotHonoredError` if there is no call and `error_if_none` is set.
    """
    calls = [(call, arguments_of(call)) for call in tool_calls_of(response.message)]
    if receipt_of(response) is None:
        calls = [(call, {} if said is None and _begins_json(call) else said) for call, said in calls]
    selections = [
        ToolSelection(tool_id=call["id"], tool_name=call["function"]["name"], tool_kwargs=arguments)
        for call, arguments in calls
        if arguments is not None
    ]
    if error_if_none and not selections:
        did = "its call has arguments that are no JSON object" if calls else "the model answered in text"
        error = ToolChoiceNotHonoredError(
            f"Expected at least one tool call, but {did}. Pass tool_required=True or a tool_choice to demand one, or "
            "error_on_no_tool_call=False to take text."
        )
        error.receipt = receipt_of(response)
        raise error
    return selections


def _begins_json(call: JsonObject) -> bool:
    """Return whether the arguments of a call in wire form are JSON whose end has not come."""
    text = call["function"]["arguments"]
    with suppress(ValueError):
        json.loads(text)
        return False
    with suppress(ValueError):
        return isinstance(parse_partial_json(text), dict)
    return False


def _message(answer: Answer) -> ChatMessage:
    calls = answer.tool_calls
    blocks: list[ContentBlock] = [TextBlock(text=answer.text)] if answer.text or not calls else []
    blocks += _pictures(answer.images)
    # The arguments stay the text that the enclave signed.
    blocks += [ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments) for call in calls]
    # Structured streaming in function mode looks for calls here only.
    extra = {"tool_calls": [call.to_json() for call in calls]} if calls else {}
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


def _raw(answer: Answer) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": answer.text}
    if answer.tool_calls:
        # Also those after the first, where only that one is shown.
        signed = answer.completion.tool_calls
        calls = signed if answer.tool_calls[0] in signed else answer.tool_calls
        message["tool_calls"] = [call.to_json() for call in calls]
    if answer.images:
        message["images"] = list(answer.images)
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    return receipts_of(answer) | {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
        "usage": counts_of(answer) or None,
        **notes_of(answer),
    }


def _kwargs(answer: Answer) -> JsonObject:
    thought = {"reasoning_content": answer.reasoning} if answer.reasoning else {}
    return counts_of(answer) | thought | notes_of(answer) | receipts_of(answer)

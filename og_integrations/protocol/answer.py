"""
What one answer says: a decoded JSON object -> `Completion` (PROTOCOL §4, §5).

Read strictly, since what is signed depends on it: one choice, texts that are texts, counts that are
counts. Both a whole answer and the final event of a stream go through `build_completion`.
"""

from typing import Any

from og_integrations.errors import MalformedReplyError, VerificationError
from og_integrations.protocol.chat import (
    COMPLETION_PATH,
    Completion,
    JsonObject,
    TeeProof,
    ToolCall,
    Usage,
)
from og_integrations.protocol.strict_json import parse_json_object

_SETTLEMENT_KEYS = (
    "data_settlement_success",
    "data_settlement_error",
    "data_settlement_transaction_hash",
    "data_settlement_blob_id",
    "settlement_type",
    "settlement_job_id",
    "settlement_queue_nonce",
)


def parse_completion(path: str, body: bytes | str) -> Completion:
    """
    Read a whole (not streamed) answer of the endpoint `path`.

    Raises `MalformedReplyError` if it is not of that form, `VerificationError` (step `shape`) if it
    holds more than the one choice that the enclave signs.
    """
    reply = parse_json_object(body, "The answer")
    choice = only_choice(reply)
    finish_reason = choice.get("finish_reason")
    if path == COMPLETION_PATH:
        return build_completion(reply, text_of(choice.get("text"), "text"), (), finish_reason=finish_reason)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise MalformedReplyError("The answer's choice has no message.")
    return build_completion(
        reply,
        text_of(message.get("content"), "content"),
        _tool_calls(message.get("tool_calls")),
        finish_reason=finish_reason,
        images=message.get("images"),
        reasoning=reasoning_of(message),
    )


def only_choice(reply: JsonObject) -> JsonObject:
    """Return the one choice of `reply`. Raises `VerificationError` (step `shape`) if there are more."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise MalformedReplyError("The answer has no choices.")
    if len(choices) != 1:
        raise VerificationError(
            f"The answer has {len(choices)} choices, expected exactly 1: the enclave signs only one.",
            step="shape",
        )
    choice = choices[0]
    if not isinstance(choice, dict):
        raise MalformedReplyError("The answer's choice is not an object.")
    return choice


def build_completion(
    reply: JsonObject,
    text: str,
    calls: tuple[ToolCall, ...],
    *,
    finish_reason: object,
    images: object = None,
    reasoning: str = "",
) -> Completion:
    """Return the answer whose outer object is `reply`. Raises `MalformedReplyError` or `VerificationError`."""
    model = reply.get("model")
    if not isinstance(finish_reason, str) or not isinstance(model, str):
        raise MalformedReplyError("The answer lacks finish_reason or model as text.")
    return Completion(
        text=text,
        tool_calls=calls,
        finish_reason=finish_reason,
        model=model,
        usage=_usage(reply.get("usage")),
        id=reply["id"] if isinstance(reply.get("id"), str) else None,
        created=reply["created"] if type(reply.get("created")) is int else None,
        proof=_proof(reply),
        images=tuple(text_of(image, "images") for image in list_of(images, "images")),
        reasoning=reasoning,
        settlement={key: reply[key] for key in _SETTLEMENT_KEYS if key in reply},
    )


def _proof(reply: JsonObject) -> TeeProof | None:
    names = ("tee_request_hash", "tee_output_hash", "tee_signature", "tee_id")
    texts = [reply.get(name) for name in names]
    timestamp = reply.get("tee_timestamp")
    if all(text is None for text in texts) and timestamp is None:
        return None
    if not all(isinstance(text, str) for text in texts) or type(timestamp) is not int:
        raise VerificationError(
            "The proof is incomplete: expected tee_request_hash, tee_output_hash, tee_signature and tee_id as "
            "text and tee_timestamp as a whole number.",
            step="proof",
        )
    request_hash, output_hash, signature, tee_id = (str(text) for text in texts)
    return TeeProof(
        request_hash=request_hash,
        output_hash=output_hash,
        timestamp=timestamp,
        signature=signature,
        tee_id=tee_id,
    )


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    if not all(type(count) is int and 0 <= count < 2**53 for count in counts):
        raise MalformedReplyError("The answer's usage holds something else than token counts.")
    return Usage(*counts)  # type: ignore[arg-type]


def text_of(value: object, name: str) -> str:
    """Return `value` as text, null as none. Raises `MalformedReplyError`, naming `name`."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedReplyError(f"The answer's {name} is a {type(value).__name__}, expected text.")
    return value


def reasoning_of(message: JsonObject) -> str:
    """Return what a message or delta says of the model's thoughts; what is no text says nothing."""
    value = message.get("reasoning_content")
    return value if isinstance(value, str) else ""


def list_of(value: object, name: str) -> list[Any]:
    """Return `value` as a list, null as an empty one. Raises `MalformedReplyError`, naming `name`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedReplyError(f"The answer's {name} is a {type(value).__name__}, expected a list.")
    return value


def _tool_calls(value: object) -> tuple[ToolCall, ...]:
    calls = []
    for item in list_of(value, "tool_calls"):
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(function, dict):
            raise MalformedReplyError("A tool call of the answer has no function.")
        members = (item.get("id"), function.get("name"), function.get("arguments"))
        if not all(isinstance(member, str) for member in members):
            raise MalformedReplyError("A tool call of the answer lacks its id, name or arguments as text.")
        calls.append(ToolCall(*members))  # type: ignore[arg-type]
    return tuple(calls)

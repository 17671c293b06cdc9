"""
Request and output -> the exact bytes that the enclave hashes and signs (PROTOCOL §4).

The gateway hashes what it *parsed*, rebuilt field by field and dumped by Python's
`json.dumps(…, sort_keys=True)`. So both sides start from the parsed wire bytes, never from the
objects that made them.

Two generations of gateways hash some requests differently. `HASHINGS` names them in the order in
which a verifier tries them; for most requests they agree.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chain.abi import keccak
from og_integrations.protocol.chat.wire import CHAT_PATH, COMPLETION_PATH, ToolCall
from og_integrations.protocol.strict_json import JsonObject

APRIL = "2026-04"
"""The captured generation: user content lists are hashed as Python's `str(list)`."""
NEXT = "next"
"""What client 1.1.4 describes: reduced content lists, `web_search`, developer hashed as system."""
HASHINGS = (APRIL, NEXT)

_ESCAPE = re.compile(r"\\\\|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_T = TypeVar("_T")


def request_hash(path: str, request: JsonObject, hashing: str = APRIL) -> bytes:
    """
    Return the 32-byte hash of a parsed request body sent to `path`.

    Raises `InvalidRequestError` when `request` is not of the form that the gateway accepts.
    """
    return keccak(canonical_request(path, request, hashing))


def canonical_request(path: str, request: JsonObject, hashing: str = APRIL) -> bytes:
    """Return the bytes under `request_hash`."""
    if hashing not in HASHINGS:
        raise InvalidRequestError(f"Unknown hashing {hashing!r}; expected one of {', '.join(HASHINGS)}.")
    if path == CHAT_PATH:
        rebuilt = _chat(request, hashing)
    elif path == COMPLETION_PATH:
        rebuilt = _completion(request)
    else:
        raise InvalidRequestError(f"No request to {path!r:.80} is signed; expected {CHAT_PATH} or {COMPLETION_PATH}.")
    return json.dumps(rebuilt, sort_keys=True).encode("ascii")


def not_hashed(path: str, request: JsonObject, hashing: str = APRIL) -> list[str]:
    """Return the members of `request` that its hash leaves out, like `seed` or `messages[].name`, sorted."""
    return sorted(set(_left_out(request, json.loads(canonical_request(path, request, hashing)), "")))


def has_attachments(request: JsonObject) -> bool:
    """Whether users' messages in `request`, which the generations hash in their own ways, hold more than text."""
    listed = request.get("messages")  # of a text completion, anything: nobody has read it
    messages = [message for message in (listed if isinstance(listed, list) else ()) if isinstance(message, Mapping)]
    contents = [message.get("content") for message in messages if message.get("role") == "user"]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, Mapping) and part.get("type") != "text" for part in parts)


def drops_attachments(request: JsonObject, hashing: str) -> bool:
    """Whether gateways of that generation hash attachments of `request` without handing them to the model."""
    return hashing == APRIL and has_attachments(request)


def for_newer_python(request: JsonObject) -> JsonObject:
    """
    Return `request` as the first generation hashes it where its Python knows more characters than ours.

    In lists of content, `str` escapes a character that it does not know, like the emoji of later years.
    """
    listed = request.get("messages")
    return request | {"messages": list(map(_newer, listed))} if isinstance(listed, list) else request


def output_hash(text: str, tool_calls: Sequence[ToolCall], finish_reason: str) -> bytes:
    """Return the 32-byte hash of an answer: of its tool calls if it ended in them, else of its text."""
    return keccak(canonical_output(text, tool_calls, finish_reason))


def canonical_output(text: str, tool_calls: Sequence[ToolCall], finish_reason: str) -> bytes:
    """
    Return the bytes under `output_hash`.

    Raises `InvalidRequestError` for text that no UTF-8 encodes (a lone surrogate).
    """
    if finish_reason == "tool_calls":
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in tool_calls
        ]
        return json.dumps(calls, sort_keys=True).encode("ascii")
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequestError("The answer holds a lone surrogate, which UTF-8 cannot encode.") from exc


def spells_tool_calls(text: str) -> bool:
    """Whether `text` is, byte for byte, what the hash of an answer with tool calls is made of."""
    if not text.startswith('[{"function": {"arguments": ') or not text.endswith('"type": "function"}]'):
        return False
    try:
        listed = json.loads(text)
        calls = [ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in listed]
        return canonical_output("", calls, "tool_calls") == text.encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def may_be_another_content(request: JsonObject, hashing: str) -> bool:
    """
    Whether a user's content in `request` has its hash in common with one of another kind.

    The first generation hashes a list of parts as Python's text of it, so a list and that text are one.
    """
    listed = request.get("messages") if hashing == APRIL else None
    for message in listed if isinstance(listed, list) else ():
        if isinstance(message, Mapping) and message.get("role") == "user":
            content = message.get("content")
            text = content.strip() if isinstance(content, str) else ""
            if isinstance(content, list) or (text.startswith("[") and text.endswith("]")):
                return True
    return False


def signed_digest(request_hash: bytes, output_hash: bytes, timestamp: int) -> bytes:
    """
    Return the 32 bytes that the enclave's RSA key signs: keccak(request ‖ output ‖ uint256 time).

    `timestamp` is in unix seconds and not negative.
    """
    return keccak(request_hash + output_hash + timestamp.to_bytes(32, "big"))


def _newer(message: Any) -> Any:
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
    return message | {"content": _ESCAPE.sub(_known, str(content))} if isinstance(content, list) else message


def _known(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code and unicodedata.category(chr(int(code, 16))) == "Cn" else escape[0]


def _chat(request: JsonObject, hashing: str) -> JsonObject:
    messages = _member(request, "messages", list)
    rebuilt: JsonObject = {
        "model": _member(request, "model", str),
        "messages": [_message(message, hashing) for message in messages],
        "temperature": _temperature(request, absent=0.0),
    }
    if request.get("max_tokens") is not None:
        rebuilt["max_tokens"] = request["max_tokens"]
    for name in ("stop", "tools", "response_format"):
        if request.get(name):
            rebuilt[name] = request[name]
    if hashing == NEXT and request.get("web_search"):
        rebuilt["web_search"] = True
    return rebuilt


def _completion(request: JsonObject) -> JsonObject:
    rebuilt: JsonObject = {
        "model": _member(request, "model", str),
        "prompt": request.get("prompt"),
        # This endpoint's own defaults are hashed when the member is absent, not when it is null.
        "temperature": _temperature(request, absent=1.0),
    }
    if (max_tokens := request.get("max_tokens", 16)) is not None:
        rebuilt["max_tokens"] = max_tokens
    if request.get("stop"):
        rebuilt["stop"] = request["stop"]
    return rebuilt


def _message(message: object, hashing: str) -> JsonObject:
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"A message is a {type(message).__name__}, expected a JSON object.")
    role = message.get("role")
    content = message.get("content")
    match role:
        case "system":
            return {"role": role, "content": content}
        case "developer" if hashing == NEXT:
            return {"role": "system", "content": content}
        case "user":
            return {"role": role, "content": _user_content(content, hashing)}
        case "assistant":
            return _assistant(message)
        case "tool":
            return {"role": role, "content": content, "tool_call_id": message.get("tool_call_id")}
        case "function":
            return {"role": role, "content": content, "name": message.get("name")}
        case _:
            raise InvalidRequestError(
                f"A message has the role {role!r:.40}; the gateway knows system, user, assistant, tool, function."
            )


def _assistant(message: Mapping[str, Any]) -> JsonObject:
    rebuilt: JsonObject = {"role": "assistant", "content": message.get("content") or ""}
    if calls := message.get("tool_calls"):
        try:
            rebuilt["tool_calls"] = [
                {
                    "id": call.get("id"),
                    "type": call.get("type"),
                    "function": {
                        "name": call["function"].get("name"),
                        "arguments": call["function"].get("arguments"),
                    },
                }
                for call in calls
            ]
        except (AttributeError, KeyError, TypeError) as exc:
            raise InvalidRequestError(
                "An assistant message holds a tool call that is not of the form "
                '{"id", "type", "function": {"name", "arguments"}}.'
            ) from exc
    return rebuilt


def _user_content(content: object, hashing: str) -> object:
    if isinstance(content, str) or content is None:
        return content
    if hashing == APRIL:
        return str(content)
    if not isinstance(content, list):
        raise InvalidRequestError(f"A user message's content is a {type(content).__name__}, expected text or parts.")
    return [_reduced_part(part) for part in content]


def _reduced_part(part: object) -> JsonObject:
    if not isinstance(part, Mapping):
        raise InvalidRequestError(f"A content part is a {type(part).__name__}, expected a JSON object.")
    if part.get("type") == "text":
        return {"type": "text", "text": part.get("text")}
    file = part.get("file")
    filename = (file.get("filename") if isinstance(file, Mapping) else None) or part.get("filename")
    reduced: JsonObject = {"type": part.get("type")}
    return reduced | {"filename": filename} if filename else reduced


def _temperature(request: JsonObject, *, absent: float) -> float:
    value = request.get("temperature", absent)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError(f"temperature is a {type(value).__name__}, expected a number.")
    try:
        return float(value)
    except OverflowError as exc:
        raise InvalidRequestError("temperature is too large for a number.") from exc


def _left_out(sent: object, hashed: object, where: str) -> Iterator[str]:
    if isinstance(sent, dict) and isinstance(hashed, dict):
        for name, value in sent.items():
            at = f"{where}.{name}" if where else name
            if name in hashed:
                yield from _left_out(value, hashed[name], at)
            else:
                yield at
    elif isinstance(sent, list) and isinstance(hashed, list):
        for one, other in zip(sent, hashed, strict=True):
            yield from _left_out(one, other, where + "[]")


def _member(request: JsonObject, name: str, kind: type[_T]) -> _T:
    value = request.get(name)
    if not isinstance(value, kind):
        raise InvalidRequestError(f"The request's {name!r} is {type(value).__name__}, expected {kind.__name__}.")
    return value

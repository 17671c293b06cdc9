"""Parts of a message that are not text, as the scripted model tells them apart, and the image it draws."""

import base64
import json

from og_integrations.devnet.message_text import text_of
from og_integrations.devnet.model import ModelRequest
from og_integrations.protocol.chat import JsonObject

DRAWN_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel, as gateways of the `next` generation hand images out: a `data:` URI."""


def described(content: object) -> list[str]:
    """Return one phrase per part of `content` that is not text, such as `image_url: image/png of 70 bytes`."""
    parts = content if isinstance(content, list) else []
    return [_phrase(part) for part in parts if isinstance(part, dict) and part.get("type") != "text"]


def received(request: ModelRequest) -> str:
    """Return what reached the model as JSON, attachments as phrases: the answer to `[[received]]`."""
    told: JsonObject = {
        "messages": [_told(message) for message in request.messages],
        "tools": [tool["function"]["name"] for tool in request.tools],
        "response_format": (request.response_format or {}).get("type"),
        "web_search": request.web_search,
        "max_tokens": request.max_tokens,
    }
    return json.dumps(told)


def _told(message: JsonObject) -> JsonObject:
    content = message.get("content")
    told: JsonObject = {"role": message.get("role"), "content": text_of(content)}
    attachments = described(content)
    return told | {"attachments": attachments} if attachments else told


def _phrase(part: JsonObject) -> str:
    kind = str(part.get("type"))
    inner = part.get(kind)
    member = inner if isinstance(inner, dict) else {}
    name = member.get("filename") or part.get("filename")
    source = member.get("url") or member.get("file_data") or member.get("data") or inner
    known = [str(name)] if name else []
    if isinstance(source, str):
        known.append(_size(source))
    return f"{kind}: {', '.join(known)}" if known else kind


def _size(source: str) -> str:
    if source.startswith(("http://", "https://")):
        return source
    head, comma, data = source.partition(",")
    kind = head.removeprefix("data:").partition(";")[0] if comma else "base64"
    try:
        return f"{kind} of {len(base64.b64decode(data if comma else source, validate=True))} bytes"
    except ValueError:
        return f"{kind} that is not base64"

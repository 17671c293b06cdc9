"""
The gateway accepts some requests, and says what is wrong with the others (docs/protocol.md §2).

A small JSON Schema checker speaks with the wording of Python's `jsonschema`, whose messages the real gateway sends in
its 400 answers, over the two schemas as observed. Newer generations also look at attachments, and moderate.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from og_integrations.devnet._generations import Generation, Moderation
from og_integrations.devnet.model._model import last_user_text, text_of
from og_integrations.models import model_info
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH

_Schema = Mapping[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def _nullable(kind: str, **more: object) -> _Schema:
    return {"type": kind, "nullable": True, **more}


_TEXT: _Schema = {"type": "string"}
_PARTS: _Schema = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "required": ["type"], "properties": {"type": _TEXT}},
}
_CONTENT: _Schema = {"anyOf": [_TEXT, _PARTS]}
_TOOL_CALL: _Schema = {
    "type": "object",
    "required": ["id", "type", "function"],
    "properties": {
        "id": _TEXT,
        "type": {"type": "string", "enum": ["function"]},
        "function": {
            "type": "object",
            "required": ["name", "arguments"],
            "properties": {"name": _TEXT, "arguments": _TEXT},
        },
    },
}


def _message(role: str, required: tuple[str, ...], **properties: _Schema) -> _Schema:
    return {
        "type": "object",
        "required": ["role", *required],
        "properties": {"role": {"type": "string", "enum": [role]}, "name": _TEXT, **properties},
    }


_MESSAGE: _Schema = {
    "anyOf": [
        _message("developer", ("content",), content=_CONTENT),
        _message("system", ("content",), content=_CONTENT),
        _message("user", ("content",), content=_CONTENT),
        _message(
            "assistant",
            (),
            content={"anyOf": [{"type": "string", "nullable": True}, _PARTS]},
            tool_calls={"type": "array", "items": _TOOL_CALL},
        ),
        _message("tool", ("content", "tool_call_id"), content=_CONTENT, tool_call_id=_TEXT),
        _message("function", ("content", "name"), content={"type": "string", "nullable": True}),
    ]
}
_TOOL: _Schema = {
    "type": "object",
    "required": ["type", "function"],
    "properties": {
        "type": {"type": "string", "enum": ["function"]},
        "function": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": _TEXT, "description": _TEXT, "parameters": {"type": "object"}},
        },
    },
}
_TOOL_CHOICE: _Schema = {
    "anyOf": [
        {"type": "string", "enum": ["none", "auto", "required"]},
        {
            "type": "object",
            "required": ["type", "function"],
            "properties": {
                "type": {"type": "string", "enum": ["function"]},
                "function": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
            },
        },
    ]
}
_RESPONSE_FORMAT: _Schema = {
    "anyOf": [
        {"type": "object", "required": ["type"], "properties": {"type": {"type": "string", "enum": ["text"]}}},
        {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"type": "string", "enum": ["json_object"]}},
        },
        {
            "type": "object",
            "required": ["type", "json_schema"],
            "properties": {
                "type": {"type": "string", "enum": ["json_schema"]},
                "json_schema": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": _TEXT, "schema": {"type": "object"}},
                },
            },
        },
    ]
}
_STOP: _Schema = {
    "nullable": True,
    "anyOf": [_TEXT, {"type": "array", "minItems": 1, "maxItems": 4, "items": _TEXT}],
}
_SAMPLING: dict[str, _Schema] = {
    "model": _TEXT,
    "temperature": _nullable("number", minimum=0, maximum=2),
    "top_p": _nullable("number", minimum=0, maximum=1),
    "max_tokens": _nullable("integer"),
    "n": _nullable("integer", minimum=1, maximum=128),
    "seed": _nullable("integer"),
    "stream": _nullable("boolean"),
    "frequency_penalty": _nullable("number", minimum=-2, maximum=2),
    "presence_penalty": _nullable("number", minimum=-2, maximum=2),
    "user": _TEXT,
    "stop": _STOP,
}
_CHAT: _Schema = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        **_SAMPLING,
        "tools": {"type": "array", "items": _TOOL},
        "tool_choice": _TOOL_CHOICE,
        "response_format": _RESPONSE_FORMAT,
        "parallel_tool_calls": {"type": "boolean"},
        "reasoning_effort": {"type": "string", "enum": ["low", "medium", "high"]},
    },
}
_COMPLETION: _Schema = {
    "type": "object",
    "required": ["model", "prompt"],
    "properties": {
        **_SAMPLING,
        "prompt": {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]},
    },
}
_SCHEMAS = {CHAT_PATH: _CHAT, COMPLETION_PATH: _COMPLETION}
_FLAGGED = re.compile(r"\[\[flagged=([a-z/,-]+)\]\]")
_NEVER_SERVED = "sexual/minors"


def complaint(path: str, body: object) -> str | None:
    """Return the `detail` of the 400 answer to `body`, None if the gateway accepts it."""
    return next(_errors(_SCHEMAS[path], body, ""), None)


def refused_attachment(body: JsonObject, generation: Generation) -> JsonObject | None:
    """Return the body of the 400 for pictures that the asked model is known not to take; None if there are none."""
    blind = model_info(body["model"]).image_inputs is False
    if not generation.attachments or not blind or not _has_pictures(body.get("messages", ())):
        return None
    return {"error": "Invalid attachment", "message": f"Model {body['model']} does not accept image input"}


@dataclass(frozen=True, slots=True)
class Moderated:
    """
    What moderation says of a request.

    `refusal` is the answer (status, headers, body) instead of the model's, None if it may be answered; `headers` and
    `block` go with the answer.
    """

    refusal: tuple[int, list[tuple[str, str]], JsonObject] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    block: JsonObject = field(default_factory=dict)


def moderated(body: JsonObject, generation: Generation) -> Moderated:
    """
    Return what the moderation of `generation` says of `body`.

    The classifier obeys the text: `[[flagged=violence,hate]]` names categories, `[[blocked]]` is the one category that
    is never served.
    """
    kind = generation.moderation
    texts = _texts(body, newest_only=kind is not Moderation.EVERYTHING)
    if kind is Moderation.NONE or (kind is Moderation.PICTURES and not _is_about_pictures(body)):
        return Moderated()
    categories = [name for text in texts for found in _FLAGGED.findall(text) for name in found.split(",")]
    blocked = any("[[blocked]]" in text for text in texts)
    categories += [_NEVER_SERVED] if blocked else []
    named = ",".join(categories)
    if kind is Moderation.EVERYTHING:
        if not categories:
            return Moderated()
        headers = [("X-OG-Moderation-Flagged", "1"), ("X-OG-Moderation-Categories", named)]
        return Moderated(
            (403, headers, {"error": "content_policy_violation", "message": "The content is not allowed."})
        )
    block: JsonObject = {
        "moderation": {
            "model": "omni-moderation-latest",
            "checked": True,
            "flagged": bool(categories),
            "blocked": blocked,
            "categories": categories,
            "category_scores": dict.fromkeys(categories, 0.97),
        }
    }
    headers = [("X-Moderation-Flagged", "true"), ("X-Moderation-Categories", named)] if categories else []
    if not blocked:
        return Moderated(headers=tuple(headers), block=block)
    refusal: JsonObject = {"error": "The content is not allowed.", "code": "moderation_blocked", **block}
    return Moderated((451, [*headers, ("X-Moderation-Blocked", "true")], refusal))


def _texts(body: JsonObject, *, newest_only: bool) -> list[str]:
    messages = body.get("messages", [])
    if newest_only:
        return [last_user_text(messages)]
    return [text_of(message.get("content")) for message in messages] + [str(body.get("prompt") or "")]


def _is_about_pictures(body: JsonObject) -> bool:
    return _has_pictures(body.get("messages", ())) or model_info(body["model"]).image_outputs


def _has_pictures(messages: Iterable[JsonObject]) -> bool:
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    return any(part.get("type") in {"image_url", "image"} for part in parts)


def _errors(schema: _Schema, value: object, where: str) -> Iterator[str]:
    if value is None and schema.get("nullable"):
        return
    suffix = f" - '{where}'" if where else ""
    for error in (_type_error(schema, value), _any_of_error(schema, value, where), _value_error(schema, value)):
        if error is not None:
            yield error + suffix
            return
    if isinstance(value, dict):
        yield from (
            f"{name!r} is a required property{suffix}" for name in schema.get("required", ()) if name not in value
        )
        for name, member in schema.get("properties", {}).items():
            if name in value:
                yield from _errors(member, value[name], f"{where}.{name}" if where else name)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _errors(schema["items"], item, f"{where}.{index}" if where else str(index))


def _type_error(schema: _Schema, value: object) -> str | None:
    kind = schema.get("type")
    if kind is None:
        return None
    # JSON's true is no number, though Python's True is an int.
    fits = isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
    return None if fits else f"{value!r} is not of type {kind!r}"


def _any_of_error(schema: _Schema, value: object, where: str) -> str | None:
    choices = schema.get("anyOf")
    if choices is None or any(next(_errors(choice, value, where), None) is None for choice in choices):
        return None
    return f"{value!r} is not valid under any of the given schemas"


def _value_error(schema: _Schema, value: object) -> str | None:
    if "enum" in schema and value not in schema["enum"]:
        return f"{value!r} is not one of {schema['enum']!r}"
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            return f"{value!r} should be non-empty"
        if len(value) > schema.get("maxItems", len(value)):
            return f"{value!r} is too long"
    if isinstance(value, int | float):
        if "maximum" in schema and value > schema["maximum"]:
            return f"{value!r} is greater than the maximum of {schema['maximum']}"
        if "minimum" in schema and value < schema["minimum"]:
            return f"{value!r} is less than the minimum of {schema['minimum']}"
    return None

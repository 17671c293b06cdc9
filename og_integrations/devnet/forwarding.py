"""Parsed request -> what reaches the model: the gateway drops more than it forwards (PROTOCOL §2)."""

import json
import math

from og_integrations.devnet.message_text import text_of
from og_integrations.devnet.model import Family, ModelRequest
from og_integrations.protocol.canonical import APRIL, NEXT
from og_integrations.protocol.chat import COMPLETION_PATH, JsonObject

_CHAT_MAX_TOKENS = 4096
_COMPLETION_MAX_TOKENS = 16
_JSON_INSTRUCTION = "Respond in JSON format."


def forwarded(path: str, body: JsonObject, family: Family, generation: str = APRIL) -> ModelRequest:
    """
    Return what the model of `family` is asked for the accepted `body`.

    Uncaptured, from what client 1.1.4 sends: in the generation `next` the parts of a message and
    `web_search` get through, and a developer message is a system message.
    """
    if path == COMPLETION_PATH:
        return _completion(body, family)
    response_format = body.get("response_format")
    kind = response_format.get("type") if response_format else None
    kept = _as_system if generation == NEXT else _without_images
    messages = [kept(message) for message in body["messages"]]
    if kind == "json_object" and not any("json" in text_of(message.get("content")).lower() for message in messages):
        messages.insert(0, {"role": "system", "content": _JSON_INSTRUCTION})
    # Anthropic's structured output is a tool of the gateway's own: it takes the place of the caller's.
    drops_tools = family is Family.ANTHROPIC and kind == "json_schema"
    max_tokens = body.get("max_tokens")
    return ModelRequest(
        model=body["model"],
        family=family,
        messages=messages,
        tools=[] if drops_tools else body.get("tools", []),
        response_format=None if kind == "text" else response_format,
        max_tokens=_CHAT_MAX_TOKENS if max_tokens is None else max_tokens,
        temperature=_temperature(body, absent=0.0),
        web_search=generation == NEXT and bool(body.get("web_search")),
    )


def _completion(body: JsonObject, family: Family) -> ModelRequest:
    prompt = body["prompt"] if isinstance(body["prompt"], str) else body["prompt"][0]
    max_tokens = body.get("max_tokens", _COMPLETION_MAX_TOKENS)
    return ModelRequest(
        model=body["model"],
        family=family,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=_CHAT_MAX_TOKENS if max_tokens is None else max_tokens,
        temperature=_temperature(body, absent=1.0),
    )


def _temperature(body: JsonObject, *, absent: float) -> float | None:
    """Return what reaches the model; what is signed is another matter."""
    if body["model"].startswith("gpt-5"):
        return None
    if body["model"] == "o4-mini":
        return 1.0
    value = body.get("temperature", absent)
    return 0.0 if value is None else float(value)


def _without_images(message: JsonObject) -> JsonObject:
    content = message.get("content")
    return {**message, "content": text_of(content)} if isinstance(content, list) else message


def _as_system(message: JsonObject) -> JsonObject:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def cannot_be_asked(body: JsonObject, family: Family) -> bool:
    """Whether the provider's adapter in the gateway fails before anything is sent."""
    temperature = _temperature(body, absent=0.0)
    if temperature is not None and math.isnan(temperature):
        # Uncaptured: Python reads NaN in JSON, and JSON Schema's limits do not exclude it, but the HTTP
        # libraries of the providers' SDKs refuse to write it.
        return True
    return family is Family.ANTHROPIC and (body.get("response_format") or {}).get("type") == "json_object"


def reserialised(arguments: str) -> str:
    """Return tool arguments as the gateway writes them when it has parsed them."""
    try:
        return json.dumps(json.loads(arguments))
    except ValueError:
        return arguments

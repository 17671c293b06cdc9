"""
docs/protocol.md §4 written a second time, from its text alone, and requests to try both on.

Nothing of `og_integrations` is imported here: two halves must not share a mistake.
"""

import hashlib
import json
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]


def _reduced(part: Any, rule: str) -> Any:
    if not isinstance(part, dict):
        return {"text": str(part), "type": "text"}
    if part.get("type") == "text":
        return {"text": "" if part.get("text") is None else part["text"], "type": "text"}
    kept = {"type": part.get("type")}
    inner = part["file"] if isinstance(part.get("file"), dict) else {}
    if name := inner.get("filename") or part.get("filename"):
        kept["filename"] = name
    data = inner.get("file_data")
    if rule == "digest" and isinstance(data, str) and data.startswith("data:") and ";base64," in data:
        head, text = data.removeprefix("data:").split(";base64,", 1)
        kept |= {"mime_type": head.split(";")[0], "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return kept


def reference_chat(wire: bytes, rule: str = "april") -> bytes:
    """Return what gateways of `rule` hash of a chat request."""
    request = json.loads(wire)
    temperature = request.get("temperature")
    rebuilt: Json = {"model": request["model"], "messages": [], "temperature": float(temperature or 0)}
    for message in request["messages"]:
        kept = {"role": message["role"], "content": message.get("content")}
        if message["role"] == "user" and not isinstance(message["content"], str):
            parts = message["content"]
            rebuilt_list = parts if rule == "verbatim" else [_reduced(part, rule) for part in parts]
            kept["content"] = str(parts) if rule == "april" else rebuilt_list
        if message["role"] == "assistant":
            kept["content"] = message.get("content") or ""
            if message.get("tool_calls"):
                kept["tool_calls"] = [
                    {
                        "id": call["id"],
                        "type": call["type"],
                        "function": {n: call["function"][n] for n in ("name", "arguments")},
                    }
                    for call in message["tool_calls"]
                ]
        for role, name in (("tool", "tool_call_id"), ("function", "name")):
            if message["role"] == role:
                kept[name] = message[name]
        rebuilt["messages"].append(kept)
    if request.get("max_tokens") is not None:
        rebuilt["max_tokens"] = request["max_tokens"]
    rebuilt.update({name: request[name] for name in ("stop", "tools", "response_format") if request.get(name)})
    if rule != "april" and request.get("web_search"):
        rebuilt["web_search"] = True
    if rule == "reduced+effort" and request.get("reasoning_effort"):
        rebuilt["reasoning_effort"] = request["reasoning_effort"]
    return json.dumps(rebuilt, sort_keys=True).encode()


def reference_completion(wire: bytes) -> bytes:
    """Return what the gateway hashes of a completion request."""
    request = {"temperature": 1.0, "max_tokens": 16} | json.loads(wire)
    rebuilt = {
        "model": request["model"],
        "prompt": request["prompt"],
        "temperature": float(request["temperature"] or 0),
    }
    if request["max_tokens"] is not None:
        rebuilt["max_tokens"] = request["max_tokens"]
    if request.get("stop"):
        rebuilt["stop"] = request["stop"]
    return json.dumps(rebuilt, sort_keys=True).encode()


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=6), json_values, max_size=3)
_calls = st.fixed_dictionaries(
    {
        "id": st.text(max_size=8),
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": st.text(max_size=8), "arguments": st.text(max_size=12)}, optional={"strict": st.booleans()}
        ),
    },
    optional={"index": st.integers()},
)
_texts = st.text(max_size=12)
_data = st.sampled_from(["data:a/b;base64,AA==", "data:a/b;name=c;base64,", "data:a/b,x", "https://example.com"])
_extras: dict[str, st.SearchStrategy[Any]] = {"refusal": json_values, "audio": json_values}


def _message(role: str, required: Json, optional: Json | None = None) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"role": st.just(role)} | required, optional=_extras | (optional or {}))


_parts = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.none() | _texts}, optional={"cache": json_values}),
    st.fixed_dictionaries(
        {"type": st.just("file"), "file": st.fixed_dictionaries({}, optional={"filename": _texts, "file_data": _data})}
    ),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": objects}, optional={"filename": _texts}),
    objects,
    _texts,
)
messages = st.one_of(
    _message("system", {"content": _texts}, {"name": _texts}),
    _message("user", {"content": _texts | st.lists(_parts, min_size=1, max_size=3)}, {"name": _texts}),
    _message("assistant", {}, {"content": st.none() | _texts, "tool_calls": st.lists(_calls, max_size=3)}),
    _message("tool", {"content": _texts, "tool_call_id": _texts}, {"name": _texts}),
    _message("function", {"content": _texts, "name": _texts}),
)
_sampling: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.none() | st.integers(0, 2) | st.floats(0, 2),
    "max_tokens": st.none() | st.integers(1, 2**40),
    "stop": st.text(max_size=4) | st.lists(st.text(max_size=4), max_size=4),
}
chat_requests = st.fixed_dictionaries(
    {"model": st.text(max_size=8), "messages": st.lists(messages, min_size=1, max_size=5)},
    optional=_sampling
    | {
        "tools": st.lists(objects, max_size=3),
        "response_format": objects,
        "stream": st.booleans(),
        "tool_choice": json_values,
        "top_p": json_values,
        "web_search": json_values,
        "reasoning_effort": json_values,
        "user": json_values,
    },
)
completion_requests = st.fixed_dictionaries(
    {"model": st.text(max_size=8), "prompt": _texts}, optional=_sampling | {"seed": json_values}
)

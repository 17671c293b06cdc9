"""
The scripted model answers always the same way, without thinking, so that tests can rely on it.

Directives in the last user message, in `[[…]]`:

```text
tokens=N      answer "tok0 tok1 …" with N pieces
unicode       answer text that breaks careless code
delay=T       wait before each piece: 0.05 is seconds (as in the captures), 50 is milliseconds
fail_after=N  the provider fails after N pieces (err_after=N is the same)
status=N      the provider answers this HTTP error
with_text     some text before tool calls
received      answer JSON that says what reached the model (parts, web_search, tools, …)
image         draw an image beside the answer; image models always do
reasoning     think aloud before the answer
```

`use tool NAME {json}` calls exactly that; otherwise tools whose name shares a word of four letters
with the message are called, unless the last message is a tool's result. Then comes `response_format`,
then the tool's result is repeated, and at last the message itself, naming its attachments.

Forms and tool arguments are filled with made-up values that fit their JSON schema.
"""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from og_integrations.devnet.model._model import Answer, Family, ModelCall, ModelRequest, last_user_text, text_of
from og_integrations.models import model_info
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import Usage

DRAWN_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel, as gateways newer than April's hand images out: a `data:` URI."""


def described(content: object) -> list[str]:
    """Return one phrase per part of `content` that is not text, such as `image_url: image/png of 70 bytes`."""
    parts = content if isinstance(content, list) else []
    return [_phrase(part) for part in parts if isinstance(part, dict) and part.get("type") != "text"]


def received(request: ModelRequest) -> str:
    """Return what reached the model as JSON, attachments as phrases: the answer to `[[received]]`."""
    seen: JsonObject = {
        "messages": [_seen(message) for message in request.messages],
        "tools": [tool["function"]["name"] for tool in request.tools],
        "response_format": (request.response_format or {}).get("type"),
        "web_search": request.web_search,
        "max_tokens": request.max_tokens,
    }
    if request.reasoning_effort is not None:
        seen["reasoning_effort"] = request.reasoning_effort
    return json.dumps(seen)


def _seen(message: JsonObject) -> JsonObject:
    content = message.get("content")
    seen: JsonObject = {"role": message.get("role"), "content": text_of(content)}
    attachments = described(content)
    return seen | {"attachments": attachments} if attachments else seen


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


_DIRECTIVES = re.compile(r"\[\[([^\[\]]*)\]\]")
_USE_TOOL = re.compile(r"use tool ([A-Za-z0-9_.:-]+)\s*(?=\{)")
_PIECE = re.compile(r"\S+\s*|\s+")
_WORD = re.compile(r"[a-z]{4,}")
_KEY = re.compile(r"[\"'`“]([A-Za-z_]\w*)[\"'`”]")
_UNICODE = 'Zażółć gęślą jaźń \u2013 你好 🌍 "quoted" \\ back\nnewline\u2028sep'
_WITH_TEXT = "Let me call a tool. "
_THOUGHT = "The user wants an answer. "
_TOKENS_PER_MESSAGE = 3
_TOKENS_PER_CALL = {Family.ANTHROPIC: 5}
_MAX_TOKENS_DIRECTIVE = 10_000_000


@dataclass(frozen=True, slots=True)
class Script:
    """
    This is the default model of the devnet. `plain` answers an ordinary message; None repeats the message.

    The captures were made with `plain="Hello from the fake upstream."`.
    """

    plain: str | None = None

    async def answer(self, request: ModelRequest) -> Answer:
        """Answer by the rules above."""
        prompt = last_user_text(request.messages)
        orders = _directives(prompt)
        calls = self._calls(request, prompt)
        text = self._text(request, prompt, orders, calls)
        whole = request.family is Family.ANTHROPIC and request.response_format is not None
        pieces = (text,) if whole else tuple(_PIECE.findall(text))
        if not calls:
            pieces = pieces[: max(request.max_tokens, 0)]
        completion = len("".join(pieces).split()) + len(calls) * _TOKENS_PER_CALL.get(request.family, 6)
        prompted = sum(_TOKENS_PER_MESSAGE + _words(message.get("content")) for message in request.messages)
        fail_after = orders.get("fail_after", orders.get("err_after"))
        status = orders.get("status")
        return Answer(
            pieces=pieces,
            calls=calls,
            images=(DRAWN_IMAGE,) if "image" in orders or model_info(request.model).image_outputs else (),
            reasoning=_THOUGHT if "reasoning" in orders else "",
            usage=Usage(prompted, completion, prompted + completion),
            delay=_seconds(orders.get("delay")),
            fail_after=_whole(fail_after) if fail_after is not None else None,
            error_status=_whole(status) if status is not None else None,
        )

    def _calls(self, request: ModelRequest, prompt: str) -> tuple[ModelCall, ...]:
        if not request.tools or not request.messages or request.messages[-1].get("role") in {"tool", "function"}:
            return ()
        offered = {tool["function"]["name"]: tool["function"] for tool in request.tools}
        ordered = tuple(call for call in _ordered_calls(prompt) if call.name in offered)
        if ordered:
            return ordered
        words = set(_WORD.findall(_DIRECTIVES.sub("", prompt).lower()))
        chosen = [tool for name, tool in offered.items() if words & set(_WORD.findall(_spaced(name)))]
        return tuple(ModelCall(tool["name"], _arguments(tool.get("parameters"), prompt)) for tool in chosen)

    def _text(self, request: ModelRequest, prompt: str, orders: dict[str, str], calls: tuple[ModelCall, ...]) -> str:
        if calls:
            return _WITH_TEXT if "with_text" in orders else ""
        if "received" in orders:
            return received(request)
        if "tokens" in orders:
            return " ".join(f"tok{i}" for i in range(min(_whole(orders["tokens"]), _MAX_TOKENS_DIRECTIVE)))
        if "unicode" in orders:
            return _UNICODE
        kind = (request.response_format or {}).get("type")
        if kind == "json_schema":
            return json.dumps(_instance(request, prompt))
        if kind == "json_object":
            return json.dumps(dict.fromkeys(_KEY.findall(prompt), "x") or {"ok": True})
        results = _trailing_results(request.messages)
        if results:
            return f"The tool said: {results[0]}" if len(results) == 1 else f"The tools said: {'; '.join(results)}"
        return self._repeated(request, prompt) if self.plain is None else self.plain

    def _repeated(self, request: ModelRequest, prompt: str) -> str:
        users = [message for message in request.messages if message.get("role") == "user"]
        attachments = described(users[-1].get("content")) if users else []
        return f"You said: {prompt}" + (f" (with {'; '.join(attachments)})" if attachments else "")


def _directives(prompt: str) -> dict[str, str]:
    orders = {}
    for group in _DIRECTIVES.findall(prompt):
        for order in group.split():
            name, _, value = order.partition("=")
            orders[name] = value
    return orders


def _ordered_calls(prompt: str) -> list[ModelCall]:
    calls = []
    decoder = json.JSONDecoder()
    for match in _USE_TOOL.finditer(prompt):
        try:
            _, end = decoder.raw_decode(prompt, match.end())
        except ValueError:
            continue
        calls.append(ModelCall(match.group(1), prompt[match.end() : end]))
    return calls


def _arguments(parameters: object, prompt: str) -> str:
    if not isinstance(parameters, dict):
        return "{}"
    filler = Filler(root=parameters, integer=3, hints=Hints.of(_DIRECTIVES.sub("", prompt)))
    value = filler.fill({"type": "object", **parameters})
    return json.dumps(value, separators=(",", ":"))


def _instance(request: ModelRequest, prompt: str) -> object:
    described = (request.response_format or {}).get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    root = schema if isinstance(schema, dict) else {"type": "object"}
    hints = Hints.of(_DIRECTIVES.sub("", prompt))
    return Filler(root=root, bounds=request.family is not Family.ANTHROPIC, hints=hints).fill(root)


def _trailing_results(messages: list[JsonObject]) -> list[str]:
    results = []
    for message in reversed(messages):
        if message.get("role") not in {"tool", "function"}:
            break
        results.append(text_of(message.get("content")))
    return results[::-1]


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_\-.]", " ", name).lower()


def _words(content: object) -> int:
    # The captures count one for a message without text (an assistant's that only called tools).
    return max(1, len(text_of(content).split()))


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _seconds(text: str | None) -> float:
    if not text:
        return 0.0
    try:
        return float(text) if "." in text else int(text) / 1000
    except ValueError:
        return 0.0


MAX_DEPTH = 12
"""Recursive schemas end here: optional members are left out, others become null."""
_QUOTED = re.compile(r"\"([^\"]+)\"|'([^']+)'|“([^”]+)”")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_NAME = re.compile(r"\b[A-Z][\w-]*\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """
    This is what a prompt offers to fill in: texts in quotes, numbers, and capitalised words.

    Words that only begin a sentence do not count as names.
    """

    quoted: tuple[str, ...]
    numbers: tuple[float, ...]
    names: tuple[str, ...]
    text: str

    @classmethod
    def of(cls, prompt: str) -> "Hints":
        """Read the hints of `prompt`."""
        quoted = tuple(next(filter(None, match.groups())) for match in _QUOTED.finditer(prompt))
        numbers = tuple(float(match.group()) for match in _NUMBER.finditer(prompt))
        names = tuple(match.group() for match in _NAME.finditer(prompt) if not _starts_sentence(prompt, match.start()))
        return cls(quoted=quoted, numbers=numbers, names=names, text=prompt.lower())


def _starts_sentence(prompt: str, position: int) -> bool:
    before = prompt[:position].rstrip(" \"'“")
    return not before or before[-1] in ".!?:\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """
    Fills one schema. `root` is where `$ref` points into; `bounds` whether minimum and the like are
    seen (the gateway strips them for Anthropic models); `integer` is the number used without any
    hint; with `hints` None nothing is taken from the prompt.
    """

    root: JsonObject
    bounds: bool = True
    integer: int = 7
    hints: Hints | None = None

    def fill(self, schema: object, name: str = "", depth: int = 0) -> object:
        """Return a value for `schema`; `name` is the member it is for."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return None if depth > MAX_DEPTH else "x"
        if "$ref" in schema:
            return self.fill(self._resolve(str(schema["$ref"])), name, depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return self._choose(schema["enum"])
        for combined in ("anyOf", "oneOf"):
            if isinstance(schema.get(combined), list) and schema[combined]:
                return self.fill(self._first_useful(schema[combined]), name, depth + 1)
        if isinstance(schema.get("allOf"), list) and schema["allOf"]:
            return self.fill(self._merge(schema), name, depth + 1)
        return self._typed(schema, name, depth)

    def _typed(self, schema: JsonObject, name: str, depth: int) -> object:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((item for item in kind if item != "null"), "null")
        makers: dict[object, Callable[[], object]] = {
            "object": lambda: self._object(schema, depth),
            "array": lambda: self._array(schema, name, depth),
            "integer": lambda: int(self._number(schema)),
            "number": lambda: self._number(schema),
            "boolean": lambda: True,
            "null": lambda: None,
        }
        return makers.get(kind, lambda: self._string(schema))()

    def _object(self, schema: JsonObject, depth: int) -> JsonObject:
        required = schema.get("required") or []
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return {}
        # A default speaks for leaving a member out; near the depth limit only what must be is made.
        return {
            name: self.fill(member, name, depth + 1)
            for name, member in properties.items()
            if name in required or (depth < MAX_DEPTH // 2 and not (isinstance(member, dict) and "default" in member))
        }

    def _array(self, schema: JsonObject, name: str, depth: int) -> list[object]:
        wanted = schema.get("minItems") if self.bounds else None
        count = wanted if isinstance(wanted, int) else int(depth < MAX_DEPTH // 2)
        return [self.fill(schema.get("items"), name, depth + 1) for _ in range(count)]

    def _number(self, schema: JsonObject) -> float:
        value: float = self.hints.numbers[0] if self.hints and self.hints.numbers else self.integer
        whole = schema.get("type") == "integer"
        if self.bounds:
            low = _bound(schema, "minimum", "exclusiveMinimum", 1)
            high = _bound(schema, "maximum", "exclusiveMaximum", -1)
            if low is not None:
                value = max(value, low) if self.hints and self.hints.numbers else low
            if high is not None:
                value = min(value, high)
        return int(value) if whole or float(value).is_integer() else value

    def _string(self, schema: JsonObject) -> str:
        value = "x"
        if self.hints and (self.hints.quoted or self.hints.names):
            value = self.hints.quoted[0] if self.hints.quoted else self.hints.names[-1]
        shortest = schema.get("minLength") if self.bounds else None
        if isinstance(shortest, int):
            value = value.ljust(shortest, "x")
        return {"date": "2026-11-20", "date-time": "2026-11-20T12:00:00Z", "time": "12:00:00Z"}.get(
            str(schema.get("format")), value
        )

    def _choose(self, values: list[object]) -> object:
        if self.hints is None:
            return values[0]
        return next((value for value in values if str(value).lower() in self.hints.text), values[0])

    def _resolve(self, reference: str) -> object:
        found: object = self.root
        for part in reference.removeprefix("#").strip("/").split("/"):
            if part:
                found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found

    def _first_useful(self, schemas: list[object]) -> object:
        useful = [item for item in schemas if not (isinstance(item, dict) and item.get("type") == "null")]
        return useful[0] if useful else schemas[0]

    def _merge(self, schema: JsonObject) -> JsonObject:
        merged: JsonObject = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            resolved = self._resolve(str(part["$ref"])) if isinstance(part, dict) and "$ref" in part else part
            if isinstance(resolved, dict):
                members = {**merged.get("properties", {}), **resolved.get("properties", {})}
                required = [*merged.get("required", []), *resolved.get("required", [])]
                merged = {**resolved, **merged}
                merged |= {"properties": members, "required": required} if members else {}
        return merged


def _bound(schema: JsonObject, inclusive: str, exclusive: str, step: int) -> float | None:
    if isinstance(schema.get(inclusive), int | float):
        return float(schema[inclusive])
    if isinstance(schema.get(exclusive), int | float) and not isinstance(schema[exclusive], bool):
        return float(schema[exclusive]) + step
    return None

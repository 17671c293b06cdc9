"""Made-up values that fit a JSON schema: what the scripted model fills forms and tool arguments with."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from og_integrations.protocol.strict_json import JsonObject

MAX_DEPTH = 12
"""Recursive schemas end here: optional members are left out, others become null."""
_QUOTED = re.compile(r"\"([^\"]+)\"|'([^']+)'|“([^”]+)”")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_NAME = re.compile(r"\b[A-Z][\w-]*\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """
    What a prompt offers to fill in: texts in quotes, numbers, and capitalised words.

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

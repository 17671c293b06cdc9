"""
This module holds the one conversion of JSON schemas as they are sent, and the one check of the strict subset.

A schema is sent in one of two forms. The *open* form says what the given schema says, with an object at
its root, as providers demand of tools and formats. The *strict* form is the subset that providers enforce
while a model writes: every object closed, every property required, `anyOf` instead of `oneOf`, nine formats,
no lookaround. A property that was optional becomes required and nullable, and `drop_added_nulls` takes the
nulls that this brings out of the answer again.

Nothing is lost on the way: properties, references, types, limits and descriptions of the given schema are in
what is sent, or there is no strict form, or the schema is refused and the refusal names the place.
"""

import re
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import NamedTuple

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._dialect import DYNAMIC, MAX_DEPTH, followed, in_one_dialect, subschemas

STRICT_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
"""The formats that OpenAI takes in strict mode; any other one ends in its 400."""
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment"}
)
_LIMITS = frozenset(
    {
        "enum",
        "const",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
    }
)
_STRUCTURE = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "discriminator",
        "$defs",
        "definitions",
    }
)
_FORMS = ("$ref", "anyOf", "oneOf", "allOf", "properties", "items")
"""What a schema is made of; of two in one (a base in `allOf` beside own properties) one would be lost."""
_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_LOOKAROUND = re.compile(r"\(\?(?:[=!]|<[=!])")
_DEFINITIONS = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")


class _NotStrict(Exception):  # noqa: N818 - caught in this file, it never leaves
    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place or 'its root'}: {why}")


def strict_schema(schema: JsonObject) -> JsonObject | None:
    """Return the strict form of an object schema, None if it has none."""
    try:
        return _strict_root(schema, nulls=True)
    except _NotStrict:
        return None


def demanded_strict_schema(schema: JsonObject, whose: str) -> JsonObject:
    """
    Return the strict form of an object schema that the caller demanded to be strict.

    What was optional becomes required and nothing else, as OpenAI's own client does it: whoever asked for strictness
    reads the answer himself, and no null is added to it.
    `whose` names the tool or class in the message. Raises `InvalidRequestError` that names the place which has
    no strict form.
    """
    try:
        return _strict_root(schema, nulls=False)
    except _NotStrict as exc:
        raise InvalidRequestError(
            f"The schema of {whose} cannot be strict, at {exc}. Nothing was sent. Leave strict out to send it open, "
            "or change that place."
        ) from None


def open_schema(schema: object, whose: str) -> JsonObject:
    """
    Return the open form of a schema: the same meaning, with `type: object` said at its root.

    A root that is a reference is replaced by what it refers to. `whose` names the tool or class in the message.
    Raises `InvalidRequestError` for a schema whose root allows anything but an object.
    """
    root = _root(_checked(schema, whose))
    if root.get("type") != "object":
        kinds = _kinds(root, root, 0)
        # Providers answer 400 to a tool whose root is no object, and the gateway makes it a 500 without words.
        if kinds != {"object"}:
            raise InvalidRequestError(
                f"The schema of {whose} allows {_listed(kinds)} at its root, but models are asked for one JSON object. "
                "Nothing was sent. Put it into a property of an object."
            )
        root = {"type": "object", **root}
    # A provider refuses a reference that leads nowhere, and the gateway makes that a 500 without words.
    _check_references(root, whose)
    # OpenAI refuses an object without this word, also where the schema describes it in another way.
    return root if "properties" in root else {**root, "properties": {}}


def whole_schema(schema: object, whose: str) -> JsonObject:
    """
    Return a schema that is sent as it was given, in the dialect that providers take.

    `whose` names the tool or format in the message. Raises `InvalidRequestError` that names the place of what every
    provider refuses.
    """
    told = in_one_dialect(_checked(schema, whose))
    _check_references(told, whose)
    return told


def _checked(schema: object, whose: str) -> JsonObject:
    if not isinstance(schema, Mapping):
        raise InvalidRequestError(
            f"The schema of {whose} is a {type(schema).__name__}, expected a JSON schema. Nothing was sent."
        )
    return schema if isinstance(schema, dict) else dict(schema)


def is_recursive(schema: JsonObject) -> bool:
    """Return whether a definition of `schema` refers to itself, directly or through another one."""
    schema = in_one_dialect(schema)
    uses: dict[str, set[str]] = {}
    for word in ("$defs", "definitions"):
        members = schema.get(word)
        for name, item in members.items() if isinstance(members, dict) else ():
            references = (str(inner.get("$ref", "")) for _, inner in subschemas(item))
            uses[name] = {match[1] for reference in references if (match := _DEFINITIONS.fullmatch(reference))}
    # A definition can reach itself through several others, so the references are followed to their end.
    for name, used in uses.items():
        reached, todo = set[str](), list(used)
        while todo:
            if (other := todo.pop()) not in reached:
                reached.add(other)
                todo += uses.get(other, ())
        if name in reached:
            return True
    return any(inner.get("$ref") == "#" for _, inner in subschemas(schema))


def drop_added_nulls(value: JsonObject, schema: JsonObject) -> JsonObject:
    """Take out of `value` the nulls of properties that `schema` does not require nor allow to be null."""
    root = _root(schema)
    cleaned = _cleaned(value, root, root, 0)
    return cleaned if isinstance(cleaned, dict) else value


def _root(schema: JsonObject) -> JsonObject:
    """Return `schema` with a reference at its root replaced by what it refers to, definitions kept."""
    schema = root = in_one_dialect(schema)
    for _ in range(MAX_DEPTH):
        target = (
            _target(root, schema) if "$ref" in root and not root.keys() & {"properties", "anyOf", "allOf"} else None
        )
        if target is None:
            break
        root = {**target, **{word: text for word, text in root.items() if word != "$ref"}}
    return root


def _target(schema: JsonObject, root: JsonObject) -> JsonObject | None:
    """Return what the `$ref` of `schema` refers to within `root`, None if that is not there."""
    reference = str(schema.get("$ref"))
    if reference == "#":
        return root
    found = followed(reference[1:], root) if _DEFINITIONS.fullmatch(reference) else None
    return found if isinstance(found, dict) else None


def _kinds(schema: object, root: JsonObject, depth: int) -> set[str]:
    """Return the JSON types that `schema` can allow at its top; all seven where it does not say."""
    anything = set(_TYPES)
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        # What is not known allows anything: said too narrowly, a schema that is fine would be refused.
        return anything
    kind = schema.get("type")
    allowed = {kind} if isinstance(kind, str) else {str(k) for k in kind} if isinstance(kind, list) else anything
    if "$ref" in schema and (target := _target(schema, root)) is not None:
        allowed = allowed & _kinds(target, root, depth + 1)
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            branches: set[str] = set().union(*(_kinds(item, root, depth + 1) for item in schema[word]))
            allowed = allowed & branches
    for item in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
        allowed = allowed & _kinds(item, root, depth + 1)
    if allowed == anything and schema.keys() & {"properties", "patternProperties", "additionalProperties"}:
        # Not what JSON Schema says, but what everybody means who writes properties without a type.
        return {"object"}
    return allowed


def _listed(kinds: set[str]) -> str:
    return "anything" if len(kinds) == 7 else "a value of type " + " or ".join(sorted(kinds)) if kinds else "nothing"


def _are_schemas(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, dict | bool) for item in value.values())


def _are_branches(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, dict | bool) for item in value)


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _are_types(value: object) -> bool:
    names = value if isinstance(value, list | tuple) and value else (value,)
    return all(isinstance(name, str) and name in _TYPES for name in names)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Providers refuse these, and the gateway makes that a 500 without words.
_SHAPES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    *(
        (word, _are_schemas, "names and schemas")
        for word in ("properties", "patternProperties", "$defs", "definitions")
    ),
    *((word, _are_branches, "a list of schemas, not empty") for word in ("anyOf", "oneOf", "allOf")),
    ("type", _are_types, f"one or more of {', '.join(sorted(_TYPES))}"),
    *((word, _is_number, "a number") for word in sorted(_LIMITS) if word[:4] in ("mini", "maxi", "excl", "mult")),
    *((word, lambda value: type(value) is int and value >= 0, "a whole number") for word in _COUNTS),
    *((word, lambda value: isinstance(value, str), "text") for word in ("description", "title", "pattern", "format")),
    *((word, lambda value: isinstance(value, dict | bool), "a schema") for word in ("items", "additionalProperties")),
    ("required", _are_names, "a list of names"),
    ("enum", lambda value: isinstance(value, list | tuple) and bool(value), "a list of values, not empty"),
)


def _check_references(root: JsonObject, whose: str) -> None:
    """Raise `InvalidRequestError` for a reference to something that is not sent along, and for a word that is none."""
    for place, schema in subschemas(root):
        for word, is_one, expected in _SHAPES:
            if word in schema and not is_one(schema[word]):
                raise InvalidRequestError(
                    f"The schema of {whose} has {word} of type {type(schema[word]).__name__} at {place or 'its root'}, "
                    f"expected {expected}. Nothing was sent."
                )
        for word in ("$ref", *DYNAMIC):
            if word in schema and (why := _open_end(word, schema, root)) is not None:
                raise InvalidRequestError(
                    f"The schema of {whose} refers to {str(schema[word])[:80]!r} at {place or 'its root'}, {why}. "
                    "Nothing was sent."
                )


def _open_end(word: str, schema: JsonObject, root: JsonObject) -> str | None:
    """Return why a reference leads to no schema that is sent along; None if it leads to one."""
    if word != "$ref":
        return f"which is a {word} whose end depends on the way there; providers take $ref only"
    seen = []
    while "$ref" in schema and schema.keys() <= {"$ref", *_ANNOTATIONS}:
        # Without this, a reference that leads back to itself would never end.
        if schema["$ref"] in seen:
            return "which refers to nothing but itself"
        seen.append(schema["$ref"])
        target = _target(schema, root)
        if target is None:
            return "which is not among its $defs"
        schema = target
    return None if "$ref" not in schema or _target(schema, root) is not None else "which is not among its $defs"


class _Goal(NamedTuple):
    """A goal holds the whole given schema, and whether what was optional may be null in the strict form."""

    root: JsonObject
    nulls: bool


def _strict_root(schema: object, *, nulls: bool) -> JsonObject:
    if not isinstance(schema, dict):
        raise _NotStrict("", "it is no schema")
    root = _root(schema)
    if root.get("type") != "object":
        raise _NotStrict("", "its root is not of type object")
    goal = _Goal(root, nulls)
    strict = _strict(root, "", 0, goal)
    definitions = {**_members(root, "definitions", ""), **_members(root, "$defs", "")}
    if definitions:
        strict["$defs"] = {name: _strict(item, f"/$defs/{name}", 1, goal) for name, item in definitions.items()}
    return strict


def _members(schema: JsonObject, word: str, place: str) -> JsonObject:
    members = schema.get(word)
    if members is not None and not isinstance(members, dict):
        raise _NotStrict(f"{place}/{word}", "expected names and schemas")
    return members or {}


def _strict(schema: object, place: str, depth: int, goal: _Goal) -> JsonObject:
    """Return the strict form of `schema`, which stands at `place` in `root`."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        raise _NotStrict(place, "it is no schema, or too deep")
    _check_words(schema, place)
    kept = {word: schema[word] for word in schema if word in _LIMITS or word in ("type", "title", "description")}
    form = next((word for word in _FORMS if word in schema), None)
    converters: dict[str | None, Callable[[], JsonObject]] = {
        "$ref": lambda: _strict_reference(schema, place, goal),
        "anyOf": lambda: {"anyOf": _branches(schema, "anyOf", place, depth, goal)},
        "oneOf": lambda: {"anyOf": _disjoint_branches(schema, place, depth, goal)},
        "allOf": lambda: _strict_only_base(schema, place, depth, goal),
        "items": lambda: {"items": _strict(schema.get("items"), f"{place}/items", depth + 1, goal)},
        "properties": lambda: _strict_object(schema, place, depth, goal),
        None: lambda: _strict_plain(schema, place, depth),
    }
    return kept | converters[form]()


def _check_words(schema: JsonObject, place: str) -> None:
    """Refuse what strict mode does not know, or could only know by losing a part of it."""
    unknown = schema.keys() - _ANNOTATIONS - _LIMITS - _STRUCTURE
    # A word that strict mode ignores would be a limit that the caller relies on and that nobody enforces.
    if unknown:
        raise _NotStrict(place, f"strict mode has no {', '.join(sorted(unknown))}")
    # Each converter below reads one form only, so the other one would be dropped without a word.
    if sum(word in schema for word in _FORMS) > 1:
        raise _NotStrict(place, "it combines two forms of schema in one")
    if schema.get("format", "date") not in STRICT_FORMATS:
        raise _NotStrict(place, f"strict mode has no format {schema['format']!r:.40}")
    # OpenAI answers 400 to a strict schema with lookaround, and the gateway hides that behind a 500.
    if _LOOKAROUND.search(str(schema.get("pattern", ""))):
        raise _NotStrict(place, "strict mode has no lookaround in patterns")


def _strict_reference(schema: JsonObject, place: str, goal: _Goal) -> JsonObject:
    if (why := _open_end("$ref", schema, goal.root)) is not None:
        raise _NotStrict(place, f"it refers to {str(schema['$ref'])[:60]!r}, {why}")
    reference = {"$ref": str(schema["$ref"]).replace("#/definitions/", "#/$defs/")}
    # Beside $ref some providers ignore or refuse other words, and the description would be lost.
    described = schema.keys() & (_LIMITS | {"title", "description", "type"})
    return {"anyOf": [reference]} if described else reference


def _strict_only_base(schema: JsonObject, place: str, depth: int, goal: _Goal) -> JsonObject:
    """Return what `allOf` of one base says; pydantic writes a base that way to describe it."""
    bases = schema["allOf"]
    # An `allOf` of several says that all must hold, for which the strict subset has no form.
    if not isinstance(bases, list) or len(bases) != 1:
        raise _NotStrict(place, "strict mode has no allOf")
    base = _strict(bases[0], f"{place}/allOf/0", depth + 1, goal)
    if not schema.keys() & (_LIMITS | {"title", "description", "type"}):
        return base
    return {"anyOf": [base]}


def _branches(schema: JsonObject, word: str, place: str, depth: int, goal: _Goal) -> list[JsonObject]:
    branches = schema[word]
    if not isinstance(branches, list) or not branches:
        raise _NotStrict(f"{place}/{word}", "expected a list of schemas")
    return [_strict(item, f"{place}/{word}/{number}", depth + 1, goal) for number, item in enumerate(branches)]


def _disjoint_branches(schema: JsonObject, place: str, depth: int, goal: _Goal) -> list[JsonObject]:
    """Return the branches of a `oneOf` of which no value fits two: only then `anyOf` says the same."""
    branches = _branches(schema, "oneOf", place, depth, goal)
    for one, other in combinations(schema["oneOf"], 2):
        # `oneOf` refuses a value that fits two branches and `anyOf` accepts it, so the meaning would change.
        if not _are_disjoint(one, other, goal.root):
            raise _NotStrict(f"{place}/oneOf", "a value could fit two of its branches; strict mode has only anyOf")
    return branches


def _are_disjoint(one: object, other: object, root: JsonObject) -> bool:
    # An integer is a number, too.
    kinds, others = ({kind.replace("integer", "number") for kind in _kinds(schema, root, 0)} for schema in (one, other))
    if not kinds & others:
        return True
    first, second = _constants(one, root), _constants(other, root)
    return any(not first[name] & second[name] for name in first.keys() & second.keys())


def _constants(schema: object, root: JsonObject) -> dict[str, set[str]]:
    """Return, of each required property that has a fixed list of texts, that list."""
    schema = _resolved(schema, root)
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return {}
    found = {}
    for name in _required(schema):
        item = _resolved(schema["properties"].get(name), root)
        if not isinstance(item, dict):
            continue
        # Only texts are compared: 1, 1.0 and True are equal to Python and differ in JSON.
        values = [item["const"]] if "const" in item else item.get("enum") or []
        if values and all(isinstance(value, str) for value in values):
            found[str(name)] = {str(value) for value in values}
    return found


def _strict_plain(schema: JsonObject, place: str, depth: int) -> JsonObject:
    kind = schema.get("type")
    # Strict mode wants the items of every list described, and a list of anything has no such description.
    if kind == "array" or (isinstance(kind, list) and ("object" in kind or "array" in kind)):
        raise _NotStrict(place, "it does not say what is inside")
    if kind == "object":
        # {"type": "object"} alone is a free-form dict, except as "no parameters" at the top.
        if depth > 0 or schema.get("additionalProperties") not in (None, False):
            raise _NotStrict(place, "it is an object of any properties")
        return {"properties": {}, "required": [], "additionalProperties": False}
    if kind is None and "enum" not in schema and "const" not in schema:
        raise _NotStrict(place, "it has no type")
    return {}


def _strict_object(schema: JsonObject, place: str, depth: int, goal: _Goal) -> JsonObject:
    if schema.get("type", "object") != "object":
        raise _NotStrict(place, "it has properties, but is not of type object")
    # The strict form closes every object, so a free-form dict would lose the keys that it was made for.
    if schema.get("additionalProperties") not in (None, False):
        raise _NotStrict(place, "it allows further properties")
    required = schema.get("required") or []
    if not isinstance(required, list):
        raise _NotStrict(f"{place}/required", "expected a list of names")
    strict: JsonObject = {}
    properties = _members(schema, "properties", place)
    # A required name without a schema can never be written by a model that is held to the schema.
    if missing := set(map(str, required)) - properties.keys():
        raise _NotStrict(place, f"it requires {', '.join(sorted(missing))}, which it does not describe")
    for name, item in properties.items():
        inner = _strict(item, f"{place}/properties/{name}", depth + 1, goal)
        # Strict mode requires every property. A null stands for
        # "left out", unless null already has a meaning of its own.
        added = goal.nulls and name not in required and not _nullable(item, goal.root, 0)
        strict[name] = {"anyOf": [inner, {"type": "null"}]} if added else inner
    return {"type": "object", "properties": strict, "required": list(strict), "additionalProperties": False}


def _required(schema: JsonObject) -> list[object]:
    names = schema.get("required")
    return names if isinstance(names, list) else []


def _nullable(schema: object, root: JsonObject, depth: int) -> bool:
    """Return whether null fits `schema`, so that a null of the answer may be meant."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return False
    if "$ref" in schema:
        return _nullable(_target(schema, root), root, depth + 1)
    kinds = schema.get("type")
    if "const" in schema:
        return schema["const"] is None
    if isinstance(schema.get("enum"), list):
        return None in schema["enum"]
    branches = [
        item for word in ("anyOf", "oneOf", "allOf") if isinstance(schema.get(word), list) for item in schema[word]
    ]
    return (
        kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or any(_nullable(item, root, depth + 1) for item in branches)
    )


def _cleaned(value: object, schema: object, root: JsonObject, depth: int) -> object:
    schema = _resolved(schema, root)
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return value
    union = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(union, list):
        fitting = [branch for item in union if _fits(value, branch := _resolved(item, root), root, 0)]
        # Of several, nobody says which one the model meant.
        return _cleaned(value, fitting[0], root, depth + 1) if len(fitting) == 1 else value
    if isinstance(value, list):
        return [_cleaned(item, schema.get("items"), root, depth + 1) for item in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return value
    # A null is kept where the given schema requires the member,
    # because leaving it out would make the answer invalid.
    required = _required(schema)
    return {
        name: _cleaned(item, properties.get(name), root, depth + 1)
        for name, item in value.items()
        if item is not None or name in required or _nullable(properties.get(name), root, 0)
    }


def _resolved(schema: object, root: JsonObject) -> object:
    """Return what `schema` refers to, also through an `allOf` or `anyOf` of one."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, dict):
            break
        single = next((schema[word] for word in ("allOf", "anyOf", "oneOf") if _is_single(schema.get(word))), None)
        if "$ref" in schema:
            schema = _target(schema, root)
        elif single is not None:
            schema = single[0]
        else:
            break
    return schema


def _is_single(branches: object) -> bool:
    return isinstance(branches, list) and len(branches) == 1


def _fits(value: object, schema: object, root: JsonObject, depth: int) -> bool:
    """Return whether `value` can be of the strict form of `schema`, which names every property of an object."""
    schema = _resolved(schema, root)
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return False
    if isinstance(value, list):
        return schema.get("type") == "array" and all(
            not isinstance(item, dict | list) or _fits(item, schema.get("items"), root, depth + 1) for item in value
        )
    if not isinstance(value, dict):
        return False
    union = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(union, list):
        return any(_fits(value, item, root, depth + 1) for item in union)
    properties = schema.get("properties")
    if not isinstance(properties, dict) or value.keys() != properties.keys():
        return False
    constants = _constants({**schema, "required": list(properties)}, root)
    return all(not isinstance(value[name], str) or value[name] in allowed for name, allowed in constants.items())

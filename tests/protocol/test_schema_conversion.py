"""
What is sent of a schema says what the given schema says: properties held by hypothesis, against jsonschema.

The given schemas are made of the parts that pydantic, MCP servers and hand-written tools use, in any nesting.
"""

from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chat._dialect import in_one_dialect, subschemas
from og_integrations.protocol.chat._schemas import (
    STRICT_FORMATS,
    demanded_strict_schema,
    drop_added_nulls,
    open_schema,
    strict_schema,
)

Schema = dict[str, Any]
NAMES = ("a", "b", "kind")
LEAVES: list[Schema] = [
    {"type": "string"},
    {"type": "string", "minLength": 1, "description": "not empty"},
    {"type": "string", "pattern": "^[a-z]{1,3}$"},
    {"type": "integer", "minimum": 1, "maximum": 9},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["string", "null"]},
    {"enum": ["x", "y"]},
    {"type": "string", "const": "cat"},
    {"$ref": "#/$defs/Part"},
    {"$ref": "#/$defs/Part", "description": "the part"},
    {"allOf": [{"$ref": "#/$defs/Part"}], "title": "Part"},
    {"type": "object"},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "array", "items": {}},
    {"type": "string", "format": "uri"},
    {"type": "string", "pattern": "^(?!x)"},
    {"not": {"type": "string"}},
]
PART: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "maxItems": 1},
    },
    "required": ["name"],
}
quiet = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))


def objects(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """Make objects of some properties, some of them required."""

    def made(properties: dict[str, Schema], required: list[str]) -> Schema:
        return {"type": "object", "properties": properties, "required": sorted(set(required) & properties.keys())}

    return st.builds(
        made, st.dictionaries(st.sampled_from(NAMES), inner, min_size=1, max_size=3), st.lists(st.sampled_from(NAMES))
    )


nested = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        objects(inner),
        st.builds(lambda item: {"type": "array", "items": item, "maxItems": 2}, inner),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda some: {"oneOf": some}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=6,
)
given_schemas = st.builds(lambda schema: {**schema, "$defs": {"Part": PART}}, objects(nested))


@st.composite
def instances(draw: st.DrawFn, schema: Schema, root: Schema, depth: int = 0) -> Any:
    """Make a value that fits `schema`, of the parts above; what cannot be made ends this example."""
    if "$ref" in schema:
        return draw(instances(root["$defs"][schema["$ref"].rpartition("/")[2]], root, depth + 1))
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            branches = schema[word] if depth < 4 else [min(schema[word], key=lambda item: len(str(item)))]
            return draw(instances(draw(st.sampled_from(branches)), root, depth + 1))
    if "const" in schema or "enum" in schema:
        return draw(st.sampled_from(schema.get("enum") or [schema["const"]]))
    kind = draw(st.sampled_from(schema["type"])) if isinstance(schema.get("type"), list) else schema.get("type")
    if kind == "object":
        named = schema.get("properties", {})
        kept = [name for name in named if name in schema.get("required", ()) or (depth < 4 and draw(st.booleans()))]
        return {name: draw(instances(named[name], root, depth + 1)) for name in kept}
    if kind == "array":
        most = schema.get("maxItems", 2) if depth < 4 else 0
        return [draw(instances(schema["items"], root, depth + 1)) for _ in range(draw(st.integers(0, most)))]
    made: dict[Any, st.SearchStrategy[Any]] = {
        "string": st.sampled_from(["abc", "cat", "x"]),
        "integer": st.integers(1, 9),
        "number": st.sampled_from([1, 1.5]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return draw(made.get(kind, st.just("cat")))


def is_valid(value: object, schema: Schema) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@quiet
@given(st.data(), given_schemas)
def test_what_the_strict_form_allows_fits_the_given_schema(data: st.DataObject, schema: Schema) -> None:
    """Once the nulls that strictness added are taken out."""
    strict = strict_schema(schema)
    assume(strict is not None)
    assert strict is not None
    value = data.draw(instances(strict, strict))
    assert isinstance(value, dict)
    cleaned = drop_added_nulls(value, schema)
    # A null in one of two forms that look alike may be meant, and stays.
    assert is_valid(cleaned, schema) or _ambiguous(schema)


def _ambiguous(schema: object) -> bool:
    """Whether some union inside has two branches that are objects or lists."""
    if isinstance(schema, list):
        return any(map(_ambiguous, schema))
    if not isinstance(schema, dict):
        return False
    branches = [
        item
        for item in schema.get("anyOf") or ()
        if "object" in str(item) or "array" in str(item) or "$ref" in str(item)
    ]
    return len(branches) > 1 or any(map(_ambiguous, schema.values()))


@quiet
@given(st.data(), given_schemas)
def test_what_fits_the_given_schema_fits_the_strict_form(data: st.DataObject, schema: Schema) -> None:
    """With null for what was left out, and without properties that nobody described."""
    strict = strict_schema(schema)
    assume(strict is not None)
    assert strict is not None
    closed = _closed(schema)
    value = data.draw(instances(closed, closed))
    assume(is_valid(value, schema))
    assert is_valid(_filled(value, strict, strict), strict)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {word: _closed(item) for word, item in schema.items()}
    return (
        closed | {"additionalProperties": False}
        if "properties" in closed and closed.get("type") == "object"
        else closed
    )


def _filled(value: Any, schema: Any, root: Schema) -> Any:
    """Put null for each property of the strict form that `value` leaves out."""
    if "$ref" in schema:
        return _filled(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        filled = [_filled(value, branch, root) for branch in schema["anyOf"]]
        whole = [
            item
            for item, branch in zip(filled, schema["anyOf"], strict=True)
            if is_valid(item, {**branch, "$defs": root.get("$defs", {})})
        ]
        return whole[0] if whole else value
    if isinstance(value, list) and "items" in schema:
        return [_filled(item, schema["items"], root) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        return {name: _filled(value.get(name), item, root) for name, item in schema["properties"].items()}
    return value


@quiet
@given(given_schemas)
def test_strict_form_is_in_the_strict_subset(schema: Schema) -> None:
    strict = strict_schema(schema)
    assume(strict is not None)
    assert strict_faults(strict) == []


def strict_faults(schema: Any, at: str = "") -> list[str]:
    """Return what a provider refuses in a schema with `strict: true`, by its own rules and not by our code."""
    if not isinstance(schema, dict):
        return []
    found = [
        f"{at}: {word}" for word in ("oneOf", "not", "patternProperties", "discriminator", "allOf") if word in schema
    ]
    found += [f"{at}: no type"] if not schema.keys() & {"type", "anyOf", "$ref", "enum", "const"} else []
    if schema.get("type") == "object":
        found += [f"{at}: open"] if schema.get("additionalProperties") is not False else []
        found += [f"{at}: optional"] if set(schema["required"]) != set(schema["properties"]) else []
    found += [f"{at}: format"] if schema.get("format", "date") not in STRICT_FORMATS else []
    found += [f"{at}: lookaround"] if "(?!" in str(schema.get("pattern")) else []
    for word in ("properties", "$defs"):
        for name, item in (schema.get(word) or {}).items():
            found += strict_faults(item, f"{at}/{name}")
    for item in [schema.get("items"), *(schema.get("anyOf") or ())]:
        found += strict_faults(item, at)
    return found


@quiet
@given(given_schemas)
def test_open_form_is_the_given_schema(schema: Schema) -> None:
    """An object at the root goes as it is, every word of it."""
    assert open_schema(schema, "f") == schema


TREE: Schema = {"$defs": {"Part": PART}, "$ref": "#/$defs/Part"}


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {
            "anyOf": [PART, {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}],
            "$defs": {"Part": PART},
        },
        {"allOf": [PART], "$defs": {"Part": PART}},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "patternProperties": {"^a": {"type": "integer"}}},
        {"properties": {"x": {"type": "integer"}}, "required": ["x"]},
    ],
    ids=["root-ref", "root-anyOf", "root-allOf", "free-form", "patternProperties", "no-type"],
)
def test_schema_without_properties_at_its_root_is_sent_whole(schema: Schema) -> None:
    """The empty object in its place would be answered, and paid, with `{}`."""
    sent = open_schema(schema, "f")
    assert sent["type"] == "object"
    for value in (
        {"name": "car", "parts": [{"name": "wheel", "parts": []}]},
        {"n": 1},
        {"a": 1},
        {"x": 1},
        {},
        {"a": "s"},
    ):
        assert is_valid(value, sent) == is_valid(value, schema), value


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": {"type": "integer"}}, "allows a value of type array at its root"),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, "allows a value of type null or object"),
        ({}, "allows anything at its root"),
        ("text", "is a str, expected a JSON schema"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/Gone"}}},
            "refers to '#/\\$defs/Gone' at /properties/a",
        ),
        (
            {"type": "object", "properties": {"a": {"if": {"$ref": "#/$defs/Gone"}}}},
            "refers to '#/\\$defs/Gone' at /properties/a/if",
        ),
        ({"type": "object", "properties": ["a"]}, "has properties of type list at its root, expected names"),
        ({"type": "object", "properties": {"a": "string"}}, "has properties of type dict at its root, expected names"),
        (
            {"type": "object", "properties": {}, "required": "a"},
            "has required of type str at its root, expected a list",
        ),
        ({"type": "object", "properties": {"a": {"enum": []}}}, "has enum of type list at /properties/a, expected"),
        ({"type": "object", "properties": {"a": {"anyOf": []}}}, "has anyOf of type list at /properties/a, expected"),
    ],
)
def test_schema_that_cannot_be_asked_for_is_refused_by_place(schema: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"The schema of Numbers {said}.*Nothing was sent"):
        open_schema(schema, "Numbers")


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ({"type": "string", "format": "uri"}, "no format 'uri'"),
        ({"type": "string", "pattern": "^(?!x)"}, "no lookaround"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "an object of any properties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "could fit two of its branches"),
        ({"type": "array", "items": {}}, "has no type"),
        ({"type": "array", "uniqueItems": True, "items": {"type": "string"}}, "no uniqueItems"),
    ],
)
def test_demanded_strictness_that_cannot_be_is_refused_by_place(inner: Schema, said: str) -> None:
    schema = {"type": "object", "properties": {"x": inner}, "required": ["x"]}
    assert strict_schema(schema) is None
    with pytest.raises(InvalidRequestError, match=rf"The schema of f cannot be strict, at /properties/x.*{said}"):
        demanded_strict_schema(schema, "f")


class Cat(BaseModel):
    kind: str = Field(json_schema_extra={"const": "cat"})
    lives: int


class Dog(BaseModel):
    kind: str = Field(json_schema_extra={"const": "dog"})
    name: str


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator=None)


def test_union_that_a_constant_tells_apart_becomes_any_of() -> None:
    """`oneOf` is refused in strict mode, and says the same where no value fits two branches."""
    schema = Owner.model_json_schema()
    schema["properties"]["pet"] = {
        "oneOf": schema["properties"]["pet"]["anyOf"],
        "discriminator": {"propertyName": "kind"},
    }
    strict = strict_schema(schema)
    assert strict is not None
    assert strict["properties"]["pet"] == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    assert get_args(Owner.model_fields["pet"].annotation) == (Cat, Dog)


def test_description_beside_a_reference_stays() -> None:
    """It is an instruction to the model; pydantic writes it there for fields that are classes or enums."""
    strict = strict_schema(
        {
            "type": "object",
            "properties": {"unit": {"$ref": "#/$defs/Part", "description": "MARK"}},
            "$defs": {"Part": PART},
        }
    )
    assert strict is not None
    assert "MARK" in str(strict)
    assert {"$ref": "#/$defs/Part"} in strict["properties"]["unit"]["anyOf"][0]["anyOf"]


NAMED: Schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ZOD = {"type": "array", "items": {"$ref": "#/properties/a"}}
REFERRING: dict[str, Schema] = {
    "into properties": {"properties": {"a": NAMED, "b": {"$ref": "#/properties/a"}}},
    "into items": {"properties": {"a": {"type": "array", "items": NAMED}, "b": {"$ref": "#/properties/a/items"}}},
    "into a union": {
        "properties": {"a": {"anyOf": [{"type": "null"}, NAMED]}, "b": {"$ref": "#/properties/a/anyOf/1"}}
    },
    "zod, recursive": {"properties": {"a": {**NAMED, "properties": {**NAMED["properties"], "kids": ZOD}}, "b": ZOD}},
    "anchor": {"properties": {"b": {"$ref": "#part"}}, "$defs": {"P": {"$anchor": "part", **NAMED}}},
    "dynamic anchor": {
        "properties": {"b": {"$dynamicRef": "#part"}},
        "$defs": {"P": {"$dynamicAnchor": "part", **NAMED}},
    },
    "dynamic, recursive": {"$dynamicAnchor": "node", "properties": {"b": {"$dynamicRef": "#node"}}, "required": ["b"]},
    "address of the root": {
        "$id": "https://here.example/s.json",
        "properties": {"b": {"$ref": "https://here.example/s.json#/$defs/P"}, "a": {"$ref": "s.json#/$defs/P"}},
        "$defs": {"P": NAMED},
    },
    "address below it": {
        "$id": "https://here.example/s.json",
        "properties": {"b": {"$ref": "part.json"}},
        "$defs": {"P": {"$id": "part.json", "properties": {"x": {"$ref": "#/$defs/Q"}}, "$defs": {"Q": NAMED}}},
    },
    "definitions": {"properties": {"b": {"$ref": "#/definitions/P"}}, "definitions": {"P": NAMED}},
    "definitions and $defs of one name": {
        "properties": {"a": {"$ref": "#/definitions/P"}, "b": {"$ref": "#/$defs/P"}},
        "definitions": {"P": {"type": "integer"}},
        "$defs": {"P": NAMED},
    },
    "definitions inside": {"properties": {"b": {"$ref": "#/$defs/A/$defs/B"}}, "$defs": {"A": {"$defs": {"B": NAMED}}}},
    "definitions elsewhere": {
        "properties": {"b": {"$ref": "#/components/schemas/P"}},
        "components": {"schemas": {"P": NAMED}},
    },
    "percent-encoded": {"properties": {"b": {"$ref": "#/$defs/List%3Cint%3E"}}, "$defs": {"List<int>": NAMED}},
    "percent in a name": {"properties": {"b": {"$ref": "#/$defs/100%"}}, "$defs": {"100%": NAMED}},
    "escaped": {"properties": {"b": {"$ref": "#/$defs/a~1b~0c"}}, "$defs": {"a/b~c": NAMED}},
    "to the whole": {"properties": {"b": {"$ref": ""}}, "required": ["b"]},
    "to true": {"properties": {"b": {"$ref": "#/$defs/T"}}, "$defs": {"T": True}},
    "to false": {"properties": {"b": {"$ref": "#/$defs/F"}}, "$defs": {"F": False}},
}
INSTANCES: list[Any] = [
    {},
    {"b": {}},
    {"b": {"name": "x"}},
    {"b": {"name": 1}},
    {"b": 1},
    {"a": 1},
    {"a": {"name": "x"}},
    {"a": {"name": "x", "kids": [{"name": 1}]}, "b": [{"name": "x", "kids": [{}]}]},
    {"b": [{"name": "x", "kids": [{"name": "y"}]}]},
    {"b": {"x": {"name": 1}}},
    {"b": {"b": {"b": 1}}},
]


@pytest.mark.parametrize("name", REFERRING)
def test_reference_of_any_kind_is_sent_plainly(name: str) -> None:
    """Providers take no other than `#` and `#/$defs/…`; what is sent means what was given."""
    given = {"type": "object", **REFERRING[name]}
    sent = open_schema(given, "f")
    words = [schema for _, schema in subschemas(sent)]
    assert not any(word in schema for schema in words for word in ("$dynamicRef", "$anchor", "$dynamicAnchor"))
    references = [schema["$ref"] for schema in words if "$ref" in schema]
    assert all(reference == "#" or reference.count("/") == 2 for reference in references)
    # The validator takes percent signs of names for an encoding.
    read = {**given, "properties": {"b": NAMED}} if name == "percent in a name" else given
    plain = {word: item for word, item in sent.items() if word != "$id"}
    for value in INSTANCES:
        assert is_valid(value, plain) == is_valid(value, read), value
    assert in_one_dialect(sent) is sent


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        ({"$ref": "https://elsewhere.example/schema"}, "which is not among its"),
        ({"$ref": "other.json#/P"}, "which is not among its"),
        ({"$ref": "#nowhere"}, "which is not among its"),
        ({"$ref": "#/$defs/Me"}, "which refers to nothing but itself"),
        ({"$ref": 5}, "which is not among its"),
        ({"$dynamicRef": "#twice"}, "which is a \\$dynamicRef whose end depends on the way there"),
        ({"$dynamicRef": "#nowhere"}, "which is a \\$dynamicRef"),
        ({"$recursiveRef": "#/elsewhere"}, "which is a \\$recursiveRef"),
    ],
)
@pytest.mark.parametrize(
    "place", ["properties/a", "properties/a/items", "properties/a/dependentSchemas/k", "properties/a/if"]
)
def test_reference_with_an_open_end_is_refused_by_place(inner: Schema, says: str, place: str) -> None:
    """A provider would refuse it after it was paid for."""
    for word in reversed(place.split("/")):
        inner = {word: inner}
    twice = [{"$dynamicAnchor": "twice", "type": "integer"}, {"$dynamicAnchor": "twice", "type": "string"}]
    definitions: Schema = {"Me": {"$ref": "#/$defs/You"}, "You": {"$ref": "#/$defs/Me"}, "A": twice[0], "B": twice[1]}
    schema = {"type": "object", **inner, "$defs": definitions}
    with pytest.raises(
        InvalidRequestError, match=f"The schema of f refers to .* at /{place}, {says}.*Nothing was sent"
    ):
        open_schema(schema, "f")
    with pytest.raises(InvalidRequestError, match="The schema of f cannot be strict, at "):
        demanded_strict_schema(schema, "f")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 3}),
        ({"type": "integer", "maximum": 3, "exclusiveMaximum": False}, {"type": "integer", "maximum": 3}),
        (
            {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
            {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
        ),
        ({"type": "string", "description": None, "title": None}, {"type": "string"}),
    ],
)
def test_words_of_older_drafts_become_those_of_today(old: Schema, new: Schema) -> None:
    """Draft 4 and 7, as many generators write them; providers check against draft 2020-12."""
    sent = open_schema({"type": "object", "properties": {"a": old}}, "f")
    assert sent == {"type": "object", "properties": {"a": new}}


@pytest.mark.parametrize(
    ("inner", "says"),
    [
        ({"type": "str"}, "type of type str at /properties/a, expected one or more of array, boolean"),
        ({"type": ["string", "none"]}, "type of type list at /properties/a"),
        ({"type": None}, "type of type NoneType"),
        ({"type": "integer", "minimum": "3"}, "minimum of type str at /properties/a, expected a number"),
        ({"type": "string", "maxLength": 2.5}, "maxLength of type float at /properties/a, expected a whole number"),
        ({"type": "string", "description": 5}, "description of type int at /properties/a, expected text"),
        ({"type": "array", "items": "string"}, "items of type str at /properties/a, expected a schema"),
    ],
)
def test_word_that_is_none_is_refused_by_place(inner: Schema, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"The schema of f has {says}.*Nothing was sent"):
        open_schema({"type": "object", "properties": {"a": inner}}, "f")

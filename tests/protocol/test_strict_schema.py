"""Schemas in strict form, and the nulls that this form brings, taken out again."""

from typing import Any

import pytest

from og_integrations.protocol.chat._schemas import drop_added_nulls, strict_schema

INNER = {"type": "object", "properties": {"x": {"type": "integer", "default": 5}}}
OTHER = {"type": "object", "properties": {"y": {"type": "string"}, "z": {"type": "string"}}}
REFERENCE = {"$ref": "#/$defs/Inner"}


def tool(schema: Any) -> dict[str, Any]:
    """Return the parameters of a tool whose optional `a` is of `schema`."""
    return {"type": "object", "properties": {"a": schema}, "$defs": {"Inner": INNER, "Other": OTHER}}


@pytest.mark.parametrize(
    "schema",
    [
        INNER,
        REFERENCE,
        {"allOf": [REFERENCE], "default": {}},
        {"anyOf": [REFERENCE, {"type": "null"}], "default": None},
        {"anyOf": [{"$ref": "#/$defs/Other"}, {"allOf": [REFERENCE]}, {"type": "string"}]},
    ],
)
def test_null_that_the_strict_form_brought_is_taken_out(schema: Any) -> None:
    """Wherever the object is: also in what pydantic makes of `Inner | None`."""
    assert strict_schema(tool(schema)) is not None
    assert drop_added_nulls({"a": {"x": None}}, tool(schema)) == {"a": {}}
    assert drop_added_nulls({"a": {"x": 1}}, tool(schema)) == {"a": {"x": 1}}


def test_null_in_a_list_that_may_be_missing_is_taken_out() -> None:
    schema = tool({"anyOf": [{"type": "array", "items": REFERENCE}, {"type": "null"}]})
    assert drop_added_nulls({"a": [{"x": None}, {"x": 1}]}, schema) == {"a": [{}, {"x": 1}]}
    assert drop_added_nulls({"a": None}, schema) == {"a": None}


def test_null_of_one_of_two_equal_forms_stays() -> None:
    """In one of them it may be meant."""
    meant = {"type": "object", "properties": {"x": {"type": ["integer", "null"]}}}
    assert drop_added_nulls({"a": {"x": None}}, tool({"anyOf": [REFERENCE, meant]})) == {"a": {"x": None}}


def test_schema_that_refers_to_itself_ends() -> None:
    loop = {"$ref": "#/$defs/Loop"}
    assert drop_added_nulls({"a": {"x": None}}, tool(loop) | {"$defs": {"Loop": loop}}) == {"a": {"x": None}}


@pytest.mark.parametrize("kind", ["object", "array"])
def test_list_of_types_is_not_strict(kind: str) -> None:
    """What is inside would be dropped, and providers refuse what is open."""
    assert strict_schema(tool({"type": [kind, "null"], "properties": {"x": {"type": "integer"}}})) is None
    assert strict_schema(tool({"type": ["string", "null"]})) is not None


@pytest.mark.parametrize(
    "beside",
    [
        {"allOf": [REFERENCE]},
        REFERENCE,
        {"anyOf": [REFERENCE, {"type": "null"}]},
        {"allOf": []},
        {"allOf": [INNER, {}]},
    ],
)
def test_two_forms_in_one_are_not_strict(beside: dict[str, Any]) -> None:
    """As bases in OpenAPI, beside an object's own properties, which were lost."""
    both = OTHER | beside
    assert strict_schema(tool(both)) is None
    assert strict_schema(both | {"$defs": {"Inner": INNER}}) is None
    assert drop_added_nulls({"a": {"y": "1"}}, tool(both)) == {"a": {"y": "1"}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": ["x"]},
        {"type": "object", "properties": {"x": {"type": "string"}}, "required": True},
        {"anyOf": None},
        {"allOf": 1},
    ],
)
def test_what_is_no_schema_is_not_strict(schema: Any) -> None:
    assert strict_schema(tool(schema)) is None
    assert strict_schema(tool({"type": "string"}) | {"$defs": ["x"]}) is None

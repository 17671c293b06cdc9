"""
JSON schemas in the strict form that providers enforce: every object closed, every property required.

A property that was optional becomes required and nullable; the nulls that this brings are taken out
again from the answer. A schema with a free-form object in it has no strict form.
"""

from typing import Any

from og_integrations.protocol.strict_json import JsonObject

_MAX_DEPTH = 40
_CARRIED = ("type", "description", "title", "enum", "const", "format", "pattern")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems")
_FORMS = ("$ref", "anyOf", "allOf", "properties", "items")
"""What a schema is made of; of two in one (a base in `allOf` beside own properties) one would be lost."""


class _NotExpressible(Exception):  # noqa: N818 - caught here, it never leaves
    pass


def strict_schema(schema: JsonObject) -> JsonObject | None:
    """Return the strict form of an object schema, None if it has none."""
    try:
        strict = _strict(schema, 0)
        definitions = schema.get("$defs") or {}
        if definitions:
            strict["$defs"] = {name: _strict(item, 0) for name, item in definitions.items()}
    except (_NotExpressible, AttributeError, TypeError):
        # Also what is no schema: whoever gets the tool as it is says why.
        return None
    return strict if strict.get("type") == "object" else None


def drop_added_nulls(value: JsonObject, schema: JsonObject) -> JsonObject:
    """Take out of `value` the nulls of properties that `schema` does not require nor allow to be null."""
    cleaned: JsonObject = _cleaned(value, schema, schema.get("$defs") or {}, 0)
    return cleaned


def _strict(schema: Any, depth: int) -> JsonObject:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH or sum(word in schema for word in _FORMS) > 1:
        raise _NotExpressible
    if "$ref" in schema:
        if not str(schema["$ref"]).startswith("#/$defs/"):
            raise _NotExpressible
        return {"$ref": schema["$ref"]}
    if any(word in schema for word in ("oneOf", "not", "patternProperties", "if", "prefixItems")):
        raise _NotExpressible
    kept = {word: schema[word] for word in (*_CARRIED, *_BOUNDS) if word in schema}
    if "anyOf" in schema:
        return kept | {"anyOf": [_strict(item, depth + 1) for item in schema["anyOf"]]}
    if "allOf" in schema:
        if len(schema["allOf"]) != 1:
            raise _NotExpressible
        return _strict(schema["allOf"][0], depth + 1)
    kind = schema.get("type")
    if kind == "object":
        return kept | _strict_object(schema, depth)
    if kind == "array":
        return kept | {"items": _strict(schema.get("items"), depth + 1)}
    if isinstance(kind, list) and ("object" in kind or "array" in kind):
        raise _NotExpressible
    if kind is None and "enum" not in schema and "const" not in schema:
        raise _NotExpressible
    return kept


def _strict_object(schema: JsonObject, depth: int) -> JsonObject:
    properties = schema.get("properties")
    # {"type": "object"} alone is a free-form dict, except as "no parameters" at the top.
    if schema.get("additionalProperties") not in (None, False) or (properties is None and depth > 0):
        raise _NotExpressible
    required = schema.get("required") or []
    strict = {}
    for name, item in (properties or {}).items():
        inner = _strict(item, depth + 1)
        strict[name] = inner if name in required or _nullable(item) else {"anyOf": [inner, {"type": "null"}]}
    return {"properties": strict, "required": list(strict), "additionalProperties": False}


def _nullable(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    kinds = schema.get("type")
    return (
        kinds == "null"
        or (isinstance(kinds, list) and "null" in kinds)
        or any(map(_nullable, schema.get("anyOf") or ()))
    )


def _cleaned(value: Any, schema: Any, definitions: JsonObject, depth: int) -> Any:
    schema = _resolved(schema, definitions)
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return value
    if "anyOf" in schema:
        branches = [_resolved(item, definitions) for item in schema["anyOf"]]
        fitting = [branch for branch in branches if _fits(value, branch)]
        # Of several, nobody says which one the model meant.
        return _cleaned(value, fitting[0], definitions, depth + 1) if len(fitting) == 1 else value
    if isinstance(value, list):
        return [_cleaned(item, schema.get("items"), definitions, depth + 1) for item in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return value
    required = schema.get("required") or []
    return {
        name: _cleaned(item, properties.get(name), definitions, depth + 1)
        for name, item in value.items()
        if item is not None or name in required or _nullable(properties.get(name))
    }


def _resolved(schema: Any, definitions: JsonObject) -> Any:
    """Return what `schema` refers to, also through an `allOf` of one."""
    for _ in range(_MAX_DEPTH):
        if isinstance(schema, dict) and "$ref" in schema:
            schema = definitions.get(str(schema["$ref"]).rpartition("/")[2])
        elif isinstance(schema, dict) and len(schema.get("allOf") or ()) == 1:
            schema = schema["allOf"][0]
        else:
            break
    return schema


def _fits(value: Any, schema: Any) -> bool:
    """Whether `value` can be of `schema`'s strict form, which names every property of an object."""
    if not isinstance(schema, dict):
        return False
    if isinstance(value, list):
        return schema.get("type") == "array"
    return (
        isinstance(value, dict)
        and schema.get("type") == "object"
        and value.keys() == (schema.get("properties") or {}).keys()
    )

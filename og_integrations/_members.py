"""
This module reads and describes documents whose members are declared in a class, each with how far it can be believed.

A member is a field of a frozen dataclass whose type is `Annotated[type, Standing, what it means]`. From that follow
the check of what a stranger's document holds there, and the JSON Schema of it.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from og_integrations.errors import ConfigurationError

Document = dict[str, Any]
"""A receipt, or a part of one, as decoded JSON."""


class Standing(NamedTuple):
    """
    A standing says how far a member of a saved receipt can be believed.

    `by` names who compares it: a check of `verify`, or the registry. `apart` names the part that stays open even then.
    A member that is `lasting` never changes in the registry, so that another value is a lie; one that is `later` was
    added after the first receipts, so that its absence is none.
    """

    word: Literal["signed", "checked", "claimed"]
    by: str | None = None
    apart: str | None = None
    lasting: bool = False
    later: bool = False


CLAIMED = Standing("claimed")


class Member(NamedTuple):
    """A member is declared with its type, its standing and what it means; `path` is its full name (`payment.payer`)."""

    path: str
    declared: object
    standing: Standing
    about: str


# One entry for each class and place: with fewer than there are, reading one receipt after another would find none.
@cache
def members_of(model: type, prefix: str = "") -> Mapping[str, Member]:
    """Return the members of one class by their names there."""
    hints = get_type_hints(model, include_extras=True)
    found = {}
    for declared in fields(model):
        if get_origin(hints[declared.name]) is Annotated:
            kind, standing, about = get_args(hints[declared.name])
            found[declared.name] = Member(prefix + declared.name, kind, standing, about)
    return found


@cache
def getter(model: type) -> tuple[tuple[str, ...], "attrgetter[tuple[object, ...]]"]:
    """Return the names of the members of `model`, and what reads all of them off an instance at once."""
    # Their hints, which take longer to resolve than a call takes, say nothing more of the names.
    names = tuple(declared.name for declared in fields(model) if get_origin(declared.type) is Annotated)
    return names, attrgetter(*names)


def read_members(model: type, document: Mapping[str, object], prefix: str = "") -> Document:
    """Return what `document` holds of the members of `model`, others left out. Raises `ConfigurationError`."""
    known = members_of(model, prefix)
    return {name: read(known[name].declared, value, prefix + name) for name, value in document.items() if name in known}


def read(declared: object, value: object, path: str) -> Any:
    """Return `value` as the declared type. Raises `ConfigurationError` if it is of another one."""
    kind = without_none(declared)
    # Most members are plain. `type`, since a bool would be an int.
    if type(value) is kind or (value is None and kind is not declared):
        return value
    origin = get_origin(kind)
    if origin is Literal and value in get_args(kind):
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(read(get_args(kind)[0], item, path) for item in value)
    if isinstance(value, dict) and (origin is dict or is_dataclass(kind)):
        return deepcopy(value) if origin is dict else _made(kind, value, path)
    raise ConfigurationError(
        f"This is no receipt that can be read: its member {path} is {_kind_of(value)}, expected {_words(kind)}."
    )


def _made(model: Any, document: Mapping[str, object], path: str) -> Any:
    try:
        return model(**read_members(model, document, f"{path}."))
    except TypeError:
        raise ConfigurationError(f"This is no receipt that can be read: its member {path} is incomplete.") from None


@cache
def without_none(declared: object) -> object:
    """Return a declared type without the None that stands beside it."""
    if get_origin(declared) is UnionType or NoneType in get_args(declared):
        return next(kind for kind in get_args(declared) if kind is not NoneType)
    return declared


def _kind_of(value: object) -> str:
    return "null" if value is None else f"a JSON {type(value).__name__}"


def _words(kind: object) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    words: Mapping[object, str] = {str: "text", int: "a whole number", tuple: "a list"}
    return words.get(get_origin(kind) or kind, "an object")


def schema_of(model: type) -> Document:
    """Return the JSON Schema of a `model`, each member with its standing."""
    properties = {}
    for name, member in members_of(model).items():
        kind = without_none(member.declared)
        described = _schema(kind)
        if kind is not member.declared:
            described["type"] = [described["type"], "null"]
        described |= {"description": member.about, "x-standing": member.standing.word}
        properties[name] = described | ({"x-by": member.standing.by} if member.standing.by else {})
    return {"type": "object", "properties": properties}


def _schema(kind: object) -> Document:
    if get_origin(kind) is Literal:
        return {"type": "string", "enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _schema(get_args(kind)[0])}
    if is_dataclass(kind) and isinstance(kind, type):
        return schema_of(kind)
    types: Mapping[object, str] = {str: "string", int: "integer"}
    return {"type": types.get(kind, "object")}

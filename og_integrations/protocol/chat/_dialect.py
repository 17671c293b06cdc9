"""
This module brings a JSON schema of any draft into the one dialect that providers take: draft 2020-12, plainly referred.

A plain reference is `#`, or `#/$defs/NAME` with that member at the root. JSON Schema knows others, and programs write
them: pointers into properties (zod), anchors, names in percent-encoding, addresses below an `$id`, definitions inside
definitions, dynamic references. Each of them becomes a plain one, with what it refers to among the `$defs`. What leads
out of the schema, and a dynamic reference whose end is open, stays as it is: whoever sends it refuses it by its place.

Of the drafts before 2020-12, a list of schemas in `items` becomes `prefixItems`, and a limit that is said to be
exclusive becomes an exclusive limit. A title or description of null says nothing, and is left out.
"""

import re
from collections.abc import Iterator, Mapping

from og_integrations.protocol._strict_json import JsonObject

MAX_DEPTH = 40
"""A definition that refers to itself has no end, and no schema that a provider takes is this deep."""
DYNAMIC = ("$dynamicRef", "$recursiveRef")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SINGLE = (
    "items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "not", "if",
    "then", "else", "contains", "propertyNames", "contentSchema",
)  # fmt: skip
_DEFINED = ("$defs", "definitions")
_TEXTS = ("title", "description")
_ADDRESSES = frozenset({"$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor"})
"""Where plain references are, they have nothing to say, and an address below the root would turn them elsewhere."""
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_PLAIN = re.compile(r"#/(\$defs|definitions)/([^/]+)")


def in_one_dialect(schema: JsonObject) -> JsonObject:
    """Return `schema` in the dialect of this module; itself, if it is written in that."""
    document = _Document(schema)
    return schema if document.is_plain else document.rewritten()


def subschemas(schema: object, place: str = "", depth: int = 0) -> Iterator[tuple[str, JsonObject]]:
    """Yield every schema inside `schema`, itself first, each with its place."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    yield place, schema
    for where, item in _children(schema):
        yield from subschemas(item, f"{place}/{where}", depth + 1)


def _children(schema: JsonObject) -> Iterator[tuple[str, object]]:
    for word in _NAMED:
        members = schema.get(word)
        for name, item in members.items() if isinstance(members, dict) else ():
            yield f"{word}/{name}", item
    for word in _LISTED:
        branches = schema.get(word)
        for number, item in enumerate(branches) if isinstance(branches, list | tuple) else ():
            yield f"{word}/{number}", item
    for word in _SINGLE:
        yield word, schema.get(word)


def followed(pointer: str, schema: JsonObject) -> object:
    """Return what the JSON pointer `pointer` (RFC 6901) leads to within `schema`, None if there is nothing."""
    found: object = schema
    for part in pointer.split("/")[1:]:
        # A slash is escaped as ~1 and a tilde as ~0 (§3); the other order would decode ~01 wrongly.
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, list | tuple) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def _address(base: str, reference: str) -> str:
    """Return the address that `reference`, without its fragment, has below `base` (RFC 3986, section 5.2)."""
    reference = reference.partition("#")[0].removeprefix("./")
    if _ABSOLUTE.match(reference) or not base:
        return reference
    if reference.startswith("/"):
        host = _HOST.match(base)
        return (host[0] if host else "") + reference
    return base.rpartition("/")[0] + "/" + reference if "/" in base else reference


def _decoded(text: str) -> str:
    """Return `text` with its percent-encoded bytes decoded; what is no UTF-8 then is left as it is."""
    octets = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return text


class _Document:
    """This holds one given schema: which of its parts stand below which address, and what they are called."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._below: dict[int, tuple[str, JsonObject]] = {}
        self._resources: dict[str, JsonObject] = {}
        self._anchors: dict[tuple[int, str], JsonObject] = {}
        self._dynamic: dict[str, list[JsonObject]] = {}
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()
        self._due: list[tuple[str, object]] = []
        self._note(schema, "", schema, 0)

    def _note(self, schema: object, base: str, resource: JsonObject, depth: int) -> None:
        """Note of `schema`, and of what is inside, below which address it stands (2020-12 core, section 8.2)."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH or id(schema) in self._below:
            return
        address = schema.get("$id")
        if isinstance(address, str) and address.startswith("#"):
            self._anchors[id(resource), address[1:]] = schema  # as draft 7 writes an anchor
        elif isinstance(address, str):
            base, resource = _address(base, address), schema
            self._resources[base] = schema
        self._below[id(schema)] = base, resource
        for word in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := schema.get(word), str):
                self._anchors[id(resource), name] = schema
        if isinstance(name := schema.get("$dynamicAnchor"), str):
            self._dynamic.setdefault(name, []).append(schema)
        for _, item in _children(schema):
            self._note(item, base, resource, depth + 1)

    @property
    def is_plain(self) -> bool:
        """Return whether nothing has to be written in another way."""
        if all(word in self._schema for word in _DEFINED):
            return False
        return all(self._is_plain(schema) for _, schema in subschemas(self._schema))

    def _is_plain(self, schema: JsonObject) -> bool:
        if isinstance(schema.get("items"), list | tuple) or any(word in schema for word in DYNAMIC):
            return False
        if any(isinstance(schema.get(word), bool) for word in ("exclusiveMinimum", "exclusiveMaximum")):
            return False
        if any(word in schema and schema[word] is None for word in _TEXTS):
            return False
        if "$ref" not in schema or schema["$ref"] == "#":
            return "$ref" not in schema or self._below[id(schema)][1] is self._schema
        found = _PLAIN.fullmatch(str(schema["$ref"]))
        return (
            found is not None
            and self._below[id(schema)][1] is self._schema
            and isinstance(followed(str(schema["$ref"])[1:], self._schema), dict)
        )

    def rewritten(self) -> JsonObject:
        """Return the schema with plain references, and what they refer to among its `$defs`."""
        for word in _DEFINED:
            members = self._schema.get(word)
            for name, item in members.items() if isinstance(members, dict) else ():
                self._name(item, str(name))
        root = self._copied({word: item for word, item in self._schema.items() if word not in _DEFINED}, 0)
        if isinstance(self._schema.get("$id"), str):
            root["$id"] = self._schema["$id"]
        definitions: JsonObject = {}
        while self._due:
            name, item = self._due.pop(0)
            # True and False are schemas, too, but no provider takes them as a definition.
            whole = ({} if item else {"not": {}}) if isinstance(item, bool) else item
            definitions[name] = self._copied(whole, 1)
        if definitions:
            root["$defs"] = definitions
        for word in _DEFINED:
            if word in self._schema and not isinstance(self._schema[word], dict):
                root[word] = self._schema[word]
        return root

    def _name(self, item: object, wanted: str) -> str:
        """Return under which name `item` stands among the `$defs`."""
        if not isinstance(item, bool) and id(item) in self._names:
            return self._names[id(item)]
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}_{number}", number + 1
        self._taken.add(name)
        if not isinstance(item, bool):
            self._names[id(item)] = name
        self._due.append((name, item))
        return name

    def _copied(self, schema: object, depth: int) -> JsonObject:
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
            return schema  # type: ignore[return-value] # no schema: whoever sends it says so, by its place
        copy: JsonObject = {}
        for word, value in _of_2020(schema).items():
            if word in _ADDRESSES or (depth and word in _DEFINED):
                continue
            if word in _NAMED and isinstance(value, dict):
                copy[word] = {name: self._copied(item, depth + 1) for name, item in value.items()}
            elif word in _LISTED and isinstance(value, list | tuple):
                copy[word] = [self._copied(item, depth + 1) for item in value]
            elif word in _SINGLE:
                copy[word] = self._copied(value, depth + 1)
            else:
                copy[word] = value
        self._refer(schema, copy)
        return copy

    def _refer(self, given: Mapping[str, object], copy: JsonObject) -> None:
        """Write the reference of `given`, if it has one, plainly into `copy`; one that cannot be stays."""
        words = [word for word in ("$ref", *DYNAMIC) if word in given]
        if len(words) != 1 or not isinstance(given[words[0]], str):
            return
        reference = str(given[words[0]])
        base, resource = self._below.get(id(given), self._below[id(self._schema)])
        target = self._target(words[0], reference, base, resource)
        if target is None or not isinstance(target, dict | bool):
            return
        del copy[words[0]]
        if target is self._schema:
            copy["$ref"] = "#"
            return
        self._note(target, base, resource, 0)
        wanted = re.sub(r"\W+", "_", _decoded(reference).rpartition("#")[2]).strip("_") or "part"
        copy["$ref"] = "#/$defs/" + self._name(target, wanted).replace("~", "~0").replace("/", "~1")

    def _target(self, word: str, reference: str, base: str, resource: JsonObject) -> object:
        if word == "$recursiveRef":
            # Which schema it means depends on the way there, unless there is only one.
            return self._schema if reference == "#" and resource is self._schema and len(self._resources) < 2 else None
        if word == "$dynamicRef" and len(self._dynamic.get(reference.rpartition("#")[2], ())) > 1:
            return None
        address, _, fragment = reference.partition("#")
        if address:
            found = self._resources.get(_address(base, address))
            if found is None:
                return None
            resource = found
        if not fragment:
            return resource
        # As it stands first: a name may hold a percent sign of its own.
        for text in (fragment, _decoded(fragment)):
            target = followed(text, resource) if text.startswith("/") else self._anchors.get((id(resource), text))
            if target is not None:
                return target
        # Written by hand, one word is often taken for the other.
        if (plain := _PLAIN.fullmatch(reference)) is None:
            return None
        return followed(f"/{_DEFINED[plain[1] == '$defs']}/{plain[2]}", resource)


def _of_2020(schema: Mapping[str, object]) -> JsonObject:
    """Return `schema`, what is inside left as it is, in the words of draft 2020-12."""
    told: JsonObject = {word: item for word, item in schema.items() if item is not None or word not in _TEXTS}
    if isinstance(told.get("items"), list | tuple):
        told["prefixItems"] = told.pop("items")
        if "additionalItems" in told:
            told["items"] = told.pop("additionalItems")
    for exclusive, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(told.get(exclusive), bool) and told.pop(exclusive) and limit in told:
            told[exclusive] = told.pop(limit)
    return told

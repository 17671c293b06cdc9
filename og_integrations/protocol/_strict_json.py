"""
This module reads and writes JSON that means one thing only, to us and to whoever else reads it.

Python's own reader and writer are laxer: they accept NaN and keys that are not strings, take the last of two
members of one name, and can end the whole process on text that is nested deeply enough.
"""

import json
import re
from typing import Any

from og_integrations.errors import InvalidRequestError, MalformedReplyError

JsonObject = dict[str, Any]
"""A decoded JSON object."""
MAX_DEPTH = 200
"""
Levels of JSON inside JSON. Counted by us: `eth_account` raises Python's recursion limit to 100000
for the whole process, and there a hostile body would not be a `RecursionError` but the end of it.
"""
_FENCE = "```"
_encode_short = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character: JSON can spell it, and no text can hold it."""


def encode_json(value: object) -> bytes:
    """
    Encode `value` as the JSON bytes to send.

    Only what JSON knows is accepted: no NaN or infinity, no keys that are not strings (Python
    would sort `{10: …, 9: …}` by number here and by text at the gateway).
    Raises `InvalidRequestError`.
    """
    _refuse_non_json(value, [])
    try:
        # ASCII escapes keep the wire independent of how a proxy decodes
        # it; the hash is made of the parsed value (docs/protocol.md §4.2).
        return _encode_short(value).encode("ascii")
    except ValueError as exc:
        raise InvalidRequestError("The request holds an integer of thousands of digits.") from exc


def decode_json(text: bytes | str, *, unique: bool = True) -> Any:
    """
    Decode JSON that somebody else wrote.

    Raises `ValueError`, also if it is nested too deeply, or (if `unique`) names a member twice: of two
    values readers would see different ones, and only one is hashed.
    """
    if not isinstance(text, str):
        text = text.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _refuse_depth(text)
    return _decoded(text, _UNIQUE if unique else _PLAIN)


def decode_answer(text: str) -> Any:
    """Decode JSON that a model answered with; many put it into a fence. Raises `ValueError` as `decode_json` does."""
    inner = text.strip()
    # No regular expression: models that lose the thread write thousands of blanks, and it would try each of them.
    if inner.startswith(_FENCE) and inner.endswith(_FENCE) and len(inner) >= 2 * len(_FENCE):
        text = inner[len(_FENCE) : -len(_FENCE)].removeprefix("json").strip()
    return decode_json(text)


def decode_arguments(text: str) -> JsonObject:
    """
    Decode the arguments of a tool call, which a model wrote; no text and null mean that there are none.

    Numbers have to be finite, since `amount > limit` is false of NaN, and texts whole, since half of a character
    (a lone surrogate) can be neither stored nor sent back. Raises `ValueError` for what is no such object.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _refuse_depth(text)
    # Models write an empty text for a tool without parameters, which no JSON parser would accept.
    value = _decode_finite(text or "{}")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}")
    # A lone surrogate can only come from an escape or from
    # non-ASCII text, so most arguments need no second encoding.
    if "\\u" in text or not text.isascii():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_json_object(body: bytes | str, what: str, *, unique: bool = True) -> JsonObject:
    """Decode `body` as one JSON object, see `decode_json`. Raises `MalformedReplyError`, naming `what`."""
    try:
        value = decode_json(body, unique=unique)
    except ValueError as exc:
        raise MalformedReplyError(
            f"{what} is not JSON; expected an object that names nothing twice, got {len(body)} bytes of something else."
        ) from exc
    if not isinstance(value, dict):
        raise MalformedReplyError(f"{what} is a JSON {type(value).__name__}, expected an object.")
    return value


def _unique(members: list[tuple[str, Any]]) -> JsonObject:
    # Python keeps the last of two equal members, and another
    # reader may keep the first: only one of them is hashed.
    if len(found := dict(members)) != len(members):
        raise ValueError("a member is named twice")
    return found


_UNIQUE, _PLAIN = json.JSONDecoder(object_pairs_hook=_unique), json.JSONDecoder()


def _decoded(text: str, decoder: json.JSONDecoder) -> object:
    # What `decode` does, which looks for white space around each text; of a short event that is a tenth of the time.
    if text.startswith("{"):
        value, end = decoder.raw_decode(text)
        if end == len(text) or not text[end:].strip(" \t\n\r"):
            return value
    return decoder.decode(text)


def _finite(number: str) -> float:
    value = float(number)
    # `1e999` is valid JSON and becomes infinity in Python, against which every limit of an amount is in vain.
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {number[:20]} is out of range")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


# Line feeds within texts are let pass: models write them, and they mean one thing only.
_decode_finite = json.JSONDecoder(strict=False, parse_float=_finite, parse_constant=_refuse_constant).decode


def _refuse_depth(text: str) -> None:
    # Every second piece between quotes is outside of strings, as far as a parser would get.
    outside = text.replace("\\\\", "").replace('\\"', "").split('"')[::2]
    depth = 0
    for bracket in re.finditer(r"[][{}]", "".join(outside)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _refuse_non_json(value: object, path: list[object]) -> None:
    """Raise `InvalidRequestError` for what JSON does not know in `value`, which stands at `path` of the request."""
    if isinstance(value, (dict, list, tuple)):
        # A list that holds itself would be followed until the interpreter's stack ends.
        if len(path) >= MAX_DEPTH:
            raise InvalidRequestError(f"The request is nested more than {MAX_DEPTH} levels deep, or holds itself.")
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            # Python writes 1 and "1" under the same name, and a reader keeps only one of the two members.
            if type(step) is not str and isinstance(value, dict):
                raise InvalidRequestError(
                    f"{_where(path)} has the key {step!r} of type {type(step).__name__}: JSON keys are strings."
                )
            if type(item) is str and item.isascii():  # as most members are
                continue
            path.append(step)
            _refuse_non_json(item, path)
            path.pop()
    elif type(value) is str:
        if not value.isascii() and SURROGATE.search(value):
            raise InvalidRequestError(f"{_where(path)} holds half of a character (a lone surrogate), which is no text.")
    elif type(value) is float:
        # `json.dumps` would write NaN, which the gateway's parser accepts and other readers refuse.
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidRequestError(f"{_where(path)} is {value}: JSON has no such number; send a finite one.")
    elif value is not None and type(value) not in (bool, int):
        raise InvalidRequestError(
            f"{_where(path)} is a {type(value).__name__}, which JSON does not know; convert it to str, int, "
            "float, bool, None, list or dict first."
        )


def _where(path: list[object]) -> str:
    return "request" + "".join(f"[{step}]" if type(step) is int else f".{step}" for step in path)

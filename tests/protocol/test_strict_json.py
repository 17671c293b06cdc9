"""JSON that means one thing only: what is written, what is read, what is refused."""

import contextlib
import json
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import MAX_DEPTH, decode_answer, decode_json, encode_json
from tests.protocol.reference import json_values
from tests.sizes import examples


class Name(StrEnum):
    A = "a"


@given(json_values)
@examples(60)
def test_any_json_value_survives(value: object) -> None:
    """What the gateway parses is what was given: the hash is made of nothing else."""
    assert json.loads(encode_json(value)) == value


def test_bytes_are_compact_ascii() -> None:
    assert encode_json({"ż": [1, None], "b": "\u2028"}) == b'{"\\u017c":[1,null],"b":"\\u2028"}'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"temperature": float("nan")}, "request.temperature is nan: JSON has no such number"),
        ({"a": [1, float("-inf")]}, r"request.a\[1\] is -inf: JSON has no such number"),
        ({"a": {10: 1}}, "request.a has the key 10 of type int: JSON keys are strings"),
        ({"a": {None: 1}}, "the key None of type NoneType"),
        ({Name.A: 1}, "of type Name: JSON keys are strings"),
        ({"a": {1, 2}}, "request.a is a set, which JSON does not know; convert it to str, int"),
        ({"a": b"x"}, "request.a is a bytes"),
        ({"a": Decimal(1)}, "request.a is a Decimal"),
        ({"a": Name.A}, "request.a is a Name"),
        ({"a": [[object()]]}, r"request.a\[0\]\[0\] is a object"),
        ({"a": [{"b": [1]}, {"c": [0, object()]}]}, r"request.a\[1\].c\[1\] is a object"),
        ({"a": ["fine \u017c", "half \ud83d"]}, r"request.a\[1\] holds half of a character"),
        ({"seed": 10**5000}, "an integer of thousands of digits"),
    ],
)
def test_value_that_json_does_not_know(value: object, said: str) -> None:
    """Refused with its place, before two parsers can read it in two ways."""
    with pytest.raises(InvalidRequestError, match=said):
        encode_json(value)


def test_value_that_holds_itself() -> None:
    value: dict[str, Any] = {}
    value["self"] = [value]
    with pytest.raises(InvalidRequestError, match="nested more than 200 levels deep, or holds itself"):
        encode_json(value)


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + "1" + "]}" * (depth // 2)


def test_depth_that_is_taken() -> None:
    """Both ways the same: what we send can be read, and brackets in strings do not count."""
    value = json.loads(nested(MAX_DEPTH))
    assert decode_json(encode_json(value)) == value
    brackets = json.dumps(["[" * 500, '\\"[{\\\\' * 500, {"[[": []}] * 100)
    assert decode_json(brackets) == json.loads(brackets)


@pytest.mark.parametrize(
    "text",
    [
        nested(MAX_DEPTH + 2),
        nested(1_000_000),
        "[" * 1_000_000,
        '{"a":' * 1_000_000,
        '["' + '\\"[' * 300 + '",' + "[" * 1_000_000,
        '["\\\\",' + "[" * 1_000_000,
        '[""' + '"",[' * 1_000_000,
        "[1," * 1_000_000,
    ],
    ids=range(8),
)
def test_depth_that_would_end_the_process(text: str) -> None:
    """Importing `eth_account` takes Python's own guard away; a hostile body is still only an error."""
    with pytest.raises(ValueError, match="nested more than 200 levels deep"):
        decode_json(text)
    with pytest.raises(ValueError, match="nested more than 200 levels deep"):
        decode_json(text.encode())


def decoded(decode: Callable[[str], object], text: str) -> object:
    try:
        return decode(text)
    except ValueError:
        return ValueError


@given(json_values, st.integers(0, 10**6), st.sampled_from('[]{}",\\ 1'))
@examples(60)
def test_decoding_is_pythons_own(value: object, position: int, character: str) -> None:
    text = json.dumps([value] * 40)
    position %= len(text)
    text = text[:position] + character + text[position:]
    assert decoded(decode_json, text) == decoded(json.loads, text)


def test_tuples_are_lists() -> None:
    assert encode_json({"a": (1, 2)}) == b'{"a":[1,2]}'


@pytest.mark.parametrize(
    "text",
    ["[1]", " [1]\n", "```[1]```", "```json[1]```", "```json\n[1]\n```", "\n``` [1] ```\n", '```json\n["```"]\n```'],
)
def test_answer_in_a_fence_is_read(text: str) -> None:
    assert decode_answer(text) in ([1], ["```"])


@pytest.mark.parametrize(
    "text", ["", "```", "`````", "``````", "```json```", "```python\n[1]\n```", "```[1]", "[1]```"]
)
def test_fence_without_json_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|Extra data"):
        decode_answer(text)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", ["```json{}{{", "```{}[1] x", "```json\n[{}1]\n```", "{}```{}"])
def test_answer_of_many_blanks_costs_no_time(text: str) -> None:
    """A model that loses the thread writes them until its tokens end."""
    with contextlib.suppress(ValueError):
        decode_answer(text.replace("{}", "\n " * 100_000))

"""A schema reaches the model whole: LangChain's own conversion ends recursion in `{}`, and drops some schemas."""

from typing import Annotated, Any, Literal

import jsonschema
import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from og_integrations.devnet import Devnet
from og_integrations.errors import InvalidRequestError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.langchain._messages import schema_function, wire_tool
from og_integrations.langchain._structured import response_format


class Part(BaseModel):
    """A part and what it is made of."""

    name: str
    parts: list["Part"] = Field(default_factory=list)


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"]
    name: str


class Owner(BaseModel):
    """Who owns a pet."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


@tool
def assemble(part: Part) -> str:
    """Assemble a part."""
    return part.name


def assemble_plainly(part: Part) -> str:
    """Assemble a part."""
    return part.name


WHOLE = {"name": "car", "parts": [{"name": "wheel", "parts": []}]}
BROKEN = {"name": "car", "parts": [42]}


def fits(value: object, schema: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize("strict", [None, True])
def test_recursive_class_is_asked_for_with_its_recursion(strict: bool | None) -> None:
    schema = response_format(Part, strict=strict)["json_schema"]["schema"]
    assert fits(WHOLE, schema)
    assert not fits(BROKEN, schema)


@pytest.mark.parametrize("given", [Part, assemble, assemble_plainly], ids=["class", "tool", "function"])
def test_recursive_parameters_reach_the_model(given: Any) -> None:
    parameters = wire_tool(given)["function"]["parameters"]
    argument = (lambda value: value) if given is Part else (lambda value: {"part": value})
    assert fits(argument(WHOLE), parameters)
    assert not fits(argument(BROKEN), parameters)


@pytest.mark.parametrize(
    "schema",
    [
        Part.model_json_schema(),
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]},
        {"title": "Ids", "type": "object", "patternProperties": {"^id": {"type": "integer"}}},
    ],
    ids=["reference", "free-form", "union", "patterns"],
)
@pytest.mark.parametrize("by_tool", [False, True])
def test_schema_without_properties_is_not_the_empty_object(schema: dict[str, Any], by_tool: bool) -> None:
    """The model could only have answered `{}`, which was paid for and verified."""
    asked = schema_function(schema)["parameters"] if by_tool else response_format(schema)["json_schema"]["schema"]
    for value in ({}, {"a": 1}, {"a": "x"}, {"id1": "x"}, WHOLE, BROKEN):
        assert fits(value, asked) == fits(value, schema), value


def test_dict_of_values_cannot_be_strict(model: ChatOpenGradient, net: Devnet) -> None:
    """It was closed, and so emptied; nothing is paid for the refusal."""

    class Prices(BaseModel):
        by_name: dict[str, int]

    with pytest.raises(InvalidRequestError, match="cannot be strict, at /properties/by_name: it is an object of any"):
        model.with_structured_output(Prices, strict=True).invoke("q")
    assert net.stats().charges == 0


def test_union_told_apart_by_a_constant_is_strict() -> None:
    wanted = response_format(Owner, strict=True)["json_schema"]
    assert wanted["strict"] is True
    assert "oneOf" not in str(wanted)
    assert "anyOf" in str(wanted)


def test_list_at_the_root_is_refused_in_words_about_schemas(model: ChatOpenGradient) -> None:
    schema = {"title": "Numbers", "type": "array", "items": {"type": "integer"}}
    with pytest.raises(InvalidRequestError, match="The schema of Numbers allows a value of type array at its root"):
        model.with_structured_output(schema).invoke("q")


def test_tool_in_the_words_of_mcp_keeps_its_parameters() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wire = wire_tool({"name": "weather", "description": "Weather.", "inputSchema": schema})
    assert wire["function"]["parameters"]["properties"] == {"city": {"type": "string"}}

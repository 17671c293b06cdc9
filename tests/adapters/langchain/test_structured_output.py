"""Structured output: each form of schema, each method, each family of models."""

import json
import re
from typing import Any, Generic, TypeVar

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from og_integrations.client import collect_receipts
from og_integrations.errors import InvalidRequestError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.langchain._structured import response_format
from tests.adapters.langchain.ways_to_ask import get_weather

QUESTION = 'The city of "Oslo" has 700 inhabitants; name them.'
MODELS = ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "google/gemini-2.5-flash", "x-ai/grok-4"]
each_model = pytest.mark.parametrize("name", MODELS)


Item = TypeVar("Item")


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


class CityV1(BaseModelV1):
    """A city."""

    name: str
    inhabitants: int


class CityDict(TypedDict):
    """A city."""

    name: str
    inhabitants: int


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]


class Optional(BaseModel):
    """A city that may have a mayor."""

    name: str
    mayor: str = "nobody"


SCHEMA = City.model_json_schema()
EXPECTED = {"name": "Oslo", "inhabitants": 700}


@each_model
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("schema", [City, CityV1, CityDict, SCHEMA], ids=["pydantic", "v1", "TypedDict", "dict"])
def test_instance_of_schema_comes_back(
    model: ChatOpenGradient, name: str, method: Any, strict: bool | None, schema: Any
) -> None:
    answer = model.with_structured_output(schema, method=method, strict=strict).invoke(QUESTION, model=name)
    if isinstance(schema, type) and issubclass(schema, BaseModel | BaseModelV1):
        assert type(answer) is schema
        answer = dict(answer)
    assert answer == EXPECTED


def test_include_raw_brings_receipt_and_parsing_error(model: ChatOpenGradient) -> None:
    answer = model.with_structured_output(City, include_raw=True).invoke(QUESTION)
    assert answer["parsed"] == City(name="Oslo", inhabitants=700)
    assert answer["raw"].response_metadata["opengradient"]["status"] == "verified"
    broken = model.with_structured_output(City, include_raw=True).invoke("[[tokens=3]]")
    assert (broken["parsed"], bool(broken["parsing_error"])) == (None, True)


def test_stream_of_dicts_grows(model: ChatOpenGradient) -> None:
    parts = list(model.with_structured_output(SCHEMA).stream(QUESTION))
    assert parts[-1] == EXPECTED
    assert len(parts) > 1


@each_model
def test_json_mode_is_mapped_where_refused(model: ChatOpenGradient, name: str) -> None:
    chosen = ChatOpenGradient(
        **{**{f: getattr(model, f) for f in ("private_key", "network", "engines")}, "model": name}
    )
    answer = chosen.with_structured_output(SCHEMA, method="json_mode").invoke(
        'Give me JSON with "name" and "inhabitants"'
    )
    assert set(answer) == {"name", "inhabitants"}


def test_json_mode_without_schema_is_any_json(model: ChatOpenGradient) -> None:
    assert model.with_structured_output(None, method="json_mode").invoke('JSON with "a"') == {"a": "x"}
    with pytest.raises(InvalidRequestError, match="use json_schema"):
        model.with_structured_output(None, method="json_mode").invoke("x", model="anthropic/claude-haiku-4-5")


@pytest.mark.parametrize(
    "options",
    [
        {"schema": City, "method": "magic"},
        {"schema": City, "method": "json_mode", "strict": True},
        {"schema": None, "method": "json_schema"},
        {"schema": City, "method": "function_calling", "tools": [get_weather]},
        {"schema": {"$defs": 3, "name": 5, "title": None, "type": "array"}, "strict": True},
    ],
)
def test_what_does_not_go_together_is_refused(model: ChatOpenGradient, options: Any) -> None:
    with pytest.raises(InvalidRequestError):
        model.with_structured_output(**options)


def test_schema_is_strict_where_that_changes_nothing() -> None:
    assert response_format(City)["json_schema"]["strict"] is True
    assert response_format(City)["json_schema"]["schema"]["additionalProperties"] is False
    assert "strict" not in response_format(Optional)["json_schema"]
    assert response_format(Optional, strict=False)["json_schema"]["strict"] is False
    ready = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert response_format(ready) == ready
    assert response_format({"name": "x", "schema": SCHEMA, "strict": True})["json_schema"]["name"] == "x"
    assert response_format({"type": "object", "properties": {}})["json_schema"]["name"] == "answer"


@pytest.mark.parametrize("schema", [Page[City], {**SCHEMA, "title": "The City!"}], ids=["generic", "title"])
def test_schema_is_named_as_providers_take_it(model: ChatOpenGradient, schema: Any) -> None:
    """OpenAI answers 400 to `Page[City]`."""
    with collect_receipts(keep_exchanges=True) as receipts:
        for method in ("json_schema", "function_calling"):
            bound: Any = model.with_structured_output(schema, method=method)
            assert bound.invoke("x")
        agent: Any = create_agent(model, [], response_format=ProviderStrategy(schema))
        assert agent.invoke({"messages": [("user", "x")]})["structured_response"]
    requests = [json.loads((exchange or {})["request"]) for exchange in receipts.exchanges]
    names = [request["response_format"]["json_schema"]["name"] for request in requests]
    assert len(names) == 3
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", name) for name in names)


def test_tool_choice_of_the_caller_wins(model: ChatOpenGradient) -> None:
    bound = model.with_structured_output(City, method="function_calling", tool_choice="auto")
    assert bound.invoke("Hello.") is None
    assert bound.invoke(f"The city please. {QUESTION}") == City(name="Oslo", inhabitants=700)


@each_model
@pytest.mark.parametrize(
    "strategy", [City, ProviderStrategy(City), ToolStrategy(City)], ids=["native", "provider", "tool"]
)
@pytest.mark.parametrize("tools", [[], [get_weather]], ids=["alone", "with tool"])
def test_agent_answers_by_schema(model: ChatOpenGradient, name: str, strategy: Any, tools: list[Any]) -> None:
    chosen = ChatOpenGradient(
        **{**{f: getattr(model, f) for f in ("private_key", "network", "engines")}, "model": name}
    )
    agent: Any = create_agent(chosen, tools, response_format=strategy)
    order = f"use tool City {json.dumps(EXPECTED)}"
    with collect_receipts() as receipts:
        answer = agent.invoke({"messages": [("user", f"{QUESTION} {order}")]})
    assert answer["structured_response"] == City(name="Oslo", inhabitants=700)
    assert receipts.verified

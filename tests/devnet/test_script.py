"""The scripted model: the same question always has the same answer."""

import asyncio
import json
from typing import Any

import pytest

from og_integrations.devnet import Answer, ModelRequest, Script
from og_integrations.devnet.model._model import Family
from og_integrations.devnet.model._script import Filler, Hints


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def answer(text: str, *more: dict[str, Any], **options: Any) -> Answer:
    messages = [{"role": "user", "content": text}, *more]
    request = ModelRequest(model="m", family=Family.OPENAI, messages=messages, **options)
    return asyncio.run(Script().answer(request))


STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def test_plain_message_is_repeated() -> None:
    assert answer("Hello, enclave!").text == "You said: Hello, enclave!"


@pytest.mark.parametrize(
    ("prompt", "called", "arguments"),
    [
        ("What is the weather in Oslo?", "get_weather", {"city": "Oslo"}),
        ("weather in 'New York' please", "get_weather", {"city": "New York"}),
        ("What is the price of ETH?", "getPrice", {"symbol": "ETH"}),
        ("apply the magic_function to 5", "magic_function", {"input": 5}),
        ("apply the magic function", "magic_function", {"input": 3}),
    ],
)
def test_tool_is_called_when_it_shares_a_word(prompt: str, called: str, arguments: dict[str, Any]) -> None:
    tools = [
        tool("get_weather", city=STRING),
        tool("getPrice", symbol=STRING),
        tool("magic_function", input=INTEGER),
    ]
    (call,) = answer(prompt, tools=tools).calls
    assert (call.name, json.loads(call.arguments)) == (called, arguments)


def test_ordered_calls_are_made_to_the_letter() -> None:
    calls = answer('use tool a {"x": [1,  2]} then use tool b {}', tools=[tool("a"), tool("b"), tool("then")]).calls
    assert [(call.name, call.arguments) for call in calls] == [("a", '{"x": [1,  2]}'), ("b", "{}")]


def test_unoffered_tool_is_not_called() -> None:
    assert answer("use tool a {}", tools=[tool("b")]).calls == ()


def test_tool_result_is_repeated_instead_of_another_call() -> None:
    result = {"role": "tool", "content": "sunny", "tool_call_id": "c"}
    tools = [tool("get_weather", city=STRING)]
    assert answer("weather in Oslo?", result, tools=tools).text == "The tool said: sunny"
    assert answer("weather?", result, result | {"content": "3"}, tools=tools).text == "The tools said: sunny; 3"


def test_max_tokens_cuts_text_only() -> None:
    cut = answer("[[tokens=10]]", max_tokens=3)
    assert (cut.text, cut.usage.completion_tokens) == ("tok0 tok1 tok2 ", 3)


@pytest.mark.parametrize(("order", "seconds"), [("delay=0.05", 0.05), ("delay=50", 0.05), ("delay=x", 0.0)])
def test_delay_is_read_in_seconds_or_milliseconds(order: str, seconds: float) -> None:
    assert answer(f"[[{order}]]").delay == seconds


SCHEMAS: list[tuple[dict[str, Any], object]] = [
    ({"type": "object", "properties": {"name": STRING, "age": INTEGER}}, {"name": "x", "age": 7}),
    ({"type": "array", "items": {"type": "number"}, "minItems": 2}, [7, 7]),
    ({"enum": ["red", "blue"]}, "red"),
    ({"const": 4}, 4),
    ({"anyOf": [{"type": "null"}, STRING]}, "x"),
    ({"type": ["null", "boolean"]}, True),
    ({"type": "integer", "minimum": 10}, 10),
    ({"type": "integer", "exclusiveMaximum": 3}, 2),
    ({"type": "string", "minLength": 3}, "xxx"),
    ({"type": "string", "format": "date"}, "2026-11-20"),
    ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "integer"}}}, 7),
    (
        {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"v": INTEGER}}}},
        {"v": 7},
    ),
]


@pytest.mark.parametrize(("schema", "value"), SCHEMAS, ids=lambda value: json.dumps(value)[:40])
def test_schema_is_filled(schema: dict[str, Any], value: object) -> None:
    assert Filler(root=schema).fill(schema) == value


def test_recursive_schema_ends() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "properties": {"next": {"$ref": "#"}, "all": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["next"],
    }
    assert json.dumps(Filler(root=node).fill(node))


def test_hints_come_from_prompt() -> None:
    hints = Hints.of("Move 'the box' 2.5 metres to Bergen. Then stop")
    assert (hints.quoted, hints.numbers, hints.names) == (("the box",), (2.5,), ("Bergen",))


def test_json_object_has_keys_quoted_in_prompt() -> None:
    reply = answer("Give JSON with keys 'setup' and \"punchline\"", response_format={"type": "json_object"})
    assert json.loads(reply.text) == {"setup": "x", "punchline": "x"}

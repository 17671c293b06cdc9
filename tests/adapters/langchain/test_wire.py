"""
What is really sent for tools, choices and schemas, by family of models, and what the receipt says of it.

The gateway drops `tools` beside a json_schema for Anthropic models and never passes `tool_choice` on.
So besides the bytes sent, these tests look at what reached the model.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from og_integrations.client import collect_receipts
from og_integrations.devnet import Answer, Devnet, ModelRequest, Script
from og_integrations.errors import ToolChoiceNotHonoredError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.langchain._structured import response_format
from tests.adapters.langchain.ways_to_ask import add_numbers, get_weather, summed

BOTH = ["openai/gpt-5-mini", "x-ai/grok-4"]
"""Families that take tools and a json_schema in one request."""
NOT_BOTH = ["anthropic/claude-haiku-4-5", "google/gemini-2.5-flash"]
ANTHROPIC = NOT_BOTH[0]
each_model = pytest.mark.parametrize("name", [*BOTH, *NOT_BOTH])
CALL: Any = {"name": "get_weather", "args": {"city": "Oslo"}, "id": "c1", "type": "tool_call"}
TURNS = [HumanMessage("weather?"), AIMessage("", tool_calls=[CALL]), ToolMessage("sunny", tool_call_id="c1")]
EXPECTED = {"name": "Oslo", "inhabitants": 700}
QUESTION = 'The city of "Oslo" has 700 people; name them.'


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def save_note(note: dict[str, Any]) -> str:
    """Save a note, of any form."""
    return str(note)


class Recorder(Script):
    """The scripted model; keeps what reached it."""

    reached: list[ModelRequest] = []  # noqa: RUF012 - a class attribute of a test double

    async def answer(self, request: ModelRequest) -> Answer:
        """Answer as the script does."""
        self.reached.append(request)
        return await super().answer(request)


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with Devnet(model=Recorder()) as devnet:
        yield devnet


Ask = Callable[..., tuple[AIMessage, dict[str, Any]]]


def invoked(model: Any, messages: Any) -> AIMessage:
    message: AIMessage = model.invoke(messages)
    return message


def streamed(model: Any, messages: Any) -> AIMessage:
    return summed(list(model.stream(messages)))


@pytest.fixture(params=[invoked, streamed])
def ask(request: pytest.FixtureRequest, net: Devnet) -> Iterator[Ask]:
    """Return a function that asks a model and returns its message and the request that was sent."""
    Recorder.reached.clear()
    model = ChatOpenGradient(model=BOTH[0], private_key=net.private_key, network=net.network, nonce="off")

    def asking(name: str, messages: Any, tools: Any, **options: Any) -> tuple[AIMessage, dict[str, Any]]:
        with collect_receipts(keep_exchanges=True) as receipts:
            message = request.param(model.bind_tools(tools, model=name, **options), messages)
        (exchange,) = receipts.exchanges
        assert exchange is not None
        assert message.response_metadata["opengradient"] == receipts[0]
        return message, json.loads(exchange["request"])

    yield asking
    model.close()


def tools_of(sent: dict[str, Any]) -> list[str]:
    """Return the names of the tools sent; they must all have reached the model."""
    names = [tool["function"]["name"] for tool in sent.get("tools", [])]
    assert [tool["function"]["name"] for tool in Recorder.reached[-1].tools] == names
    return names


def presentation_of(message: AIMessage) -> Any:
    return message.response_metadata["opengradient"]["presentation"]


@pytest.mark.parametrize("name", BOTH)
def test_tools_and_schema_go_together_where_both_are_taken(ask: Ask, name: str) -> None:
    wish = response_format(City)
    message, sent = ask(name, QUESTION, [get_weather], response_format=wish)
    assert tools_of(sent) == ["get_weather"]
    assert sent["response_format"] == wish
    assert json.loads(message.text) == EXPECTED
    assert presentation_of(message) is None


@pytest.mark.parametrize("name", NOT_BOTH)
def test_schema_is_one_more_tool_elsewhere(ask: Ask, name: str) -> None:
    message, sent = ask(name, QUESTION, [get_weather], response_format=response_format(City))
    assert tools_of(sent) == ["get_weather", "City"]
    assert "response_format" not in sent
    assert json.loads(message.text) == EXPECTED
    assert message.tool_calls == []
    assert presentation_of(message) == {"kind": "schema_through_tool", "tool": "City"}


@pytest.mark.parametrize("name", NOT_BOTH)
def test_real_tool_comes_before_the_schema(ask: Ask, name: str) -> None:
    question = 'use tool get_weather {"city": "Oslo"}'
    message, _ = ask(name, question, [get_weather], response_format=response_format(City))
    assert [call["name"] for call in message.tool_calls] == ["get_weather"]
    assert presentation_of(message) is None


@each_model
def test_schema_without_tools_stays_a_schema(ask: Ask, name: str) -> None:
    message, sent = ask(name, QUESTION, [], response_format=response_format(City))
    assert tools_of(sent) == []
    assert sent["response_format"]["json_schema"]["name"] == "City"
    assert json.loads(message.text) == EXPECTED
    assert presentation_of(message) is None


@each_model
@pytest.mark.parametrize("choice", ["get_weather", "any"])
def test_forced_tool_is_asked_for_as_schema(ask: Ask, name: str, choice: str) -> None:
    message, sent = ask(name, 'Hello from "Oslo"', [get_weather], tool_choice=choice)
    assert not {"tools", "tool_choice"} & sent.keys()
    schema = sent["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"]) == ("get_weather", True)
    assert schema["schema"]["additionalProperties"] is False
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Oslo"})]
    assert message.text == ""
    assert presentation_of(message) == {"kind": "tool_from_json_schema", "tool": "get_weather"}


@each_model
def test_forced_tool_with_free_form_dict_is_sent_and_checked(ask: Ask, name: str) -> None:
    question = 'use tool save_note {"note": {"any": "thing"}}'
    message, sent = ask(name, question, [save_note], tool_choice="save_note")
    assert tools_of(sent) == ["save_note"]
    assert sent["tool_choice"]["function"]["name"] == "save_note"
    assert "response_format" not in sent
    assert message.tool_calls[0]["args"] == {"note": {"any": "thing"}}
    assert presentation_of(message) is None
    with pytest.raises(ToolChoiceNotHonoredError, match="asked for a call of save_note, but the model answered"):
        ask(name, "Hello", [save_note], tool_choice="save_note")


@each_model
def test_forced_tool_beside_schema_is_sent_and_checked(ask: Ask, name: str) -> None:
    question = 'use tool get_weather {"city": "Oslo"}'
    message, sent = ask(name, question, [get_weather], tool_choice="any", response_format=response_format(City))
    assert tools_of(sent) == (["get_weather"] if name in BOTH else ["get_weather", "City"])
    assert ("response_format" in sent) is (name in BOTH)
    assert message.tool_calls[0]["name"] == "get_weather"
    with pytest.raises(ToolChoiceNotHonoredError, match="asked for a call of get_weather"):
        ask(name, QUESTION, [get_weather], tool_choice="any", response_format=response_format(City))


@each_model
def test_forced_tool_after_tool_turns(ask: Ask, name: str) -> None:
    """Anthropic refuses a history with tool turns if no tools are sent."""
    messages = [*TURNS, HumanMessage('use tool get_weather {"city": "Rome"} or name "Rome"')]
    message, sent = ask(name, messages, [get_weather], tool_choice="get_weather")
    assert tools_of(sent) == (["get_weather"] if name == ANTHROPIC else [])
    assert ("response_format" in sent) is (name != ANTHROPIC)
    assert message.tool_calls[0]["args"]["city"]
    assert (presentation_of(message) is None) is (name == ANTHROPIC)


@each_model
def test_forced_one_of_several_tools(ask: Ask, name: str) -> None:
    question = 'use tool add_numbers {"a": 1, "b": 2}'
    message, sent = ask(name, question, [get_weather, add_numbers], tool_choice="any")
    assert tools_of(sent) == ["get_weather", "add_numbers"]
    assert sent["tool_choice"] == "required"
    assert [call["name"] for call in message.tool_calls] == ["add_numbers"]
    named, sent = ask(name, 'In "Rome"', [get_weather, add_numbers], tool_choice="get_weather")
    assert sent["response_format"]["json_schema"]["name"] == "get_weather"
    assert named.tool_calls[0]["args"] == {"city": "Rome"}


@each_model
@pytest.mark.parametrize("wish", [None, City])
def test_no_tool_may_be_called(ask: Ask, name: str, wish: Any) -> None:
    """The tools stay away; only Anthropic needs them for a history with tool turns, and is checked."""
    options = {"response_format": response_format(wish)} if wish else {}
    _, sent = ask(name, QUESTION, [get_weather], tool_choice="none", **options)
    assert not {"tools", "tool_choice"} & sent.keys()
    assert ("response_format" in sent) is (wish is not None)
    messages = [*TURNS, HumanMessage(QUESTION)]
    message, sent = ask(name, messages, [get_weather], tool_choice="none", **options)
    expected = ["get_weather", "City"] if wish else ["get_weather"]
    assert tools_of(sent) == (expected if name == ANTHROPIC else [])
    assert message.tool_calls == []
    assert json.loads(message.text) == EXPECTED if wish else "Oslo" in message.text


def test_forbidden_call_is_an_error(ask: Ask) -> None:
    messages = [*TURNS, HumanMessage('use tool get_weather {"city": "Rome"}')]
    with pytest.raises(ToolChoiceNotHonoredError, match="was 'none', but the model called"):
        ask(ANTHROPIC, messages, [get_weather], tool_choice="none")

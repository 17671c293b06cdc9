"""Tools: bound without touching the model, in every form of tool and choice."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.tools import tool
from pydantic import BaseModel
from typing_extensions import TypedDict

from og_integrations.chat._requests import wire_tool_choice
from og_integrations.client._call import Answer
from og_integrations.devnet import Devnet
from og_integrations.errors import InvalidRequestError, ToolChoiceNotHonoredError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.langchain._messages import wire_tools
from og_integrations.langchain._outputs import BROKEN_MARK, chat_result, chunks_of
from og_integrations.protocol.chat._wire import Completion, ToolCall
from tests.adapters.langchain.ways_to_ask import add_numbers, get_weather, summed

SCHEMAS = wire_tools([get_weather, add_numbers])
NAMED = {"type": "function", "function": {"name": "get_weather"}}


class Weather(BaseModel):
    """Tell the weather."""

    city: str


class WeatherDict(TypedDict):
    """Tell the weather."""

    city: str


FORMS: list[Any] = [
    get_weather,
    tool(get_weather),
    Weather,
    WeatherDict,
    SCHEMAS[0],
    SCHEMAS[0]["function"],
    {"name": "get_weather", "input_schema": SCHEMAS[0]["function"]["parameters"]},
    Weather.model_json_schema(),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: getattr(form, "__name__", type(form).__name__))
@pytest.mark.parametrize("strict", [None, False, True])
def test_every_form_of_tool_is_a_schema(form: Any, strict: bool | None) -> None:
    (schema,) = wire_tools([form], strict=strict)
    assert schema["type"] == "function"
    assert list(schema["function"]["parameters"]["properties"]) == ["city"]
    if form is not SCHEMAS[0]:  # whoever gives the wire form has decided already
        assert schema["function"].get("strict") is strict


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (False, None),
        (True, "required"),
        ("any", "required"),
        ("required", "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("get_weather", NAMED),
        (NAMED, NAMED),
        ({"type": "function", "name": "get_weather"}, NAMED),
        ({"type": "tool", "name": "get_weather"}, NAMED),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
    ],
)
def test_every_form_of_choice_is_one_of_the_wire(choice: Any, expected: object) -> None:
    assert wire_tool_choice(choice, SCHEMAS) == expected


@pytest.mark.parametrize("choice", ["get_wether", NAMED | {"function": {"name": "get_wether"}}, {"type": "x"}, 3])
def test_wrong_choice_is_refused(model: ChatOpenGradient, choice: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tool_choice is") as caught:
        model.bind_tools([get_weather], tool_choice=choice)
    assert isinstance(caught.value, ModelInvalidRequestError)
    if choice == "get_wether":
        assert "Did you mean 'get_weather'?" in str(caught.value)


def test_binding_leaves_model_and_other_bindings_alone(model: ChatOpenGradient) -> None:
    before = repr(model)
    weather, adding = model.bind_tools([get_weather]), model.bind_tools([add_numbers], tool_choice="any")
    assert repr(model) == before
    assert [call["name"] for call in weather.invoke('weather in "Oslo"').tool_calls] == ["get_weather"]
    assert [call["name"] for call in adding.invoke("3 and 4").tool_calls] == ["add_numbers"]
    assert model.invoke('use tool get_weather {"city": "Oslo"}').tool_calls == []


def test_nothing_bound_is_no_tools(model: ChatOpenGradient) -> None:
    assert model.bind_tools([]).invoke("hi").text == "You said: hi"


def test_tools_may_be_given_to_one_call(model: ChatOpenGradient) -> None:
    message = model.invoke('weather in "Oslo"', tools=[get_weather], tool_choice="any")
    assert message.tool_calls[0]["args"] == {"city": "Oslo"}


def test_tool_results_come_back_to_the_model(model: ChatOpenGradient) -> None:
    bound = model.bind_tools([tool(get_weather)])
    question = HumanMessage('weather in "Oslo"')
    asked = bound.invoke([question])
    result = tool(get_weather).invoke(asked.tool_calls[0])
    assert isinstance(result, ToolMessage)
    assert bound.invoke([question, asked, result]).text == "The tool said: It is sunny in Oslo."


@pytest.mark.parametrize("ask", [lambda m, t: m.invoke(t), lambda m, t: list(m.stream(t))], ids=["invoke", "stream"])
def test_disobeyed_choice_is_an_error_with_receipt(model: ChatOpenGradient, ask: Callable[..., Any]) -> None:
    bound = model.bind_tools([get_weather, add_numbers], tool_choice="any")
    with pytest.raises(ToolChoiceNotHonoredError, match="does not enforce") as caught:
        ask(bound, "hello")
    assert caught.value.receipt is not None
    assert caught.value.receipt["status"] == "verified"


@pytest.mark.parametrize(("arguments", "args"), [("", {}), ('{"a": 1', None), ("[1]", None), ('{"a": 1}', {"a": 1})])
def test_broken_arguments_never_become_a_call(model: ChatOpenGradient, arguments: str, args: object) -> None:
    """LangChain repairs streamed arguments: `{"path": "/` would run a tool with half of its argument."""
    completion = Completion(text="", finish_reason="tool_calls", model="gpt-5")
    answer = Answer(
        text="",
        tool_calls=(ToolCall("c1", "add", arguments),),
        finish_reason="tool_calls",
        model="gpt-5",
        asked_model="openai/gpt-5",
        created=1,
        usage=None,
        id="x",
        receipt={"status": "verified"},
        completion=completion,
    )
    whole: Any = chat_result(answer).generations[0].message
    streamed = summed([chunk.message for chunk in chunks_of(answer, usage=True)])
    for message in (whole, streamed):
        assert [call["args"] for call in message.tool_calls] == ([] if args is None else [args])
        assert len(message.invalid_tool_calls) == (args is None)


@pytest.mark.parametrize(
    "form",
    [
        5,
        None,
        "get_weather",
        Weather(city="x"),
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "web_search_preview"},
        {"type": "custom", "name": "x"},
        {"type": "function", "function": {"parameters": {}}},
        {"type": "object", "properties": {}},
        pytest.param(partial(get_weather, city="Oslo"), id="partial"),  # its text holds an address
    ],
    ids=str,
)
def test_what_is_no_function_is_refused(net: Devnet, model: ChatOpenGradient, form: Any) -> None:
    """Sent on, a provider's own tool would be an empty function, and paid for."""
    with pytest.raises(InvalidRequestError):
        model.bind_tools([form])
    with pytest.raises(InvalidRequestError):
        model.invoke("hi", tools=[form])
    assert net.stats().requests == 0


@pytest.mark.parametrize(
    "form",
    [
        {**SCHEMAS[0], "cache_control": {"type": "ephemeral"}},
        {"type": "function", **SCHEMAS[0]["function"]},
        {"function": SCHEMAS[0]["function"]},
        {"name": "get_weather", "schema": SCHEMAS[0]["function"]["parameters"], "strict": None},
        {
            "type": "custom",
            "name": "get_weather",
            "input_schema": SCHEMAS[0]["function"]["parameters"],
            "cache_control": {"type": "ephemeral"},
        },
    ],
    ids=["beside", "flat", "untyped", "schema", "Anthropic's"],
)
def test_nothing_but_the_function_is_kept(form: dict[str, Any]) -> None:
    (sent,) = wire_tools([form])
    assert set(sent) == {"type", "function"}
    assert "cache_control" not in str(sent)
    assert sent["function"]["parameters"] == SCHEMAS[0]["function"]["parameters"]


@pytest.mark.parametrize("choice", ["required", "any", True, {"type": "any"}, "get_weather"])
def test_call_that_no_tool_can_answer_is_refused(net: Devnet, model: ChatOpenGradient, choice: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tool"):
        model.bind(tool_choice=choice).invoke("hi")
    assert model.bind(tool_choice="none").invoke("hi").text == model.bind(tool_choice="auto").invoke("hi").text


def test_broken_arguments_of_a_stream_are_shown_as_the_model_wrote_them() -> None:
    broken = tool_call_chunk(name="get_weather", args=BROKEN_MARK + '{"city": "Os', id="c", index=0)
    marked = {"model_provider": "opengradient"}
    message: Any = AIMessageChunk(content="", tool_call_chunks=[broken], response_metadata=marked)
    assert message.invalid_tool_calls
    for blocks in (message.content_blocks, message.model_copy(update={"chunk_position": "last"}).content_blocks):
        assert [block["args"] for block in blocks] == ['{"city": "Os']

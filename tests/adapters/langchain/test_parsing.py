"""Structured output is what the model said, whole, or an error: in every way, with and without `include_raw`."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from pydantic import BaseModel
from typing_extensions import TypedDict

from og_integrations.devnet import Answer, Devnet, ModelCall, ModelRequest, Script
from og_integrations.langchain import ChatOpenGradient
from og_integrations.langchain._structured import StructuredParser
from tests.adapters.langchain.ways_to_ask import get_weather


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


class CityDict(TypedDict):
    """A city."""

    name: str
    inhabitants: int


class Said(Script):
    """Says what the last message says, in two pieces; a text that begins with `call ` becomes a tool's arguments."""

    async def answer(self, request: ModelRequest) -> Answer:
        """Answer by heart."""
        answer = await super().answer(request)
        text = str(request.messages[-1]["content"])
        if text.startswith("call "):
            name = request.tools[-1]["function"]["name"]
            return replace(answer, pieces=(), calls=(ModelCall(name, text.removeprefix("call ")),))
        return replace(answer, pieces=(text[:-2], text[-2:]), calls=())


@pytest.fixture(scope="module")
def model() -> Iterator[ChatOpenGradient]:
    with Devnet(model=Said()) as net:
        model = ChatOpenGradient(model="openai/gpt-5-mini", private_key=net.private_key, network=net.network)
        yield model
        model.close()


async def _astreamed(chain: Any, text: str) -> list[Any]:
    return [part async for part in chain.astream(text)]


WAYS: dict[str, Callable[[Any, str], list[Any]]] = {
    "invoke": lambda chain, text: [chain.invoke(text)],
    "ainvoke": lambda chain, text: [asyncio.run(chain.ainvoke(text))],
    "stream": lambda chain, text: list(chain.stream(text)),
    "astream": lambda chain, text: asyncio.run(_astreamed(chain, text)),
}
each_way = pytest.mark.parametrize("way", WAYS)
each_schema = pytest.mark.parametrize(
    "schema", [City, CityDict, City.model_json_schema()], ids=["class", "dict", "json"]
)
each_method = pytest.mark.parametrize("method", ["json_schema", "json_mode"])
WHOLE = '{"name": "Oslo", "inhabitants": 700}'
CUT = '{"name": "Oslo", "inhabitants": 70'
"""Completed as LangChain's parsers do it, this is another number of inhabitants."""


@each_way
@each_schema
@each_method
@pytest.mark.parametrize("text", [CUT, "I am sorry", "", WHOLE + WHOLE], ids=["cut", "prose", "nothing", "twice"])
def test_what_is_not_json_as_a_whole_is_an_error(
    model: ChatOpenGradient, way: str, schema: Any, method: Any, text: str
) -> None:
    with pytest.raises(OutputParserException, match="not JSON as a whole"):
        WAYS[way](model.with_structured_output(schema, method=method), text or "  ")
    (*_, last) = WAYS[way](model.with_structured_output(schema, method=method, include_raw=True), text or "  ")
    assert (last["parsed"], type(last["parsing_error"])) == (None, OutputParserException)
    assert last["raw"].response_metadata["opengradient"]["status"] == "verified"


@each_way
@each_schema
@each_method
def test_whole_answer_comes_back(model: ChatOpenGradient, way: str, schema: Any, method: Any) -> None:
    expected: Any = City(name="Oslo", inhabitants=700)
    expected = expected if schema is City else dict(expected)
    for text in (WHOLE, f"```json\n{WHOLE}\n```"):
        (*_, last) = WAYS[way](model.with_structured_output(schema, method=method), text)
        assert last == expected
        (*_, last) = WAYS[way](model.with_structured_output(schema, method=method, include_raw=True), text)
        assert (last["parsed"], last["parsing_error"]) == (expected, None)


@each_way
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_answer_that_does_not_fit_is_an_error(model: ChatOpenGradient, way: str, method: Any) -> None:
    """A stream of it used to end as if nothing had been asked."""
    with pytest.raises(OutputParserException, match="does not fit City"):
        WAYS[way](model.with_structured_output(City, method=method), '{"name": "Oslo", "inhabitants": "many"}')
    raw = model.with_structured_output(City, method=method, include_raw=True)
    (*_, last) = WAYS[way](raw, '{"name": "Oslo", "inhabitants": "many"}')
    assert (last["parsed"], type(last["parsing_error"])) == (None, OutputParserException)


def test_instances_are_whole_while_dicts_grow(model: ChatOpenGradient) -> None:
    assert len(WAYS["stream"](model.with_structured_output(City), WHOLE)) == 1
    parts = WAYS["stream"](model.with_structured_output(CityDict), WHOLE)
    assert parts == [{"name": "Oslo", "inhabitants": 70}, {"name": "Oslo", "inhabitants": 700}]


@each_way
@pytest.mark.parametrize("name", ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"])
def test_call_of_a_tool_is_no_answer_yet(model: ChatOpenGradient, way: str, name: str) -> None:
    options: dict[str, Any] = {"tools": [get_weather], "model": name}

    class Calling(Script):
        async def answer(self, request: ModelRequest) -> Answer:
            answer = await super().answer(request)
            return replace(answer, pieces=("Let me see.",), calls=(ModelCall("get_weather", '{"city": "Oslo"}'),))

    with Devnet(model=Calling()) as net:
        asked = ChatOpenGradient(model=name, private_key=net.private_key, network=net.network)
        assert WAYS[way](asked.with_structured_output(City, **options), "x") == [None]
        (*_, last) = WAYS[way](asked.with_structured_output(City, include_raw=True, **options), "x")
        assert (last["parsed"], last["parsing_error"]) == (None, None)
        assert last["raw"].tool_calls[0]["name"] == "get_weather"
        asked.close()


@each_way
def test_schema_answered_through_a_tool_is_read_as_strictly(model: ChatOpenGradient, way: str) -> None:
    """Anthropic models with tools get the schema as one more tool."""
    once = model.model_copy(update={"ask_again": False})
    chain = once.with_structured_output(City, tools=[get_weather], model="anthropic/claude-haiku-4-5")
    assert WAYS[way](chain, f"call {WHOLE}")[-1] == City(name="Oslo", inhabitants=700)
    with pytest.raises(OutputParserException, match="does not fit City"):
        WAYS[way](chain, 'call {"name": "Oslo"}')


def test_broken_arguments_of_the_schemas_own_call_are_an_error() -> None:
    broken: Any = {"name": "City", "args": CUT, "id": "c", "error": None, "type": "invalid_tool_call"}
    parser = StructuredParser(tool="City")
    with pytest.raises(OutputParserException, match="not JSON as a whole"):
        parser.parse_result([ChatGeneration(message=AIMessage("", invalid_tool_calls=[broken]))])
    assert parser.parse_result([ChatGeneration(message=AIMessage("no call"))]) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"name": "City", "strict": True, "schema": City.model_json_schema()},
        {"type": "json_schema", "json_schema": {"name": "City", "schema": City.model_json_schema()}},
        {key: value for key, value in City.model_json_schema().items() if key not in ("title", "description")},
        {"name": "City", "parameters": City.model_json_schema()},
    ],
    ids=["OpenAI's", "response_format", "untitled", "function"],
)
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_every_form_of_schema_reaches_the_model(model: ChatOpenGradient, schema: Any, method: Any) -> None:
    bound: Any = model.with_structured_output(schema, method=method)
    sent = bound.first.kwargs
    wanted = sent["tools"][0]["function"]["parameters"] if method == "function_calling" else None
    wanted = wanted or sent["response_format"]["json_schema"]["schema"]
    assert set(wanted["properties"]) == {"name", "inhabitants"}
    assert WAYS["invoke"](bound, WHOLE) == [{"name": "Oslo", "inhabitants": 700}]

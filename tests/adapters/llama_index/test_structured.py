"""Pydantic classes as answers: natively by json_schema, or through a function."""

import asyncio
from typing import Any, Generic, TypeVar

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.program.utils import get_program_for_llm
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field, field_validator

from og_integrations.devnet import Answer, ModelCall, ModelRequest
from og_integrations.errors import MalformedReplyError
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.llama_index._structured import response_format
from og_integrations.protocol.chat._wire import Usage
from tests.adapters.llama_index.auditing import Account, audited
from tests.adapters.llama_index.prompt_model import said


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int = Field(description="how many live there")
    nickname: str = "none"


class Free(BaseModel):
    anything: dict[str, str]


Thing = TypeVar("Thing")


class Page(BaseModel, Generic[Thing]):
    content: Thing


MODELS = ["openai/gpt-4.1", "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash"]


def prompt(text: str = 'Tell me about "{city}" with 5 people.') -> PromptTemplate:
    """Return a prompt of its own: LlamaIndex's programs leave their output parser in those that they are given."""
    return PromptTemplate(text)


async def objects_of(stream: Any) -> list[Any]:
    return [item async for item in await stream]


WAYS = {
    "structured_predict": lambda llm, cls: llm.structured_predict(cls, prompt(), city="Paris"),
    "astructured_predict": lambda llm, cls: asyncio.run(llm.astructured_predict(cls, prompt(), city="Paris")),
    "stream_structured_predict": lambda llm, cls: list(llm.stream_structured_predict(cls, prompt(), city="Paris"))[-1],
    "astream_structured_predict": lambda llm, cls: asyncio.run(
        objects_of(llm.astream_structured_predict(cls, prompt(), city="Paris"))
    )[-1],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS)
def test_structured_predict(account: Account, way: str, model: str) -> None:
    """One paid call makes one whole, valid object, whatever the way."""
    with audited(account) as audit:
        made = WAYS[way](account.llm(model), City)
    assert isinstance(made, City)
    assert (made.name, made.inhabitants) == ("Paris", 5)
    assert len(audit.receipts) == 1


@pytest.mark.parametrize("way", ["structured_predict", "astructured_predict"])
@pytest.mark.parametrize("model", MODELS)
def test_function_mode(account: Account, way: str, model: str) -> None:
    """The same through LlamaIndex's programs, which demand a call of a tool."""
    llm = account.llm(model, pydantic_program_mode=PydanticProgramMode.FUNCTION)
    with audited(account) as audit:
        made = WAYS[way](llm, City)
    assert (made.name, made.inhabitants) == ("Paris", 5)
    assert len(audit.receipts) == 1


@pytest.mark.parametrize("way", ["stream_structured_predict", "astream_structured_predict"])
def test_function_mode_streams(account: Account, way: str) -> None:
    """Streamed programs in function mode find the tool call."""
    llm = account.llm(pydantic_program_mode=PydanticProgramMode.FUNCTION)
    stream = getattr(llm, way)(City, prompt('Describe the city "{city}" with 5 people.'), city="Paris")
    made = list(stream) if way.startswith("stream") else asyncio.run(objects_of(stream))
    assert made[-1] == City(name="Paris", inhabitants=5)


def test_streams_grow(account: Account, llm: OpenGradientLLM) -> None:
    """Partial objects come before the last one, which is complete."""
    made = list(llm.stream_structured_predict(City, prompt(), city="Paris"))
    assert len(made) > 2
    assert isinstance(made[-1], City)


def test_native_is_json_schema(account: Account, llm: OpenGradientLLM) -> None:
    """The default asks by response_format, without tools."""
    llm.structured_predict(City, prompt(), city="Paris")
    asked = account.speaker.asked[-1]
    assert asked.tools == []
    assert asked.response_format is not None
    assert asked.response_format["json_schema"]["name"] == "City"
    assert asked.response_format["json_schema"]["strict"] is True


def test_free_form_schemas_are_not_strict() -> None:
    """A class that no strict schema can say is asked for as it is."""
    assert response_format(City)["json_schema"]["strict"] is True
    assert "strict" not in response_format(Free)["json_schema"]


def test_switch_to_functions(account: Account) -> None:
    """`should_use_structured_outputs=False` goes through LlamaIndex's programs."""
    llm = account.llm(should_use_structured_outputs=False)
    with audited(account) as audit:
        made = llm.structured_predict(City, prompt(), city="Paris")
    assert made.name == "Paris"
    assert audit.receipts[0]["presentation"] == {"kind": "tool_from_json_schema", "tool": "City"}


def test_as_structured_llm(account: Account, llm: OpenGradientLLM) -> None:
    """The wrapper's endpoints each make one paid call."""
    structured = llm.as_structured_llm(City)
    message = ChatMessage(role="user", content='about "Paris" with 5')
    with audited(account) as audit:
        made = [
            structured.chat([message]).raw,
            asyncio.run(structured.achat([message])).raw,
            structured.complete('about "Paris" with 5').raw,
            list(structured.stream_chat([message]))[-1].raw,
            asyncio.run(objects_of(structured.astream_chat([message])))[-1].raw,
        ]
    assert [city.name for city in made] == ["Paris"] * 5
    assert len(audit.receipts) == 5


def test_programs_of_llama_index_work(account: Account, llm: OpenGradientLLM) -> None:
    """LlamaIndex's own programs work, synchronously and not."""
    with audited(account) as audit:
        program = FunctionCallingProgram.from_defaults(City, 'About "{city}" with 5', llm=llm)
        made = [program(city="Paris"), asyncio.run(program.acall(city="Rome"))]
        made.append(get_program_for_llm(City, prompt(), llm)(city="Oslo"))
    assert [getattr(city, "name", None) for city in made] == ["Paris", "Rome", "Oslo"]
    assert len(audit.receipts) == 3


def test_system_prompt_and_kwargs(account: Account) -> None:
    """The system prompt is sent along; `llm_kwargs` reach the call, leftovers of function mode do not."""
    llm = account.llm(system_prompt="be brief")
    prompt: Any = ChatPromptTemplate.from_messages([("user", 'about "{city}" with 5')])
    llm.structured_predict(City, prompt, llm_kwargs={"max_tokens": 50, "tool_choice": "x"}, city="Paris")
    asked = account.speaker.asked[-1]
    assert asked.messages[0] == {"role": "system", "content": "be brief"}
    assert asked.max_tokens == 50


@pytest.mark.parametrize("way", WAYS)
def test_fenced_answers(account: Account, llm: OpenGradientLLM, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Models of which the schema is not enforced put their JSON into a fence."""

    async def answer(request: ModelRequest) -> Answer:
        return said('```json\n{"name": "Paris", "inhabitants": 5}\n```')

    monkeypatch.setattr(account.speaker, "answer", answer)
    assert WAYS[way](llm, City) == City(name="Paris", inhabitants=5)


TWICE = '{"name": "x", "inhabitants": 5, "inhabitants": 7}'


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ["no json", '{"name": "x"}', "[" * 100_000, "7", "", TWICE])
def test_wrong_answers_are_errors(
    account: Account, llm: OpenGradientLLM, monkeypatch: pytest.MonkeyPatch, way: str, text: str
) -> None:
    """A verified answer of another form is our error, with its receipt, and no `ValueError`."""

    async def answer(request: ModelRequest) -> Answer:
        return said(text)

    monkeypatch.setattr(account.speaker, "answer", answer)
    with pytest.raises(MalformedReplyError, match="is no City") as caught:
        WAYS[way](llm, City)
    assert caught.value.receipt is not None
    assert caught.value.receipt["status"] == "verified"


# Before 0.14.22 LlamaIndex has no streams in text mode, and says so before anything is paid.
TEXT_WAYS = [way for way in WAYS if "stream" not in way or "stream_call" in vars(LLMTextCompletionProgram)]


@pytest.mark.parametrize("text", ['{"name": "x"}', '{"name": "x", "inhabitants": "many"}'])
@pytest.mark.parametrize(
    ("mode", "way"),
    [(PydanticProgramMode.FUNCTION, way) for way in WAYS] + [(PydanticProgramMode.LLM, way) for way in TEXT_WAYS],
)
def test_wrong_answers_to_programs_are_errors(
    account: Account, monkeypatch: pytest.MonkeyPatch, mode: PydanticProgramMode, text: str, way: str
) -> None:
    """LlamaIndex's programs raise a `ValueError` or, of streams, end with half an object."""

    async def answer(request: ModelRequest) -> Answer:
        calls = (ModelCall("City", text),) if request.tools else ()
        return Answer(pieces=() if calls else (text,), calls=calls, usage=Usage(1, 1, 2))

    monkeypatch.setattr(account.speaker, "answer", answer)
    with pytest.raises(MalformedReplyError, match="no City") as caught:
        WAYS[way](account.llm(pydantic_program_mode=mode), City)
    if "stream" not in way:
        assert caught.value.receipt is not None


def test_generic_class_as_output(account: Account) -> None:
    """It is one like any other, also as a tool: its name, which providers refuse, is mapped both ways."""
    for llm in (account.llm(), account.llm(pydantic_program_mode=PydanticProgramMode.FUNCTION)):
        asked = 'Fill a page for the city "{city}" with 5 people.'
        assert isinstance(llm.structured_predict(Page[City], prompt(asked), city="Oslo"), Page)
        assert isinstance(list(llm.stream_structured_predict(Page[City], prompt(asked), city="Oslo"))[-1], Page)


CAPITALS = {"France": "Paris"}


class Country(BaseModel):
    name: str
    area: int | None = None

    @field_validator("name")
    @classmethod
    def must_have_a_capital(cls, name: str) -> str:
        """Break on every half of a name."""
        assert CAPITALS[name]
        return name

    @field_validator("area")
    @classmethod
    def must_be_large(cls, area: Any) -> Any:
        assert area > 5
        return area


def answer_in_pieces(account: Account, monkeypatch: pytest.MonkeyPatch, *pieces: str) -> None:
    async def answer(request: ModelRequest) -> Answer:
        return Answer(pieces=pieces, usage=Usage(1, 1, 2))

    monkeypatch.setattr(account.speaker, "answer", answer)


@pytest.mark.parametrize("way", WAYS)
def test_validator_that_half_a_value_breaks(account: Account, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A stream goes on to its proof: its `KeyError` left it paid and unproven."""
    answer_in_pieces(account, monkeypatch, '{"name":"Fr', "an", 'ce"}')
    with audited(account):
        assert WAYS[way](account.llm(), Country) == Country(name="France")


@pytest.mark.parametrize("way", WAYS)
def test_type_error_of_a_validator(account: Account, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """LlamaIndex swallows it as it does a `ValueError`."""
    answer_in_pieces(account, monkeypatch, '{"name":"France",', '"area":null}')
    with pytest.raises(MalformedReplyError, match="TypeError") as caught:
        WAYS[way](account.llm(), Country)
    assert caught.value.receipt is not None
    assert caught.value.receipt["status"] == "verified"

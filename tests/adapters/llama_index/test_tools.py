"""Function calling: what is offered, what is demanded, and what comes back."""

import asyncio
from functools import partial
from typing import Any

import pytest
from llama_index.core.base.llms.types import TextBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from og_integrations.chat._requests import wire_tool_choice
from og_integrations.devnet import Answer, ModelCall, Usage
from og_integrations.errors import InvalidRequestError, ToolChoiceNotHonoredError
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.llama_index._messages import wire_tool
from og_integrations.receipt import RECEIPT_KEY
from tests.adapters.llama_index.auditing import Account, audited


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


ADD, MULTIPLY = FunctionTool.from_defaults(add), FunctionTool.from_defaults(multiply)
TOOLS = [ADD, MULTIPLY]
NAMED = {"type": "function", "function": {"name": "add"}}
BOTH = 'use tool add {"a": 1, "b": 2} and use tool multiply {"a": 3, "b": 4}'


async def last_of(stream: Any) -> Any:
    return [item async for item in await stream][-1]


CALLS = {
    "chat_with_tools": lambda llm, *a, **k: llm.chat_with_tools(*a, **k),
    "achat_with_tools": lambda llm, *a, **k: asyncio.run(llm.achat_with_tools(*a, **k)),
    "stream_chat_with_tools": lambda llm, *a, **k: list(llm.stream_chat_with_tools(*a, **k))[-1],
    "astream_chat_with_tools": lambda llm, *a, **k: asyncio.run(last_of(llm.astream_chat_with_tools(*a, **k))),
}
each_call = pytest.mark.parametrize("name", CALLS)


@each_call
@pytest.mark.parametrize("model", ["openai/gpt-4.1", "anthropic/claude-sonnet-4-6", "x-ai/grok-4"])
def test_parallel_calls(account: Account, name: str, model: str) -> None:
    """Calls are there as blocks and as wire dicts, whole, from the verified answer."""
    llm = account.llm(model)
    with audited(account):
        response = CALLS[name](llm, TOOLS, BOTH, allow_parallel_tool_calls=True)
    blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    assert [block.tool_name for block in blocks] == ["add", "multiply"]
    assert [call["id"] for call in response.message.additional_kwargs["tool_calls"]] == [
        block.tool_call_id for block in blocks
    ]
    assert [item.tool_kwargs for item in llm.get_tool_calls_from_response(response)] == [
        {"a": 1, "b": 2},
        {"a": 3, "b": 4},
    ]
    assert response.raw["choices"][0]["finish_reason"] == "tool_calls"


@each_call
def test_one_call_at_most(llm: OpenGradientLLM, name: str) -> None:
    """Without parallel calls only the first is shown, in streams too; `raw` tells of the others."""
    response = CALLS[name](llm, TOOLS, BOTH)
    assert [item.tool_name for item in llm.get_tool_calls_from_response(response)] == ["add"]
    assert len(response.message.additional_kwargs["tool_calls"]) == 1
    assert len(response.raw["choices"][0]["message"]["tool_calls"]) == 2


@each_call
@pytest.mark.parametrize("demand", [{"tool_required": True}, {"tool_choice": "add"}, {"tool_choice": "any"}])
def test_demanded_call_is_made(account: Account, llm: OpenGradientLLM, name: str, demand: dict[str, Any]) -> None:
    """A call that the gateway would not enforce is enforced all the same; the receipt says how."""
    with audited(account) as audit:
        response = CALLS[name](llm, [ADD], "tell me a story about the numbers 5", **demand)
    selection = llm.get_tool_calls_from_response(response)[0]
    assert (selection.tool_name, set(selection.tool_kwargs)) == ("add", {"a", "b"})
    assert audit.receipts[0]["presentation"] == {"kind": "tool_from_json_schema", "tool": "add"}
    assert not response.message.content


@each_call
def test_demand_that_is_not_met_is_an_error(llm: OpenGradientLLM, name: str) -> None:
    """If one of several tools was demanded and none is called, that is said; it is no `ValueError`."""
    with pytest.raises(ToolChoiceNotHonoredError, match="add or multiply"):
        CALLS[name](llm, TOOLS, "tell me a story", tool_required=True)


@each_call
def test_text_instead_of_a_call(llm: OpenGradientLLM, name: str) -> None:
    """A free model may answer in text; who expects a call then gets a clear error."""
    response = CALLS[name](llm, TOOLS, "tell me a story")
    assert response.message.content == "You said: tell me a story"
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(ToolChoiceNotHonoredError, match="answered in text") as caught:
        llm.get_tool_calls_from_response(response)
    assert caught.value.receipt is not None


def test_predict_and_call(account: Account, llm: OpenGradientLLM) -> None:
    """Tools are run, synchronously and not, one call or several."""
    with audited(account):
        assert llm.predict_and_call([ADD], 'use tool add {"a": 1, "b": 2}').response == "3"
        both = asyncio.run(llm.apredict_and_call(TOOLS, BOTH, allow_parallel_tool_calls=True))
    assert [output.raw_output for output in both.sources] == [3, 12]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_tool_that_the_model_made_up_is_no_bare_key_error(
    account: Account, llm: OpenGradientLLM, asynchronous: bool
) -> None:
    account.net.inject("unoffered_tool", times=1)
    with pytest.raises(ToolChoiceNotHonoredError, match="a tool that was not offered: 'transfer_everything'") as caught:
        asyncio.run(llm.apredict_and_call([ADD], BOTH)) if asynchronous else llm.predict_and_call([ADD], BOTH)
    assert (caught.value.receipt or {})["status"] == "verified"


class Part(BaseModel):
    """A part of something, with parts of its own."""

    name: str
    parts: list["Part"] = []
    notes: dict[str, str] = {}


def test_schema_of_a_recursive_class_is_sent_whole(account: Account) -> None:
    """LlamaIndex leaves a reference at its root out, so that the tool could be called with nothing only."""
    account.llm().chat_with_tools([get_function_tool(Part)], "hi")
    parameters = account.speaker.asked[-1].tools[0]["function"]["parameters"]
    assert parameters["type"] == "object"
    assert set(parameters["properties"]) == {"name", "parts", "notes"}
    assert parameters["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}


def test_strict_is_not_said_of_what_cannot_be(account: Account) -> None:
    """Providers refuse it, and the gateway makes that a 500 without words."""
    with pytest.raises(InvalidRequestError, match=r"The schema of Part cannot be strict, at .*/notes"):
        account.llm(strict=True).chat_with_tools([get_function_tool(Part)], "hi")
    assert account.authorizations() == []


def test_history_is_not_changed(llm: OpenGradientLLM) -> None:
    """The caller's list stays the caller's."""
    history = [ChatMessage(role="user", content="a")]
    llm.chat_with_tools(TOOLS, "b", chat_history=history)
    assert [message.content for message in history] == ["a"]


def test_call_result_and_answer_follow_each_other(account: Account, llm: OpenGradientLLM) -> None:
    """A call, its result and the answer to it, as an agent does it."""
    question = ChatMessage(role="user", content='use tool add {"a": 1, "b": 2}')
    called = llm.chat_with_tools(TOOLS, question).message
    call_id = called.additional_kwargs["tool_calls"][0]["id"]
    result = ChatMessage(role="tool", content="3", additional_kwargs={"tool_call_id": call_id})
    assert llm.chat([question, called, result]).message.content == "The tool said: 3"
    sent = account.speaker.asked[-1].messages
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == call_id


def test_request_without_tools_is_a_plain_chat(account: Account, llm: OpenGradientLLM) -> None:
    """No tools means no tools, whatever is said about choosing one."""
    llm.chat_with_tools([], "hi", tool_required=False, tool_choice="auto")
    assert account.speaker.asked[-1].tools == []


@each_call
@pytest.mark.parametrize("demand", [{"tool_required": True}, {"tool_choice": "any"}, {"tool_choice": "add"}])
def test_demand_without_tools(account: Account, llm: OpenGradientLLM, name: str, demand: dict[str, Any]) -> None:
    """A call of nothing cannot be demanded, and no text is paid for instead."""
    with pytest.raises(InvalidRequestError, match=r"no tools|a bound tool \(\)"):
        CALLS[name](llm, [], "hi", **demand)
    assert account.authorizations() == []


@pytest.mark.parametrize(("setting", "argument"), [(True, None), (False, True)])
def test_strict_tools(account: Account, setting: bool, argument: bool | None) -> None:
    """`strict` closes the schemas, by setting or per call."""
    extra: dict[str, Any] = {} if argument is None else {"strict": argument}
    account.llm(strict=setting).chat_with_tools(TOOLS, "hi", **extra)
    function = account.speaker.asked[-1].tools[0]["function"]
    assert function["strict"] is True
    assert function["parameters"]["additionalProperties"] is False


BROKEN = ["[1]", '{"a": 10', "nonsense", '{"a": 1e400}', '{"a": NaN}', '{"a": -Infinity}', '{"a": "\\ud800"}']


@pytest.mark.parametrize(("arguments", "calls"), [("null", [{}]), ("", [{}]), *((broken, []) for broken in BROKEN)])
def test_broken_arguments_are_not_repaired(arguments: str, calls: list[dict[str, Any]]) -> None:
    """Half an amount is another amount, and a tool without required parameters would run with its defaults."""
    blocks = [TextBlock(text="x"), ToolCallBlock(tool_call_id="c", tool_name="add", tool_kwargs=arguments)]
    ours = {RECEIPT_KEY: {"status": "verified"}}
    response = ChatResponse(message=ChatMessage(role="assistant", blocks=blocks), additional_kwargs=ours)
    llm = OpenGradientLLM("openai/gpt-5")
    selections = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
    assert [selection.tool_kwargs for selection in selections] == calls
    if not calls:
        with pytest.raises(ToolChoiceNotHonoredError, match="arguments that are no JSON object"):
            llm.get_tool_calls_from_response(response)


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [('{"a": 10', [{}]), ('{"a": "te', [{}]), ("nonsense", []), ("[1", []), ('{"a": NaN}', []), ('{"a": 1e400}', [])],
)
def test_arguments_still_coming_are_empty_in_what_has_no_receipt(arguments: str, calls: list[object]) -> None:
    """It is a piece of another model's stream; an answer of ours is whole, and its broken call is none."""
    block = ToolCallBlock(tool_call_id="c", tool_name="add", tool_kwargs=arguments)
    response = ChatResponse(message=ChatMessage(role="assistant", blocks=[block]))
    found = OpenGradientLLM("openai/gpt-5").get_tool_calls_from_response(response, error_on_no_tool_call=False)
    assert [selection.tool_kwargs for selection in found] == calls


@each_call
@pytest.mark.parametrize("arguments", BROKEN)
def test_thread_goes_on_after_an_invalid_call(account: Account, name: str, arguments: str) -> None:
    """The model is told; nothing of the broken call reaches the gateway, which would answer 500 for ever."""
    llm = account.llm()
    account.speaker.says = [Answer(calls=(ModelCall("add", arguments),), usage=Usage(3, 2, 5))]
    question = ChatMessage(role="user", content="add")
    with audited(account) as audit:
        called = CALLS[name](llm, [ADD], question)
        assert llm.get_tool_calls_from_response(called, error_on_no_tool_call=False) == []
        goes_on = [question, called.message, ChatMessage(role="user", content="go on")]
        assert llm.chat(goes_on).message.content == "You said: go on"
    assert [receipt["status"] for receipt in audit.receipts] == ["verified", "verified"]
    sent = account.speaker.asked[-1].messages
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert (sent[2]["role"], "so nothing was done" in sent[2]["content"]) == ("tool", True)


ANY = FunctionTool.from_defaults(add, name="any")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("", None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("any", "required"),
        (True, "required"),
        ({"type": "any"}, "required"),
        ("add", NAMED),
        (NAMED, NAMED),
        ({"type": "tool", "name": "add"}, NAMED),
    ],
)
def test_tool_choices(choice: Any, expected: Any) -> None:
    """Every form that frameworks use; what is not asked for is not sent."""
    assert wire_tool_choice(choice, [wire_tool(ADD, strict=False)]) == expected


def test_tool_choice_prefers_a_tools_name() -> None:
    """A tool may be called "any"."""
    named = {"type": "function", "function": {"name": "any"}}
    assert wire_tool_choice("any", [wire_tool(ANY, strict=False)]) == named


@pytest.mark.parametrize("choice", [3, {"type": "odd"}, {"type": "function", "function": {}}])
def test_tool_choice_that_is_none(choice: Any) -> None:
    """What is not understood is not sent either."""
    with pytest.raises(InvalidRequestError, match="tool_choice is"):
        wire_tool_choice(choice, [wire_tool(ADD, strict=False)])


@each_call
def test_tool_name_that_providers_refuse_is_mapped_both_ways(account: Account, llm: OpenGradientLLM, name: str) -> None:
    """MCP servers have such names; LlamaIndex finds its tool by the name that it gave it."""
    dotted = FunctionTool.from_defaults(add, name="math.add")
    response = CALLS[name](llm, [dotted], 'use tool math_add {"a": 1, "b": 2}')
    assert account.speaker.asked[-1].tools[0]["function"]["name"] == "math_add"
    assert [item.tool_name for item in llm.get_tool_calls_from_response(response)] == ["math.add"]


@each_call
@pytest.mark.parametrize("tool", [add, partial(add, 1), add.__name__])
def test_tool_that_is_none(llm: OpenGradientLLM, name: str, tool: Any) -> None:
    """It was an `AttributeError` without a word of what is expected."""
    with pytest.raises(InvalidRequestError, match=r"FunctionTool\.from_defaults"):
        CALLS[name](llm, [tool], BOTH)

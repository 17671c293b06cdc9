"""What is sent for tools, choices and schemas, and how the answer is shown: for each family of models."""

import re
from typing import Any

import pytest

from og_integrations.errors import InvalidRequestError, ToolChoiceNotHonoredError
from og_integrations.models import model_info
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._translation import (
    Plan,
    cut_at_stop,
    names_to_send,
    plan_tools,
    rename_calls,
    rename_tools,
    schema_name,
)
from og_integrations.protocol.chat._wire import Completion, TeeProof, ToolCall

OPENAI, ANTHROPIC, GEMINI = "openai/gpt-5", "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
FREE = {"type": "object", "additionalProperties": {"type": "string"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "City", "description": "A city.", "schema": PARAMETERS}}
ASKED = [{"role": "user", "content": "hi"}]
TOOL_TURN = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, {"role": "tool"}]
PROOF = TeeProof(request_hash="", output_hash="", timestamp=0, signature="ab+/cd==" * 4, tee_id="")


def tool(name: str, parameters: JsonObject | None = PARAMETERS) -> JsonObject:
    return {"type": "function", "function": {"name": name, "description": f"Do {name}.", "parameters": parameters}}


def named(name: str) -> JsonObject:
    return {"type": "function", "function": {"name": name}}


def plan(model: str, *names: str, messages: Any = ASKED, choice: Any = None, form: Any = None) -> Plan:
    tools = [tool(name) for name in names]
    return plan_tools(model_info(model), messages, tools=tools, tool_choice=choice, response_format=form)


def said(text: str = "", *calls: ToolCall) -> Completion:
    finish = "tool_calls" if calls else "stop"
    return Completion(text=text, tool_calls=calls, finish_reason=finish, model="m", proof=PROOF)


WEATHER, PRICE = ToolCall("1", "weather", '{"city": "Oslo"}'), ToolCall("2", "price", "{}")


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC, GEMINI])
@pytest.mark.parametrize("choice", [None, "auto"])
def test_free_choice_is_sent_as_it_is(model: str, choice: str | None) -> None:
    made = plan(model, "weather", "price", choice=choice)
    assert (made.tools, made.tool_choice, made.kind) == ([tool("weather"), tool("price")], choice, "plain")
    assert not made.holds_text
    for answer in (said("hello"), said("", WEATHER)):
        shown = made.show(answer)
        assert (shown.text, shown.tool_calls) == (answer.text, answer.tool_calls)
        assert (shown.finish_reason, shown.presentation) == (answer.finish_reason, None)


@pytest.mark.parametrize("choice", ["required", named("weather")])
def test_only_tool_that_is_demanded_is_asked_for_as_a_schema(choice: Any) -> None:
    made = plan(OPENAI, "weather", choice=choice)
    assert made.tools is None
    assert made.tool_choice is None
    form = made.response_format
    assert form is not None
    assert (form["json_schema"]["name"], form["json_schema"]["strict"]) == ("weather", True)
    assert form["json_schema"]["description"] == "Do weather."
    assert form["json_schema"]["schema"]["required"] == ["city", "days"]
    assert made.holds_text


def test_schema_that_was_answered_is_shown_as_the_call() -> None:
    made = plan(OPENAI, "weather", "price", choice=named("weather"))
    shown = made.show(said('{"city": "Tromsø", "days": null}'))
    (call,) = shown.tool_calls
    assert (call.name, call.arguments) == ("weather", '{"city": "Tromsø"}')
    assert (shown.text, shown.finish_reason) == ("", "tool_calls")
    assert shown.presentation == {"kind": "tool_from_json_schema", "tool": "weather"}
    assert call.id == made.show(said('{"city": "Oslo"}')).tool_calls[0].id == "call_abcdabcdabcd"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "[1]",
        '"x"',
        '{"city": ',
        '{"city": "Oslo", "city": "Rome"}',
        '{"city": NaN}',
        '{"city": 1e999}',
        '{"city": "\\ud800"}',
    ],
)
def test_schema_that_was_not_answered_is_no_call(text: str) -> None:
    """Nor is one whose arguments would not be JSON, or could not be sent back."""
    with pytest.raises(ToolChoiceNotHonoredError, match="weather was asked for as a json_schema"):
        plan(OPENAI, "weather", choice="required").show(said(text))


@pytest.mark.parametrize(
    ("model", "names", "options"),
    [
        pytest.param(OPENAI, ["weather", "price"], {"choice": "required"}, id="one of several"),
        pytest.param(OPENAI, ["weather"], {"choice": "required", "form": SCHEMA}, id="beside a schema"),
        pytest.param(ANTHROPIC, ["weather"], {"choice": "required", "messages": TOOL_TURN}, id="after a tool's turn"),
    ],
)
def test_demand_that_no_schema_can_say_is_held_against_the_answer(
    model: str, names: list[str], options: dict[str, Any]
) -> None:
    made = plan(model, *names, **options)
    assert made.tools == [tool(name) for name in names]
    assert made.show(said("", WEATHER)).tool_calls == (WEATHER,)
    with pytest.raises(ToolChoiceNotHonoredError, match="but the model answered in text"):
        made.show(said("hello"))


def test_demanded_tool_with_free_arguments_is_sent_as_a_tool() -> None:
    info, tools = model_info(OPENAI), [tool("weather", FREE)]
    made = plan_tools(info, ASKED, tools=tools, tool_choice="required", response_format=None)
    assert (made.tools, made.response_format, made.kind) == (tools, None, "plain")


def test_tool_without_parameters_takes_an_empty_object() -> None:
    info, tools = model_info(OPENAI), [tool("ping", None)]
    made = plan_tools(info, ASKED, tools=tools, tool_choice="required", response_format=None)
    assert made.show(said("{}")).tool_calls[0].arguments == "{}"


def test_demanded_tool_is_not_any_tool() -> None:
    made = plan(ANTHROPIC, "weather", "price", choice=named("weather"), messages=TOOL_TURN)
    with pytest.raises(ToolChoiceNotHonoredError, match="asked for a call of weather, but the model called price"):
        made.show(said("", PRICE))
    assert made.show(said("", PRICE, WEATHER)).tool_calls == (PRICE, WEATHER)


@pytest.mark.parametrize(
    ("names", "choice", "message"),
    [
        (["weather"], named("price"), r"names 'price', which is not among the tools \['weather'\]"),
        ([], named("price"), r"not among the tools \[\]"),
        ([], "required", "but there are no tools"),
    ],
)
def test_demand_of_a_tool_that_is_not_there_is_refused(names: list[str], choice: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        plan(OPENAI, *names, choice=choice)


@pytest.mark.parametrize(("model", "messages"), [(OPENAI, TOOL_TURN), (ANTHROPIC, ASKED), (GEMINI, TOOL_TURN)])
def test_forbidden_tools_are_not_sent(model: str, messages: Any) -> None:
    made = plan(model, "weather", choice="none", messages=messages, form=SCHEMA)
    assert (made.tools, made.tool_choice, made.response_format) == (None, None, SCHEMA)


def test_forbidden_tools_that_have_to_be_sent_may_not_be_called() -> None:
    """Anthropic refuses a history with tools' turns and no tools."""
    made = plan(ANTHROPIC, "weather", choice="none", messages=TOOL_TURN)
    assert (made.tools, made.tool_choice) == ([tool("weather")], "none")
    assert made.show(said("hello")).text == "hello"
    with pytest.raises(ToolChoiceNotHonoredError, match="tool_choice was 'none', but the model called a tool"):
        made.show(said("", WEATHER))
    through = plan(ANTHROPIC, "weather", choice="none", messages=TOOL_TURN, form=SCHEMA)
    assert through.show(said("", ToolCall("3", through.tool, "{}"))).text == "{}"


def test_models_that_take_both_get_tools_and_schema() -> None:
    made = plan(OPENAI, "weather", form=SCHEMA)
    assert (made.tools, made.response_format, made.kind) == ([tool("weather")], SCHEMA, "plain")


@pytest.mark.parametrize("form", [None, {"type": "json_object"}])
def test_no_schema_is_made_where_none_was_wished(form: Any) -> None:
    made = plan(ANTHROPIC, "weather", form=form)
    assert (made.tools, made.response_format, made.kind) == ([tool("weather")], form, "plain")


@pytest.mark.parametrize("model", [ANTHROPIC, GEMINI])
def test_other_models_get_the_schema_as_one_more_tool(model: str) -> None:
    made = plan(model, "weather", form=SCHEMA)
    assert made.response_format is None
    assert made.tools is not None
    first, extra = made.tools
    assert first == tool("weather")
    assert (extra["function"]["name"], extra["function"]["parameters"]) == ("City", PARAMETERS)
    assert extra["function"]["description"].startswith("A city. Call this, once and alone")
    shown = made.show(said("thoughts", ToolCall("3", "City", '{"city": "Oslo"}')))
    assert (shown.text, shown.tool_calls, shown.finish_reason) == ('{"city": "Oslo"}', (), "stop")
    assert shown.presentation == {"kind": "schema_through_tool", "tool": "City"}


def test_real_tools_come_before_the_final_answer() -> None:
    made = plan(ANTHROPIC, "weather", form=SCHEMA)
    both = made.show(said("", WEATHER, ToolCall("3", "City", "{}")))
    assert (both.tool_calls, both.finish_reason) == ((WEATHER,), "tool_calls")
    assert both.presentation == {"kind": "schema_through_tool", "tool": "City"}
    plain = made.show(said("just text"))
    assert (plain.text, plain.finish_reason, plain.presentation) == ("just text", "stop", None)


def test_schema_of_the_name_of_a_tool_gets_another_one() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "weather"}}
    made = plan(ANTHROPIC, "weather", "weather_2", form=form)
    assert made.tool == "weather_3"
    assert made.tools is not None
    assert made.tools[-1]["function"]["parameters"] == {"type": "object", "properties": {}}
    longest = {"type": "json_schema", "json_schema": {"name": "x" * 64}}
    assert plan(ANTHROPIC, "x" * 64, "x" * 62 + "_", form=longest).tool == "x" * 60 + "_2"
    unnamed = plan(ANTHROPIC, "weather", form={"type": "json_schema", "json_schema": {}})
    assert unnamed.tool == "final_answer"


@pytest.mark.parametrize(
    ("name", "sent"), [("", "answer"), ("Größe 1", "Gr__e_1"), ("a-b_C9", "a-b_C9"), ("x" * 65, "x" * 64)]
)
def test_schema_name_is_one_that_providers_take(name: str, sent: str) -> None:
    assert schema_name(name) == sent


@pytest.mark.parametrize("name", ["Search Web!", "github.issues/list", "x" * 65, "é", ""])
def test_name_that_providers_refuse_is_sent_as_another_one(name: str) -> None:
    names = names_to_send([], [{"type": "function", "function": {"name": name}}])
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", names[name])


def test_names_stay_apart_in_tools_calls_and_histories() -> None:
    """Also from names that are sent as they are, and for tools that were called before and are not offered now."""
    tools = [{"type": "function", "function": {"name": name}} for name in ("a.b", "a/b", "a_b", "x" * 65, "x" * 66)]
    called = {"id": "c", "type": "function", "function": {"name": "gone!", "arguments": "{}"}}
    messages: list[JsonObject] = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [called]}]
    names = names_to_send(messages, tools)
    assert len({*names.values(), "a_b"}) == 6
    assert rename_tools(tools, names)[2] == tools[2]
    assert rename_calls(messages, names)[0] == messages[0]
    assert rename_calls(messages, names)[1]["tool_calls"][0]["function"] == {"name": "gone_", "arguments": "{}"}
    assert names_to_send(messages[:1], tools[2:3]) == {}


def completion_of(*names: str, text: str = "") -> Completion:
    calls = tuple(ToolCall(f"c{at}", name, "{}") for at, name in enumerate(names))
    return Completion(text=text, tool_calls=calls, finish_reason="tool_calls", model="m")


def test_calls_are_shown_under_their_own_names() -> None:
    shown = Plan(names={"a_b": "a.b"}).show(completion_of("a_b", "other"))
    assert [call.name for call in shown.tool_calls] == ["a.b", "other"]
    assert shown.presentation == {"kind": "renamed_tools", "names": {"a_b": "a.b"}}
    assert Plan(names={"a_b": "a.b"}).show(completion_of("other")).presentation is None


def test_first_call_is_shown_alone_and_text_is_still_cut() -> None:
    """Gateways hand `parallel_tool_calls` on to no model."""
    plan = Plan(one_call=True)
    shown = cut_at_stop(plan.show(completion_of("f", "g", text="one END two")), ["END"])
    assert ([call.name for call in shown.tool_calls], shown.text) == (["f"], "one ")
    assert shown.presentation == {"kind": "cut_at_stop", "stop": "END", "tool_calls": 2}
    assert plan.show(completion_of("f")).presentation is None

"""What the gateway would refuse or drop is refused here first."""

import json
from typing import Any

import pytest

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chat._wire import CHAT_PATH, ChatRequest, CompletionRequest, check_chat, check_completion
from tests.protocol.captures import CAPTURES, SIGNED, Capture, each

USER: dict[str, Any] = {"role": "user", "content": "hi"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LACKS = 'a tool call without type "function", or its id, name or arguments as text'


def check(*messages: Any, images: bool = False, json_object: bool = True, **members: Any) -> None:
    request = ChatRequest(model="m", messages=list(messages) or [USER], **members)
    check_chat(request, images=images, json_object=json_object)


def captured(capture: Capture) -> ChatRequest:
    known = json.loads(capture.wire)
    names = ("temperature", "max_tokens", "stop", "tools", "response_format", "tool_choice", "stream")
    return ChatRequest(
        model=known["model"],
        messages=known.get("messages", []),
        **{name: known[name] for name in names if name in known},
    )


@each([capture for capture in SIGNED if capture.path == CHAT_PATH])
def test_request_that_the_gateway_took_is_taken(capture: Capture) -> None:
    check_chat(captured(capture), images=True, json_object=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing-messages", "messages is empty, expected at least one message"),
        ("stop-empty-list", "stop has 0 sequences, expected 1 to 4"),
        ("developer-role", r"messages\[0\] has the role 'developer', expected one of system.* Send it as system"),
        ("json-object-anthropic", r"\(Anthropic\) does not take response_format json_object; use json_schema"),
    ],
)
def test_request_that_the_gateway_refused_is_refused(name: str, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        check_chat(captured(CAPTURES[name]), images=True, json_object="claude" not in captured(CAPTURES[name]).model)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "s"},
        {"role": "user", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {"role": "function", "content": "f", "name": "n"},
    ],
)
def test_each_form_of_message_is_accepted(message: dict[str, Any]) -> None:
    check(message)


RESULT = {"role": "tool", "content": "t", "tool_call_id": "c"}
ASKED = {"role": "user", "content": "q"}


def turns(*messages: dict[str, Any]) -> None:
    check_chat(ChatRequest(model="m", messages=messages), images=False, json_object=True)


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": "Let me see."}])
def test_calls_and_their_results(content: dict[str, Any]) -> None:
    called = {"role": "assistant", "tool_calls": [CALL], **content}
    turns(ASKED, called, RESULT)
    turns(ASKED, called, RESULT, RESULT, ASKED)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([ASKED, {"role": "assistant", "tool_calls": [CALL]}], r"messages\[1\] calls tools whose results.*'c'"),
        ([ASKED, {"role": "assistant", "tool_calls": [CALL]}, ASKED, RESULT], r"messages\[1\] calls tools"),
        (
            [ASKED, {"role": "assistant", "tool_calls": [CALL, CALL | {"id": "d"}]}, RESULT, ASKED],
            r"messages\[1\] calls tools whose results do not follow it: 'd'\.",
        ),
        ([ASKED, RESULT], r"messages\[1\] is the result of the tool call 'c', which no message right before it makes"),
        ([RESULT], r"messages\[0\] is the result"),
    ],
)
def test_calls_and_results_that_do_not_belong_together(messages: list[dict[str, Any]], said: str) -> None:
    """Providers answer 400; the gateway makes it a 500 that seems worth asking again."""
    with pytest.raises(InvalidRequestError, match=said):
        turns(*messages)


def test_two_tools_of_one_name() -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    with pytest.raises(InvalidRequestError, match=r"tools\[1\] and tools\[0\] are both named 'add'"):
        check_chat(ChatRequest(model="m", messages=[ASKED], tools=[tool, tool]), images=False, json_object=True)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("hi", r"messages\[1\] is a str, expected an object with role and content"),
        ({"content": "hi"}, r"messages\[1\] has the role None, expected one of system, user"),
        ({"role": ["user"]}, "has the role"),
        ({"role": "user"}, r"messages\[1\] \(user\) has no content"),
        ({"role": "user", "content": []}, r"\(user\) has no content"),
        ({"role": "assistant", "content": []}, r"\(assistant\) has no content"),
        ({"role": "system", "content": None}, r"\(system\) has no content"),
        ({"role": "tool", "content": None, "tool_call_id": "c"}, r"\(tool\) has no content"),
        ({"role": "tool", "content": "t"}, r"\(tool\) has no tool_call_id"),
        ({"role": "user", "content": "c", "name": 7}, r"\(user\) has no name, or one that is no text"),
        ({"role": "user", "content": "c", "name": None}, r"\(user\) has no name, or one that is no text"),
        ({"role": "function", "content": "c"}, r"\(function\) has no name, or one that is no text"),
        ({"role": "user", "content": 7}, "has content of type int, expected text or parts"),
        ({"role": "user", "content": ["text"]}, "has a part that is a str, expected"),
        ({"role": "user", "content": [[["deep"]]]}, "has a part that is a list, expected"),
        ({"role": "user", "content": [None]}, "has a part that is a NoneType, expected"),
        ({"role": "user", "content": [{"type": "text"}]}, "has a part that is of type 'text' without a text, expected"),
        ({"role": "user", "content": [{"type": "text", "text": ["t"]}]}, "of type 'text' without a text, expected"),
        ({"role": "user", "content": [{"text": "t"}]}, "has a part of type None"),
        ({"role": "assistant", "content": "a", "tool_calls": None}, "has tool_calls null, which the gateway refuses"),
        ({"role": "assistant", "tool_calls": 7}, LACKS),
        ({"role": "assistant", "tool_calls": ["f"]}, LACKS),
        ({"role": "assistant", "tool_calls": [CALL | {"id": None}]}, LACKS),
        ({"role": "assistant", "tool_calls": [CALL | {"type": None}]}, LACKS),
        ({"role": "assistant", "tool_calls": [CALL | {"function": "f"}]}, LACKS),
        ({"role": "assistant", "tool_calls": [CALL | {"function": {"name": None, "arguments": "{}"}}]}, LACKS),
        ({"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": {}}}]}, LACKS),
    ],
)
def test_message_that_is_refused(message: Any, said: str) -> None:
    """The place is told, never the text: prompts stay out of messages."""
    with pytest.raises(InvalidRequestError, match=said):
        check(USER, message)


@pytest.mark.parametrize("messages", [5, None, {"role": "user"}, iter([USER])])
def test_messages_that_can_be_read_once_or_never(messages: Any) -> None:
    """They would be empty, or lost, when they are sent."""
    with pytest.raises(InvalidRequestError, match=r"messages is (a .*, expected a list|empty)"):
        check_chat(ChatRequest(model="m", messages=messages), images=False, json_object=True)


def test_part_that_the_gateway_would_drop() -> None:
    """Dropped silently, it would be paid for all the same."""
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}
    with pytest.raises(InvalidRequestError, match="a part of type 'image_url', which the gateway drops before"):
        check(image)
    check(image, images=True)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "image_url", "image_url": "photo.png"},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,"}},
    ],
    ids=str,
)
def test_part_without_data(part: dict[str, Any]) -> None:
    """It would be paid for, and the model would see nothing."""
    with pytest.raises(InvalidRequestError, match=f"has a part of type '{part['type']}' without data"):
        check({"role": "user", "content": [part]}, images=True)


@pytest.mark.timeout(10)
def test_part_whose_address_lacks_its_comma_is_judged_at_once() -> None:
    """Base64 is full of slashes: a regular expression that tried each of them took hours for a photo."""
    url = "data:image/png;base64" + "abc/" * 500_000
    with pytest.raises(InvalidRequestError, match="without data"):
        check({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}, images=True)


@pytest.mark.parametrize(
    "tool", ["f", {}, {"function": {"name": "f"}}, TOOL | {"function": {}}, TOOL | {"type": "web"}]
)
def test_tool_that_is_none(tool: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[1\] is not of the form"):
        check(tools=[TOOL, tool])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"response_format": {}}, "response_format has type None, expected text, json_object or json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format has type 'xml'"),
        ({"response_format": "json_object"}, "response_format has type None"),
        ({"tool_choice": "any"}, "tool_choice is 'any', expected none, auto, required or a named function"),
        ({"tools": (tool for tool in [TOOL])}, "tools is a generator, expected a list"),
        ({"tools": 5}, "tools is a int, expected a list"),
        ({"tools": {"f": TOOL}}, "tools is a dict, expected a list"),
        ({"tool_choice": 5}, "tool_choice is 5, expected none"),
        ({"tool_choice": {}}, "tool_choice is {}, expected none"),
        ({"tool_choice": {"type": "function", "function": "f"}}, "or a named function"),
        ({"tool_choice": {"type": "function", "function": {"name": None}}}, "or a named function"),
        ({"tool_choice": {"function": {"name": "f"}}}, "or a named function"),
        ({"response_format": {"type": "json_schema", "json_schema": "x"}}, "has a json_schema that is no object"),
        ({"temperature": 2.1}, "temperature is 2.1, expected a number from 0 to 2"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 10**400}, "temperature is 1000"),
        ({"temperature": True}, "temperature is True"),
        ({"temperature": "1"}, "temperature is '1'"),
        ({"max_tokens": 0}, "max_tokens is 0, expected a whole number above 0"),
        ({"max_tokens": 1.0}, "max_tokens is 1.0"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"stop": 5}, "stop is a int, or holds something else than text; expected a list of texts"),
        ({"stop": b"END"}, "stop is a bytes, or holds"),
        ({"stop": ["END", 1]}, "stop is a list, or holds something else"),
        ({"stop": []}, "stop has 0 sequences, expected 1 to 4"),
        ({"stop": list("abcde")}, "stop has 5 sequences, expected 1 to 4"),
    ],
)
def test_parameter_that_is_refused(members: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        check(**members)


@pytest.mark.parametrize(
    "members",
    [
        {"temperature": 0, "max_tokens": 1, "stop": "END"},
        {"temperature": 2.0, "stop": list("abcd"), "tools": [TOOL]},
        {"tool_choice": "required", "response_format": {"type": "json_schema"}},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ],
)
def test_parameter_that_is_taken(members: dict[str, Any]) -> None:
    check(**members)


def test_request_for_a_completion_is_checked() -> None:
    check_completion(CompletionRequest(model="m", prompt="p", stop=["a"], temperature=1))
    with pytest.raises(InvalidRequestError, match="prompt is a list, expected text"):
        check_completion(CompletionRequest(model="m", prompt=["p"]))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="max_tokens is -1"):
        check_completion(CompletionRequest(model="m", prompt="p", max_tokens=-1))

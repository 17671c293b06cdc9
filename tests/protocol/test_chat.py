"""What is sent: the members of a request."""

import pytest

from og_integrations.protocol.chat._wire import ChatRequest, CompletionRequest

MESSAGES = [{"role": "user", "content": "canary"}]


def test_absent_members_are_not_sent() -> None:
    """The gateway refuses many nulls with a 400."""
    assert ChatRequest(model="m", messages=MESSAGES).to_json() == {"model": "m", "messages": MESSAGES}
    assert CompletionRequest(model="m", prompt="p").to_json() == {"model": "m", "prompt": "p"}


def test_all_members_are_sent() -> None:
    tools = ({"type": "function", "function": {"name": "f"}},)
    request = ChatRequest(
        model="m",
        messages=tuple(MESSAGES),
        temperature=0,
        max_tokens=5,
        stop=("a", "b"),
        tools=tools,
        response_format={"type": "text"},
        tool_choice="auto",
        stream=True,
        extra={"seed": 1},
    )
    assert request.to_json() == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0,
        "max_tokens": 5,
        "stop": ["a", "b"],
        "tools": list(tools),
        "response_format": {"type": "text"},
        "tool_choice": "auto",
        "stream": True,
        "seed": 1,
    }


@pytest.mark.parametrize("stop", ["END", ["END"]])
def test_stop_is_sent_as_given(stop: str | list[str]) -> None:
    assert ChatRequest(model="m", messages=[], stop=stop).to_json()["stop"] == stop
    assert CompletionRequest(model="m", prompt="", stop=stop).to_json()["stop"] == stop


def test_prompt_is_in_no_repr() -> None:
    shown = repr(ChatRequest(model="m", messages=MESSAGES)) + repr(CompletionRequest(model="m", prompt="canary"))
    assert "canary" not in shown

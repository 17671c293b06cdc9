"""Arguments that are none become an invalid call, and the thread goes on after it."""

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from og_integrations.devnet import Answer, Devnet, ModelCall, ModelRequest, Usage
from og_integrations.langchain import ChatOpenGradient
from og_integrations.protocol._strict_json import JsonObject
from tests.adapters.langchain.ways_to_ask import summed

MODEL = "openai/gpt-5-mini"
USAGE = Usage(3, 2, 5)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Careless:
    """Calls with arguments that are none, then answers."""

    def __init__(self, arguments: str) -> None:
        self.arguments = arguments
        self.seen: list[JsonObject] | None = None

    async def answer(self, request: ModelRequest) -> Answer:
        """Call once."""
        if len(request.messages) > 1:
            self.seen = request.messages
            return Answer(pieces=("ok",), usage=USAGE)
        return Answer(calls=(ModelCall("add", self.arguments),), usage=USAGE)


@pytest.mark.parametrize("way", ["invoke", "stream"])
@pytest.mark.parametrize(
    "arguments", ['{"a": 1e400}', '{"a": NaN}', '{"a": -Infinity}', '{"a": "\\ud800"}', '{"a": ', "[1]"]
)
def test_thread_goes_on_after_an_invalid_call(way: str, arguments: str) -> None:
    careless = Careless(arguments)
    with Devnet(model=careless) as net:
        model = ChatOpenGradient(model=MODEL, network=net.network, private_key=net.private_key)
        asking: Any = model.bind_tools([add])
        answer = asking.invoke("q") if way == "invoke" else summed(list(asking.stream("q")))
        assert (answer.tool_calls, [call["name"] for call in answer.invalid_tool_calls]) == ([], ["add"])
        assert answer.response_metadata["opengradient"]["status"] == "verified"
        assert asking.invoke([HumanMessage("q"), answer, HumanMessage("go on")]).text == "ok"
        assert careless.seen is not None
        # As written, it would end in the gateway's 500, in this turn and in every later one.
        assert careless.seen[1]["tool_calls"][0]["function"]["arguments"] == "{}"
        assert "are no JSON object, so nothing was done" in careless.seen[2]["content"]
        model.close()

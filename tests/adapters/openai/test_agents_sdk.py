"""The OpenAI Agents SDK with our provider: tools, handoffs and streams, each model call paid once and verified."""

import asyncio
from collections.abc import Iterator
from typing import Any

import agents
import pytest

from og_integrations import collect_receipts
from og_integrations.devnet import Answer, Devnet, ModelCall, ModelRequest, Usage
from og_integrations.errors import ConfigurationError
from og_integrations.openai import OpenGradientProvider
from tests.adapters.openai.conftest import MODEL

USAGE = Usage(prompt_tokens=9, completion_tokens=3, total_tokens=12)


class Travel:
    """A model that hands a question about weather to its colleague, which calls its tool and then answers."""

    async def answer(self, request: ModelRequest) -> Answer:
        names = [tool["function"]["name"] for tool in request.tools]
        last = request.messages[-1]
        if last["content"] == "sunny":
            return Answer(pieces=(f"It is {last['content']} in Oslo.",), usage=USAGE)
        if "get_weather" in names:
            return Answer(calls=(ModelCall(name="get_weather", arguments='{"city": "Oslo"}'),), usage=USAGE)
        handoff = next(name for name in names if name.startswith("transfer_to"))
        return Answer(calls=(ModelCall(name=handoff, arguments="{}"),), usage=USAGE)


@pytest.fixture
def net() -> Iterator[Devnet]:
    agents.set_tracing_disabled(True)
    with Devnet(model=Travel()) as devnet:
        yield devnet


def travellers() -> Any:
    @agents.function_tool  # type: ignore[untyped-decorator, unused-ignore]
    def get_weather(city: str) -> str:
        """Return the weather of a city."""
        return "sunny"

    weather = agents.Agent(name="Weather", instructions="Tell the weather.", tools=[get_weather], model=MODEL)
    return agents.Agent(name="Desk", instructions="Hand over.", handoffs=[weather], model=MODEL)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_run_with_handoff_and_tool_is_verified_call_by_call(net: Devnet, streamed: bool) -> None:
    async def run() -> str:
        provider = OpenGradientProvider(private_key=net.private_key, network=net.network)
        config = agents.RunConfig(model_provider=provider)
        try:
            if not streamed:
                return str((await agents.Runner.run(travellers(), "Weather in Oslo?", run_config=config)).final_output)
            result = agents.Runner.run_streamed(travellers(), "Weather in Oslo?", run_config=config)
            async for _ in result.stream_events():
                pass
            return str(result.final_output)
        finally:
            await provider.aclose()

    with collect_receipts() as receipts:
        assert asyncio.run(run()) == "It is sunny in Oslo."
    assert [receipt["status"] for receipt in receipts] == ["verified"] * 3
    assert net.stats().payments == 1
    assert net.verdict(receipts).clean


def test_agent_without_a_model_is_refused_before_anything_is_sent(net: Devnet) -> None:
    provider = OpenGradientProvider(private_key=net.private_key, network=net.network)
    with pytest.raises(ConfigurationError, match="names no model"):
        provider.get_model(None)

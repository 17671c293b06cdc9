"""The openai package's clients and its Agents SDK through the server: as through the transport, and paid once."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agents
import httpx
import openai
import pytest
from pydantic import BaseModel

from og_integrations.devnet import Answer, Devnet, ModelCall, ModelRequest, Usage
from og_integrations.serve import Keys
from tests.client.ways_to_ask import WEATHER
from tests.serve.conftest import Served, served

MODEL = "openai/gpt-4.1"
HI: Any = [{"role": "user", "content": "hi"}]
USAGE = Usage(prompt_tokens=9, completion_tokens=3, total_tokens=12)


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture(scope="module")
def server(net: Devnet) -> Iterator[Served]:
    with served(net) as running:
        yield running


def receipt_of(found: Any) -> Any:
    return (found.model_extra or {}).get("opengradient")


def test_asynchronous_client_calls_tools_and_parses(net: Devnet, server: Served) -> None:
    """Whole and streamed, with a tool and its result, and with a schema; each answer verified, all paid at once."""
    before = net.stats().payments

    async def program() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key) as client:
            chat = client.chat.completions
            question: Any = {"role": "user", "content": 'use tool get_weather {"city":"Oslo"}'}
            first: Any = await chat.create(model=MODEL, messages=[question], tools=[WEATHER])
            call = first.choices[0].message.tool_calls[0]
            assert json.loads(call.function.arguments) == {"city": "Oslo"}
            result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
            turn: Any = [question, first.choices[0].message.model_dump(), result]
            second = await chat.create(model=MODEL, messages=turn, tools=[WEATHER])
            parsed: Any = await chat.parse(model=MODEL, messages=HI, response_format=City)
            assert isinstance(parsed.choices[0].message.parsed, City)
            stream: Any = await chat.create(model=MODEL, messages=[question], tools=[WEATHER], stream=True)
            streamed = [chunk async for chunk in stream]
            names = [
                d.tool_calls[0].function.name for c in streamed if c.choices and (d := c.choices[0].delta).tool_calls
            ]
            assert names == ["get_weather"]
            return [first, second, parsed, *streamed]

    told = [receipt for found in asyncio.run(program()) if (receipt := receipt_of(found))]
    assert [receipt["status"] for receipt in told] == ["verified"] * 4
    assert net.stats().payments - before <= 1
    assert net.verdict().clean


class Travel:
    """A model that hands a question about weather to its colleague, which calls its tool and then answers."""

    async def answer(self, request: ModelRequest) -> Answer:
        names = [tool["function"]["name"] for tool in request.tools]
        if request.messages[-1]["content"] == "sunny":
            return Answer(pieces=("It is sunny in Oslo.",), usage=USAGE)
        if "get_weather" in names:
            return Answer(calls=(ModelCall(name="get_weather", arguments='{"city": "Oslo"}'),), usage=USAGE)
        handoff = next(name for name in names if name.startswith("transfer_to"))
        return Answer(calls=(ModelCall(name=handoff, arguments="{}"),), usage=USAGE)


def test_agents_run_with_a_tool_and_a_handoff(tmp_path: Path) -> None:
    """Three calls, each in the ledger of the server, verified; one payment."""
    agents.set_tracing_disabled(True)
    ledger = tmp_path / "ledger.jsonl"

    @agents.function_tool  # type: ignore[untyped-decorator, unused-ignore]
    def get_weather(city: str) -> str:
        """Return the weather of a city."""
        return "sunny"

    async def program(server: Served) -> str:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key) as client:
            model = agents.OpenAIChatCompletionsModel(MODEL, client)
            weather = agents.Agent(name="Weather", instructions="Tell it.", tools=[get_weather], model=model)
            desk = agents.Agent(name="Desk", instructions="Hand over.", handoffs=[weather], model=model)
            return str((await agents.Runner.run(desk, "Weather in Oslo?")).final_output)

    with Devnet(model=Travel()) as net:
        with served(net, environment={"OG_LEDGER": str(ledger)}) as server:
            assert asyncio.run(program(server)) == "It is sunny in Oslo."
        entries = [json.loads(line) for line in ledger.read_text().splitlines()]
        receipts = [entry["receipt"] for entry in entries if "receipt" in entry]
        assert [receipt["status"] for receipt in receipts] == ["verified"] * 3
        assert net.stats().payments == 1
        assert net.verdict(receipts).clean


@pytest.mark.parametrize(
    ("fault", "streamed"),
    [
        ("server_error_after_payment", False),
        ("cut_after_payment", False),
        ("bad_signature", False),
        ("cut_stream", True),
        ("bad_signature", True),
        ("error_event", True),
    ],
)
def test_client_that_repeats_never_pays_twice(net: Devnet, server: Served, fault: str, streamed: bool) -> None:
    before, mark = net.stats().requests, net.mark()
    net.inject(fault)
    try:
        with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=3) as client:
            asked: Any = [{"role": "user", "content": f"{fault} {streamed}"}]
            with pytest.raises(openai.APIError):
                list(client.chat.completions.create(model=MODEL, messages=asked, stream=streamed))
    finally:
        net.clear_faults()
    assert net.stats().requests - before <= 2  # the offer, and the one that is paid
    assert net.verdict(since=mark).clean


def test_client_without_patience_gets_the_answer_of_its_first_request(net: Devnet, server: Served) -> None:
    """It leaves after half a second and asks again; the call goes on, and is charged once."""
    before = net.stats().charges
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=6, timeout=1) as client:
        asked: Any = [{"role": "user", "content": "[[delay=1800]] patience"}]
        assert "patience" in str(client.chat.completions.create(model=MODEL, messages=asked).choices[0].message.content)
    assert net.stats().charges - before == 1
    assert net.verdict().clean


def test_stream_that_was_left_is_not_begun_again(net: Devnet, server: Served) -> None:
    """Its first piece took longer than the client waits: the repetition says so, and costs nothing."""
    before = net.stats().payments, net.stats().charges
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=3, timeout=0.7) as client:
        asked: Any = [{"role": "user", "content": "[[delay=1500 tokens=3]] again"}]
        with pytest.raises(openai.APIError) as caught:
            list(client.chat.completions.create(model=MODEL, messages=asked, stream=True))
    assert "was begun before" in str(caught.value)
    assert net.stats().payments - before[0] <= 1
    assert net.stats().charges - before[1] <= 1


def test_repetition_is_of_the_same_key_only(net: Devnet, tmp_path: Path) -> None:
    """Nothing leaks between keys: another one with the same words is asked for itself."""
    file = tmp_path / "keys.json"
    names = [Keys.load(file).add(name, None) for name in ("ann", "bob")]
    before = net.stats().charges
    with served(net, "--keys", str(file)) as server:
        answers = [
            httpx.post(
                f"{server.url}/chat/completions",
                json={"model": MODEL, "messages": HI},
                headers={"Authorization": f"Bearer {key}", "x-stainless-retry-count": count},
                timeout=30,
            ).json()
            for key, count in ((names[0], "0"), (names[0], "1"), (names[1], "1"), (names[0], "0"))
        ]
    ids = [answer["opengradient"]["tee_signature"] for answer in answers]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert net.stats().charges - before == 3

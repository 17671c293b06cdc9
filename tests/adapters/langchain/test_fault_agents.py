"""The table of faults through agents: with tools, and with a response format beside them."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ModelError
from pydantic import BaseModel

from og_integrations.client import Receipts, collect_receipts
from og_integrations.devnet import CATALOGUE, Devnet
from og_integrations.errors import OpenGradientError
from og_integrations.langchain import ChatOpenGradient
from tests.adapters.faults_met import INVENTED, channel_to, generation_of, options_under, outcome_of, stalls
from tests.adapters.langchain.fault_cells import MODEL, PATIENCE, STALLED_PATIENCE
from tests.adapters.langchain.fault_table import ROWS

_ROWS_PER_NETWORK = 8
"""Starting a network costs more than a cell, and judging it grows with all that it saw."""


# Its first answer is whole, but keeps the connection that the second step then waits on.
IN_AGENTS = {"stall_before_end": "ReadTimeoutError"}


class Report(BaseModel):
    """The weather."""

    city: str
    sunny: bool


def _invoked(agent: Any, question: dict[str, Any]) -> Any:
    return agent.invoke(question)


def _streamed(agent: Any, question: dict[str, Any]) -> Any:
    """Stream tokens, which makes the agent stream its model; return the last state."""
    parts = list(agent.stream(question, stream_mode=["messages", "values"]))
    return [part for mode, part in parts if mode == "values"][-1]


def _ainvoked(agent: Any, question: dict[str, Any]) -> Any:
    return asyncio.run(agent.ainvoke(question))


def _astreamed(agent: Any, question: dict[str, Any]) -> Any:
    async def read() -> list[Any]:
        return [part async for part in agent.astream(question, stream_mode=["messages", "values"])]

    return [part for mode, part in asyncio.run(read()) if mode == "values"][-1]


STREAMED = {_streamed, _astreamed}
FAULTS = [fault for fault in CATALOGUE if fault != INVENTED]
ASYNCHRONOUS = [
    "wrong_certificate",
    "dead_registry",
    "other_asset",
    "second_402",
    "expired_session",
    "stall_after_payment",
    "cut_after_payment",
    "altered_text",
    "altered_tool_call",
    "smuggled_tool_call",
    "replayed_answer",
    "missing_final_event",
]
"""One or two of each kind: the driver differs, what it does is one generator's."""


@pytest.fixture(scope="module")
def net(request: pytest.FixtureRequest) -> Iterator[Devnet]:
    """One network for some faults; the parameter holds which gateways it has."""
    with Devnet(generation=request.param[0]) as devnet:
        yield devnet


@pytest.fixture(scope="module")
def watched(net: Devnet) -> list[dict[str, Any]]:
    return net.watch([])


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless stream is given up at 250,000 events; fewer show the same."""
    monkeypatch.setattr("og_integrations.protocol.chat._answers.MAX_EVENTS", 2_000)


def _faults(names: Iterable[str]) -> list[object]:
    numbered = enumerate(names)
    return [pytest.param((generation_of(fault), i // _ROWS_PER_NETWORK), fault, id=fault) for i, fault in numbered]


@pytest.mark.parametrize("response_format", [None, Report], ids=["tools", "response format"])
@pytest.mark.parametrize("run", [_invoked, _streamed])
@pytest.mark.parametrize(("net", "fault"), _faults(FAULTS), indirect=["net"], scope="module")
def test_agent_ends_proven_or_in_the_error(
    net: Devnet, watched: list[dict[str, Any]], fault: str, run: Callable[..., Any], response_format: Any
) -> None:
    """The tool runs at most after the proof of the step that called it; nothing is repeated or swallowed."""
    _check(net, watched, fault, run, response_format)


@pytest.mark.parametrize("run", [_ainvoked, _astreamed])
@pytest.mark.parametrize(("net", "fault"), _faults(ASYNCHRONOUS), indirect=["net"], scope="module")
def test_asynchronous_agent_ends_no_differently(
    net: Devnet, watched: list[dict[str, Any]], fault: str, run: Callable[..., Any]
) -> None:
    _check(net, watched, fault, run, None)


def _check(
    net: Devnet, watched: list[dict[str, Any]], fault: str, run: Callable[..., Any], response_format: Any
) -> None:
    ran: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        ran.append(city)
        return f"It is sunny in {city}."

    wallet = net.new_wallet()
    timeout = STALLED_PATIENCE if stalls(fault) else PATIENCE
    options: dict[str, Any] = {"private_key": wallet.private_key, "network": net.network, "timeout": timeout}
    model = ChatOpenGradient(model=MODEL, **options, **options_under(fault, net), **channel_to(net, fault))
    agent: Any = create_agent(model, [get_weather], response_format=response_format)
    question = {"messages": [("user", f'Weather in "Oslo", for {fault} {run.__name__} {response_format}?')]}
    error: OpenGradientError | None = None
    state: Any = None
    net.inject(fault)
    with collect_receipts() as receipts:
        try:
            state = run(agent, question)
        except OpenGradientError as exc:
            error = exc
        finally:
            net.clear_faults()
            model.close()
    row = ROWS[fault]
    assert outcome_of(error) == IN_AGENTS.get(fault, row.streamed if run in STREAMED else row.whole)
    assert [receipt for receipt in receipts if receipt["status"] == "unverified"] == ([error.receipt] if error else [])
    assert error is None or isinstance(error, ModelError)
    _check_steps(state, receipts, ran, response_format)
    watched.extend(receipts)
    verdict = net.verdict()
    assert verdict.clean, f"{verdict}"


def _check_steps(state: Any, receipts: Receipts, ran: list[str], response_format: Any) -> None:
    proven = [receipt for receipt in receipts if receipt["status"] == "verified"]
    assert ran == ["Oslo"] * bool(proven)
    if state is None:
        return
    assert len(proven) == 2
    steps = [message for message in state["messages"] if message.type == "ai"]
    assert [step.response_metadata["opengradient"] for step in steps] == proven
    if response_format is not None:
        assert state["structured_response"] == Report(city="Oslo", sunny=True)

"""The table of faults through agents: with tools, and with a response format beside them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ModelError
from pydantic import BaseModel

from og_integrations.client import Receipts, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.errors import OpenGradientError
from og_integrations.langchain import ChatOpenGradient
from tests.adapters.langchain.fault_cells import MODEL, PATIENCE, STALLED_PATIENCE, outcome_of
from tests.adapters.langchain.fault_table import ROWS

FAULTS = [
    "wrong_certificate",
    "dead_registry",
    "offer_over_cap",
    "other_asset",
    "second_402",
    "expired_session",
    "missing_session",
    "server_error_after_payment",
    "bad_signature",
    "unknown_enclave",
    "replayed_answer",
    "altered_text",
    "altered_tool_call",
    "smuggled_tool_call",
    "unsigned_answer",
    "error_event",
    "missing_final_event",
    "stall_after_payment",
    "cut_after_payment",
    "cut_stream",
]


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


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture(scope="module")
def watched(net: Devnet) -> list[dict[str, Any]]:
    return net.watch([])


@pytest.mark.parametrize("response_format", [None, Report], ids=["tools", "response format"])
@pytest.mark.parametrize("run", [_invoked, _streamed])
@pytest.mark.parametrize("fault", FAULTS)
def test_agent_ends_proven_or_in_the_error(
    net: Devnet, watched: list[dict[str, Any]], fault: str, run: Callable[..., Any], response_format: Any
) -> None:
    """The tool runs at most after the proof of the step that called it; nothing is repeated or swallowed."""
    ran: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        ran.append(city)
        return f"It is sunny in {city}."

    wallet = net.new_wallet()
    timeout = STALLED_PATIENCE if fault.startswith("stall") else PATIENCE
    model = ChatOpenGradient(model=MODEL, private_key=wallet.private_key, network=net.network, timeout=timeout)
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
    assert outcome_of(error) == (row.streamed if run is _streamed else row.whole)
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

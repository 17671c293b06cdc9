"""What goes wrong is raised, collected and counted; it never becomes an answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import QueryEngineTool

from og_integrations import collect_receipts
from og_integrations.errors import (
    BudgetExceededError,
    GatewayError,
    OpenGradientError,
    PaymentRefusedError,
    StreamFailedError,
    VerificationError,
)
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, watched_events

PROMPT = "hello [[tokens=3]]"


def user(prompt: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=prompt)]


async def drained(stream: Any) -> list[Any]:
    return [item async for item in await stream]


ENDPOINTS: dict[str, Callable[[OpenGradientLLM, str], Any]] = {
    "chat": lambda llm, prompt: llm.chat(user(prompt)),
    "achat": lambda llm, prompt: asyncio.run(llm.achat(user(prompt))),
    "complete": lambda llm, prompt: llm.complete(prompt),
    "acomplete": lambda llm, prompt: asyncio.run(llm.acomplete(prompt)),
    "stream_chat": lambda llm, prompt: list(llm.stream_chat(user(prompt))),
    "astream_chat": lambda llm, prompt: asyncio.run(drained(llm.astream_chat(user(prompt)))),
    "stream_complete": lambda llm, prompt: list(llm.stream_complete(prompt)),
    "astream_complete": lambda llm, prompt: asyncio.run(drained(llm.astream_complete(prompt))),
}
each_endpoint = pytest.mark.parametrize("name", ENDPOINTS)


def check_failed(account: Account, receipts: Any, error: OpenGradientError) -> None:
    assert [receipt["status"] for receipt in receipts] == ["unverified"]
    assert error.receipt == receipts[0]
    assert not isinstance(error, ValueError | TypeError)
    assert not receipts.verified


@each_endpoint
def test_bad_signature(account: Account, llm: OpenGradientLLM, name: str) -> None:
    """A wrong proof raises from every endpoint and makes no End event."""
    account.net.inject("bad_signature")
    with watched_events() as ends, collect_receipts() as receipts, pytest.raises(VerificationError) as caught:
        ENDPOINTS[name](llm, PROMPT)
    check_failed(account, receipts, caught.value)
    assert ends.receipts == []


@each_endpoint
def test_refused_payment(account: Account, name: str) -> None:
    """A refused payment is not tried again."""
    poor = Account(account.net, account.speaker, account.net.new_wallet(opg=0))
    with collect_receipts() as receipts, pytest.raises(PaymentRefusedError) as caught:
        ENDPOINTS[name](poor.llm(), PROMPT)
    check_failed(account, receipts, caught.value)
    assert [seen.times for seen in poor.authorizations()] == [1]


@each_endpoint
def test_exceeded_budget(account: Account, name: str) -> None:
    """Over the limit nothing is signed, and nothing reaches the gateway."""
    llm = account.llm(spend_policy={"max_per_authorization": "0.01"})
    with collect_receipts() as receipts, pytest.raises(BudgetExceededError) as caught:
        ENDPOINTS[name](llm, PROMPT)
    check_failed(account, receipts, caught.value)
    assert account.authorizations() == []


@each_endpoint
def test_provider_failure(account: Account, llm: OpenGradientLLM, name: str) -> None:
    """A provider's failure is raised as such, and asked for once only."""
    with collect_receipts() as receipts, pytest.raises(GatewayError) as caught:
        ENDPOINTS[name](llm, "[[status=500]]")
    check_failed(account, receipts, caught.value)
    assert [exchange.paid_by for exchange in account.exchanges()] == ["payment"]


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if "stream" in name])
def test_failed_stream_keeps_its_text(llm: OpenGradientLLM, name: str) -> None:
    """A stream that breaks off raises, with the text so far."""
    with pytest.raises(StreamFailedError) as caught:
        ENDPOINTS[name](llm, "[[tokens=9 fail_after=2]]")
    assert caught.value.partial_text == "tok0 tok1 "


MODES = ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("mode", MODES)
def test_query_engine_never_answers_empty(
    account: Account, index: VectorStoreIndex, mode: str, asynchronous: bool
) -> None:
    """A failed verification inside a query engine is raised, not "Empty Response"."""
    engine = index.as_query_engine(response_mode=mode)
    account.net.inject("bad_signature")
    with collect_receipts() as receipts, pytest.raises(VerificationError):
        asyncio.run(engine.aquery("capital?")) if asynchronous else engine.query("capital?")
    assert not receipts.verified
    assert receipts[0]["status"] == "unverified"


def test_query_engine_stream_never_ends_quietly(account: Account, index: VectorStoreIndex) -> None:
    """A streamed answer whose proof is wrong raises at its end."""
    account.net.inject("bad_signature")
    response: Any = index.as_query_engine(streaming=True).query("capital?")
    with pytest.raises(VerificationError):
        list(response.response_gen)


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
async def test_agent_raises(account: Account, llm: OpenGradientLLM, streaming: bool) -> None:
    """An agent's own failed call ends its run."""
    account.net.inject("bad_signature")
    with collect_receipts() as receipts, pytest.raises(VerificationError):
        await FunctionAgent(tools=[], llm=llm, streaming=streaming).run("hi")
    assert not receipts.verified


async def test_failure_inside_a_tool_is_collected(
    account: Account, llm: OpenGradientLLM, index: VectorStoreIndex
) -> None:
    """LlamaIndex turns a tool's exception into text for the agent; the collector still knows."""
    tool = QueryEngineTool.from_defaults(index.as_query_engine(), name="cities", description="about cities")
    agent = FunctionAgent(tools=[tool], llm=account.llm())
    bad = account.llm("anthropic/claude-sonnet-4-6")
    tool._query_engine = index.as_query_engine(llm=bad)
    account.net.inject(_only_claude())
    with collect_receipts() as receipts:
        await agent.run('use tool cities {"input": "capital of France"}')
    assert sorted(receipt["status"] for receipt in receipts) == ["unverified", "verified", "verified"]
    assert not receipts.verified


def _only_claude() -> Any:
    from og_integrations.devnet import CATALOGUE, Fault

    fault = CATALOGUE["bad_signature"]
    assert fault.signed is not None
    lie = fault.signed
    return Fault(
        name="bad_signature_of_claude",
        about="a wrong signature, for one model only",
        signed=lambda body: lie(body) if "claude" in str(body.get("model")) else body,
    )

"""Receipts collected through whatever LangChain runs."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from og_integrations.devnet import Devnet
from og_integrations.errors import VerificationError
from og_integrations.langchain import (
    ChatOpenGradient,
    OpenGradientCompletion,
    ReceiptCallbackHandler,
    get_receipt_callback,
)
from tests.adapters.langchain.ways_to_ask import get_weather

MakeModel = Callable[..., ChatOpenGradient]


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


def test_everything_inside_is_collected(net: Devnet, model: ChatOpenGradient) -> None:
    chain: Any = RunnableLambda(lambda text: f"[[tokens=3]] {text}") | model
    agent: Any = create_agent(model, [get_weather])
    with get_receipt_callback() as receipts:
        chain.invoke("x")
        list(model.stream("x"))
        model.batch(["a", "b", "c"])
        model.with_structured_output(City).invoke("The city of Oslo")
        agent.invoke({"messages": [("user", 'weather in "Oslo"')]})
    model.invoke("outside")
    totals = receipts.totals()
    assert (totals.calls, totals.verified, totals.replayed) == (8, 8, 0)
    assert (totals.authorizations, totals.authorized) == (1, 10**17)
    assert totals.by_model["openai/gpt-5-mini"].calls == 8
    assert receipts.verified


async def test_async_calls_are_collected(model: ChatOpenGradient) -> None:
    with get_receipt_callback() as receipts:
        await model.abatch(["a", "b"])
        async for _ in model.astream("c"):
            pass
    assert receipts.totals().verified == 3


def test_handler_may_be_given_to_one_call(model: ChatOpenGradient) -> None:
    handler = ReceiptCallbackHandler()
    model.invoke("hi", config={"callbacks": [handler]})
    model.invoke("hi")
    assert len(handler.receipts) == 1


def test_cached_answer_is_a_replay(net: Devnet, make_model: MakeModel) -> None:
    model = make_model(cache=InMemoryCache())
    first = model.invoke("hi")
    with get_receipt_callback() as receipts:
        second = model.invoke("hi")
    assert second.response_metadata["opengradient"] == first.response_metadata["opengradient"]
    assert (receipts.totals().calls, receipts.totals().replayed) == (0, 1)
    assert receipts.verified
    assert net.stats().charges == 1


def test_failed_call_counts_as_unverified(net: Devnet, model: ChatOpenGradient) -> None:
    net.inject("altered_text", times=1)
    with get_receipt_callback() as receipts:
        with pytest.raises(VerificationError):
            model.invoke("hello there")
        model.invoke("hello there")
    assert (receipts.totals().calls, receipts.totals().verified) == (2, 1)
    assert not receipts.verified


def test_text_model_is_collected(net: Devnet) -> None:
    model = OpenGradientCompletion(model="openai/gpt-5-mini", private_key=net.private_key, network=net.network)
    with get_receipt_callback() as receipts:
        assert model.invoke("Say hi")
    assert receipts.totals().verified == 1
    model.close()


async def test_text_model_answers_in_every_way(net: Devnet) -> None:
    model = OpenGradientCompletion(model="openai/gpt-5-mini", api_key=net.private_key, network=net.network, stop="a")
    result = await model.agenerate(["[[tokens=3]]", "two"])
    assert [g[0].text for g in result.generations] == [
        g[0].text for g in model.generate(["[[tokens=3]]", "two"]).generations
    ]
    for generations in result.generations:
        info = generations[0].generation_info
        assert info is not None
        assert info["opengradient"]["status"] == "verified"
        assert info["payment_hash"] == info["opengradient"]["payment"]["payment_hash"]
    assert net.stats().payments == 1
    model.close()
    await model.aclose()

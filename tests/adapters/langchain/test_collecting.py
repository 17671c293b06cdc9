"""What is collected and how often: nested, cancelled, closed, failed and copied."""

import asyncio
import copy
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableConfig, RunnableLambda

from og_integrations.devnet import Devnet
from og_integrations.errors import VerificationError
from og_integrations.langchain import (
    ChatOpenGradient,
    OpenGradientCompletion,
    ReceiptCallbackHandler,
    get_receipt_callback,
)

MakeModel = Callable[..., ChatOpenGradient]
SLOW = "[[tokens=50 delay=0.1]]"


@pytest.fixture
def text_model(net: Devnet) -> Iterator[OpenGradientCompletion]:
    model = OpenGradientCompletion(model="openai/gpt-5-mini", private_key=net.private_key, network=net.network)
    yield model
    model.close()


def test_outer_collection_gets_what_the_inner_one_gets(make_model: MakeModel) -> None:
    model = make_model(cache=InMemoryCache())
    with get_receipt_callback() as outer:
        model.invoke("a")
        with get_receipt_callback() as inner:
            model.invoke("b")
            model.invoke("a")
        model.invoke("c")
    assert (len(outer.receipts), len(outer.replays)) == (3, 1)
    assert (len(inner.receipts), len(inner.replays)) == (1, 1)


def test_collection_inside_a_chain_doubles_nothing(model: ChatOpenGradient) -> None:
    """There the outer one hears of each run twice: by inheritance, and from the inner one."""

    def step(text: str) -> int:
        with get_receipt_callback() as inner:
            model.invoke(text)
        return len(inner.receipts)

    with get_receipt_callback() as outer:
        assert RunnableLambda(step).invoke("x") == 1
    assert len(outer.receipts) == 1


async def test_cancelled_call_is_collected(model: ChatOpenGradient) -> None:
    with get_receipt_callback() as receipts:
        task = asyncio.create_task(model.ainvoke(SLOW))
        await asyncio.sleep(0.6)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (receipt,) = receipts.receipts
    assert (receipt["status"], receipts.verified) == ("unverified", False)
    assert receipts.totals().authorizations == 1
    await model.aclose()


def test_closed_stream_is_collected_once(model: ChatOpenGradient) -> None:
    with get_receipt_callback() as receipts:
        stream: Any = model.stream("[[tokens=50]]")
        next(stream)
        stream.close()
    assert [receipt["status"] for receipt in receipts.receipts] == ["unverified"]


def test_handler_given_by_hand_counts_by_events(net: Devnet, model: ChatOpenGradient) -> None:
    handler = ReceiptCallbackHandler()
    model.invoke("hi", config={"callbacks": [handler, handler]})
    net.inject("altered_text", times=1)
    with pytest.raises(VerificationError):
        model.invoke("hi there", config={"callbacks": [handler]})
    assert (handler.totals().calls, handler.totals().verified) == (2, 1)


def test_texts_of_a_batch_are_calls_of_their_own(net: Devnet, text_model: OpenGradientCompletion) -> None:
    """LangChain's own `batch` of texts loses the paid answers beside one that fails."""
    text_model.invoke("opens the session")
    net.inject("altered_text", times=1)
    with get_receipt_callback() as receipts:
        answers: list[Any] = text_model.batch(["one two", "three four", "five six"], return_exceptions=True)
    assert [type(answer) for answer in answers].count(str) == 2
    assert sum(isinstance(answer, VerificationError) for answer in answers) == 1
    assert (receipts.totals().calls, receipts.totals().verified) == (3, 2)


@pytest.mark.parametrize("way", ["batch", "abatch"])
def test_texts_of_a_batch_are_asked_for_at_once(text_model: OpenGradientCompletion, way: str) -> None:
    class Runs(BaseCallbackHandler):
        ended = 0

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            Runs.ended += 1

    text_model.invoke("opens the session")
    prompts, config = ["[[delay=0.25 tokens=2]]"] * 4, RunnableConfig(callbacks=[Runs()])
    begun = time.monotonic()
    answers = text_model.batch(prompts, config) if way == "batch" else asyncio.run(text_model.abatch(prompts, config))
    assert time.monotonic() - begun < 4 * 0.5
    assert (answers, Runs.ended) == (["tok0 tok1"] * 4, 4)


def test_failure_of_generate_is_counted_once(net: Devnet, text_model: OpenGradientCompletion) -> None:
    """LangChain ends the runs of all its prompts with the one error."""
    net.inject("altered_text")
    handler = ReceiptCallbackHandler()
    with pytest.raises(VerificationError):
        text_model.generate(["one two", "three four"], callbacks=cast("Any", [handler]))
    assert len(handler.receipts) == 1


def test_copies_of_a_model_keep_what_counts_and_remembers(make_model: MakeModel) -> None:
    limiter, cache, handler = InMemoryRateLimiter(requests_per_second=100), InMemoryCache(), ReceiptCallbackHandler()
    model = make_model(callbacks=[handler], rate_limiter=limiter, cache=cache)
    copied = copy.deepcopy(model)
    copied.invoke("hi")
    assert (copied.rate_limiter, copied.cache) == (limiter, cache)
    assert len(handler.receipts) == 1
    again = pickle.loads(pickle.dumps(make_model(callbacks=[handler])))
    assert again.callbacks[0].receipts == []

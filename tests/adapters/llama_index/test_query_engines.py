"""Query engines: in each, the receipts are the LLM calls, all verified, and the devnet saw the same."""

import asyncio
from typing import Any

import pytest
from llama_index.core import PromptTemplate, VectorStoreIndex
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.indices.query.query_transform.base import StepDecomposeQueryTransform
from llama_index.core.postprocessor import LLMRerank, StructuredLLMRerank
from llama_index.core.query_engine import (
    CitationQueryEngine,
    MultiStepQueryEngine,
    RetrieverQueryEngine,
    RouterQueryEngine,
    SubQuestionQueryEngine,
    TransformQueryEngine,
)
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.selectors import LLMSingleSelector, PydanticMultiSelector, PydanticSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel

from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited

QUESTION = "What is the capital of France?"
MODES = {
    ResponseMode.REFINE: 2,
    ResponseMode.COMPACT: 1,
    ResponseMode.SIMPLE_SUMMARIZE: 1,
    ResponseMode.TREE_SUMMARIZE: 1,
    ResponseMode.GENERATION: 1,
    ResponseMode.ACCUMULATE: 2,
    ResponseMode.COMPACT_ACCUMULATE: 1,
}
"""With two retrieved nodes; how many calls each mode makes."""


class Capital(BaseModel):
    """A capital."""

    name: str


async def text_of(response: Any) -> str:
    """Read an answer of any kind to its end."""
    if hasattr(response, "async_response_gen"):
        return "".join([text async for text in response.async_response_gen()])
    if hasattr(response, "response_gen"):
        return "".join(response.response_gen)
    return str(response)


def ask(engine: Any, *, asynchronous: bool) -> str:
    async def run() -> str:
        return await text_of(await engine.aquery(QUESTION))

    if asynchronous:
        return asyncio.run(run())
    response = engine.query(QUESTION)
    return "".join(response.response_gen) if hasattr(response, "response_gen") else str(response)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("mode", MODES)
def test_response_modes(
    account: Account, index: VectorStoreIndex, mode: ResponseMode, streaming: bool, asynchronous: bool
) -> None:
    """Seven response modes, streamed or not, awaited or not."""
    if streaming and "accumulate" in mode:
        with pytest.raises(ValueError, match=r"Cannot stream|Streaming|Unable to stream"):
            ask(index.as_query_engine(response_mode=mode, streaming=True), asynchronous=asynchronous)
        return
    with audited(account) as audit:
        engine = index.as_query_engine(response_mode=mode, streaming=streaming, similarity_top_k=2)
        answer = ask(engine, asynchronous=asynchronous)
    assert "capital of France" in answer
    assert len(audit.receipts) == MODES[mode]


@pytest.mark.parametrize("mode", [ResponseMode.TREE_SUMMARIZE, ResponseMode.ACCUMULATE])
def test_concurrent_calls_inside_one_query(account: Account, index: VectorStoreIndex, mode: ResponseMode) -> None:
    """`use_async` sends calls at once, which share one authorization."""
    engine = index.as_query_engine(response_mode=mode, use_async=True, similarity_top_k=3)
    with audited(account) as audit:
        for _ in range(3):
            engine.query(QUESTION)
    assert len(audit.receipts) == (9 if mode is ResponseMode.ACCUMULATE else 3)
    assert len(account.authorizations()) == 1


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE])
def test_structured_answers(
    account: Account, index: VectorStoreIndex, llm: OpenGradientLLM, mode: ResponseMode
) -> None:
    """A structured LLM, and `output_cls`, in a query engine."""
    with audited(account):
        structured: Any = index.as_query_engine(llm=llm.as_structured_llm(Capital), response_mode=mode)
        by_class: Any = index.as_query_engine(output_cls=Capital, response_mode=mode)
        answers = [structured.query('About "Paris"').response, by_class.query('About "Paris"').response]
    assert all(isinstance(answer, Capital) for answer in answers)


def test_answer_filtering(account: Account, index: VectorStoreIndex) -> None:
    """Structured answer filtering goes through a pydantic program."""
    with audited(account):
        synthesizer = get_response_synthesizer(response_mode=ResponseMode.REFINE, structured_answer_filtering=True)
        engine = index.as_query_engine(response_synthesizer=synthesizer)
        assert str(engine.query('About "Paris"')) == "Paris"


def tools(index: VectorStoreIndex) -> list[QueryEngineTool]:
    engine = index.as_query_engine(similarity_top_k=1)
    return [
        QueryEngineTool.from_defaults(engine, name="cities", description="about cities"),
        QueryEngineTool.from_defaults(engine, name="rivers", description="about rivers"),
    ]


SELECTORS: dict[str, Any] = {
    "default": lambda: None,
    "single": PydanticSingleSelector.from_defaults,
    "multi": PydanticMultiSelector.from_defaults,
    "by text": LLMSingleSelector.from_defaults,
}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("selector", SELECTORS)
def test_router(account: Account, index: VectorStoreIndex, selector: str, asynchronous: bool) -> None:
    """Routers demand a tool call, which the gateway would not enforce."""
    engine = RouterQueryEngine.from_defaults(tools(index), selector=SELECTORS[selector]())
    with audited(account) as audit:
        answer = ask(engine, asynchronous=asynchronous)
    assert "capital of France" in answer
    kind = (audit.receipts[0]["presentation"] or {}).get("kind")
    assert kind == (None if selector == "by text" else "tool_from_json_schema")


def test_sub_questions(account: Account, index: VectorStoreIndex) -> None:
    """One call asks for questions, one answers each, one puts them together."""
    engine = SubQuestionQueryEngine.from_defaults(
        tools(index), question_gen=LLMQuestionGenerator.from_defaults(), use_async=True, verbose=False
    )
    with audited(account) as audit:
        engine.query("Compare the capitals of France and Italy.")
    assert len(audit.receipts) == 4


def test_citations(account: Account, index: VectorStoreIndex) -> None:
    """The citation engine splits sources and asks once."""
    with audited(account) as audit:
        response = CitationQueryEngine.from_args(index, similarity_top_k=2).query(QUESTION)
    assert "Source 1" in str(response)
    assert len(audit.receipts) == 1


def test_multi_step(account: Account, index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    """Steps are asked for until the model has no further question."""
    engine = MultiStepQueryEngine(
        index.as_query_engine(), StepDecomposeQueryTransform(llm=llm), index_summary="cities", num_steps=2
    )
    with audited(account) as audit:
        engine.query(QUESTION)
    assert len(audit.receipts) >= 3


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_fusion(account: Account, index: VectorStoreIndex, llm: OpenGradientLLM, asynchronous: bool) -> None:
    """The fusion retriever completes a prompt for further queries."""
    retriever = QueryFusionRetriever(
        [index.as_retriever(similarity_top_k=1)], llm=llm, num_queries=3, use_async=asynchronous
    )
    with audited(account) as audit:
        ask(RetrieverQueryEngine.from_args(retriever), asynchronous=asynchronous)
    assert len(audit.receipts) == 2


@pytest.mark.parametrize("reranker", [LLMRerank, StructuredLLMRerank])
def test_rerank(account: Account, index: VectorStoreIndex, llm: OpenGradientLLM, reranker: Any) -> None:
    """Rerankers ask in text or in a schema."""
    engine = index.as_query_engine(similarity_top_k=2, node_postprocessors=[reranker(llm=llm, top_n=1)])
    with audited(account) as audit:
        assert "capital" in str(engine.query(QUESTION))
    assert len(audit.receipts) == 2


def test_hyde(account: Account, index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    """HyDE invents a document first."""
    with audited(account) as audit:
        TransformQueryEngine(index.as_query_engine(), HyDEQueryTransform(llm=llm)).query(QUESTION)
    assert len(audit.receipts) == 2


def test_prediction(account: Account, llm: OpenGradientLLM) -> None:
    """`predict` and `stream`, in their four forms, with a system prompt."""
    prompt = PromptTemplate("say {word}")

    async def awaited() -> list[str]:
        stream = await llm.astream(prompt, word="x")
        return [await llm.apredict(prompt, word="x"), "".join([text async for text in stream])]

    with audited(account) as audit:
        texts = [llm.predict(prompt, word="x"), "".join(llm.stream(prompt, word="x")), *asyncio.run(awaited())]
    assert texts == ["You said: say x"] * 4
    assert len(audit.receipts) == 4

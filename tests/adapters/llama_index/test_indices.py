"""Indices that ask the LLM while they are built or searched, and text to SQL."""

import pytest
from llama_index.core import (
    Document,
    DocumentSummaryIndex,
    KeywordTableIndex,
    SQLDatabase,
    SummaryIndex,
    TreeIndex,
)
from llama_index.core.query_engine import NLSQLTableQueryEngine
from sqlalchemy import create_engine, text

from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited

QUESTION = "What is the capital of France?"


@pytest.mark.usefixtures("settings")
def test_summary_index(account: Account, documents: list[Document]) -> None:
    """Chosen by the model, or all of it."""
    with audited(account) as audit:
        index = SummaryIndex.from_documents(documents)
        index.as_query_engine(response_mode="tree_summarize").query(QUESTION)
        index.as_query_engine(retriever_mode="llm").query(QUESTION)
    assert len(audit.receipts) == 3


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("mode", ["select_leaf", "all_leaf", "root"])
def test_tree_index(account: Account, documents: list[Document], mode: str) -> None:
    """Summaries while it is built, choices while it is searched."""
    with audited(account) as audit:
        index = TreeIndex.from_documents(documents, num_children=2)
        built = len(audit.receipts)
        index.as_query_engine(retriever_mode=mode).query(QUESTION)
    assert built >= 1
    assert len(audit.receipts) > built


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("use_async", [False, True])
def test_keyword_index(account: Account, documents: list[Document], use_async: bool) -> None:
    """Keywords of each document, then of the question."""
    with audited(account) as audit:
        index = KeywordTableIndex.from_documents(documents, use_async=use_async)
        answer = index.as_query_engine().query(QUESTION)
    assert answer.source_nodes
    assert len(audit.receipts) == len(documents) + 2


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("mode", ["llm", "embedding"])
def test_document_summary_index(account: Account, documents: list[Document], mode: str) -> None:
    """A summary of each document, then a choice among them."""
    with audited(account) as audit:
        index = DocumentSummaryIndex.from_documents(documents)
        index.as_query_engine(retriever_mode=mode).query(QUESTION)
    assert len(audit.receipts) == len(documents) + (2 if mode == "llm" else 1)


@pytest.mark.usefixtures("settings")
def test_text_to_sql(account: Account, llm: OpenGradientLLM) -> None:
    """The model writes SQL, the database answers, the model says it."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE cities (name TEXT, country TEXT)"))
        connection.execute(text("INSERT INTO cities VALUES ('Paris', 'France'), ('Rome', 'Italy')"))
    with audited(account) as audit:
        response = NLSQLTableQueryEngine(SQLDatabase(engine), tables=["cities"], llm=llm).query(QUESTION)
    engine.dispose()
    assert response.metadata is not None
    assert response.metadata["result"] == [("Paris",)]
    assert len(audit.receipts) == 2

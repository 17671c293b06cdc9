"""Evaluators and ingestion, which make event loops and processes of their own."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.evaluation import (
    BatchEvalRunner,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    RelevancyEvaluator,
)
from llama_index.core.extractors import DocumentContextExtractor, KeywordExtractor, SummaryExtractor, TitleExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore

from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, audited

QUESTION = "What is the capital of France?"


def test_evaluators(account: Account, index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    """Three evaluators, each of whose `evaluate` runs an event loop of its own."""
    with audited(account) as audit:
        response: Any = index.as_query_engine().query(QUESTION)
        results = [
            FaithfulnessEvaluator(llm=llm).evaluate_response(response=response),
            RelevancyEvaluator(llm=llm).evaluate_response(query=QUESTION, response=response),
            CorrectnessEvaluator(llm=llm).evaluate(query=QUESTION, response=str(response), reference="Paris"),
        ]
    assert [result.passing for result in results] == [True] * 3
    assert len(audit.receipts) == 4
    assert len(account.authorizations()) == 1


def test_batch_evaluation(account: Account, index: VectorStoreIndex, llm: OpenGradientLLM) -> None:
    """A batch runs its calls at once."""
    evaluators = {"faithful": FaithfulnessEvaluator(llm=llm), "relevant": RelevancyEvaluator(llm=llm)}
    with audited(account) as audit:
        runner = BatchEvalRunner(evaluators, workers=4)
        asyncio.run(runner.aevaluate_queries(index.as_query_engine(), queries=[QUESTION, "And of Italy?"]))
    assert len(audit.receipts) == 6


def test_ingestion(account: Account, documents: list[Document], llm: OpenGradientLLM) -> None:
    """Extractors, and a cache that knows the transformations again."""
    pipeline = IngestionPipeline(
        transformations=[
            SentenceSplitter(chunk_size=128, chunk_overlap=0),
            TitleExtractor(llm=llm, nodes=1),
            SummaryExtractor(llm=llm),
            KeywordExtractor(llm=llm),
        ]
    )
    with audited(account) as audit:
        nodes = pipeline.run(documents=documents)
        made = len(audit.receipts)
        pipeline.run(documents=documents)
    assert made == len(audit.receipts)
    assert {"document_title", "section_summary", "excerpt_keywords"} <= nodes[0].metadata.keys()


def test_document_context_for_each_chunk(account: Account, documents: list[Document]) -> None:
    """The extractor hints at Anthropic's cache in every call, and would take an error for "no context"."""
    store = SimpleDocumentStore()
    store.add_documents(documents)
    nodes = SentenceSplitter(chunk_size=64, chunk_overlap=0).get_nodes_from_documents(documents)
    extractor = DocumentContextExtractor(docstore=store, llm=account.llm("anthropic/claude-sonnet-4-6"))
    with audited(account) as audit:
        found = extractor.extract(nodes)
    assert all(item["context"] for item in found)
    assert len(audit.receipts) == len(nodes)


WORKERS = """
import json
from llama_index.core.extractors import SummaryExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode
from og_integrations.llama_index import OpenGradientLLM

if __name__ == "__main__":
    llm = OpenGradientLLM("openai/gpt-4.1")
    pipeline = IngestionPipeline(transformations=[SummaryExtractor(llm=llm)], disable_cache=True)
    nodes = pipeline.run(nodes=[TextNode(text=f"text {i}") for i in range(4)], num_workers=2)
    print(json.dumps([node.metadata["section_summary"] for node in nodes]))
"""


@pytest.mark.timeout(180)
def test_ingestion_in_worker_processes(account: Account, tmp_path: Path) -> None:
    """Workers get the LLM without its key and pay from their environment."""
    script = tmp_path / "ingest.py"
    script.write_text(WORKERS)
    environment = account.net.environment() | {
        "OG_PRIVATE_KEY": account.wallet.private_key,
        "PYTHONPATH": str(Path.cwd()),
    }
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 4
    assert account.served() == 4
    assert len(account.authorizations()) <= 2

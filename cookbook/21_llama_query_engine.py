"""
Ask a folder of documents, and keep the proof of every answer.

A query engine may call the model several times for one answer, and hands on only the text;
`collect_receipts` catches the receipt of each call. (The devnet's model only repeats what it is asked, which
for "refine" is LlamaIndex's long prompt.)
"""

import re
import zlib
from pathlib import Path

from llama_index.core import SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding

from og_integrations import collect_receipts
from og_integrations.llama_index import OpenGradientLLM

QUESTIONS = ["What does the tenant pay?", "Who may end the contract, and when?"]


class WordHashes(BaseEmbedding):
    """Stands in for an embedding model, which would be another download: texts that share words are near."""

    def _get_text_embedding(self, text: str) -> list[float]:
        vector = [0.0] * 256
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(word.encode()) % len(vector)] += 1
        return vector

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


folder = Path("contracts")
folder.mkdir(exist_ok=True)
(folder / "rent.txt").write_text("The tenant shall pay 900 dollars of rent on the first of each month.")
(folder / "term.txt").write_text("Each party may end the contract with three months of notice.")

index = VectorStoreIndex.from_documents(SimpleDirectoryReader(folder).load_data(), embed_model=WordHashes())
llm = OpenGradientLLM("anthropic/claude-sonnet-4-6", settlement_mode="private", spend_policy={"total": "0.5"})
# "refine" asks once per passage: one answer, two calls.
engine = index.as_query_engine(llm=llm, response_mode="refine", similarity_top_k=2)

for number, question in enumerate(QUESTIONS, 1):
    with collect_receipts(keep_exchanges=True) as receipts:
        answer = engine.query(question)
    print(f"{question}\n  {str(answer).splitlines()[0]}")
    print("  from", ", ".join(node.metadata["file_name"] for node in answer.source_nodes))
    for receipt in receipts:
        print(" ", receipt["status"], receipt["output_hash"], receipt["payment"]["payment_hash"])
    # Check them any time: og-integrations verify --registry answers/1/*.json
    receipts.save(f"answers/{number}")
    assert receipts.verified
    assert len(receipts) == len(answer.source_nodes) == 2
llm.close()

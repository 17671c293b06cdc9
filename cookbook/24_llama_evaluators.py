"""
Evaluate a query engine with a judge that is attested as well: the verdicts have receipts, too.

The judge is a model of another provider with a budget of its own; evaluators run many calls at once,
and all of them share one signed authorization.
"""

import asyncio

from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.evaluation import BatchEvalRunner, FaithfulnessEvaluator, RelevancyEvaluator

from og_integrations import collect_receipts
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.networks import format_opg

QUESTIONS = ["What is the capital of France?", "Where does Rome lie?"]
TEXTS = ["Paris is the capital of France.", "Rome lies on the Tiber."]

writer = OpenGradientLLM("anthropic/claude-sonnet-4-6", spend_policy={"total": "0.3"})
judge = OpenGradientLLM("openai/gpt-5.2", spend_policy={"total": "0.3"}, settlement_mode="private")

index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=MockEmbedding(embed_dim=8))
engine = index.as_query_engine(llm=writer)
evaluators = {"faithful": FaithfulnessEvaluator(llm=judge), "relevant": RelevancyEvaluator(llm=judge)}

with collect_receipts() as receipts:
    runner = BatchEvalRunner(evaluators, workers=4)
    verdicts = asyncio.run(runner.aevaluate_queries(engine, queries=QUESTIONS))

for name, results in verdicts.items():
    print(f"{name}: {sum(bool(result.passing) for result in results)} of {len(results)}")

# An evaluation counts only if nobody could have made up an answer or a verdict.
assert receipts.verified
for model in (writer.model, judge.model):
    made = [receipt for receipt in receipts if receipt["model"] == model]
    caps = {receipt["payment"]["payment_hash"]: int(receipt["payment"]["max_amount"]) for receipt in made}
    print(f"{model}: {len(made)} calls, {len(caps)} authorization of at most {format_opg(sum(caps.values()))} OPG")
    assert len(caps) == 1
assert len(receipts) == len(QUESTIONS) * (1 + len(evaluators))
writer.close()
judge.close()

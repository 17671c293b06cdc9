"""
Structured extraction with an audit trail: which proven answer does each row come from?

The schema goes to the provider as `response_format` and is part of the signed request; an answer that
does not fit it raises, with its receipt.
"""

import json
from pathlib import Path

from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel, Field

from og_integrations import collect_receipts
from og_integrations.cli import main
from og_integrations.llama_index import OpenGradientLLM


class Invoice(BaseModel):
    """What we book."""

    sender: str = Field(description="As printed")
    total: float = Field(description="In dollars")
    overdue: bool


LETTERS = {
    "a.eml": 'Please pay our invoice of 120.50 dollars. Yours, "Acme Ltd"',
    "b.eml": 'Last reminder: 80 dollars were due in May! "Widgets Inc"',
}
ASK = PromptTemplate("Extract the invoice from this letter.\n\n{letter}")

llm = OpenGradientLLM("openai/gpt-4.1")
trail = []
for name, letter in LETTERS.items():
    with collect_receipts(keep_exchanges=True) as receipts:
        invoice = llm.structured_predict(Invoice, ASK, letter=letter)
    (file,) = receipts.save("trail")
    (receipt,) = receipts
    trail.append(
        {
            "letter": name,
            "invoice": invoice.model_dump(),
            "request_hash": receipt["request_hash"],
            "output_hash": receipt["output_hash"],
            "enclave": receipt["tee_id"],
            "proof": str(file),
        }
    )
    print(invoice)
llm.close()
Path("trail.json").write_text(json.dumps(trail, indent=2), "utf-8")

# The auditor: are the proofs good, and does each row say what was proven?
assert main(["verify", "--registry", *(row["proof"] for row in trail)]) == 0
for row in json.loads(Path("trail.json").read_text("utf-8")):
    answer = json.loads(json.loads(Path(row["proof"]).read_text("utf-8"))["exchange"]["response"])
    assert Invoice.model_validate_json(answer["choices"][0]["message"]["content"]).model_dump() == row["invoice"]

"""
The judge of saved receipts and their exchanges, as a library: no printing, no arguments of a command line.

```python
from og_integrations.verify import Verifier, sources_in

verdict = Verifier.registry().verify("receipts/receipt-001.json")
print(verdict.status, verdict.step, verdict.not_covered)
for name, verdict in Verifier.registry().verify_many(sources_in("receipts"), jobs=4):
    print(name, verdict.status)
```

| file | what it holds |
| --- | --- |
| `_verifier` | `Verifier`: the steps, one after the other |
| `_verdict` | `Verdict`, what they come to |
| `_processes` | many documents, judged by several processes |
| `_trust` | who vouches for the enclave of a file: the registry, ids, or the file itself |
| `_bundle` | the file format and its limits |
| `_evidence` | what an evidence file holds besides: the document of the enclave, the nonce, the batch |
| `_statement` | what was verified, as an in-toto Statement that is signed with a key of one's own |
| `_vectors`, `_answering` | the public vectors as questions to any verifier; our own answers to them |
| `_coverage` | the receipt compared with its exchange; what nothing vouches for |
"""

from og_integrations.protocol.proof._verification import TrustDecision
from og_integrations.receipt import Check
from og_integrations.verify._bundle import SavedExchange, Source, sources_in
from og_integrations.verify._evidence import evidence_of
from og_integrations.verify._trust import TrustSource
from og_integrations.verify._verdict import Verdict
from og_integrations.verify._verifier import Verifier

__all__ = [
    "Check",
    "SavedExchange",
    "Source",
    "TrustDecision",
    "TrustSource",
    "Verdict",
    "Verifier",
    "evidence_of",
    "sources_in",
]

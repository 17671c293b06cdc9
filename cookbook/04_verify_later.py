"""
Keep the proof, and let anybody check it later, without trusting us or the file.

On a command line: `og-integrations verify --registry receipts/*.json`.
"""

import json

from og_integrations import collect_receipts
from og_integrations.langchain import ChatOpenGradient
from og_integrations.verify import Verifier

model = ChatOpenGradient(model="openai/gpt-5.2")
# The signature covers hashes, so checking it needs the exact bytes of request and answer: keep them.
# The files hold prompts and answers in clear.
with collect_receipts(keep_exchanges=True) as receipts:
    model.invoke("Is this answer signed?")
model.close()
(file,) = receipts.save("receipts")

# Who vouches for the enclave is said explicitly: here the registry, read from the chain.
verifier = Verifier.registry()
verdict = verifier.verify(file)
print(f"The registry vouches: {verdict.status}")
for check in verdict.checks:
    print(f"  {check.result} {check.id}: {check.detail}")
assert verdict.verified

# With another enclave expected, even a perfect file is not verified.
verdict = Verifier.tee_ids(["0x" + "11" * 32]).verify(file)
print(f"\nAnother enclave was expected: {verdict.status} at {verdict.step}")
assert verdict.step == "enclave-trusted"

# Any change shows, and the check that it breaks is named.
saved = json.loads(file.read_text("utf-8"))
saved["exchange"]["request"] = saved["exchange"]["request"].replace("signed", "forged")
verdict = verifier.verify(json.dumps(saved).encode())
print(f"\nThe request was altered: {verdict.status} at {verdict.step}")
assert verdict.step == "request-hash"

# What nothing vouches for is named, by group: members of the receipt, parts of the answer and of the request.
print(verifier.verify(file).not_covered)

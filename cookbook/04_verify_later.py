"""
Keep the proof, and let anybody check it later, without trusting us or the file.

On a command line: `og-integrations verify --registry receipts/*.json`.
"""

import json
from pathlib import Path

from og_integrations import collect_receipts
from og_integrations.cli import main
from og_integrations.langchain import ChatOpenGradient

model = ChatOpenGradient(model="openai/gpt-5-mini")
# The signature covers hashes, so checking it needs the exact bytes of request and answer: keep them.
# The files hold prompts and answers in clear.
with collect_receipts(keep_exchanges=True) as receipts:
    model.invoke("Is this answer signed?")
model.close()
(file,) = receipts.save("receipts")

# Who vouches for the enclave is said explicitly: here the registry, read from the chain.
print("The registry vouches:")
assert main(["verify", "--registry", str(file)]) == 0

# With nobody to vouch for it, even a perfect file is not verified.
print("\nNobody vouches:")
assert main(["verify", str(file)]) == 1

# Any change shows, and the check that it breaks is named.
saved = json.loads(file.read_text("utf-8"))
saved["exchange"]["request"] = saved["exchange"]["request"].replace("signed", "forged")
forged = Path("receipts/forged.json")
forged.write_text(json.dumps(saved), "utf-8")
print("\nThe request was altered:")
assert main(["verify", "--registry", str(forged)]) == 1
forged.unlink()

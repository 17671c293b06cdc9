"""
Ask once. Who pays and where is in the environment: `og-integrations devnet` prints the lines to copy.

This holds for all programs here but `demo.py`, which starts a devnet of its own.
"""

from og_integrations.langchain import ChatOpenGradient

model = ChatOpenGradient(model="anthropic/claude-sonnet-4-6", spend_policy={"total": "0.5"})  # OPG
answer = model.invoke("Say hello.")
print(answer.text)

# The answer came from an enclave of the registry, signed; otherwise `invoke` would have raised.
receipt = answer.response_metadata["opengradient"]
print(receipt["status"], "by enclave", receipt["tee_id"])
print("paid from authorization", receipt["payment"]["payment_hash"])
print("not covered by the signature:", ", ".join(receipt["unsigned"]))

assert receipt["status"] == "verified"
model.close()

"""
Fallbacks across providers: another model answers if the first cannot, from the same budget.

An error of ours says whether asking again is safe (`is_retryable`). Two kinds should never lead to a
fallback: a failed proof, because someone lied, and a payment in doubt, because it may have been charged.
"""

from og_integrations.errors import PaymentInDoubtError, VerificationError
from og_integrations.langchain import ChatOpenGradient, get_receipt_callback
from og_integrations.langchain.errors import RateLimitError, ServerError, UnknownModelError

UNAVAILABLE = (UnknownModelError, RateLimitError, ServerError)

first = ChatOpenGradient(model="openai/gpt-not-yet", spend_policy={"total": "0.5"})
# `engines` shares wallet, budget, session and connections: both spend from one total.
second = ChatOpenGradient(model="anthropic/claude-sonnet-4-6", spend_policy={"total": "0.5"}, engines=first.engines)
third = ChatOpenGradient(model="x-ai/grok-4.3", spend_policy={"total": "0.5"}, engines=first.engines)
model = first.with_fallbacks([second, third], exceptions_to_handle=UNAVAILABLE)

with get_receipt_callback() as receipts:
    answer = model.invoke("Who are you?")
print(answer.response_metadata["model_name"], answer.text)
assert answer.response_metadata["model_name"] == "anthropic/claude-sonnet-4-6"

# The failed call has a receipt too, and everything was paid from one authorization.
for receipt in receipts.receipts:
    print(receipt["model"], receipt["status"])
assert [receipt["status"] for receipt in receipts.receipts] == ["unverified", "verified"]
assert receipts.totals().authorizations == 1

try:
    first.invoke("Who are you?")
except UnknownModelError as error:
    print("not served:", error.status, "retryable:", error.is_retryable)
assert not any(issubclass(kind, UNAVAILABLE) for kind in (VerificationError, PaymentInDoubtError))
first.close()

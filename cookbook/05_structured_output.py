"""
Structured output: a class in, instances out. The JSON is what the enclave signed.
"""

from typing import Literal

from pydantic import BaseModel

from og_integrations.langchain import ChatOpenGradient, get_receipt_callback


class Trade(BaseModel):
    """An order to buy or sell a token."""

    token: str
    amount: float
    side: Literal["buy", "sell"]


model = ChatOpenGradient(model="openai/gpt-5.2")

# Only the instance comes back, so the receipt is collected beside it.
with get_receipt_callback() as receipts:
    trade = model.with_structured_output(Trade).invoke('Buy 12 of "OPG".')
print(trade)
assert isinstance(trade, Trade)
assert receipts.verified

# With include_raw the message comes along, and a parsing error is a value, not an exception.
whole = model.with_structured_output(Trade, include_raw=True).invoke('Sell 3 of "OPG".')
print(whole["parsed"], whole["raw"].response_metadata["opengradient"]["status"])
assert whole["parsing_error"] is None

# The same by a forced tool call. The gateway does not enforce tool_choice, so it is asked for as a schema,
# and the receipt says so: what is shown is not literally what was signed.
called = model.with_structured_output(Trade, method="function_calling", include_raw=True).invoke('Buy 1 "OPG".')
print(called["raw"].response_metadata["opengradient"]["presentation"])

# Anthropic's models get no tools beside a schema (the gateway drops them): the schema goes as one more tool.
claude = ChatOpenGradient(model="anthropic/claude-sonnet-4-6", engines=model.engines)
with get_receipt_callback() as receipts:
    print(claude.with_structured_output(Trade).invoke('Buy 5 of "OPG".'))
assert receipts.verified
model.close()

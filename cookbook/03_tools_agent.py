"""
An agent with tools. The model's tool calls are signed too, and run only after their proof.
"""

from langchain.agents import create_agent

from og_integrations import collect_receipts
from og_integrations.langchain import ChatOpenGradient


def get_price(token: str) -> str:
    """Return the price of a token in dollars."""
    return f"1 {token} = 0.10 dollars"


def get_balance(token: str) -> str:
    """Return how much of a token the user owns."""
    return f"you own 420 {token}"


model = ChatOpenGradient(model="anthropic/claude-sonnet-4-6", settlement_mode="private")
agent = create_agent(model, [get_price, get_balance])

# Agents make several calls and hand on only the last message; this catches every receipt.
with collect_receipts() as receipts:
    result = agent.invoke({"messages": [("user", "What is the price of OPG, and what is my balance of it?")]})

print(result["messages"][-1].text)
for receipt in receipts:
    print(f"{receipt['status']}: answer {receipt['output_hash'][:16]}… in session {receipt['payment']['session_ref']}")

assert receipts.verified
# All calls of one session are paid from one authorization.
assert len({receipt["payment"]["payment_hash"] for receipt in receipts}) == 1
model.close()

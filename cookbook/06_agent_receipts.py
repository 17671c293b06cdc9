"""
An agent that remembers, with the receipts of its whole life: each AI message keeps its own.
"""

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from og_integrations.langchain import ChatOpenGradient, get_receipt_callback


def get_price(token: str) -> str:
    """Return the price of a token in dollars."""
    return f"1 {token} = 0.10 dollars"


model = ChatOpenGradient(model="openai/gpt-5.2")
agent = create_agent(model, [get_price], checkpointer=InMemorySaver())
thread = {"configurable": {"thread_id": "one"}}

# Tool calls are held back until their proof, also in a stream; a failed proof stops the agent.
with get_receipt_callback() as receipts:
    for chunk, _ in agent.stream({"messages": [("user", "What is the price of OPG?")]}, thread, stream_mode="messages"):
        if isinstance(chunk, AIMessage):
            print(chunk.text, end="")
    print()
    agent.invoke({"messages": [("user", "Thanks.")]}, thread)

totals = receipts.totals()
print(f"{totals.verified} of {totals.calls} calls verified, {totals.authorizations} payment authorized")
assert receipts.verified
assert totals.authorizations == 1

# The receipts are in the messages, so every checkpointer keeps them.
messages = agent.get_state(thread).values["messages"]
kept = [message.response_metadata["opengradient"] for message in messages if isinstance(message, AIMessage)]
assert kept == receipts.receipts
for receipt in kept:
    print(f"signed at {receipt['tee_timestamp']}: {receipt['request_hash'][:16]}… -> {receipt['output_hash'][:16]}…")
model.close()

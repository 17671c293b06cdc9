"""
An agent with a purse: what it may authorize is decided here, before any key is touched.

A total is a hard limit over everything the model, its copies and `engines` sharers do. What was
authorized and not taken comes back: where a limit is reached, the chain is asked about the authorizations
whose deadline is over, and only what is left counts. What is authorized is the most that can be lost.
"""

from langchain.agents import create_agent

from og_integrations.errors import BudgetExceededError
from og_integrations.langchain import ChatOpenGradient, get_receipt_callback
from og_integrations.networks import format_opg


def get_price(token: str) -> str:
    """Return the price of a token in dollars."""
    return f"1 {token} = 0.10 dollars"


def ask(model: ChatOpenGradient, question: str) -> str:
    """Let an agent answer; say what it was authorized to cost."""
    agent = create_agent(model, [get_price])
    with get_receipt_callback() as receipts:
        try:
            text = agent.invoke({"messages": [("user", question)]})["messages"][-1].text
        except BudgetExceededError as error:
            text = f"stopped: {error}"
    totals = receipts.totals()
    print(f"{text}\n  calls: {totals.calls}, authorized: at most {format_opg(totals.authorized)} OPG")
    return str(text)


# Enough: one authorization of 0.1 OPG pays for all calls of a session.
rich = ChatOpenGradient(
    model="openai/gpt-5.2", spend_policy={"total": "0.2", "per_hour": "0.15", "max_per_authorization": "0.1"}
)
assert "0.10 dollars" in ask(rich, "What is the price of OPG?")

# The report: sums, limits and what is left; `authorized`, `last_hour`, … hold the same in base units.
print(rich.spent())
assert "0.1 OPG of 0.15, 0.05 left" in str(rich.spent())
rich.close()

# Not enough: nothing is signed, the agent stops, and no retry middleware repeats it.
poor = ChatOpenGradient(model="openai/gpt-5.2", spend_policy={"total": "0.05"})
assert ask(poor, "What is the price of OPG?").startswith("stopped")
assert poor.spent().authorized == 0
poor.close()

"""
A function agent: each of its steps is attested, and tool calls run only after their proof.
"""

import asyncio

from llama_index.core.agent.workflow import AgentOutput, FunctionAgent, ToolCallResult

from og_integrations import OpenGradientError, collect_receipts
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.networks import format_opg


def get_price(token: str) -> str:
    """Return the price of a token in dollars."""
    return f"1 {token} = 0.10 dollars"


def get_balance(token: str) -> str:
    """Return how much of a token the user owns."""
    return f"you own 420 {token}"


async def run(question: str) -> None:
    """Print what the agent does, and who vouches for it."""
    async with OpenGradientLLM("openai/gpt-5.2", spend_policy={"total": "0.5"}) as llm:
        agent = FunctionAgent(tools=[get_price, get_balance], llm=llm)
        handler = agent.run(question)
        async for event in handler.stream_events():
            if isinstance(event, AgentOutput):
                # The receipt of this step; of streamed steps, too.
                receipt = event.raw["opengradient"]
                said = event.response.content or ", ".join(call.tool_name for call in event.tool_calls)
                print(f"{receipt['status']}: {said}")
            elif isinstance(event, ToolCallResult):
                print(f"  {event.tool_name}({event.tool_kwargs}) -> {event.tool_output}")
        await handler


# Whatever the agent calls inside (other agents, query engines as tools) is collected here. Look at
# `verified`: an exception inside a tool reaches the agent as text.
with collect_receipts() as receipts:
    try:
        asyncio.run(run("What is the price of OPG, and what is my balance of it?"))
    except OpenGradientError as error:
        print("Not an answer:", error)
        raise

assert receipts.verified
assert len({receipt["payment"]["payment_hash"] for receipt in receipts}) == 1  # one authorization for all steps
cap = format_opg(int(receipts[0]["payment"]["max_amount"]))
print(f"{len(receipts)} calls, one authorization of at most {cap} OPG")

"""
An agent with a model on chain as its tool: two receipts of two kinds, checked side by side.

Starts a devnet with a real EVM and a node that runs ONNX: `pip install "og-integrations[langchain,evm,onnx]"`, and npm.
On a real network, leave the devnet out: OG_PRIVATE_KEY pays the LLM, OG_ONCHAIN_PRIVATE_KEY (or the same) the gas.
"""

from langchain.agents import create_agent
from langchain_core.messages import ToolMessage

from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import FOLDER, VOLATILITY
from og_integrations.langchain import ChatOpenGradient, get_receipt_callback, onchain_tool
from og_integrations.onchain import GasBudget, OnchainClient, ReceiptJudge, model_tool


def candles(pair: str) -> list[list[float]]:
    """Return ten candles of a pair, from wherever your application has them: no model types forty numbers."""
    return [[100.0, 101.5, 99.25, 100.1]] * 10


with Devnet(evm="anvil") as net:
    chain = OnchainClient(private_key=net.private_key, network=net.network, gas_budget=GasBudget(10**16))
    volatility = model_tool(
        chain,
        VOLATILITY,
        model_file=FOLDER / "volatility.onnx",  # says what the model takes, and each result is computed again
        bound={"open_high_low_close": candles},
        name="get_volatility",
        description="Return the volatility of a pair, such as ETH/USD, in the next hour.",
    )
    model = ChatOpenGradient(model="anthropic/claude-sonnet-4-6", private_key=net.private_key, network=net.network)
    agent = create_agent(model, [onchain_tool(volatility)])
    with get_receipt_callback() as receipts:
        answer = agent.invoke({"messages": [("user", "What is the volatility of ETH/USD?")]})
    print(answer["messages"][-1].text)

    for receipt in receipts.receipts:
        transaction = receipt.get("onchain", {}).get("transaction_hash", "-")
        print(f"{receipt['kind']:<8} {receipt['status']:<9} {receipt['model']} transaction {transaction}")
    assert [receipt["kind"] for receipt in receipts.receipts] == ["chat", "onchain", "chat"]
    assert receipts.verified

    # The receipt is also in the artifact of the tool's message: no model has to copy a hash.
    (message,) = (message for message in answer["messages"] if isinstance(message, ToolMessage))
    kept = message.artifact["opengradient"]
    verdict = ReceiptJudge(net.network, model_file=FOLDER / "volatility.onnx")(kept)
    print(f"read again from the chain, and computed again here: {verdict.status}")
    assert verdict.verified
    model.close()
    chain.close()

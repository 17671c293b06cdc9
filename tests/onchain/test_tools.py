"""Models and workflows on chain as tools of agents, in every framework, on a real EVM."""

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from agents import Agent, ModelResponse, RunConfig, Runner, Usage
from agents import Model as AgentsModel
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from pydantic import BaseModel, Field

import og_integrations.langchain as langchain_adapter
import og_integrations.llama_index as llama_adapter
import og_integrations.openai as openai_adapter
from og_integrations import OpenGradientError, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._inference import ModelNode
from og_integrations.devnet.chain.models import FOLDER, VOLATILITY
from og_integrations.errors import (
    ConfigurationError,
    DiscoveryError,
    GasBudgetExceededError,
    InvalidRequestError,
    OnchainError,
    StaleWorkflowError,
)
from og_integrations.langchain import ChatOpenGradient, ReceiptCallbackHandler, get_receipt_callback
from og_integrations.langchain.errors import OnchainError as ModelOnchainError
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.onchain import (
    WORKFLOW_MODELS,
    AsyncOnchainClient,
    GasBudget,
    OnchainClient,
    OnchainTool,
    TensorSpec,
    model_tool,
    workflow_tool,
)
from og_integrations.onchain._tools import is_told
from tests.onchain.onnx_file import INT64, identity
from tests.onchain.test_inference import CANDLES
from tests.onchain.test_workflows import deploy

CANDLE_SPEC = TensorSpec("open_high_low_close", "tensor(float)", (10, 4))
MODEL = "anthropic/claude-sonnet-4-6"
ROWS = {"rows": [[100.0, 101.5, 99.25, 100.1]] * 10}


def candles_of(pair: Annotated[str, Field(description="such as ETH/USD")], high: float = 101.5) -> list[list[float]]:
    """Return made-up candles, as an application would from its own source."""
    assert "/" in pair
    return [[100.0, high, 99.25, 100.1]] * 10


def volatility(client: OnchainClient | AsyncOnchainClient, **options: Any) -> OnchainTool:
    """Return the tool of the tests: the agent says which pair, the application has the candles."""
    bound = {"open_high_low_close": candles_of}
    return model_tool(client, VOLATILITY, inputs=[CANDLE_SPEC], name="volatility", bound=bound, **options)


def test_schema_is_that_of_the_models_inputs(chain: OnchainClient) -> None:
    """Fixed sizes are exact, free ones at least one; names that pydantic keeps get another one."""
    tool = model_tool(
        chain,
        "m",
        inputs=[
            CANDLE_SPEC,
            TensorSpec("labels/ids:0", "tensor(int64)", (None,)),
            TensorSpec("model_text", "tensor(string)", (2,)),
            TensorSpec("config", "tensor(double)", ()),
        ],
    )
    shown = tool.parameters["properties"]
    assert list(shown) == ["open_high_low_close", "labels_ids_0", "input_model_text", "input_config"]
    rows = shown["open_high_low_close"]
    assert (rows["minItems"], rows["maxItems"], rows["items"]["minItems"]) == (10, 10, 4)
    assert (shown["labels_ids_0"]["items"]["type"], shown["labels_ids_0"]["minItems"]) == ("integer", 1)
    assert shown["input_config"]["type"] == "number"
    assert "tensor(float) of shape [10, 4]" in rows["description"]
    assert tool.parameters["additionalProperties"] is False
    assert convert_to_openai_tool(langchain_adapter.onchain_tool(tool))["function"]["name"] == "infer_m"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": [[1.0] * 4] * 9}, "rows: List should have at least 10 items"),
        ({"rows": [[1.0] * 3] * 10}, "rows.0: List should have at least 4 items"),
        ({"rows": [[True] * 4] * 10}, "rows.0.0: Input should be a valid number"),
        ({"rows": [["1"] * 4] * 10}, "rows.0.0: Input should be a valid number"),
        ({"rows": [[float("nan")] * 4] * 10}, "Input should be a finite number"),
        ({}, "rows: Field required"),
        (ROWS | {"more": 1}, "more: Extra inputs are not permitted"),
        ("{", "are no JSON"),
        ("[1]", "the arguments: Input should be"),
    ],
)
def test_wrong_arguments_are_refused_before_any_transaction(chain: OnchainClient, given: Any, said: str) -> None:
    tool = model_tool(chain, "m", inputs=[TensorSpec("rows", "tensor(float)", (10, 4))])
    with pytest.raises(InvalidRequestError, match="Nothing was sent") as caught:
        tool.run(given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "does not know what the model takes"),
        ({"inputs": [TensorSpec("x", "tensor(bool)", (1,))]}, "is tensor.bool., which the network does not take"),
        ({"inputs": [CANDLE_SPEC], "bound": {"y": 1}}, "binds 'y', which is no input"),
        ({"inputs": [CANDLE_SPEC], "name": "no name"}, "is no name of a tool"),
        ({"inputs": [CANDLE_SPEC], "bound": {"open_high_low_close": lambda pair: pair}}, "pair has no type: annotate"),
        ({"provider": candles_of, "bound": {"x": 1}}, "so none can be bound"),
    ],
)
def test_tools_that_no_agent_could_call(chain: OnchainClient, options: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        model_tool(chain, "m", **options)


def test_tool_runs_the_model_and_compares_it_with_its_file(models: ModelNode, chain: OnchainClient) -> None:
    """The inputs are read from the file; awaited or not, with either client."""
    tool = model_tool(chain, VOLATILITY, model_file=FOLDER / "volatility.onnx", name="volatility")
    result = tool.run(json.dumps(CANDLES))
    assert json.loads(result.text) == result.artifact["output"] == {"Y": [0.02250000275671482]}
    verdicts = {check["id"]: check["result"] for check in result.artifact["opengradient"]["checks"]}
    assert verdicts["recomputed"] == "pass"
    assert asyncio.run(tool.arun(CANDLES)).artifact["output"] == result.artifact["output"]
    asynchronous = volatility(
        AsyncOnchainClient(sharing=chain), format=lambda found: f"Y is {found.values['Y'][0]:.3f}"
    )
    assert asynchronous.run({"pair": "ETH/USD"}).text == "Y is 0.023"
    whole = model_tool(chain, models.models.add(identity(INT64)), inputs=[TensorSpec("x", "tensor(int64)", (None,))])
    assert whole.run({"x": [2**53 + 1]}).artifact["output"] == {"y": [2**53 + 1]}


def test_provider_of_all_inputs_with_a_class_of_arguments(chain: OnchainClient) -> None:
    """As the published package's tools have it; a provider may be asynchronous where the tool is."""

    class Asked(BaseModel):
        rows: int

    async def provide(rows: int) -> dict[str, Any]:
        return {"open_high_low_close": [[100.0, 101.5, 99.25, 100.1]] * rows}

    tool = model_tool(chain, VOLATILITY, provider=provide, arguments=Asked)
    assert asyncio.run(tool.arun({"rows": 10})).artifact["output"] == {"Y": [0.02250000275671482]}
    with pytest.raises(ConfigurationError, match="is asynchronous"):
        tool.run({"rows": 10})


def test_langchain_agent_has_both_receipts(evm: Devnet, chain: OnchainClient) -> None:
    """Of the LLM in its messages, of the model on chain in the artifact of its tool message; callbacks have both."""
    wallet = evm.new_wallet()
    heard = ReceiptCallbackHandler()
    model = ChatOpenGradient(model=MODEL, private_key=wallet.private_key, network=evm.network)
    agent = create_agent(model, [langchain_adapter.onchain_tool(volatility(chain))])
    asked = 'use tool volatility {"pair": "ETH/USD"}'
    with get_receipt_callback() as receipts:
        answer = agent.invoke({"messages": [HumanMessage(asked)]}, {"callbacks": [heard]})
    model.close()
    (tool_message,) = (m for m in answer["messages"] if isinstance(m, ToolMessage))
    assert json.loads(str(tool_message.content)) == {"Y": [0.02250000275671482]}
    assert [receipt["kind"] for receipt in receipts.receipts] == ["chat", "onchain", "chat"]
    assert [receipt["kind"] for receipt in heard.receipts] == ["chat", "onchain", "chat"]
    assert receipts.verified
    assert tool_message.artifact["opengradient"] == receipts.receipts[1]
    last = answer["messages"][-1]
    assert isinstance(last, AIMessage)
    assert "0.0225" in last.text


def test_langchain_agent_is_told_what_it_can_mend(chain: OnchainClient) -> None:
    """Wrong arguments and refusals are tool messages of status "error"; what may have cost gas ends the run."""
    tool = langchain_adapter.onchain_tool(
        model_tool(chain, "QmNothing", inputs=[TensorSpec("rows", "tensor(float)", (10, 4))])
    )
    called = {"name": tool.name, "type": "tool_call", "id": "1"}
    wrong = tool.invoke(called | {"args": {"rows": [[1.0]]}})
    assert (wrong.status, "rows.0: List should have at least 4 items" in wrong.content) == ("error", True)
    refused = tool.invoke(called | {"args": ROWS})
    assert (refused.status, "Model not found: QmNothing" in refused.content) == ("error", True)
    assert "Nothing was sent" in refused.content


def by_ainvoke(tool: BaseTool, arguments: Any) -> Any:
    return asyncio.run(tool.ainvoke(arguments))


@pytest.mark.parametrize("call", [BaseTool.invoke, by_ainvoke])
def test_langchain_run_ends_where_gas_was_spent_for_nothing(
    chain: OnchainClient, arm: Callable[[str], None], call: Callable[..., Any]
) -> None:
    arm("no_inference_event")
    tool = langchain_adapter.onchain_tool(volatility(chain))
    with pytest.raises(ModelOnchainError, match="wrote 0 events") as caught:
        call(tool, {"pair": "ETH/USD", "high": 103.0})
    assert isinstance(caught.value, OnchainError)
    assert caught.value.receipt is not None


def test_what_was_sent_is_never_told_as_if_it_was_not(chain: OnchainClient) -> None:
    """An agent that hears "not reachable" tries again, and would pay again."""
    error = DiscoveryError("the node is away")
    assert is_told(error)
    result = chain.infer(VOLATILITY, CANDLES)
    error.receipt = result.receipt
    assert not is_told(error)


def test_budget_of_gas_ends_the_run(evm: Devnet) -> None:
    """An agent that is told would try again."""
    key = evm.new_wallet().private_key
    with OnchainClient(private_key=key, network=evm.network, gas_budget=GasBudget(0)) as poor:
        with pytest.raises(OpenGradientError, match="gas budget") as caught:
            langchain_adapter.onchain_tool(volatility(poor)).invoke({"pair": "ETH/USD"})
        with pytest.raises(GasBudgetExceededError):
            openai_adapter.call_onchain_tool([volatility(poor)], "volatility", '{"pair": "A/B"}')
    assert isinstance(caught.value, GasBudgetExceededError)


def test_toolkits_hand_all_tools_out(chain: OnchainClient) -> None:
    tools = [volatility(chain), workflow_tool(chain, WORKFLOW_MODELS["btc_1_hour"])]
    names = ["volatility", "read_btc_1_hour"]
    assert [tool.name for tool in langchain_adapter.OnchainToolkit(tools=tools).get_tools()] == names
    spec = llama_adapter.OnchainToolSpec(tools)
    assert [tool.metadata.name for tool in spec.to_tool_list()] == names
    assert spec.volatility(pair="ETH/USD")["output"] == {"Y": [0.02250000275671482]}


@pytest.mark.filterwarnings("ignore:The `")  # LlamaIndex's workflows look at old attributes of pydantic's
@pytest.mark.filterwarnings("ignore:Accessing the 'model_")
def test_llama_index_agent_has_both_receipts(evm: Devnet, chain: OnchainClient) -> None:
    async def run() -> tuple[str, list[Any]]:
        async with OpenGradientLLM(MODEL, private_key=evm.new_wallet().private_key, network=evm.network) as llm:
            agent = FunctionAgent(llm=llm, tools=[llama_adapter.onchain_tool(volatility(chain))])
            handler = agent.run('use tool volatility {"pair": "ETH/USD"}')
            events = [event async for event in handler.stream_events()]
            outputs = [event.tool_output for event in events if isinstance(event, ToolCallResult)]
            return str(await handler), outputs

    with collect_receipts() as receipts:
        text, (output,) = asyncio.run(run())
    assert "0.0225" in text
    assert output.raw_output["opengradient"] == receipts[1]
    assert output.content == '{"Y": [0.02250000275671482]}'
    assert [receipt["kind"] for receipt in receipts] == ["chat", "onchain", "chat"]
    assert receipts.verified


def test_llama_index_checks_arguments_inside(chain: OnchainClient) -> None:
    """LlamaIndex itself hands on whatever comes."""
    tool = llama_adapter.onchain_tool(volatility(chain))
    with pytest.raises(InvalidRequestError, match="pair: Input should be a valid string"):
        tool.call(pair=1)
    assert tool.metadata.get_parameters_dict()["required"] == ["pair"]


class ScriptedModel(AgentsModel):
    """A model of the Agents SDK that calls the tool once, and then repeats what it said."""

    def __init__(self, arguments: str) -> None:
        self.arguments = arguments

    async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> ModelResponse:  # noqa: A002
        said = input[-1].get("output") if isinstance(input, list) else None
        item: Any = ResponseFunctionToolCall(
            type="function_call", call_id="c1", name="volatility", arguments=self.arguments
        )
        if said is not None:
            text = ResponseOutputText(type="output_text", text=str(said), annotations=[])
            item = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
        return ModelResponse(output=[item], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def agents_run(tool: OnchainTool, arguments: str) -> Any:
    agent = Agent(name="a", model=ScriptedModel(arguments), tools=[openai_adapter.onchain_tool(tool)])
    return asyncio.run(Runner.run(agent, "?", run_config=RunConfig(tracing_disabled=True)))


def test_openai_agents_run_has_the_receipt(chain: OnchainClient) -> None:
    """In `collect_receipts`, and in `custom_data` of the tool's output."""
    with collect_receipts() as receipts:
        result = agents_run(volatility(chain), '{"pair": "ETH/USD"}')
    assert result.final_output == '{"Y": [0.02250000275671482]}'
    (kept,) = (item.custom_data for item in result.new_items if item.type == "tool_call_output_item")
    assert [kept["opengradient"]] == receipts
    assert "pair: Input should be a valid string" in agents_run(volatility(chain), '{"pair": 1}').final_output


def test_openai_agents_run_ends_where_gas_was_spent_for_nothing(
    chain: OnchainClient, arm: Callable[[str], None]
) -> None:
    arm("no_inference_event")
    with pytest.raises(Exception, match="wrote 0 events"):
        agents_run(volatility(chain), '{"pair": "ETH/USD", "high": 105.0}')


def test_functions_of_chat_completions(chain: OnchainClient) -> None:
    """For any client that speaks the format."""
    tool = volatility(chain)
    schema = openai_adapter.onchain_tool_schema(tool)
    assert (schema["type"], schema["function"]["parameters"]["required"]) == ("function", ["pair"])
    answer = openai_adapter.call_onchain_tool([tool], "volatility", '{"pair": "ETH/USD"}')
    assert answer["artifact"]["opengradient"]["kind"] == "onchain"
    assert "Field required" in openai_adapter.call_onchain_tool([tool], "volatility", "{}")["content"]
    with pytest.raises(InvalidRequestError, match="There is no tool 'other'"):
        openai_adapter.call_onchain_tool([tool], "other", "{}")


def test_tool_reads_a_workflow_with_its_age(own_evm: Devnet) -> None:
    """A stale result is an error that the agent is told of."""
    with OnchainClient(private_key=own_evm.private_key, network=own_evm.network) as client:
        address = deploy(client)
        client.run_workflow(address)
        tool = workflow_tool(client, address, max_age=60)
        artifact = tool.run({}).artifact
        assert set(artifact["workflow"]) == {"block", "timestamp", "age", "address", "transaction_hash"}
        own_evm.advance(3600)
        with pytest.raises(StaleWorkflowError, match="expected at most 60 s"):
            asyncio.run(tool.arun({}))
        message = langchain_adapter.onchain_tool(tool).invoke(
            {"name": tool.name, "args": {}, "id": "1", "type": "tool_call"}
        )
        assert (message.status, "Do not use it" in message.content) == ("error", True)

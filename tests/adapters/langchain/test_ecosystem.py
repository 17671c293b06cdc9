"""Libraries around LangChain that people build agents with: deep agents, swarms, LangChain's older agents."""

from collections.abc import Iterator
from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain_classic.agents import AgentExecutor, create_react_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import Tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_swarm import create_handoff_tool, create_swarm

from og_integrations import collect_receipts
from og_integrations.devnet import Answer, Devnet, ModelCall, ModelRequest, Usage
from og_integrations.langchain import ChatOpenGradient

THREAD: Any = {"configurable": {"thread_id": "1"}}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs, of each other


class Scripted:
    """Says the texts and calls in `says`, one for each request, and keeps what it was asked."""

    def __init__(self) -> None:
        self.says: list[str | ModelCall] = []
        self.asked: list[ModelRequest] = []

    async def answer(self, request: ModelRequest) -> Answer:
        """Say the next one."""
        self.asked.append(request)
        said, usage = self.says.pop(0), Usage(10, 5, 15)
        return Answer(pieces=(said,), usage=usage) if isinstance(said, str) else Answer(calls=(said,), usage=usage)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def model(scripted: Scripted) -> Iterator[ChatOpenGradient]:
    with Devnet(model=scripted) as net:
        made = ChatOpenGradient(model="openai/gpt-5-mini", private_key=net.private_key, network=net.network)
        with collect_receipts() as receipts:
            yield made
        assert receipts.verified
        assert len(receipts) == len(scripted.asked)
        assert not scripted.says
        assert net.stats().payments == 1
        made.close()


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_deep_agent_plans_writes_and_delegates(model: ChatOpenGradient, scripted: Scripted) -> None:
    """Its copies of the model, for each subagent, pay from one authorization."""
    scripted.says = [
        ModelCall("write_todos", '{"todos": [{"content": "look", "status": "in_progress"}]}'),
        ModelCall("write_file", '{"file_path": "/notes.txt", "content": "three"}'),
        ModelCall("task", '{"description": "add", "subagent_type": "general-purpose"}'),
        ModelCall("add", '{"a": 1, "b": 2}'),
        "The subagent says 3.",
        "It is 3.",
    ]
    agent: Any = create_deep_agent(model=model, tools=[add], checkpointer=InMemorySaver())
    state = agent.invoke({"messages": [("user", "1 + 2?")]}, THREAD)
    assert state["messages"][-1].text == "It is 3."
    assert "three" in str(state["files"]["/notes.txt"])


def test_swarm_stays_with_the_agent_that_took_over(model: ChatOpenGradient, scripted: Scripted) -> None:
    scripted.says = [ModelCall("transfer_to_ben", "{}"), "Ben here.", "Ben again."]
    anna: Any = create_agent(model, [add, create_handoff_tool(agent_name="ben")], name="anna")
    ben: Any = create_agent(model, [create_handoff_tool(agent_name="anna")], name="ben")
    swarm: Any = create_swarm([anna, ben], default_active_agent="anna").compile(checkpointer=InMemorySaver())
    swarm.invoke({"messages": [("user", "q")]}, THREAD)
    assert swarm.invoke({"messages": [("user", "q")]}, THREAD)["messages"][-1].text == "Ben again."


def test_older_agent_stops_before_it_invents_an_observation(model: ChatOpenGradient, scripted: Scripted) -> None:
    """`stop` reaches no model, so it is cut here; what the model wrote after it is not shown, and not sent back."""
    scripted.says = [
        "Thought: t\nAction: two\nAction Input: 1\nObservation: invented",
        "Thought: t\nFinal Answer: right",
    ]
    prompt = PromptTemplate.from_template("{tools} {tool_names} {input} {agent_scratchpad}")
    tools = [Tool("two", lambda _: "2", "Say two.")]
    runner: Any = AgentExecutor(agent=create_react_agent(model, tools, prompt), tools=tools)
    assert runner.invoke({"input": "q"})["output"] == "right"
    assert "invented" not in str(scripted.asked[1].messages)


def test_result_in_blocks_with_ids(model: ChatOpenGradient, scripted: Scripted) -> None:
    """As adapters of MCP servers write it; ids of LangChain's mean nothing to a provider."""
    scripted.says = ["ok"]
    blocks: Any = [{"type": "text", "text": "one", "id": "lc_1"}, {"type": "text", "text": "two", "id": "lc_2"}]
    call = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
    model.invoke([HumanMessage("q"), call, ToolMessage(blocks, tool_call_id="1")])
    content = str(scripted.asked[0].messages[2]["content"])
    assert "one" in content
    assert "lc_1" not in content

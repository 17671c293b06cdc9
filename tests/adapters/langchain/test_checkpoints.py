"""An agent checkpointed to SQLite: receipts survive the file, and the resumed agent goes on where it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from og_integrations.client import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from tests.adapters.langchain.ways_to_ask import get_weather

MakeModel = Callable[..., ChatOpenGradient]
QUESTION = {"messages": [("user", 'What is the weather in "Oslo"?')]}
CONFIG: Any = {"configurable": {"thread_id": "1"}}


def receipts_of(state: dict[str, Any]) -> list[Any]:
    """Return the receipts in the AI messages of a state."""
    return [m.response_metadata["opengradient"] for m in state["messages"] if isinstance(m, AIMessage)]


@pytest.mark.parametrize("stream", [False, True], ids=["invoke", "stream"])
def test_receipts_survive_the_file(make_model: MakeModel, tmp_path: Path, stream: bool) -> None:
    file = str(tmp_path / "agent.sqlite")
    with SqliteSaver.from_conn_string(file) as saver, collect_receipts() as receipts:
        agent: Any = create_agent(make_model(), [get_weather], checkpointer=saver)
        if stream:
            list(agent.stream(QUESTION, CONFIG, stream_mode="messages"))
        else:
            agent.invoke(QUESTION, CONFIG)
        before = agent.get_state(CONFIG).values["messages"]
    assert len(receipts) == 2
    assert receipts.verified
    with SqliteSaver.from_conn_string(file) as saver:
        resumed: Any = create_agent(make_model(), [get_weather], checkpointer=saver)
        state = resumed.get_state(CONFIG).values
        assert state["messages"] == before
        assert receipts_of(state) == list(receipts)
        after = resumed.invoke({"messages": [("user", "thanks")]}, CONFIG)
    assert after["messages"][: len(before)] == before
    assert receipts_of(after)[:2] == list(receipts)


async def test_receipts_survive_the_file_async(make_model: MakeModel, tmp_path: Path) -> None:
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "agent.sqlite")) as saver:
        agent: Any = create_agent(make_model(), [get_weather], checkpointer=saver)
        with collect_receipts() as receipts:
            await agent.ainvoke(QUESTION, CONFIG)
        assert receipts_of((await agent.aget_state(CONFIG)).values) == list(receipts)


def test_agent_stopped_by_a_lie_resumes_without_paying_for_its_steps_again(
    net: Devnet, make_model: MakeModel, tmp_path: Path
) -> None:
    """The first step is proven and kept; the second one fails its proof, and only that is asked again."""
    ran: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        ran.append(city)
        return "It is sunny."

    with SqliteSaver.from_conn_string(str(tmp_path / "agent.sqlite")) as saver:
        agent: Any = create_agent(make_model(), [get_weather], checkpointer=saver)
        net.inject("altered_text")  # the first step has no text, only a call
        with pytest.raises(Exception, match="not proven"):
            agent.invoke(QUESTION, CONFIG)
        net.clear_faults()
        with collect_receipts() as receipts:
            state = agent.invoke(None, CONFIG)
    assert ran == ["Oslo"]
    assert len(receipts) == 1
    assert [receipt["status"] for receipt in receipts_of(state)] == ["verified", "verified"]
    assert net.stats().payments == 1

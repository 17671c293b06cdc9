"""Every fault of the devnet's catalogue: a call ends in a verified answer or in one of our errors."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage

from og_integrations import collect_receipts
from og_integrations.devnet import CATALOGUE
from og_integrations.errors import OpenGradientError
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.auditing import Account, watched_events

PROMPT = "say [[tokens=4]]"
TEXT = "tok0 tok1 tok2 tok3"
HELLO = [ChatMessage(role="user", content=PROMPT)]


async def drained(stream: Any) -> Any:
    return [item async for item in await stream][-1]


async def agent_answer(llm: OpenGradientLLM, *, streaming: bool) -> str:
    return str(await FunctionAgent(tools=[], llm=llm, streaming=streaming).run(PROMPT))


ENDPOINTS: dict[str, Callable[[OpenGradientLLM], Any]] = {
    "chat": lambda llm: llm.chat(HELLO).message.content,
    "stream_chat": lambda llm: list(llm.stream_chat(HELLO))[-1].message.content,
    "achat": lambda llm: asyncio.run(llm.achat(HELLO)).message.content,
    "astream_chat": lambda llm: asyncio.run(drained(llm.astream_chat(HELLO))).message.content,
    "complete": lambda llm: llm.complete(PROMPT).text,
    "stream_complete": lambda llm: list(llm.stream_complete(PROMPT))[-1].text,
    "acomplete": lambda llm: asyncio.run(llm.acomplete(PROMPT)).text,
    "astream_complete": lambda llm: asyncio.run(drained(llm.astream_complete(PROMPT))).text,
}
AGENTS: dict[str, Callable[[OpenGradientLLM], Any]] = {
    "agent": lambda llm: asyncio.run(agent_answer(llm, streaming=False)),
    "streaming agent": lambda llm: asyncio.run(agent_answer(llm, streaming=True)),
}
# The client's own tests have these two: a silent node is waited for 15 s whatever `timeout` says, and an
# endless stream ends at 64 MB, over which LlamaIndex's cumulative responses would take hours.
NAMES = sorted(CATALOGUE.keys() - {"silent_registry", "endless_stream"})
LIES = ["altered_text", "bad_signature", "error_event", "cut_stream", "missing_final_event", "unsigned_answer"]


def judge(account: Account, fault: str, call: Callable[[OpenGradientLLM], Any]) -> None:
    """Make `call` under `fault` and check what it may and may not do."""
    llm = account.llm(timeout=0.4)
    account.net.inject(fault)
    error: OpenGradientError | None = None
    with watched_events() as ends, collect_receipts() as receipts:
        try:
            answer = call(llm)
        except OpenGradientError as exc:
            error = exc
    assert len(receipts) == 1
    assert len(account.authorizations()) <= 1, "signed twice for one request"
    if error is None:
        assert receipts.verified
        assert answer == TEXT
        assert ends.receipts == list(receipts)
    else:
        assert not isinstance(error, ValueError | TypeError)
        assert receipts[0]["status"] == "unverified"
        assert error.receipt == receipts[0]
        assert ends.receipts == []
        assert account.wallet.private_key[2:] not in str(error)


@pytest.mark.parametrize("fault", NAMES)
def test_each_fault(account: Account, fault: str) -> None:
    """One whole and one streamed endpoint per fault; which ones, goes round."""
    names = list(ENDPOINTS)
    first = 2 * (NAMES.index(fault) % 4)
    for name in names[first : first + 2]:
        judge(Account(account.net, account.speaker, account.net.new_wallet()), fault, ENDPOINTS[name])
        account.net.clear_faults()


@pytest.mark.parametrize("name", [*ENDPOINTS, *AGENTS])
@pytest.mark.parametrize("fault", LIES)
def test_each_method(account: Account, fault: str, name: str) -> None:
    """The lies about answers, at every endpoint and through agents."""
    judge(account, fault, (ENDPOINTS | AGENTS)[name])


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", LIES)
def test_query_engine(account: Account, index: VectorStoreIndex, fault: str, streaming: bool) -> None:
    """A query engine raises, or answers with verified calls only; it never answers with nothing."""
    engine = index.as_query_engine(llm=account.llm(timeout=0.4), streaming=streaming)
    account.net.inject(fault)
    response: Any = None
    with collect_receipts() as receipts:
        try:
            response = engine.query(PROMPT)
            answer = "".join(response.response_gen) if streaming else str(response)
        except OpenGradientError:
            assert [receipt["status"] for receipt in receipts] == ["unverified"]
        else:
            assert receipts.verified
            assert answer not in ("", "Empty Response")

"""
One cell of the table of faults and ways to ask: asked under one fault, watched from all sides.

Prompts differ from cell to cell, since the devnet takes the same bytes again for a retry.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.agent.workflow import AgentOutput, AgentStream, ToolCall, ToolCallResult
from llama_index.core.base.llms.types import ChatResponse, CompletionResponse, ToolCallBlock

from og_integrations.client import Receipts, collect_receipts
from og_integrations.devnet import Devnet, Wallet
from og_integrations.errors import OpenGradientError
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.faults_met import (
    INDIVIDUAL,
    INVENTED,
    PATIENCE,
    SIGNED_EACH,
    STALLED_PATIENCE,
    WITH_SESSION,
    WITH_TOOLS,
    channel_to,
    options_under,
    outcome_of,
    stalls,
)
from tests.adapters.langchain.fault_table import OK, Row
from tests.adapters.llama_index.fault_ways import AGENTS, ENGINES, STREAMED, TAKING_TOOLS, WAYS, Asked
from tests.frames import secrets_in_frames

MODEL = "openai/gpt-4.1"
TEXT = "tok0 tok1 tok2 tok3"
TOLD = "The tool said: It is sunny in Oslo."
RAN = ("weather in Oslo", ["verified"])
AGENT_ENDS = {"stall_before_end": "ReadTimeoutError"}
"""Where an agent's second call ends otherwise than a first one: it is sent on the connection that stalls."""


@dataclass
class Cell:
    """What came of one way under one fault: what it showed, its error and receipts, and where secrets show."""

    fault: str
    way: str
    wallet: Wallet
    asked: Asked | None = None
    error: OpenGradientError | None = None
    before: Receipts = field(default_factory=Receipts)
    receipts: Receipts = field(default_factory=Receipts)
    leaks: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """The name of the error's class in `og_integrations.errors`, or `OK`."""
        return outcome_of(self.error)

    @property
    def proven(self) -> list[dict[str, Any]]:
        """The receipts of the answers that the caller may rely on."""
        return [receipt for receipt in self.receipts if receipt["status"] == "verified"]

    @property
    def most_signed(self) -> int:
        """How many authorizations may be signed: one for the session of all calls, unless that gets lost."""
        return len(self.receipts) if self.fault in SIGNED_EACH else 1

    def expected(self, row: Row) -> str:
        """What the table says; without tools no call of one can be altered."""
        if self.fault in WITH_TOOLS and self.way not in TAKING_TOOLS:
            return OK
        if self.way in AGENTS and self.fault in AGENT_ENDS:
            return AGENT_ENDS[self.fault]
        return row.streamed if self.way in STREAMED else row.whole

    def llm(self, net: Devnet) -> OpenGradientLLM:
        """Return an LLM that pays from this cell's wallet."""
        return OpenGradientLLM(
            MODEL,
            private_key=self.wallet.private_key,
            network=net.network,
            timeout=STALLED_PATIENCE if stalls(self.fault) else PATIENCE,
            verification="buffer" if "buffered" in self.way else "end",
            settlement_mode="individual" if self.fault in INDIVIDUAL else None,
            **options_under(self.fault, net),
            **channel_to(net, self.fault),
        )


def met(net: Devnet, fault: str) -> list[Cell]:
    """Ask in every way, each with a fresh wallet and LLM, while `fault` is armed; where nothing comes, all at once."""
    ways = [way for way in WAYS if fault != INVENTED or way not in AGENTS | ENGINES]
    cells, known = [Cell(fault, way, net.new_wallet()) for way in ways], net.secrets()
    with ExitStack() as stack:
        llms = [stack.enter_context(cell.llm(net)) for cell in cells]
        if fault in WITH_SESSION:
            for cell, llm in zip(cells, llms, strict=True):
                with collect_receipts() as cell.before:
                    llm.complete(f"{fault} by {cell.way}: before")
        net.inject(fault)
        try:
            with ThreadPoolExecutor(len(cells) if stalls(fault) else 1) as threads:
                list(threads.map(_ask, cells, llms))
        finally:
            net.clear_faults()
    for cell in cells:
        if cell.error is not None:
            cell.leaks = secrets_in_frames(cell.error, {cell.wallet.private_key} | net.secrets() - known)
    return cells


def _ask(cell: Cell, llm: OpenGradientLLM) -> None:
    order = 'use tool get_weather {"city":"Oslo"}' if _calls_tool(cell) else "[[tokens=4]]"
    with collect_receipts() as cell.receipts:
        prompt = f"{order} {cell.fault} by {cell.way}"
        cell.asked = Asked(llm, prompt, cell.receipts, with_tools=cell.fault in WITH_TOOLS)
        try:
            WAYS[cell.way](cell.asked)
        except OpenGradientError as exc:
            cell.error = exc


def _calls_tool(cell: Cell) -> bool:
    return cell.way in AGENTS or (cell.fault in WITH_TOOLS and cell.way in TAKING_TOOLS)


def judge(net: Devnet, cell: Cell, row: Row) -> None:
    """Assert what the table says of this cell, and what holds whatever the fault: see `test_faults`."""
    assert cell.outcome == cell.expected(row), repr(cell.error)
    net.stats()  # runs after all that the devnet still had to write down
    seen = [seen for seen in net.journal.authorizations.values() if seen.payer == cell.wallet.address]
    before = {receipt["payment"]["payment_hash"] for receipt in cell.before}
    paid = {receipt["payment"]["payment_hash"] for receipt in cell.receipts if receipt["payment"]} | before
    assert {item.digest for item in seen} == paid, "payments reported are not payments seen"
    signed = len(paid - before)
    assert signed <= cell.most_signed, "signed twice for one call"
    assert min(signed, 1) == row.signed
    assert cell.asked is not None
    _judge_tools(cell, cell.asked)
    if cell.error is None:
        _judge_answer(cell, cell.asked)
    else:
        _judge_failure(cell, cell.error, cell.asked)


def _judge_tools(cell: Cell, asked: Asked) -> None:
    """A tool runs once, if the step that called it is proven; nothing else runs."""
    assert asked.ran == [RAN] * (cell.way in AGENTS and bool(cell.proven)), "a tool ran without its proof"
    events = [event for event in asked.shown if isinstance(event, ToolCall | ToolCallResult)]
    assert {event.tool_name for event in events} <= {"get_weather"}
    steps = [event.raw or {} for event in asked.shown if isinstance(event, AgentOutput)]
    assert [step.get("opengradient") for step in steps] == (cell.proven if cell.way in AGENTS else [])


def _judge_answer(cell: Cell, asked: Asked) -> None:
    agent = cell.way in AGENTS
    assert [receipt["status"] for receipt in cell.receipts] == ["verified"] * (1 + agent)
    assert asked.answer == (
        TOLD if agent else "" if _calls_tool(cell) or (cell.fault == INVENTED and cell.way not in STREAMED) else TEXT
    )
    if agent or cell.way in ENGINES:
        return
    last = asked.shown[-1]
    assert last.raw["opengradient"] == last.additional_kwargs["opengradient"] == cell.receipts[0]
    assert [_claims(response) for response in asked.shown[:-1]] == [[]] * (len(asked.shown) - 1)


def _judge_failure(cell: Cell, error: OpenGradientError, asked: Asked) -> None:
    assert not isinstance(error, ValueError | TypeError), "LlamaIndex swallows those"
    assert [receipt["status"] for receipt in cell.receipts] == ["verified"] * len(cell.proven) + ["unverified"]
    assert error.receipt == cell.receipts[-1]
    assert len(cell.proven) <= (cell.way in AGENTS)
    assert cell.wallet.private_key[2:] not in str(error)
    assert cell.leaks == [], "secrets stand in frames"
    assert asked.answer is None or cell.way in STREAMED, "answered without a proof"
    assert not asked.shown or cell.way in STREAMED or cell.way in AGENTS, "shown before its proof"
    assert not asked.shown or "buffered" not in cell.way, "shown before its proof"
    steps = len(cell.proven)
    for shown in asked.shown:
        claims = _claims(shown)
        assert not claims or (isinstance(shown, AgentStream) and steps), f"an unproven piece claims {claims}"


def _claims(shown: Any) -> list[Any]:
    """Return what a piece of a stream may have only after the proof: tool calls and a receipt."""
    if isinstance(shown, AgentStream):
        return [*shown.tool_calls, *filter(None, [(shown.raw or {}).get("opengradient")])]
    if not isinstance(shown, ChatResponse | CompletionResponse):
        return []
    kept = [shown.additional_kwargs.get("opengradient"), (shown.raw or {}).get("opengradient")]
    if isinstance(shown, ChatResponse):
        kept += [block for block in shown.message.blocks if isinstance(block, ToolCallBlock)]
        kept += shown.message.additional_kwargs.get("tool_calls", [])
    return [item for item in kept if item]

"""
One cell of the table of faults and methods: a call under one fault, watched from all sides.

Prompts differ from cell to cell, since the devnet takes the same bytes again for a retry.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage

from og_integrations.client import collect_receipts
from og_integrations.devnet import CATALOGUE, Devnet, Wallet
from og_integrations.errors import OpenGradientError
from og_integrations.langchain import ChatOpenGradient
from tests.adapters.faults_met import (
    INDIVIDUAL,
    INVENTED,
    SIGNED_EACH,
    WITH_SESSION,
    WITH_TOOLS,
    channel_to,
    options_under,
    outcome_of,
    stalls,
)
from tests.adapters.langchain.ways_to_ask import get_weather, summed
from tests.frames import secrets_in_frames

MODEL = "openai/gpt-5-mini"
PATIENCE = 20.0
STALLED_PATIENCE = 1.0
"""Seconds to wait for each piece: few where nothing comes, many where a busy machine may be slow."""
TEXT = "tok0 tok1 tok2 tok3"


@dataclass
class Cell:
    """What came of a call: all that was `shown`, the error that ended it, every receipt, and where secrets show."""

    fault: str
    way: str
    wallet: Wallet
    shown: list[AIMessage] = field(default_factory=list)
    error: OpenGradientError | None = None
    receipts: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """What the table shows of it."""
        return outcome_of(self.error)

    @property
    def most_signed(self) -> int:
        """
        How many authorizations may be signed: one, which the two calls of a batch share.

        The call that comes second signs its own if that one was refused by then, or left no session to go on in.
        """
        alone = self.outcome == "PaymentRefusedError" or self.fault in SIGNED_EACH
        return 2 if self.way == "batch" and alone else 1

    @property
    def signed(self) -> int:
        """How many authorizations the receipts of the calls tell of, a session opened before aside."""
        paid = {receipt["payment"]["payment_hash"] for receipt in self.receipts if receipt["payment"]}
        return len(paid) - (self.fault in WITH_SESSION)


Way = Callable[[Any, list[str], list[AIMessage]], None]


def _invoke(model: Any, prompts: list[str], shown: list[AIMessage]) -> None:
    shown.append(model.invoke(prompts[0]))


def _ainvoke(model: Any, prompts: list[str], shown: list[AIMessage]) -> None:
    shown.append(asyncio.run(model.ainvoke(prompts[0])))


def _stream(model: Any, prompts: list[str], shown: list[AIMessage]) -> None:
    for chunk in model.stream(prompts[0]):
        shown.append(chunk)  # noqa: PERF402 - what was shown before an error counts


def _astream(model: Any, prompts: list[str], shown: list[AIMessage]) -> None:
    async def read() -> None:
        async for chunk in model.astream(prompts[0]):
            shown.append(chunk)  # noqa: PERF401

    asyncio.run(read())


def _batch(model: Any, prompts: list[str], shown: list[AIMessage]) -> None:
    """Ask two things at once; both are paid from one authorization."""
    shown.extend(model.batch(prompts))


WAYS: dict[str, Way] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "batch": _batch,
    "stream": _stream,
    "astream": _astream,
    "stream, buffered": _stream,
}
STREAMED = frozenset({"stream", "astream", "stream, buffered"})


def met(net: Devnet, fault: str, way: str) -> Cell:
    """Ask by `way` with a fresh wallet while `fault` is armed."""
    cell, known = Cell(fault, way, net.new_wallet()), net.secrets()
    model = ChatOpenGradient(
        model=MODEL,
        private_key=cell.wallet.private_key,
        network=net.network,
        timeout=STALLED_PATIENCE if stalls(fault) else PATIENCE,
        verification="buffer" if "buffered" in way else "end",
        settlement_mode="individual" if fault in INDIVIDUAL else None,
        **options_under(fault, net),
        **channel_to(net, fault),
    )
    asked = 'use tool get_weather {"city":"Oslo"}' if fault in WITH_TOOLS else "[[tokens=4]]"
    asking: Any = model.bind_tools([get_weather]) if fault in WITH_TOOLS else model
    with collect_receipts() as receipts:
        if fault in WITH_SESSION:
            model.invoke(f"{fault} by {way}: before")
        net.inject(fault)
        try:
            WAYS[way](asking, [f"{asked} {fault} by {way}: {number}" for number in (1, 2)], cell.shown)
        except OpenGradientError as exc:
            cell.error = exc
        finally:
            net.clear_faults()
            model.close()
    cell.receipts = list(receipts)
    if cell.error is not None:
        cell.leaks = secrets_in_frames(cell.error, {cell.wallet.private_key} | net.secrets() - known)
    return cell


def judge(net: Devnet, cell: Cell) -> None:
    """Assert what holds whatever the fault: see `test_fault_table`."""
    net.stats()  # runs after all that the devnet still had to write down
    seen = [seen for seen in net.journal.authorizations.values() if seen.payer == cell.wallet.address]
    paid = {receipt["payment"]["payment_hash"] for receipt in cell.receipts if receipt["payment"]}
    assert {item.digest for item in seen} == paid, "payments reported are not payments seen"
    warmed = cell.fault in WITH_SESSION
    assert len(seen) <= cell.most_signed + warmed, "signed twice for one request"
    # An error ends a batch: what its pool has not begun by then is never asked.
    least = 1 + warmed + (cell.way == "batch" and cell.error is None)
    assert least <= len(cell.receipts) <= 1 + warmed + (cell.way == "batch")
    answers = cell.receipts[1:] if warmed else cell.receipts
    if cell.error is None:
        _answered(cell, answers)
    else:
        _failed(cell, cell.error, answers)


def _answered(cell: Cell, receipts: list[dict[str, Any]]) -> None:
    messages = [summed(cell.shown)] if cell.way in STREAMED else cell.shown
    carried = [message.response_metadata["opengradient"] for message in messages]
    assert sorted(carried, key=_signature) == sorted(receipts, key=_signature)
    assert {receipt["status"] for receipt in receipts} == {"verified"}
    for message in messages:
        if cell.fault == INVENTED:
            assert [call["name"] for call in message.tool_calls] == ["transfer_everything"]
        elif cell.fault in WITH_TOOLS:
            assert [(call["name"], call["args"]) for call in message.tool_calls] == [("get_weather", {"city": "Oslo"})]
        else:
            assert message.text == TEXT


def _signature(receipt: dict[str, Any]) -> str:
    return str(receipt["tee_signature"])


def _failed(cell: Cell, error: OpenGradientError, receipts: list[dict[str, Any]]) -> None:
    assert isinstance(error, ModelError)
    assert error.receipt in receipts
    assert error.receipt["status"] == "unverified"
    # The other call of a batch may have been answered well, where the fault spoils nothing.
    if cell.way != "batch" or CATALOGUE[cell.fault].spoils:
        assert {receipt["status"] for receipt in receipts} == {"unverified"}
    assert cell.wallet.private_key[2:] not in str(error)
    assert cell.leaks == [], "secrets stand in frames"
    for chunk in cell.shown:
        assert cell.way in {"stream", "astream"}, "something was shown before its proof"
        assert not chunk.tool_calls
        assert not chunk.additional_kwargs
        assert "opengradient" not in chunk.response_metadata

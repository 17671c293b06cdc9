"""Every fault of the devnet in every way to ask: the expected error, one payment at most, nothing unverified."""

from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations.devnet import CATALOGUE, Devnet
from tests.adapters.faults_met import generation_of
from tests.adapters.langchain.fault_table import ROWS
from tests.adapters.llama_index.auditing import watched_events
from tests.adapters.llama_index.fault_cells import judge, met

_ROWS_PER_NETWORK = 8
"""Starting a network costs more than a cell, and judging it grows with all that it saw."""


@pytest.fixture(scope="module")
def net(request: pytest.FixtureRequest) -> Iterator[Devnet]:
    """One network for some rows of the table; the parameter holds which gateways it has."""
    with Devnet(generation=request.param[0]) as devnet:
        yield devnet


@pytest.fixture(scope="module")
def watched(net: Devnet) -> list[dict[str, Any]]:
    """Every receipt of the rows on `net`: its verdict compares them with what it saw."""
    return net.watch([])


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless stream is given up at 250,000 events; fewer show the same."""
    monkeypatch.setattr("og_integrations.protocol.chat._answers.MAX_EVENTS", 500)


def _rows() -> list[object]:
    numbered = enumerate(CATALOGUE)
    return [pytest.param((generation_of(fault), i // _ROWS_PER_NETWORK), fault, id=fault) for i, fault in numbered]


@pytest.mark.parametrize(("net", "fault"), _rows(), indirect=["net"], scope="module")
def test_fault_ends_as_the_table_says(net: Devnet, watched: list[dict[str, Any]], fault: str) -> None:
    """
    In each way: the outcome that LangChain's table has, since both adapters must agree.

    `judge` adds what holds for every cell, the events that only what is proven ends well, the verdict what the
    devnet says.
    """
    if fault not in ROWS:
        pytest.fail(f"CATALOGUE has {fault!r}, but ROWS in tests/adapters/langchain/fault_table.py has no such row.")
    with watched_events() as ends:
        cells = met(net, fault)
    for cell in cells:
        watched.extend([*cell.before, *cell.receipts])
    wrong = []
    for cell in cells:
        try:
            judge(net, cell, ROWS[fault])
        except AssertionError as exc:
            wrong.append(f"{cell.way}: {exc}")
    assert not wrong, "\n".join(wrong)
    proven = [receipt for cell in cells for receipt in [*cell.before, *cell.proven]]
    assert _signatures(ends.receipts) == _signatures(proven), "an event tells of what is not proven"
    verdict = net.verdict()
    assert verdict.clean, f"{verdict}"


def _signatures(receipts: list[dict[str, Any]]) -> list[str]:
    return sorted(receipt["tee_signature"] for receipt in receipts)

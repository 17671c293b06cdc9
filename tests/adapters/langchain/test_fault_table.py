"""Every fault of the devnet by every method: the expected error, one payment at most, nothing unverified."""

from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations.devnet import CATALOGUE, Devnet
from tests.adapters.faults_met import generation_of
from tests.adapters.langchain.fault_cells import STREAMED, WAYS, judge, met
from tests.adapters.langchain.fault_table import DOCUMENT, ROWS, page

_ROWS_PER_NETWORK = 12
"""Starting a network costs more than a cell, and judging it grows with all that it saw."""
# Of two calls at once, the one that comes second finds the enclave left, and no other one there.
IN_BATCH = dict.fromkeys(
    (
        "wrong_certificate",
        "registry_other_certificate",
        "dead_endpoint",
        "unsigned_key_config",
        "foreign_key_config",
    ),
    "DiscoveryError",
)
# Or it takes the connection of the first, whose answer is whole, and which goes on stalling.
IN_BATCH["stall_before_end"] = "ReadTimeoutError"


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
    monkeypatch.setattr("og_integrations.protocol.chat._answers.MAX_EVENTS", 2_000)


def _rows() -> list[object]:
    numbered = enumerate(CATALOGUE)
    return [pytest.param((generation_of(fault), i // _ROWS_PER_NETWORK), fault, id=fault) for i, fault in numbered]


@pytest.mark.parametrize(("net", "fault"), _rows(), indirect=["net"], scope="module")
def test_fault_ends_as_the_table_says(net: Devnet, watched: list[dict[str, Any]], fault: str) -> None:
    """
    By each method: the outcome of the table, or for a batch one that concurrency may bring instead.

    `judge` adds what holds for every cell, the verdict what the devnet says.
    """
    row = ROWS[fault]
    for way in WAYS:
        cell = met(net, fault, way)
        watched.extend(cell.receipts)
        expected = row.streamed if way in STREAMED else row.whole
        assert cell.outcome in {expected, IN_BATCH.get(fault, "") if way == "batch" else ""}, f"{way}: {cell.error!r}"
        assert min(cell.signed, 1) == row.signed, way
        judge(net, cell)
    verdict = net.verdict()
    assert verdict.clean, f"{verdict}"


def test_table_is_whole_and_written_down() -> None:
    assert ROWS.keys() == CATALOGUE.keys()
    assert DOCUMENT.read_text("utf-8") == page(), "run python -m tests.adapters.langchain.fault_table"

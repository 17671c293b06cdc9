"""
Notebooks are programs: each runs from its first cell to its last, on a devnet that it starts itself.

What is stored of their output is what a reader sees first, so it has to be there, and to be tables.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.sizes import HEAVY_SECONDS

FOLDER = Path(__file__).parent.parent / "cookbook" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TABLES = {"agent": 4, "audit": 2, "rag": 4}
"""Notebook -> how many tables it shows."""


def read(path: Path) -> nbformat.NotebookNode:
    """Return the notebook in a file."""
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def tables_in(notebook: nbformat.NotebookNode) -> int:
    """Return how many outputs of its cells are HTML tables of ours; anything else that is shown is text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output for output in outputs if output.output_type == "error"] == []
    return sum("<table>" in output.get("data", {}).get("text/html", "") for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_with_its_tables(path: Path) -> None:
    """Whoever looks at it on a code host sees receipts, sums and verdicts as tables, and no traceback."""
    assert tables_in(read(path)) == TABLES[path.stem]


def heavy_but(light: str) -> list[object]:
    """Return the notebooks, all but `light` for the full size of the suite: each starts a kernel and a framework."""
    heavy = (pytest.mark.heavy, pytest.mark.timeout(HEAVY_SECONDS))
    return [pytest.param(path, id=path.stem, marks=() if path.stem == light else heavy) for path in NOTEBOOKS]


@pytest.mark.parametrize("path", heavy_but("audit"))
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell works, and receipts, sums and verdicts are shown as tables."""
    for name in ("OG_PRIVATE_KEY", "OPENGRADIENT_PRIVATE_KEY", "OG_KEYSTORE", "OG_NETWORK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = read(path)
    NotebookClient(notebook, timeout=HEAVY_SECONDS, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert tables_in(notebook) == TABLES[path.stem]

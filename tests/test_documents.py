"""
Documents are programs: README, the shop window's docstring and the cookbook run on a devnet.

The Python blocks of one document are run in order in one process, as a reader would paste them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from og_integrations.devnet import Devnet

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "og_integrations" / "__init__.py"]
COOKBOOK = sorted((ROOT / "cookbook").glob("*.py"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT = 50


@pytest.fixture(scope="module")
def network() -> Iterator[dict[str, str]]:
    """Run a devnet and return the variables that point a program to it."""
    with Devnet() as net:
        yield net.environment()


def run(*command: str, environment: dict[str, str], folder: Path) -> None:
    """Run a Python program to its end; a failure shows what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def program_of(document: Path) -> str:
    """Join the blocks of `document`, each on its own line numbers, so that tracebacks point there."""
    text, program = document.read_text(), ""
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        program += "\n" * (line - program.count("\n")) + block[1]
    return program


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_runs(document: Path, network: dict[str, str], tmp_path: Path) -> None:
    """Every Python block works as printed."""
    program = program_of(document)
    assert program, f"{document.name} has no Python block"
    (tmp_path / "blocks.py").write_text(program)
    run("blocks.py", environment=network, folder=tmp_path)


@pytest.mark.parametrize("script", COOKBOOK, ids=lambda path: path.name)
def test_cookbook_script_runs(script: Path, network: dict[str, str], tmp_path: Path) -> None:
    """Every script ends well; the demo starts its own network, as `make demo` does."""
    run(str(script), environment={} if script.name == "demo.py" else network, folder=tmp_path)

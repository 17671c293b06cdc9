"""The workflows and the action of `.github`: no runner was at hand, so what can be checked of them here is."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging import BUDGET_MB, QUICK_STARTS

ROOT = Path(__file__).parent.parent.parent
ACTION = ROOT / ".github" / "actions" / "verify-receipts"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_ALONE = {"all", "evm", "ray"}
"""Extras that are none of their own: all of them, one that needs npm, and Ray, which starts a cluster (tests/jobs)."""


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_may_only_read(path: Path) -> None:
    """A pull request of a stranger gets no token that writes, and no job runs for ever."""
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    assert "${{ github.event" not in path.read_text(), "what a stranger wrote would become a part of a script"


def test_matrix_has_every_python_and_system() -> None:
    matrix = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert [system.split("-")[0] for system in matrix["system"]] == ["ubuntu", "macos", "windows"]


def test_every_extra_has_a_quick_start_and_a_budget() -> None:
    """One that is added is installed alone and tried, here and there."""
    jobs = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    extras = {"core", *PROJECT["optional-dependencies"]} - NOT_ALONE
    assert extras == set(QUICK_STARTS) == set(BUDGET_MB) == set(jobs["wheel"]["strategy"]["matrix"]["extra"])


def test_table_of_sizes_has_the_budgets() -> None:
    """`docs/packaging.md` tells what was measured, and the budget that `make wheel` holds it to."""
    page = (ROOT / "docs" / "packaging.md").read_text()
    found = re.findall(r"^\| `(.+)` \| \d+ \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    rows = {name: (int(size), int(most)) for name, size, most in found}
    assert {name: most for name, (_, most) in rows.items()} == BUDGET_MB
    assert [name for name, (size, most) in rows.items() if size > most] == []


def test_workflow_runs_targets_that_exist() -> None:
    """`make` knows each target that a workflow asks for."""
    targets = (ROOT / "Makefile").read_text()
    runs = [step.get("run", "") for path in WORKFLOWS for job in read(path)["jobs"].values() for step in job["steps"]]
    asked = [run.removeprefix("make ") for run in runs if run.startswith("make ")]
    assert {target for target in asked if f"\n{target}: " not in targets} == set()
    assert {"check", "coverage"} <= set(asked)


@pytest.mark.parametrize(("name", "code", "says"), [("next", 0, "1 verified"), ("junk", 2, "malformed")])
def test_action_verifies_a_folder(name: str, code: int, says: str, tmp_path: Path) -> None:
    """Its script ends as `verify` does, shows the summary on the run's page, and leaves a table."""
    folder = tmp_path / "receipts"
    folder.mkdir()
    saved = ROOT / "tests" / "vectors" / "receipts" / f"{name}.json"
    (folder / "receipt-001.json").write_bytes(saved.read_bytes() if saved.is_file() else b"{}")
    summary, output = tmp_path / "summary.md", tmp_path / "output"
    environment = os.environ | {
        "RECEIPTS": str(folder),
        "TRUST": "file-key",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_OUTPUT": str(output),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    script = ACTION / "verify.sh"
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert says in summary.read_text()
    assert output.read_text() == f"report={tmp_path / 'receipts.csv'}\n"
    assert "receipt-001.json" in (tmp_path / "receipts.csv").read_text()


def test_action_names_what_it_uses() -> None:
    """Each variable of the script is set by the action, and each input is used; none is pasted into a script."""
    text = (ACTION / "action.yml").read_text()
    steps = read(ACTION / "action.yml")["runs"]["steps"]
    assert all("${{" not in step.get("run", "") for step in steps)
    assert {name for name in read(ACTION / "action.yml")["inputs"] if f"inputs.{name} " not in text} == set()

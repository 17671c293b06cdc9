"""What a newcomer types first: help with examples and variables, the cookbook, completion of a shell."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from og_integrations.cli import main
from og_integrations.cli._entry import COMMANDS, module_of, parser_of
from og_integrations.cli._examples import _EXAMPLES, help_of

EXAMPLES = [line for lines in _EXAMPLES.values() for line in lines]


def helped(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Return what `--help` prints on a terminal of 80 columns."""
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    return capsys.readouterr().out


def test_help_shows_examples_and_variables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines to copy stay whole, and the variables stand where somebody looks for them."""
    monkeypatch.setenv("COLUMNS", "80")
    first = helped(capsys)
    assert "\nExamples:\n  og-integrations devnet\n" in first
    assert "\nVariables:\n  OG_PRIVATE_KEY " in first
    asked = helped(capsys, "ask")
    assert '\n  og-integrations ask "Say hello."\n' in asked
    assert "\n  OG_NETWORK " in asked
    for name in COMMANDS:
        assert max(map(len, help_of(name).splitlines()), default=0) <= 88


@pytest.mark.parametrize("line", EXAMPLES)
def test_example_is_a_command(line: str) -> None:
    """What `--help` says to copy is taken by the parser."""
    words = [word for word in shlex.split(re.sub(r" [<>] .*", "", line)) if word != "--help"]
    if words[0] == "workflow" and "run" in words:
        return
    assert parser_of({words[0]: module_of(words[0])}).parse_args(words).command == words[0]


def test_cookbook_is_copied_whole_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever installed the package with pip has the programs and notebooks; nothing of theirs is overwritten."""
    target = tmp_path / "examples"
    assert main(["cookbook", str(target)]) == 0
    assert f"python {target / '01_ask.py'}" in capsys.readouterr().out
    original = Path(__file__).parent.parent.parent / "cookbook"
    assert {file.name for file in target.rglob("*.*")} == {
        file.name for file in original.rglob("*.*") if file.suffix in (".py", ".ipynb")
    }
    assert main(["cookbook", str(target)]) == 2
    assert "has files in it" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert {name for name in COMMANDS if name not in script} == set()
    assert "--trust-file-key" in script


def test_completion_of_bash_completes(tmp_path: Path) -> None:
    """The script is sourced by a real shell, and asked for what begins with "ver"."""
    script = subprocess.run(
        [sys.executable, "-m", "og_integrations", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    asked = (
        f"{script}\nCOMP_WORDS=(og-integrations ver); COMP_CWORD=1; "
        "_shtab_og_integrations og-integrations ver; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert {"verify", "verify-attestation"} <= set(done.stdout.split())


def test_completion_without_shtab_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert 'pip install "og-integrations[completion]"' in capsys.readouterr().err

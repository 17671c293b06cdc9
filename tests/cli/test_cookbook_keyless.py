"""Cookbook programs that are started before the devnet's lines were copied."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COOKBOOK = Path(__file__).parent.parent.parent / "cookbook"


@pytest.mark.parametrize("script", ["01_ask.py", "10_kms_signer.py", "21_llama_query_engine.py"])
def test_cookbook_without_key_ends_in_one_clear_line(script: str, tmp_path: Path) -> None:
    """Below Python's traceback, if there is one, the last line says what to set and where to get it."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("OG_", "OPENGRADIENT_"))}
    done = subprocess.run(
        [sys.executable, str(COOKBOOK / script)], env=bare, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "OG_PRIVATE_KEY" in last
    assert "`og-integrations devnet`" in last

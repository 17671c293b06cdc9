"""`og-integrations devnet --evm`: the devnet of the command line, with a real node as its chain."""

import json
import os
import signal
import subprocess
import sys

import pytest

from og_integrations.cli import main
from og_integrations.client import Client
from og_integrations.client._settings import resolve_settings


@pytest.mark.usefixtures("real_evm")
def test_ctrl_c_settles_on_the_real_chain() -> None:
    """A terminal sends it to all processes in front, but the node has to live until everything is settled."""
    process = subprocess.Popen(
        [sys.executable, "-m", "og_integrations", "devnet", "--port", "0", "--evm", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        settings = resolve_settings(environment=json.loads(process.stdout.readline())["environment"])
        with Client(signer=settings.signer, network=settings.network) as client:
            client.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}])
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, err) == (0, "")
    account = json.loads(out)
    assert int(account["settled"]) == int(account["charged"]) > 0
    assert account["settlements"][0]["transaction_hash"].startswith("0x")


def test_other_nodes_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["devnet", "--evm", "hardhat"])
    assert "anvil" in capsys.readouterr().err


def test_fault_of_the_node_with_a_real_one_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is fetched or started."""
    monkeypatch.setattr("og_integrations.cli._devnet.Devnet", None)
    assert main(["devnet", "--evm", "--fault", "dead_registry:1"]) == 2
    error = capsys.readouterr().err
    assert "'dead_registry' changes what the devnet's own node answers" in error
    assert "--evm" in error

"""The published packages, unmodified and in environments of their own, run on the devnet (`make test-all`)."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.onchain import OnchainClient
from tests.onchain.test_inference import CANDLES, SHARE
from tests.sizes import HEAVY_SECONDS

PROGRAM = """
import json, sys
import opengradient as og

node, key, model, candles = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
if hasattr(og, "Alpha"):
    alpha = og.Alpha(private_key=key, rpc_url=node, api_url=node)
else:
    alpha = og.init(private_key=key, rpc_url=node, api_url=node).alpha
found = {}
for mode in (og.InferenceMode.VANILLA, og.InferenceMode.TEE, og.InferenceMode.ZKML):
    result = alpha.infer(model, mode, candles)
    found[mode.name] = [result.transaction_hash, float(result.model_output["Y"][0])]
try:
    alpha.infer("QmNothing", og.InferenceMode.VANILLA, candles)
except Exception as exc:
    found["refused"] = str(exc)
query = og.HistoricalInputQuery(
    base="ETH", quote="USD", total_candles=10, candle_duration_in_mins=30, order=og.CandleOrder.ASCENDING,
    candle_types=[og.CandleType.OPEN, og.CandleType.HIGH, og.CandleType.LOW, og.CandleType.CLOSE],
)
address = alpha.new_workflow(model, query, "open_high_low_close", og.SchedulerParams(frequency=60, duration_hours=2))
ran = alpha.run_workflow(address)
read = alpha.read_workflow_result(address)
past = alpha.read_workflow_history(address, 3)
found["workflow"] = [address, float(ran.numbers["Y"][0]), float(read.numbers["Y"][0]), len(past)]
print(json.dumps(found))
"""


def python_with(version: str, folder: Path) -> str:
    """Make an environment with a published version; skip where no registry has it."""
    environment = folder / version
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, f"opengradient=={version}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the package registry has no opengradient {version}")
    return python


@pytest.mark.heavy
@pytest.mark.timeout(HEAVY_SECONDS)
@pytest.mark.parametrize("version", ["1.1.4", "0.7.4"])
def test_published_package_runs_models_and_workflows(own_evm: Devnet, tmp_path: Path, version: str) -> None:
    """Results in all modes, the reason of a refusal, a workflow with its schedule; and we read what it wrote."""
    wallet = own_evm.new_wallet()
    arguments = [own_evm.network.registry_rpc_url, wallet.private_key, VOLATILITY, json.dumps(CANDLES)]
    command = [python_with(version, tmp_path), "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for mode in ("VANILLA", "TEE", "ZKML"):
        assert found[mode][1] == pytest.approx(float(SHARE), rel=1e-6)
    assert "Model not found: QmNothing" in found["refused"]
    address, ran, read, count = found["workflow"]
    assert (ran, count) == (read, 1)
    with OnchainClient(network=own_evm.network) as client:
        theirs = client.resume("0x" + found["TEE"][0])
        assert (theirs.values, theirs.receipt["onchain"]["mode"]) == ({"Y": [SHARE]}, "TEE")
        assert float(client.read_workflow(address).values["Y"][0]) == pytest.approx(read, rel=1e-6)  # type: ignore[index]
        assert [task.contract.lower() for task in client.scheduled_workflows()] == [address.lower()]
        own_evm.advance(3600)
        assert len(client.read_workflow_history(address, 9)) == 2

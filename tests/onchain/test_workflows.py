"""Workflows on a real EVM: deployed, run, scheduled, read with their age."""

import asyncio
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import og_integrations.onchain
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import InvalidRequestError, OnchainError, TransactionRefusedError
from og_integrations.onchain import (
    WORKFLOW_MODELS,
    AsyncOnchainClient,
    CandleOrder,
    CandleType,
    OnchainClient,
    Query,
)

ROOT = Path(__file__).parents[2]
QUERY = Query("ETH", "USD", 10, 30, CandleOrder.ASCENDING, [CandleType.OPEN, CandleType.HIGH, CandleType.LOW, 3])


def deploy(client: OnchainClient) -> str:
    return client.deploy_workflow(VOLATILITY, "open_high_low_close", QUERY)


def test_workflow_from_its_deployment_to_its_history(own_evm: Devnet) -> None:
    """Each result has its block and time; the newest is first."""
    with OnchainClient(private_key=own_evm.private_key, network=own_evm.network) as client:
        address = deploy(client)
        before = client.read_workflow(address)
        assert (before.values, before.age, client.read_workflow_history(address, 3)) == ({}, None, [])
        first = client.run_workflow(address)
        assert 0 < first.values["Y"][0] < 0.2  # type: ignore[index]
        own_evm.advance(7200)
        second = client.run_workflow(address)
        assert second.output != first.output
        newest = client.read_workflow(address, max_age=60)
        assert (newest.output, newest.block, newest.transaction_hash) == (
            second.output,
            second.block,
            second.transaction_hash,
        )
        assert client.read_workflow_history(address, 5) == [second.output, first.output]
        own_evm.advance(100)
        assert client.read_workflow(address).age in range(100, 130)


def test_schedule_is_kept_changed_and_ended(own_evm: Devnet) -> None:
    """A failure of the scheduler is an error; the published client prints it and goes on."""
    assert own_evm.models is not None
    with OnchainClient(private_key=own_evm.private_key, network=own_evm.network) as client:
        address = deploy(client)
        with pytest.raises(TransactionRefusedError, match=r"no such task.*Nothing was sent"):
            client.unschedule_workflow(address)
        client.schedule_workflow(address, every=60, duration=7200)
        with pytest.raises(TransactionRefusedError, match="task exists"):
            client.schedule_workflow(address, every=60, duration=7200)
        client.schedule_workflow(address, every=600, duration=7200, change=True)
        (task,) = client.scheduled_workflows()
        assert (task.contract.lower(), task.frequency) == (address.lower(), 600)
        own_evm.advance(601)
        own_evm.advance(60)
        assert len(client.read_workflow_history(address, 9)) == 1
        own_evm.models.ignored.add(address.lower())
        own_evm.advance(3600)
        with pytest.raises(OnchainError, match=r"is 3\d\d\d s old, expected at most 900 s. Do not use it"):
            client.read_workflow(address, max_age=900)
        client.unschedule_workflow(address)
        assert client.scheduled_workflows() == []


def test_reading_needs_no_key(evm: Devnet, chain: OnchainClient) -> None:
    address = deploy(chain)
    chain.run_workflow(address)

    async def read() -> Any:
        async with AsyncOnchainClient(network=evm.network) as reader:
            return await reader.read_workflow(address), await reader.read_workflow_history(address, 1)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("OG_PRIVATE_KEY", "OPENGRADIENT_PRIVATE_KEY", "OG_ONCHAIN_PRIVATE_KEY"):
            patch.delenv(name, raising=False)
        newest, kept = asyncio.run(read())
    assert [newest.output] == kept


def test_where_there_is_no_workflow(chain: OnchainClient) -> None:
    with pytest.raises(OnchainError, match="There is no workflow at 0x0b0b"):
        chain.read_workflow("0x" + "0b" * 20)
    with pytest.raises(InvalidRequestError, match="is no address"):
        chain.read_workflow("0x12")
    with pytest.raises(InvalidRequestError, match="num_results is 0"):
        chain.read_workflow_history("0x" + "0b" * 20, 0)


def test_workflow_of_an_unknown_model_fails_before_it_is_paid(chain: OnchainClient) -> None:
    address = chain.deploy_workflow("QmNothing", "x", QUERY)
    with pytest.raises(TransactionRefusedError, match=r"Model not found: QmNothing.*Nothing was sent"):
        chain.run_workflow(address)


def test_known_workflows_are_data() -> None:
    assert len(WORKFLOW_MODELS) == 7
    assert {len(model.address) for model in WORKFLOW_MODELS.values()} == {42}


def test_shipped_bytecode_is_what_the_source_compiles_to() -> None:
    if importlib.metadata.version("vyper") != "0.4.3":
        return
    source = ROOT / "og_integrations" / "devnet" / "chain" / "contracts" / "Workflow.vy"
    command = [sys.executable, "-m", "vyper", "-f", "bytecode", str(source)]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "og_integrations" / "onchain" / "workflow.hex").read_text() == made


def test_names_are_real_and_nothing_heavy_is_loaded() -> None:
    assert [name for name in og_integrations.onchain.__all__ if not hasattr(og_integrations.onchain, name)] == []
    heavy = {"numpy", "onnxruntime", "web3", "eth_abi", "eth_account", "httpx"}
    code = f"import sys; from og_integrations.onchain import OnchainClient; print(*({heavy} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.returncode) == ([], 0), ran.stderr


def test_page_in_the_documents_runs(real_evm: None, tmp_path: Path) -> None:
    """Its program is run here, where an EVM node is there."""
    program, _ = re.findall(r"^```py\n(.*?)^```$", (ROOT / "docs" / "onchain.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "page.py").write_text(program)
    ran = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("[Decimal('0.02250000275671482086181640625')] verified 0x")

"""The budget of gas has the rules of the store: held before signing, given back, in doubt in full, shared."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client.stores._sqlite import BudgetFile
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._inference import ModelNode
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import (
    ConfigurationError,
    GasBudgetExceededError,
    SpendingStoppedError,
    TransactionInDoubtError,
    TransactionRefusedError,
    TransactionRevertedError,
)
from og_integrations.onchain import AsyncOnchainClient, GasBudget, OnchainClient
from tests.onchain.test_inference import CANDLES

COIN = 10**18


def client_of(net: Devnet, budget: GasBudget, **options: Any) -> OnchainClient:
    return OnchainClient(private_key=net.new_wallet().private_key, network=net.network, gas_budget=budget, **options)


@pytest.mark.parametrize("stored", [False, True])
def test_what_it_cost_counts(evm: Devnet, models: ModelNode, tmp_path: Path, stored: bool) -> None:
    """In the end that, and not what it might have cost; the same in a file, under a name of its own."""
    path = tmp_path / "budget.db"
    budget = GasBudget(COIN, store=path if stored else None)
    with client_of(evm, budget) as client:
        result = client.infer(VOLATILITY, CANDLES)
    cost = int(result.receipt["onchain"]["cost"])
    assert 0 < budget.spent == cost
    if stored:
        assert GasBudget(COIN, store=path).spent == cost
        assert GasBudget(COIN, store=path, account="other").spent == 0

    async def infer() -> None:
        async with AsyncOnchainClient(
            private_key=evm.new_wallet().private_key, network=evm.network, gas_budget=budget
        ) as client:
            await client.infer(VOLATILITY, CANDLES)

    asyncio.run(infer())
    assert budget.spent > cost


@pytest.mark.parametrize(
    ("limits", "said"),
    [({"total": 1}, "total"), ({"per_hour": 1}, "per_hour"), ({"total": COIN, "per_day": 1}, "per_day")],
)
def test_each_limit_refuses_before_the_key_is_used(evm: Devnet, limits: Any, said: str) -> None:
    budget = GasBudget(**limits)
    with (
        client_of(evm, budget) as client,
        pytest.raises(GasBudgetExceededError, match=rf"\({said}\) are spent or held. Nothing was sent"),
    ):
        client.infer(VOLATILITY, CANDLES)
    assert budget.spent == 0


def test_kill_switch_of_the_store_stops_gas_too(evm: Devnet, tmp_path: Path) -> None:
    path = tmp_path / "budget.db"
    BudgetFile(path, "gas").stop("lunch")
    with client_of(evm, GasBudget(COIN, store=path)) as client, pytest.raises(SpendingStoppedError, match="lunch"):
        client.infer(VOLATILITY, CANDLES)


def test_what_was_refused_is_given_back(evm: Devnet, chain: OnchainClient) -> None:
    budget = GasBudget(COIN)
    with client_of(evm, budget) as client, pytest.raises(TransactionRefusedError):
        client.infer("QmNothing", CANDLES)
    assert budget.spent == 0


def test_what_reverted_counts(evm: Devnet, models: ModelNode, arm: Callable[[str], None]) -> None:
    arm("reverts")
    budget = GasBudget(COIN)
    with client_of(evm, budget) as client, pytest.raises(TransactionRevertedError):
        client.infer(VOLATILITY, {"open_high_low_close": [[100.0, 111.0, 99.25, 100.1]] * 10})
    assert budget.spent > 0


def test_what_is_in_doubt_counts_in_full_until_it_is_seen(own_evm: Devnet, tmp_path: Path) -> None:
    """`resume` sees what it did cost."""
    node = own_evm.chain.node  # type: ignore[attr-defined]
    budget = GasBudget(COIN, store=tmp_path / "budget.db")
    with client_of(own_evm, budget, timeout=1.5) as client:
        node.rpc("evm_setAutomine", False)
        with pytest.raises(TransactionInDoubtError) as caught:
            client.infer(VOLATILITY, CANDLES)
        held = budget.spent
        node.rpc("evm_mine")
        tx_hash = caught.value.transaction_hash
        assert tx_hash is not None
        resumed = client.resume(tx_hash)
    assert budget.spent == int(resumed.receipt["onchain"]["cost"]) < held


def test_budget_in_memory_is_not_spent_from_a_fork(evm: Devnet) -> None:
    """There its limits would count anew."""
    budget = GasBudget(COIN)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            budget.claim(1)
        except ConfigurationError as exc:
            os.write(write, str(exc).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as said:
        assert "made before a fork" in said.read()


@pytest.mark.parametrize("total", [-1, 1.5, True, "1"])
def test_budget_is_wei(total: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"total is .*expected wei"):
        GasBudget(total)

"""A devnet whose chain is a real EVM node, for all tests that ask for it; skipped where npm is not."""

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from og_integrations.client import Client
from og_integrations.devnet import Devnet, Wallet
from og_integrations.devnet.chain._evm import fetch_anvil, fetch_permit2
from og_integrations.errors import ConfigurationError


@pytest.fixture(scope="session")
def real_evm() -> None:
    """Skip what needs an EVM node if there is none to be had."""
    try:
        fetch_permit2()
        fetch_anvil()
    except (ConfigurationError, subprocess.SubprocessError) as exc:
        pytest.skip(f"no real EVM: {exc}")


@pytest.fixture(scope="session")
def evm(real_evm: None) -> Iterator[Devnet]:
    """One node for all tests; each takes a wallet of its own, and none moves the clock."""
    with Devnet(evm="anvil") as net:
        yield net


@pytest.fixture
def own_evm(real_evm: None) -> Iterator[Devnet]:
    """A node of one's own, for tests that move the clock."""
    with Devnet(evm="anvil") as net:
        yield net


@pytest.fixture
def make_client(evm: Devnet) -> Iterator[Callable[..., Client]]:
    """Clients of given wallets, closed at the end."""
    clients: list[Client] = []

    def make(wallet: Wallet, **options: Any) -> Client:
        clients.append(Client(private_key=wallet.private_key, network=evm.network, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[Devnet, float], None]:
    """Let time pass for everybody: this machine, the devnet, and its chain."""
    real, ahead = time.time, [0.0]

    def let_pass(net: Devnet, seconds: float) -> None:
        ahead[0] += seconds
        # Only now: a devnet that starts keeps the machine's clock as it then is, and has one of its own to advance.
        monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
        net.advance(seconds)

    return let_pass

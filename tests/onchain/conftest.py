"""The real chain of the money's tests, and its faults, armed for one test."""

from collections.abc import Callable, Iterator

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet.chain._inference import ModelNode
from og_integrations.onchain import OnchainClient
from tests.ledger.conftest import to
from tests.money.conftest import evm, own_evm, real_evm

__all__ = ["evm", "models", "own_evm", "real_evm", "to"]


@pytest.fixture
def models(evm: Devnet) -> Iterator[ModelNode]:
    """The node that runs models, without faults afterwards."""
    assert evm.models is not None
    yield evm.models
    evm.models.clear_faults()


@pytest.fixture
def chain(evm: Devnet) -> Iterator[OnchainClient]:
    """A client with a wallet of its own."""
    with OnchainClient(private_key=evm.new_wallet().private_key, network=evm.network, result_timeout=1) as client:
        yield client


@pytest.fixture
def arm(evm: Devnet, models: ModelNode) -> Callable[[str], None]:
    """Return what arms a fault by name."""
    return evm.inject

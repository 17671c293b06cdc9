"""Faults of a devnet with a real EVM: those of the gateways happen, those of a node of its own are refused."""

import pytest

from og_integrations.client import Client
from og_integrations.devnet import CATALOGUE, Devnet, Fault
from og_integrations.errors import ConfigurationError, VerificationError
from tests.money.recorded_payments import MODEL

OF_THE_NODE = [fault for fault in CATALOGUE.values() if fault.registry or fault.rpc]


@pytest.mark.parametrize("fault", OF_THE_NODE, ids=lambda fault: fault.name)
def test_fault_of_the_node_with_a_real_one_is_refused(evm: Devnet, fault: Fault) -> None:
    """By name and as an object; it would do nothing, and a test of it would show nothing."""
    for given in (fault.name, fault):
        with pytest.raises(ConfigurationError, match=rf"'{fault.name}' changes .* with evm=\"anvil\" .*do nothing"):
            evm.inject(given, times=1)


def test_fault_of_a_gateway_with_a_real_node_happens(own_evm: Devnet) -> None:
    own_evm.inject("bad_signature", times=1)
    with Client(private_key=own_evm.private_key, network=own_evm.network) as client, pytest.raises(VerificationError):
        client.chat(MODEL, [{"role": "user", "content": "hi"}])

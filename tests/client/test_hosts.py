"""`SpendPolicy.hosts` is asked before an enclave is: the prompt goes nowhere else."""

import dataclasses
from collections.abc import Callable

import pytest

from og_integrations.client import Client
from og_integrations.devnet import Devnet, Fault
from og_integrations.errors import HostRefusedError
from og_integrations.protocol.proof._enclave import Enclave
from tests.client.ways_to_ask import MODEL, user


def elsewhere(good: str) -> Callable[[list[Enclave]], list[Enclave]]:
    """Return a lie of the registry: all but `good` are at another name of this machine."""

    def listed(enclaves: list[Enclave]) -> list[Enclave]:
        return [
            item
            if item.endpoint == good
            else dataclasses.replace(item, endpoint=item.endpoint.replace("127.0.0.1", "localhost"))
            for item in enclaves
        ]

    return listed


@pytest.mark.parametrize("spread", [False, True])
def test_enclaves_on_other_hosts_are_not_chosen(spread: bool) -> None:
    """Every client works, not one out of three by chance."""
    with Devnet(enclaves=3) as net:
        net.inject(Fault(name="names", about="", registry=elsewhere(net.enclaves[0].endpoint)))
        for _ in range(6):
            policy = {"hosts": ["127.0.0.1"]}
            with Client(private_key=net.private_key, network=net.network, spend_policy=policy, spread=spread) as client:
                assert client.chat(MODEL, user("hi")).receipt["enclave"]["endpoint"] == net.enclaves[0].endpoint


def test_no_enclave_on_the_hosts_is_said_before_anything_is_sent() -> None:
    policy = {"hosts": ["good.example"]}
    with Devnet() as net, Client(private_key=net.private_key, network=net.network, spend_policy=policy) as client:
        with pytest.raises(HostRefusedError, match=r"expected one of \['good\.example'\]\. Nothing was sent"):
            client.chat(MODEL, user("secret"))
        assert net.stats().requests == 0

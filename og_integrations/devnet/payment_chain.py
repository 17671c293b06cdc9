"""Which chain a devnet has, and the facilitator that settles on it."""

import socket
from collections.abc import Iterable
from typing import Literal

from og_integrations.devnet.chain import Chain
from og_integrations.devnet.clock import Clock
from og_integrations.devnet.facilitator import Facilitator
from og_integrations.errors import ConfigurationError
from og_integrations.networks import Network

FACILITATOR_ADDRESS = "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3"
"""The facilitator of the captures."""
Evm = Literal["anvil"]


def open_chain(
    network: Network, clock: Clock, evm: Evm | None, opened: Iterable[socket.socket]
) -> tuple[Chain, Facilitator]:
    """
    Return a chain made of Python, or with `evm` a real one (its `network` then names the node).

    Raises `ConfigurationError` if what the real one needs is missing, after closing the sockets `opened`.
    """
    if evm is None:
        chain = Chain(network, clock)
        return chain, Facilitator(chain, FACILITATOR_ADDRESS)
    from og_integrations.devnet.evm import EvmFacilitator, open_evm

    try:
        if clock.is_replaced:
            raise ConfigurationError("A real EVM has a clock of its own: give `evm` or `clock`, and use `advance`.")
        node = open_evm(network, clock)
    except ConfigurationError:
        for sock in opened:
            sock.close()
        raise
    return node, EvmFacilitator(node, FACILITATOR_ADDRESS)

"""What `doctor` looks at on the side of the wallet: its chain, clock, OPG, allowance and gas."""

import time
from collections.abc import Iterator

from og_integrations.cli.attempt import NotEnoughError, attempt
from og_integrations.client._settings import Settings
from og_integrations.client.chain.jsonrpc import (
    Fetching,
    Reader,
    as_number,
    check_chain,
    quantity,
    read_allowance,
    read_balance,
    read_block,
)
from og_integrations.client.channels.pool import server_of
from og_integrations.networks import OPG
from og_integrations.protocol.payment.policy import format_opg
from og_integrations.protocol.payment.x402 import PaymentRequirements
from og_integrations.protocol.proof.verification import Check

USUALLY_NEEDED = OPG // 10
"""What gateways ask to authorize, in base units, where none could be asked."""
MOST_SKEW = 60
"""Seconds by which clock and chain may differ: blocks take time, and enclaves' timestamps are checked."""
_NAMES = ("clock", "opg", "allowance", "gas")


class WalletChecks:
    """The checks in their order; gateways refuse a wallet that owns or allows less than the cap of their `offer`."""

    def __init__(self, reader: Reader, settings: Settings, offer: PaymentRequirements | None) -> None:
        self._reader = reader
        self._settings = settings
        self._needed = USUALLY_NEEDED if offer is None else offer.amount
        self._who = "gateways ask" if offer is None else "the gateway asks"

    def checks(self) -> Iterator[Check]:
        """Make and yield one check after the other."""
        network, signer = self._settings.network, self._settings.signer
        node = attempt(
            self._reader,
            "chain",
            check_chain(network.rpc_url, network.chain_id),
            lambda _: f"{server_of(network.rpc_url)} serves {network.caip2}",
        )
        yield node
        if node.result == "fail":
            yield from (Check(name, "skip", "the payment chain is not there") for name in _NAMES)
            return
        yield attempt(
            self._reader, "clock", _skew(network.rpc_url), lambda skew: f"{abs(skew)} s from the chain's newest block"
        )
        if signer is None:
            yield from (Check(name, "skip", "there is no wallet") for name in _NAMES[1:])
            return
        asked = f"{self._who} to authorize {format_opg(self._needed)}"
        owning = f"the wallet owns {{}} OPG, and {asked}: send OPG to it"
        reading = _enough(read_balance(network, signer.address), self._needed, owning)
        yield attempt(self._reader, "opg", reading, _owned)
        allowing = f"Permit2 may take {{}} OPG, and {asked}: run `og-integrations approve`"
        reading = _enough(read_allowance(network, signer.address), self._needed, allowing)
        allowance = attempt(self._reader, "allowance", reading, _allowed)
        yield allowance
        if allowance.result == "pass":
            yield Check("gas", "skip", "not needed any more: paying costs the wallet no gas")
            return
        paying = "the wallet owns {} ETH, and the approval costs a little gas: send ETH to it"
        reading = _enough(quantity(network.rpc_url, "eth_getBalance", signer.address, "latest"), 1, paying)
        yield attempt(self._reader, "gas", reading, lambda wei: f"{format_opg(wei)} ETH")


def _skew(rpc_url: str) -> Fetching[int]:
    block = yield from read_block(rpc_url, "latest")
    skew = int(time.time()) - as_number(block.get("timestamp"), rpc_url)
    if abs(skew) > MOST_SKEW:
        raise NotEnoughError(
            f"this machine's clock is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the chain's newest "
            "block; set it (NTP), or the node has stopped"
        )
    return skew


def _enough(reading: Fetching[int], least: int, complaint: str) -> Fetching[int]:
    value = yield from reading
    if value < least:
        raise NotEnoughError(complaint.format(format_opg(value)))
    return value


def _owned(amount: int) -> str:
    return f"{format_opg(amount)} OPG"


def _allowed(amount: int) -> str:
    return "Permit2 may take " + ("everything" if amount >= 2**160 else _owned(amount))

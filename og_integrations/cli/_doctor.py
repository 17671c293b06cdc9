"""
`og-integrations doctor`: what stands between you and an answer, each with its fix. Nothing is signed or paid.

A check that cannot be made because an earlier one failed is a skip, never a pass.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import TypeVar

from og_integrations import __version__
from og_integrations._urls import server_of
from og_integrations.cli._terminal import DEFAULT_MODEL, check_marks, model, one_line
from og_integrations.client import Engine
from og_integrations.client._directory import accepted_enclaves, read_enclaves
from og_integrations.client._probes import probe
from og_integrations.client._settings import Settings
from og_integrations.client._wallet import price_of
from og_integrations.client.chain._jsonrpc import (
    Fetching,
    Reader,
    as_number,
    check_chain,
    quantity,
    read_allowance,
    read_balance,
    read_block,
)
from og_integrations.client.channels._pool import handshake
from og_integrations.errors import OpenGradientError
from og_integrations.models import TEE_LLM, model_name
from og_integrations.networks import OPG, format_opg
from og_integrations.protocol.payment._x402 import PaymentRequirements
from og_integrations.protocol.proof._enclave import Enclave, EnclavePolicy
from og_integrations.receipt import Check

T = TypeVar("T")
_FRAMEWORKS = ("langchain-core", "llama-index-core")
MOST_HANDSHAKES = 5
LEAST_NEEDED = OPG // 10
"""The least that any gateway asks to authorize, in base units: with less no call at all can be paid."""
MOST_SKEW = 60
"""Seconds by which clock and chain may differ: blocks take time, and enclaves' timestamps are checked."""
_WALLET_CHECKS = ("clock", "opg", "allowance", "gas")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `doctor`."""
    command.description = (
        "Read-only: nothing is signed or paid. One enclave is asked for its price, by an unpaid request that says "
        "'ping'. Exit code: 0 ready, 1 something is to be fixed."
    )
    command.add_argument(
        "--model", type=model, default=DEFAULT_MODEL, help="provider/name to look at (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="one JSON line per check")


def run(arguments: argparse.Namespace) -> int:
    """Print every check as it is made; 1 if one failed."""
    failed = 0
    marks = check_marks()
    with Reader() as reader:
        for check in _checks(reader, arguments.model):
            failed += check.result == "fail"
            if arguments.json:
                print(json.dumps(check.to_json()), flush=True)
            else:
                print(f"{marks[check.result]} {check.id:13}{one_line(check.detail)}", flush=True)
    if not arguments.json:
        print(f"\n{failed} to fix." if failed else "\nReady.")
    return 1 if failed else 0


def _checks(reader: Reader, model: str) -> Iterator[Check]:
    """Make and yield the checks in the order in which a call would meet them."""
    yield Check("versions", "pass", ", ".join(_versions()))
    yield _known_model(model)
    try:
        engine = Engine()
    except OpenGradientError as exc:
        yield Check("settings", "fail", str(exc))
        return
    settings, network = engine.settings, engine.settings.network
    where = (
        f"gateway {server_of(settings.gateway_url)}"
        if settings.gateway_url
        else f"registry {network.registry_address} at {server_of(network.registry_rpc_url)}"
    )
    yield Check("settings", "pass", f"network {network.name}, {where}")
    if settings.signer is None:
        yield Check("key", "fail", "no wallet: set OG_PRIVATE_KEY")
    else:
        yield Check("key", "pass", f"wallet {settings.signer.address}")
    gateway = GatewayChecks(reader, engine, model)
    yield from gateway.checks()
    yield from WalletChecks(reader, settings, gateway.offer).checks()


def _known_model(model: str) -> Check:
    if model_name(model) in {known.value for known in TEE_LLM}:
        return Check("model", "pass", f"{model} is in the catalogue")
    return Check("model", "skip", f"{model} is not in our catalogue; the gateway decides")


def _versions() -> Iterator[str]:
    yield f"og-integrations {__version__}"
    yield f"Python {sys.version.split()[0]}"
    for name in _FRAMEWORKS:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"


class GatewayChecks:
    """The checks in their order. `offer` is then what a gateway asks for a call, if it may be asked for."""

    def __init__(self, reader: Reader, engine: Engine, model: str) -> None:
        self.offer: PaymentRequirements | None = None
        self._reader = reader
        self._engine = engine
        self._model = model
        self._found: list[Enclave] = []
        self._good = 0
        self._bad: list[str] = []

    def checks(self) -> Iterator[Check]:
        """Make and yield one check after the other."""
        yield attempt(self._reader, "enclaves", self._read(), lambda count: f"{count} found and accepted")
        if not self._found:
            yield Check("certificate", "skip", "there is no enclave to look at")
        for enclave in islice(self._found, MOST_HANDSHAKES):
            yield self._certificate(enclave)
        yield self._generation()
        yield self._price()

    def _generation(self) -> Check:
        good = next((enclave for enclave in self._found if enclave.pinned and enclave.tee_id not in self._bad), None)
        if good is None or not self._good:
            return Check("generation", "skip", "there is no enclave with a pinned certificate to look at")
        found = probe(good)
        return Check(
            "generation",
            "pass",
            f"{good.endpoint} ({found.facts}) looks like {found.generation}: {found.consequences}",
        )

    def _read(self) -> Fetching[int]:
        found = yield from read_enclaves(self._engine.settings)
        self._found = list(accepted_enclaves(found, EnclavePolicy()).values())
        return len(self._found)

    def _certificate(self, enclave: Enclave) -> Check:
        if not enclave.certificate:
            return Check("certificate", "skip", f"{enclave.endpoint} is given by URL: not attested, nothing to pin")
        try:
            handshake(enclave)
        except OpenGradientError as exc:
            self._bad.append(enclave.tee_id)
            return Check("certificate", "fail", str(exc))
        self._good += 1
        return Check("certificate", "pass", f"{enclave.endpoint} shows the certificate that is pinned")

    def _price(self) -> Check:
        if not self._good:
            return Check("price", "skip", "there is no enclave with a pinned certificate to ask")
        try:
            self.offer = offer = price_of(self._engine, self._model, self._bad)
        except OpenGradientError as exc:
            return Check("price", "fail", str(exc))
        return Check(
            "price",
            "pass",
            f"at most {format_opg(offer.amount)} OPG authorized for the next calls (settled by use), payTo "
            f"{offer.pay_to}, valid {offer.max_timeout_seconds} s",
        )


class WalletChecks:
    """The checks in their order; gateways refuse a wallet that owns or allows less than the cap of their `offer`."""

    def __init__(self, reader: Reader, settings: Settings, offer: PaymentRequirements | None) -> None:
        self._reader = reader
        self._settings = settings
        self._needed = LEAST_NEEDED if offer is None else offer.amount
        self._who = "gateways ask at least" if offer is None else "the gateway asks"
        self._but = "; gateways ask for 0.1 to 5, and none could be asked" if offer is None else ""

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
            yield from (Check(name, "skip", "the payment chain is not there") for name in _WALLET_CHECKS)
            return
        yield attempt(
            self._reader, "clock", _skew(network.rpc_url), lambda skew: f"{abs(skew)} s from the chain's newest block"
        )
        if signer is None:
            yield from (Check(name, "skip", "there is no wallet") for name in _WALLET_CHECKS[1:])
            return
        asked = f"{self._who} to authorize {format_opg(self._needed)}"
        owning = f"the wallet owns {{}} OPG, and {asked}: send OPG to it"
        reading = _enough(read_balance(network, signer.address), self._needed, owning)
        yield attempt(self._reader, "opg", reading, lambda amount: _owned(amount) + self._but)
        allowing = f"Permit2 may take {{}} OPG, and {asked}: run `og-integrations approve`"
        reading = _enough(read_allowance(network, signer.address), self._needed, allowing)
        allowance = attempt(self._reader, "allowance", reading, lambda amount: _allowed(amount) + self._but)
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


class NotEnoughError(Exception):
    """A number was read and will not do; the message is the check's."""


def attempt(reader: Reader, name: str, flow: Fetching[T], detail: Callable[[T], str]) -> Check:
    """Return a pass with the `detail` of what `flow` read, or a fail with what it raised."""
    try:
        return Check(name, "pass", detail(reader.run(flow)))
    except (OpenGradientError, NotEnoughError) as exc:
        return Check(name, "fail", str(exc))

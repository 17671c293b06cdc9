"""
`og-integrations doctor`: what stands between you and an answer, each with its fix. Read-only.

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
from og_integrations.cli.terminal import one_line
from og_integrations.client.chain_reads import (
    as_number,
    check_chain,
    quantity,
    read_allowance,
    read_balance,
    read_block,
)
from og_integrations.client.directory import accepted_enclaves, read_enclaves
from og_integrations.client.fetching import Reader
from og_integrations.client.handshake import handshake
from og_integrations.client.rpc import Fetching
from og_integrations.client.settings import Settings, resolve_settings
from og_integrations.errors import OpenGradientError
from og_integrations.models import TEE_LLM, model_name
from og_integrations.networks import OPG
from og_integrations.protocol.budget import format_opg
from og_integrations.protocol.checks import Check
from og_integrations.protocol.enclave import Enclave, EnclavePolicy

NEEDED = OPG // 10
"""What gateways ask to authorize, in base units."""
MOST_SKEW = 60
"""Seconds by which clock and chain may differ: blocks take time, and enclaves' timestamps are checked."""
MOST_HANDSHAKES = 5
_FRAMEWORKS = ("langchain-core", "llama-index-core")
_MARKS = {"pass": "✓", "fail": "✗", "skip": "-"}
_PLAIN_MARKS = {"pass": "+", "fail": "!", "skip": "-"}
T = TypeVar("T")


def run(arguments: argparse.Namespace) -> int:
    """Print every check as it is made; 1 if one failed."""
    failed = 0
    marks = _MARKS if "utf" in (sys.stdout.encoding or "").lower() else _PLAIN_MARKS
    with Reader() as reader:
        for check in Examination(reader, arguments.model).checks():
            failed += check.result == "fail"
            if arguments.json:
                print(json.dumps(check.to_json()), flush=True)
            else:
                print(f"{marks[check.result]} {check.id:13}{one_line(check.detail)}", flush=True)
    if not arguments.json:
        print(f"\n{failed} to fix." if failed else "\nReady.")
    return 1 if failed else 0


class Examination:
    """The checks, in the order in which a call would meet them."""

    def __init__(self, reader: Reader, model: str) -> None:
        self._reader = reader
        self._model = model
        self._allowance = 0

    def checks(self) -> Iterator[Check]:
        """Make and yield one check after the other."""
        yield Check("versions", "pass", ", ".join(_versions()))
        yield self._known_model()
        try:
            settings = resolve_settings()
        except OpenGradientError as exc:
            yield Check("settings", "fail", str(exc))
            return
        network = settings.network
        where = settings.gateway_url or f"registry {network.registry_address} at {network.registry_rpc_url}"
        yield Check("settings", "pass", f"network {network.name}, {where}")
        yield from self._wallet(settings)
        yield from self._enclaves(settings)

    def _known_model(self) -> Check:
        if model_name(self._model) in {model.value for model in TEE_LLM}:
            return Check("model", "pass", f"{self._model} is in the catalogue")
        return Check("model", "skip", f"{self._model} is not in our catalogue; the gateway decides")

    def _wallet(self, settings: Settings) -> Iterator[Check]:
        network, signer = settings.network, settings.signer
        if signer is None:
            yield Check("key", "fail", "no wallet: set OG_PRIVATE_KEY")
        else:
            yield Check("key", "pass", f"wallet {signer.address}")
        node = self._attempt(
            "chain",
            check_chain(network.rpc_url, network.chain_id),
            lambda _: f"{network.rpc_url} serves {network.caip2}",
        )
        yield node
        if node.result == "fail":
            yield from (Check(name, "skip", "the payment chain is not there") for name in _WALLET_CHECKS)
            return
        yield self._clock(network.rpc_url)
        if signer is None:
            yield from (Check(name, "skip", "there is no wallet") for name in _WALLET_CHECKS[1:])
            return
        yield self._attempt("opg", _enough(read_balance(network, signer.address), _SEND_OPG), _owned)
        allowance = self._attempt("allowance", _enough(read_allowance(network, signer.address), _APPROVE), _allowed)
        yield allowance
        if allowance.result == "pass":
            yield Check("gas", "skip", "not needed any more: paying costs the wallet no gas")
        else:
            reading = quantity(network.rpc_url, "eth_getBalance", signer.address, "latest")
            yield self._attempt("gas", _enough(reading, _SEND_ETH, least=1), lambda wei: f"{format_opg(wei)} ETH")

    def _clock(self, rpc_url: str) -> Check:
        def read() -> Fetching[int]:
            block = yield from read_block(rpc_url, "latest")
            skew = int(time.time()) - as_number(block.get("timestamp"), rpc_url)
            if abs(skew) > MOST_SKEW:
                raise _NotEnoughError(
                    f"this machine's clock is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the chain's newest "
                    "block; set it (NTP), or the node has stopped"
                )
            return skew

        return self._attempt("clock", read(), lambda skew: f"{abs(skew)} s from the chain's newest block")

    def _enclaves(self, settings: Settings) -> Iterator[Check]:
        found: list[Enclave] = []

        def read() -> Fetching[int]:
            found.extend(accepted_enclaves((yield from read_enclaves(settings)), EnclavePolicy()).values())
            return len(found)

        yield self._attempt("enclaves", read(), lambda count: f"{count} found and accepted")
        if not found:
            yield Check("certificate", "skip", "there is no enclave to look at")
        for enclave in islice(found, MOST_HANDSHAKES):
            if not enclave.certificate:
                yield Check("certificate", "skip", f"{enclave.endpoint} is given by URL: not attested, nothing to pin")
                continue
            try:
                handshake(enclave)
            except OpenGradientError as exc:
                yield Check("certificate", "fail", str(exc))
            else:
                yield Check("certificate", "pass", f"{enclave.endpoint} shows the certificate that is pinned")

    def _attempt(self, name: str, flow: Fetching[T], detail: Callable[[T], str]) -> Check:
        try:
            return Check(name, "pass", detail(self._reader.run(flow)))
        except (OpenGradientError, _NotEnoughError) as exc:
            return Check(name, "fail", str(exc))


class _NotEnoughError(Exception):
    """A number was read and will not do; the message is the check's."""


_WALLET_CHECKS = ("clock", "opg", "allowance", "gas")
_SEND_OPG = "the wallet owns {} OPG, and gateways ask to authorize 0.1: send OPG to it"
_SEND_ETH = "the wallet owns {} ETH, and the approval costs a little gas: send ETH to it"
_APPROVE = "Permit2 may take {} OPG, and gateways ask for 0.1: run `og-integrations approve`"


def _enough(reading: Fetching[int], complaint: str, least: int = NEEDED) -> Fetching[int]:
    value = yield from reading
    if value < least:
        raise _NotEnoughError(complaint.format(format_opg(value)))
    return value


def _owned(amount: int) -> str:
    return f"{format_opg(amount)} OPG"


def _allowed(amount: int) -> str:
    return "Permit2 may take " + ("everything" if amount >= 2**160 else _owned(amount))


def _versions() -> Iterator[str]:
    yield f"og-integrations {__version__}"
    yield f"Python {sys.version.split()[0]}"
    for name in _FRAMEWORKS:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"

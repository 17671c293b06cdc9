"""
`og-integrations doctor`: what stands between you and an answer, each with its fix. Nothing is signed or paid.

A check that cannot be made because an earlier one failed is a skip, never a pass.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from og_integrations import __version__
from og_integrations.cli.gateway_checks import GatewayChecks
from og_integrations.cli.terminal import check_marks, one_line
from og_integrations.cli.wallet_checks import WalletChecks
from og_integrations.client import Engine
from og_integrations.client.chain.jsonrpc import Reader
from og_integrations.client.channels.channel import server_of
from og_integrations.errors import OpenGradientError
from og_integrations.models import TEE_LLM, model_name
from og_integrations.protocol.proof.verification import Check

_FRAMEWORKS = ("langchain-core", "llama-index-core")


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

"""`og-integrations devnet`: the whole network on this machine, until Ctrl-C."""

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from og_integrations.cli._terminal import count, opg, port, url, whole
from og_integrations.devnet import CATALOGUE, SERVICE_FAULTS, Devnet, Wallet
from og_integrations.devnet._generations import GENERATIONS
from og_integrations.devnet.faults import find_fault, refuse_without_node
from og_integrations.errors import ConfigurationError
from og_integrations.networks import format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._policy import parse_opg

DEFAULT_PORT = 8545
_READ_BYTES = 65_536
_MOST_COLUMNS = 72
_WAIT_SECONDS = 0.5
"""How long a wait that cannot be interrupted (on Windows) lasts."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `devnet`."""
    command.description = (
        "Run chain, registry, gateways and a scripted model on 127.0.0.1 until Ctrl-C. Costs nothing. Exit code 1: a "
        "client misbehaved as far as its requests show, e.g. paid twice; the last lines say how."
    )
    command.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        help="of the chain's node; 0 is any free one (default: %(default)s)",
    )
    _add_place(command)
    command.add_argument("--enclaves", type=count, default=1, metavar="N", help="gateways to run (default: 1)")
    command.add_argument(
        "--opg", type=opg, default="1000", metavar="AMOUNT", help="OPG in the wallet (default: %(default)s)"
    )
    command.add_argument(
        "--json", action="store_true", help="one JSON line when ready, one with the account at the end"
    )
    command.add_argument(
        "--until-eof", action="store_true", help="end when standard input closes, for programs that start a devnet"
    )
    command.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[:TIMES]",
        help="lie or break in this way (may be repeated; 'list' names them all)",
    )
    command.add_argument(
        "--generation",
        default="april",
        metavar="NAME",
        help=f"how the gateways behave: {', '.join(GENERATIONS)} (default: %(default)s, as captured)",
    )
    command.add_argument(
        "--upstream", type=url, metavar="URL", help="an OpenAI-compatible server that answers for the models"
    )
    _add_more(command)


def _add_more(command: argparse.ArgumentParser) -> None:
    """Declare what may run beside the network, or in place of parts of it."""
    command.add_argument(
        "--services",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="run the model hub (over FOLDER, or until the end) and twins as well",
    )
    command.add_argument(
        "--evm",
        choices=["anvil"],
        nargs="?",
        const="anvil",
        help="a real EVM node (on a port of its own) with the real Permit2 as chain; needs npm and the extra evm",
    )


def _add_place(command: argparse.ArgumentParser) -> None:
    """Declare where it listens, and how others learn of it."""
    command.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen; 0.0.0.0 in a container, for whoever reaches it (default: %(default)s)",
    )
    command.add_argument("--advertise", metavar="NAME", help="by which name others reach it (default: that address)")
    command.add_argument("--env-file", metavar="FILE", help="write the variables for its users there, when ready")


def run(arguments: argparse.Namespace) -> int:
    """
    Serve until Ctrl-C, SIGTERM or (`--until-eof`) the end of standard input.

    Returns 0, or 1 if a client misbehaved: paid twice, repeated what it had paid for, ….
    """
    if "list" in arguments.fault:
        _list_faults(services=arguments.services is not None)
        return 0
    amount = parse_opg(arguments.opg)
    faults = [_fault(text, evm=arguments.evm, services=arguments.services is not None) for text in arguments.fault]
    for number in (signal.SIGINT, signal.SIGTERM):
        # SIGINT too: a shell script's `devnet &` starts with it ignored, and could not be ended.
        signal.signal(number, _interrupt)
    try:
        network = Devnet(
            enclaves=arguments.enclaves,
            rpc_port=arguments.port,
            generation=arguments.generation,
            upstream=arguments.upstream,
            evm=arguments.evm,
            host=arguments.host,
            advertise=arguments.advertise,
        )
    except OSError as exc:
        raise ConfigurationError(
            f"Port {arguments.port} of {arguments.host} cannot be used ({exc.strerror}); --port 0 takes any free one."
        ) from exc
    if arguments.services is not None:
        network.open_services(arguments.services or None)
    with network:
        for name, times in faults:
            network.inject(name, times=times)
        running = RunningDevnet(network, network.new_wallet(opg=amount), amount)
        try:
            running.announce(as_json=arguments.json)
            if arguments.env_file is not None:
                running.write_environment(arguments.env_file)
            _wait(until_eof=arguments.until_eof)
        except KeyboardInterrupt:
            pass
        running.give_account(as_json=arguments.json)
        return network.verdict().exit_code


@dataclass(frozen=True, slots=True)
class RunningDevnet:
    """A devnet with the wallet that its user was given; `opg` is what that started with, in base units."""

    network: Devnet
    wallet: Wallet
    opg: int

    def environment(self) -> dict[str, str]:
        """Return the variables that point a program here."""
        return self.network.environment() | {"OG_PRIVATE_KEY": self.wallet.private_key}

    def write_environment(self, file: str) -> None:
        """Write the variables to `file`, whole or not at all. Raises `ConfigurationError`."""
        lines = "".join(f"export {name}={value}\n" for name, value in self.environment().items())
        target, new = Path(file), Path(f"{file}.new")
        try:
            if target.exists() and not target.is_file():
                # A device or a pipe is written to: replaced, it would be gone for the whole machine.
                target.write_text(lines, encoding="utf-8")
                return
            new.write_text(lines, encoding="utf-8")
            new.replace(target)
        except OSError as exc:
            raise ConfigurationError(f"--env-file {file} cannot be written: {exc}.") from exc

    def announce(self, *, as_json: bool) -> None:
        """Say that it is ready, and how to use it."""
        environment = self.environment()
        gateways = [{"tee_id": enclave.tee_id, "endpoint": enclave.endpoint} for enclave in self.network.enclaves]
        if as_json:
            ready: JsonObject = {
                "environment": environment,
                "rpc_url": self.network.rpc_url,
                "registry_address": self.network.registry_address,
                "wallet": self.wallet.address,
                "opg": format_opg(self.opg),
                "gateways": gateways,
                "generation": self.network.generation.name,
                "enclave_policy": {
                    "attestation": "require",
                    "measurements": sorted({enclave.build for enclave in self.network.enclaves}),
                    "attestation_roots": [self.network.authority.root_sha256],
                },
            }
            print(json.dumps(ready), flush=True)
            return
        print("The OpenGradient devnet runs on this machine. Nothing in it is worth anything.\n")
        print(f"  plays     the gateways of the generation {self.network.generation.name}")
        print(f"  node      {self.network.rpc_url}")
        print(f"  registry  {self.network.registry_address}")
        for gateway in gateways:
            print(f"  gateway   {gateway['endpoint']}  enclave {gateway['tee_id'][:18]}…")
        print(f"  root      {self.network.authority.root_sha256}")
        print(f"  wallet    {self.wallet.address}  {format_opg(self.opg)} OPG")
        print("\nCopy this into another terminal:\n")
        for name, value in environment.items():
            # A line that a terminal wraps is copied in two: a key of 64 digits has to begin a line of its own.
            long = len(name) + len(value) > _MOST_COLUMNS
            print(f"export {name}=\\\n{value}" if long else f"export {name}={value}")
        print('\nThen try:  og-integrations ask "Say hello."\nCtrl-C ends it.', flush=True)

    def give_account(self, *, as_json: bool) -> None:
        """Settle every session, as the facilitator would after a while, and say what was paid."""
        settlements = self.network.settle_all()
        stats = self.network.stats()
        if as_json:
            account: JsonObject = {
                "requests": stats.requests,
                "authorizations": stats.payments,
                "charges": stats.charges,
                "charged": str(stats.charged),
                "settled": str(stats.settled),
                "verdict": list(self.network.verdict().lines),
                "settlements": [
                    {name: value for name, value in asdict(item).items() if name != "session"}
                    | {"amount": str(item.amount), "nonce": str(item.nonce)}
                    for item in self.network.journal.settlements
                ],
            }
            print(json.dumps(account), flush=True)
            return
        print(
            f"\n{stats.requests} requests, {stats.payments} authorizations, {stats.charges} charged answers; "
            f"settled {format_opg(stats.settled)} OPG in {len(settlements)} transactions."
        )
        for line in self.network.verdict().lines:
            print(f"misbehaviour: {line}")


def _list_faults(*, services: bool) -> None:
    """Print the names of all faults, with `services` those of the model hub and twins as well."""
    named = {name: fault.about for name, fault in CATALOGUE.items()}
    if services:
        named |= {name: fault.about for name, fault in SERVICE_FAULTS.items()}
    for name, about in named.items():
        print(f"{name:28} {about}")


def _fault(text: str, *, evm: str | None, services: bool) -> tuple[str, int | None]:
    name, limited, times = text.partition(":")
    if limited and whole(times) < 1:
        raise ConfigurationError(f"--fault {text}: TIMES is {times!r}, expected a whole number above 0.")
    if name in SERVICE_FAULTS:
        if not services:
            raise ConfigurationError(f"--fault {text} is of the model hub or twins: it needs --services.")
        return name, whole(times) if limited else None
    fault = find_fault(name)
    if evm:
        # Before the node is fetched and started.
        refuse_without_node(fault)
    return fault.name, whole(times) if limited else None


def _wait(*, until_eof: bool) -> None:
    if until_eof:
        # Bytes, whatever they say; without standard input at all, it has ended.
        while sys.stdin is not None and sys.stdin.buffer.read(_READ_BYTES):
            pass
        return
    while True:
        time.sleep(_WAIT_SECONDS)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""`og-integrations settlement`: what became of a receipt's payment, asked of the chain."""

import argparse
import json

from og_integrations.cli.terminal import printable, read_input, url
from og_integrations.client import Receipt
from og_integrations.errors import ConfigurationError
from og_integrations.networks import NETWORKS, format_opg
from og_integrations.protocol.payment.reconcile import Settlement, SettlementStatus
from og_integrations.protocol.payment.schemes.upto import Permit2Authorization
from og_integrations.verify.bundle import parse_receipt

_MEANING = {
    SettlementStatus.SETTLED: "the facilitator took what the calls had cost",
    SettlementStatus.CANCELLED: "the wallet's owner made the authorization void; nothing was paid",
    SettlementStatus.UNUSED: "its deadline is over and nothing was taken",
    SettlementStatus.PENDING: "nothing was taken yet; it still can be, until its deadline",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `settlement`."""
    command.description = (
        "Find the settlement of a receipt's payment: settled, cancelled by its owner, unused or pending. Exit code: 0 "
        "it was found out, 1 it was not, 2 no receipt of a payment."
    )
    command.add_argument("file", metavar="FILE", help="a receipt as JSON, - for standard input")
    command.add_argument(
        "--rpc-url", type=url, metavar="URL", help="node of the payment chain (default: OG_RPC_URL, or a public one)"
    )
    command.add_argument("--json", action="store_true", help="one JSON line")


def run(arguments: argparse.Namespace) -> int:
    """Print what the chain says. Raises `ConfigurationError` for a file that is no receipt of a payment."""
    try:
        seen = Receipt(parse_receipt(read_input(arguments.file)))
    except ConfigurationError as exc:
        raise ConfigurationError(f"{arguments.file}: {str(exc).rstrip('.')}.") from None
    found = seen.settlement(arguments.rpc_url)
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        _print(found, seen.authorization)
    return 0


def _print(found: Settlement, signed: Permit2Authorization) -> None:
    print(f"{found.status.value}: {_MEANING[found.status]}")
    taken, cap, unit = str(found.amount), str(signed.amount), f"base units of the unknown token {signed.token}"
    if (signed.chain_id, signed.token) in {(network.chain_id, network.token) for network in NETWORKS.values()}:
        taken, cap, unit = format_opg(found.amount), format_opg(signed.amount), "OPG"
    print(f"  amount       {taken} of {cap} {unit} authorized")
    # Whoever wrote the receipt may have put anybody here: the payer is not among the words that are signed.
    print(f"  payer        {signed.payer}")
    # Recomputed: gateways may have another name for it, and a receipt may say anything.
    print(f"  payment      0x{signed.digest().hex()}")
    if found.transaction_hash:
        print(f"  transaction  {printable(found.transaction_hash)}")
        print(f"  block        {found.block_number}")

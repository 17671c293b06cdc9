"""`og-integrations settlement`: what became of a receipt's payment, asked of the chain."""

import argparse
import json

from og_integrations.cli.saved import UnusableInputError, read_receipt
from og_integrations.cli.terminal import printable
from og_integrations.client import Receipt
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.budget import format_opg
from og_integrations.protocol.settlement import Settlement, SettlementStatus

_MEANING = {
    SettlementStatus.SETTLED: "the facilitator took what the calls had cost",
    SettlementStatus.CANCELLED: "the wallet's owner made the authorization void; nothing was paid",
    SettlementStatus.UNUSED: "its deadline is over and nothing was taken",
    SettlementStatus.PENDING: "nothing was taken yet; it still can be, until its deadline",
}


def run(arguments: argparse.Namespace) -> int:
    """Print what the chain says. Raises `ConfigurationError` for a file that is no receipt of a payment."""
    try:
        receipt = read_receipt(arguments.file)
    except UnusableInputError as exc:
        raise ConfigurationError(f"{arguments.file}: {exc}.") from exc
    found = Receipt(receipt).settlement(arguments.rpc_url)
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        _print(found, receipt["payment"])
    return 0


def _print(found: Settlement, payment: dict[str, object]) -> None:
    print(f"{found.status.value}: {_MEANING[found.status]}")
    cap = format_opg(int(str(payment["max_amount"])))
    print(f"  amount       {format_opg(found.amount)} of {cap} OPG authorized")
    print(f"  payment      {printable(str(payment['payment_hash']))}")
    if found.transaction_hash:
        print(f"  transaction  {printable(found.transaction_hash)}")
        print(f"  block        {found.block_number}")

"""`og-integrations settlement`: what became of the payments of receipts, asked of the chain."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from og_integrations.cli._terminal import printable, url
from og_integrations.client import Receipt
from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.networks import NETWORKS, format_opg
from og_integrations.protocol.payment._reconcile import Settlement, SettlementStatus
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from og_integrations.verify._bundle import Source, parse_receipt, read_file, sources_in, sources_of

_MEANING = {
    SettlementStatus.SETTLED: "the facilitator took what the calls had cost",
    SettlementStatus.CANCELLED: "the wallet's owner made the authorization void; nothing was paid",
    SettlementStatus.UNUSED: "its deadline is over and nothing was taken",
    SettlementStatus.PENDING: "nothing was taken yet; it still can be, until its deadline",
}

_OF_TRANSACTIONS = {
    "mined": "the model was run, and its gas paid",
    "reverted": "only its gas is spent",
    "pending": "a node has it, and it is in no block yet",
    "unknown": "the node does not know it (yet)",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `settlement`."""
    command.description = (
        "Find the settlement of a receipt's payment: settled, cancelled by its owner, unused or pending. Exit code: 0 "
        "it was found out, 1 it was not, 2 no receipt of a payment. Calls that share a payment are grouped."
    )
    command.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a receipt as JSON, JSON Lines (.jsonl), or a folder of them; - for standard input",
    )
    command.add_argument(
        "--rpc-url", type=url, metavar="URL", help="node of the payment chain (default: OG_RPC_URL, or a public one)"
    )
    command.add_argument("--json", action="store_true", help="one JSON line per payment")


def run(arguments: argparse.Namespace) -> int:
    """
    Print what the chain says of each payment; many calls share one, which is asked about once.

    Raises `ConfigurationError` for a single file that is no receipt of a payment.
    """
    sources = list(_sources(arguments.files))
    if len(sources) == 1:
        seen = _receipt(sources[0])
        if seen.kind == "onchain":
            return _of_chain(seen, sources[0].name, as_json=arguments.json)
        try:
            signed = seen.authorization
        except ConfigurationError as exc:
            raise _of(sources[0], exc) from None
        _tell(seen.settlement(arguments.rpc_url), signed, [], as_json=arguments.json)
        return 0
    return _run_many(sources, arguments)


def _run_many(sources: Sequence[Source], arguments: argparse.Namespace) -> int:
    paid: dict[Permit2Authorization, list[tuple[str, Receipt]]] = {}
    unreadable = unasked = unpaid = 0
    for source in sources:
        try:
            receipt = _receipt(source)
            if receipt.kind == "onchain":
                unasked += _of_chain(receipt, source.name, as_json=arguments.json)
            elif receipt.payment is None:
                unpaid += 1
            else:
                paid.setdefault(receipt.authorization, []).append((source.name, receipt))
        except ConfigurationError as exc:
            unreadable += 1
            print(f"og-integrations: {printable(str(_of(source, exc)))}", file=sys.stderr)
    found: list[Settlement] = []
    for signed, receipts in paid.items():
        try:
            settlement = receipts[0][1].settlement(arguments.rpc_url)
        except DiscoveryError as exc:
            unasked += 1
            print(f"og-integrations: {printable(receipts[0][0])}: {printable(str(exc))}", file=sys.stderr)
            continue
        found.append(settlement)
        _tell(settlement, signed, [name for name, _ in receipts], as_json=arguments.json)
    if not arguments.json:
        statuses = Counter(settlement.status.value for settlement in found) + Counter({"not found out": unasked})
        counts = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
        receipts_paid = sum(map(len, paid.values()))
        print(f"{len(paid)} payments of {receipts_paid} receipts: {counts or 'none'}")
        if unpaid or unreadable:
            print(f"{unpaid} receipts without a payment, {unreadable} that cannot be read")
    return 1 if unasked else 2 if unreadable else 0


def _of_chain(receipt: Receipt, name: str, *, as_json: bool) -> int:
    """Print what became of the transaction of a model on chain; 1 if that could not be found out."""
    from og_integrations.onchain import OnchainClient

    if receipt.transaction_hash is None:
        raise ConfigurationError(f"{name}: This receipt of a model on chain names no transaction: none was sent.")
    try:
        with OnchainClient() as client:
            found = client.lookup(receipt.transaction_hash)
    except DiscoveryError as exc:
        print(f"og-integrations: {printable(name)}: {printable(str(exc))}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(asdict(found) | {"cost": None if found.cost is None else str(found.cost)}), flush=True)
        return 0
    print(f"{found.status}: {_OF_TRANSACTIONS[found.status]}")
    print(f"  transaction  {printable(found.transaction_hash)}")
    if found.block_number is not None:
        print(f"  block        {found.block_number}")
    if found.cost is not None:
        print(f"  gas          {format_opg(found.cost)} of the chain's coin")
    return 0


def _sources(names: Sequence[str]) -> Iterator[Source]:
    for name in names:
        yield from sources_of(sys.stdin.buffer, name) if name == "-" else sources_in(name)


def _receipt(source: Source) -> Receipt:
    try:
        return Receipt(parse_receipt(source.saved if isinstance(source.saved, bytes) else read_file(source.saved)))
    except ConfigurationError as exc:
        raise _of(source, exc) from None


def _of(source: Source, exc: ConfigurationError) -> ConfigurationError:
    text = str(exc).rstrip(".")
    return ConfigurationError(text + "." if text.startswith(source.name) else f"{source.name}: {text}.")


def _tell(found: Settlement, signed: Permit2Authorization, names: Sequence[str], *, as_json: bool) -> None:
    """Print what became of a payment, and (of many) which files are about it."""
    if as_json:
        of_many = {"payment": f"0x{signed.digest().hex()}", "files": list(names)} if names else {}
        print(json.dumps(found.to_json() | of_many), flush=True)
        return
    _print(found, signed)
    if names:
        print(f"  receipts     {len(names)}, the first is {printable(names[0])}")


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

"""`og-integrations settlement`: what became of the payments of receipts, asked of the chain."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from og_integrations.cli._terminal import printable, url
from og_integrations.cli._verify import documents
from og_integrations.client import Receipt
from og_integrations.client._settings import keyless_settings
from og_integrations.client.chain._inclusion import InclusionStatus, Publication, find_publication
from og_integrations.client.chain._jsonrpc import Reader
from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.networks import NETWORKS, format_opg
from og_integrations.protocol.payment.schemes._settlement import Settlement, SettlementStatus
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from og_integrations.verify._bundle import Source, parse_receipt, read_file

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
        "it was found out, 1 it was not, 2 no receipt of a payment. Calls that share a payment are grouped. With "
        "--inclusion: 0 all are in a published batch, 1 one is not, which is no fault of it, 2 one has no signature."
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
    command.add_argument("--json", action="store_true", help="one JSON line per payment, or per receipt")
    command.add_argument(
        "--inclusion",
        action="store_true",
        help="find the batches that the receipts' hashes were published in, instead of their payments",
    )
    command.add_argument(
        "--batch-contract",
        type=_address,
        metavar="ADDRESS",
        help="with --inclusion: the contract that batches are published at",
    )
    command.add_argument(
        "--aggregator", type=url, metavar="URL", help="with --inclusion: the Walrus aggregator that has their blobs"
    )


def _address(text: str) -> str:
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no address, expected 0x and 40 hex digits")
    return text


def run(arguments: argparse.Namespace) -> int:
    """
    Print what the chain says of each payment; many calls share one, which is asked about once.

    Raises `ConfigurationError` for a single file that is no receipt of a payment.
    """
    sources = list(documents(arguments.files))
    if arguments.inclusion:
        return _run_inclusion(sources, arguments)
    if arguments.batch_contract or arguments.aggregator:
        raise ConfigurationError("--batch-contract and --aggregator are for --inclusion.")
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


def _run_inclusion(sources: Sequence[Source], arguments: argparse.Namespace) -> int:
    """Print where each receipt's hashes were published."""
    contract = arguments.batch_contract
    if not contract or not arguments.aggregator:
        raise ConfigurationError(
            "--inclusion needs --batch-contract and --aggregator: the network publishes neither address, so whoever "
            "runs it has to name them."
        )
    node = arguments.rpc_url or keyless_settings().network.registry_rpc_url
    exit_codes = [0]
    with Reader() as reader:
        for source in sources:
            try:
                search = find_publication(
                    _receipt(source), rpc_url=node, contract=contract, aggregator=arguments.aggregator
                )
                found = reader.run(search)
            except ConfigurationError as exc:
                exit_codes.append(2)
                print(f"og-integrations: {printable(str(_of(source, exc)))}", file=sys.stderr)
                continue
            except DiscoveryError as exc:
                exit_codes.append(1)
                print(f"og-integrations: {printable(source.name)}: {printable(str(exc))}", file=sys.stderr)
                continue
            exit_codes.append(0 if found.status is InclusionStatus.INCLUDED else 1)
            if arguments.json:
                print(json.dumps({"file": source.name} | found.to_json()), flush=True)
            else:
                _print_publication(source.name, found)
    return 1 if 1 in exit_codes else max(exit_codes)


def _print_publication(name: str, found: Publication) -> None:
    print(f"{printable(name)}: {found.status.value}")
    if found.batch is not None and found.inclusion is not None:
        when = datetime.fromtimestamp(found.block_time or 0, UTC).isoformat()
        print(f"  published    in block {found.batch.block} of chain {found.chain_id}, {when}: it was signed by then")
        print(f"  transaction  {printable(found.batch.transaction)}")
        print(f"  root         0x{found.batch.root.hex()}, {len(found.inclusion.proof)} hashes above the leaf")
        print("  says         that these hashes existed then; whoever publishes a batch checks no signature")
    elif found.status is InclusionStatus.BLOB_GONE:
        print(f"  {found.gone} of {found.looked_at} batches of that time have no blob any more: they expire")
    else:
        print(f"  in none of {found.looked_at} batches of the two hours after it: not yet, private, or lost before")


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
        told = found.to_json() | {"payment": f"0x{signed.digest().hex()}"}
        print(json.dumps(told | {"files": list(names)} if names else told), flush=True)
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

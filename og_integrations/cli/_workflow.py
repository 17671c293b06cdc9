"""`og-integrations workflow`: deploy, run and read workflows on chain."""

import argparse
import json
import sys
from collections.abc import Callable

from og_integrations.cli._infer import Progress
from og_integrations.cli._terminal import coins, count_of, printable, seconds
from og_integrations.errors import ConfigurationError, InvalidRequestError, TransactionError
from og_integrations.onchain import CandleOrder, CandleType, OnchainClient, Query, WorkflowResult
from og_integrations.onchain._setup import MOST_COST
from og_integrations.onchain._tools import plain
from og_integrations.protocol._strict_json import JsonObject

_TYPES = ", ".join(kind.name.lower() for kind in CandleType)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `workflow`."""
    command.description = (
        "Workflows run a model on a price feed, by hand or by schedule. new and run cost gas (OG_ONCHAIN_PRIVATE_KEY, "
        "else OG_PRIVATE_KEY); read and history need no key. Exit code: 0 it went well, 1 it did not, 2 it could not "
        "be tried."
    )
    what = command.add_subparsers(dest="what", required=True, metavar="new|run|read|history")
    new = what.add_parser("new", help="deploy a workflow, and have it run by schedule")
    new.add_argument("model", metavar="MODEL", help="the model's id on chain")
    new.add_argument("input", metavar="INPUT", help="which of its inputs gets the candles")
    new.add_argument("--base", required=True, help="what is priced, such as ETH")
    new.add_argument("--quote", required=True, help="in what, such as USD")
    new.add_argument("--candles", type=count_of, default=10, metavar="N", help="how many (default: 10)")
    new.add_argument("--minutes", type=count_of, default=30, metavar="N", help="of each candle (default: 30)")
    new.add_argument("--types", type=_types, default="open,high,low,close", metavar="LIST", help=f"of {_TYPES}")
    new.add_argument("--newest-first", action="store_true", help="the newest candle first")
    new.add_argument("--every", type=count_of, metavar="SECONDS", help="have it run so often")
    new.add_argument(
        "--for", type=count_of, dest="duration", default=7200, metavar="SECONDS", help="and so long (7200)"
    )
    run_now = what.add_parser("run", help="run it now, and show its result")
    read = what.add_parser("read", help="show its newest result, with its age")
    read.add_argument("--max-age", type=seconds, metavar="SECONDS", help="an older one is an error")
    history = what.add_parser("history", help="show its last results, the newest first")
    history.add_argument("-n", type=count_of, default=10, metavar="N", help="how many at most (default: 10)")
    for one in (run_now, read, history):
        one.add_argument("address", metavar="ADDRESS", help="of the workflow")
    for one in (new, run_now):
        one.add_argument("--max-gas", type=count_of, metavar="GAS", help="the most units of gas of a transaction")
        one.add_argument(
            "--max-cost", type=coins, default=MOST_COST, metavar="COINS", help="the most one may cost (default: 0.01)"
        )
    for one in (new, run_now, read, history):
        one.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked. Raises `OpenGradientError`."""
    done: dict[str, Callable[[argparse.Namespace, OnchainClient], None]] = {
        "new": _new,
        "run": _run,
        "read": _read,
        "history": _history,
    }
    limits = {"max_gas": arguments.max_gas, "max_cost": arguments.max_cost} if "max_gas" in arguments else {}
    try:
        with OnchainClient(on_progress=Progress().tell, **limits) as client:
            done[arguments.what](arguments, client)
    except InvalidRequestError as exc:
        raise ConfigurationError(str(exc)) from exc
    return 0


def _new(arguments: argparse.Namespace, client: OnchainClient) -> None:
    order = CandleOrder.DESCENDING if arguments.newest_first else CandleOrder.ASCENDING
    query = Query(arguments.base, arguments.quote, arguments.candles, arguments.minutes, order, arguments.types)
    address = client.deploy_workflow(arguments.model, arguments.input, query)
    scheduled: str | None = None
    try:
        if arguments.every is not None:
            scheduled = client.schedule_workflow(address, every=arguments.every, duration=arguments.duration)
    except TransactionError:
        # Whoever paid for it needs its address, whatever the scheduler says.
        print(f"The workflow {address} is deployed, and has no schedule.", file=sys.stderr)
        raise
    if arguments.json:
        print(json.dumps({"address": address, "schedule_transaction_hash": scheduled}))
        return
    print(f"workflow    {address}")
    if scheduled is not None:
        print(f"scheduled   every {arguments.every} s for {arguments.duration} s")


def _run(arguments: argparse.Namespace, client: OnchainClient) -> None:
    _show(client.run_workflow(arguments.address), as_json=arguments.json)


def _read(arguments: argparse.Namespace, client: OnchainClient) -> None:
    _show(client.read_workflow(arguments.address, max_age=arguments.max_age), as_json=arguments.json)


def _history(arguments: argparse.Namespace, client: OnchainClient) -> None:
    found = [plain(output.values) for output in client.read_workflow_history(arguments.address, arguments.n)]
    if arguments.json:
        print(json.dumps({"address": arguments.address, "results": found}))
        return
    for values in found:
        print(printable(json.dumps(values)))
    if not found:
        print("It has not run yet.")


def _show(found: WorkflowResult, *, as_json: bool) -> None:
    values = plain(found.values)
    if as_json:
        facts: JsonObject = {"address": found.address, "output": values, "block": found.block}
        facts |= {"timestamp": found.timestamp, "age": found.age, "transaction_hash": found.transaction_hash}
        print(json.dumps(facts))
        return
    for name, value in values.items():
        print(f"{printable(name)} = {printable(json.dumps(value))}")
    if not values:
        print("It has not run yet.")
    elif found.age is None:
        print("age         unknown: it is older than what can be seen")
    else:
        print(f"age         {found.age} s, of block {found.block}")


def _types(text: str) -> list[CandleType]:
    try:
        return [CandleType[name.strip().upper()] for name in text.split(",")]
    except KeyError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} are no candle types; expected some of {_TYPES}") from exc

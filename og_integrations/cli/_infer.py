"""`og-integrations infer`: run a model on chain once, and show its outputs with the receipt."""

import argparse
import json
import sys
from decimal import Decimal

from og_integrations.cli._ask import show_receipt
from og_integrations.cli._terminal import coins, count_of, folder, printable, read_input
from og_integrations.client import collect_receipts
from og_integrations.client.chain._transactions import Tell
from og_integrations.errors import ConfigurationError, InvalidRequestError, TransactionInDoubtError
from og_integrations.onchain import Inference, InferenceMode, OnchainClient, SentTransaction
from og_integrations.onchain._setup import MOST_COST
from og_integrations.onchain._tools import plain


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `infer`."""
    command.description = (
        "Run a model on the OpenGradient chain, which costs gas. Who pays: OG_ONCHAIN_PRIVATE_KEY, else "
        "OG_PRIVATE_KEY. Exit code: 0 the result is proven, 1 it is not or did not come, 2 it could not be tried."
    )
    command.add_argument("model", nargs="?", metavar="MODEL", help="the model's id on chain")
    given = command.add_mutually_exclusive_group()
    given.add_argument("-d", "--data", metavar="JSON", help='the inputs, as {"name": [[1.5, 2], …]}')
    given.add_argument("-f", "--file", metavar="FILE", help="a file with them; - for standard input")
    given.add_argument("--resume", metavar="HASH", help="fetch the result of a transaction that was in doubt")
    modes = [mode.name for mode in InferenceMode]
    command.add_argument("--mode", choices=modes, default="VANILLA", help="how the network runs it (default: VANILLA)")
    command.add_argument("--model-file", metavar="FILE", help="run this ONNX file here as well, and compare")
    command.add_argument("--max-gas", type=count_of, metavar="GAS", help="the most units of gas")
    command.add_argument(
        "--max-cost", type=coins, default=MOST_COST, metavar="COINS", help="the most it may cost (default: 0.01)"
    )
    command.add_argument("--save", type=folder, metavar="FOLDER", help="keep the receipt there, for verify")
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    """Run the model and show what came. Raises `OpenGradientError`; the receipt of a failed call is kept as well."""
    inputs = None if arguments.resume else _inputs(arguments)
    progress = Progress("og-integrations infer --resume {}")
    try:
        with (
            collect_receipts(keep_exchanges=True) as receipts,
            OnchainClient(
                on_progress=progress.tell,
                on_leaving=progress.leaving,
                max_gas=arguments.max_gas,
                max_cost=arguments.max_cost,
            ) as client,
        ):
            try:
                if inputs is None:
                    found = client.resume(arguments.resume, model_file=arguments.model_file)
                else:
                    found = client.infer(arguments.model, inputs, arguments.mode, model_file=arguments.model_file)
            finally:
                files = [] if arguments.save is None else receipts.save(arguments.save)
                for file in files:
                    print(f"receipt     {file}", file=sys.stderr)
    except InvalidRequestError as exc:
        raise ConfigurationError(str(exc)) from exc
    except (TransactionInDoubtError, KeyboardInterrupt):
        progress.hint()
        raise
    _show(found, as_json=arguments.json)
    return 0 if found.verified else 1


class Progress:
    """What a person sees while a transaction is under way, on standard error; and how to go on if it breaks off."""

    def __init__(self, resume: str = "") -> None:
        self._resume = resume
        self._hash = ""

    def leaving(self, sent: SentTransaction) -> None:
        """Remember the transaction that is sent next."""
        self._hash = sent.transaction_hash

    def tell(self, step: Tell) -> None:
        """Show a step."""
        self._hash = step.transaction_hash
        if step.step == "sent":
            print(f"sent        {step.transaction_hash}", file=sys.stderr, flush=True)
        elif step.step == "mined":
            print(f"mined       after {step.seconds:.1f} s", file=sys.stderr, flush=True)

    def hint(self) -> None:
        """Say how the result can be had later."""
        if self._hash and self._resume:
            print(f"It may still be mined. Later: {self._resume.format(self._hash)}", file=sys.stderr)


def _inputs(arguments: argparse.Namespace) -> dict[str, object]:
    if not arguments.model:
        raise ConfigurationError("Which model? og-integrations infer MODEL -d JSON. Nothing was sent.")
    if arguments.data is None and arguments.file is None:
        raise ConfigurationError("The model's inputs are missing: -d JSON or -f FILE. Nothing was sent.")
    text = arguments.data if arguments.data is not None else read_input(arguments.file)
    try:
        # Decimals: what is written is sent, and not the nearest float.
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"The inputs are no JSON ({type(exc).__name__}). Nothing was sent.") from exc
    if not isinstance(found, dict):
        raise ConfigurationError('The inputs are no JSON object; expected {"name": values}. Nothing was sent.')
    return found


def _show(found: Inference, *, as_json: bool) -> None:
    values = plain(found.values)
    if as_json:
        shown = {"transaction_hash": found.transaction_hash, "output": values, "receipt": found.receipt}
        print(json.dumps(shown))
        return
    for name, value in values.items():
        print(f"{printable(name)} = {printable(json.dumps(value))}")
    print()
    show_receipt(found.receipt)

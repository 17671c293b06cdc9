"""`og-integrations ask`: one verified answer and its receipt."""

import argparse
import shlex
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import get_args

from og_integrations.cli._terminal import DEFAULT_MODEL, add_enclaves, enclave_policy_in, folder, model, printable
from og_integrations.client import Answer, Client, Receipt, Receipts, collect_receipts
from og_integrations.client._options import ChannelWord
from og_integrations.errors import ConfigurationError, OpenGradientError
from og_integrations.protocol._strict_json import JsonObject


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `ask`."""
    command.description = "Ask a model once. Who pays and where: OG_PRIVATE_KEY, OG_NETWORK, … (see docs/settings.md)."
    command.add_argument("prompt", help="what to ask, in quotes; - reads it from standard input")
    command.add_argument("--model", type=model, default=DEFAULT_MODEL, help="provider/name (default: %(default)s)")
    command.add_argument(
        "--settlement-mode",
        metavar="MODE",
        help="what is published about the call: private (nothing), batch (hashes; the default), "
        "individual (prompt and answer in clear)",
    )
    command.add_argument("--stream", action="store_true", help="show the text as it comes, before it is proven")
    command.add_argument(
        "--channel",
        choices=get_args(ChannelWord),
        default="pinned",
        help="ohttp seals the request for the enclave, and sends it through the relay of OG_RELAY_URL, or without one "
        "has the wallet pay (default: %(default)s)",
    )
    command.add_argument(
        "--save", type=folder, metavar="FOLDER", help="keep the receipt with its exchange there, for verify"
    )
    add_enclaves(command)


def run(arguments: argparse.Namespace) -> int:
    """Ask, show, keep. Raises `OpenGradientError`; a call that failed is kept as well, and says where."""
    messages: list[JsonObject] = [{"role": "user", "content": _prompt(arguments.prompt)}]
    if arguments.save is not None:
        _check_folder(arguments.save)
    files: list[Path] = []
    with (
        collect_receipts(keep_exchanges=arguments.save is not None) as receipts,
        Client(channel=arguments.channel, enclave_policy=enclave_policy_in(arguments)) as client,
    ):
        try:
            text = _asked(client, arguments, messages)
        except (OpenGradientError, KeyboardInterrupt, OSError) as exc:
            if isinstance(exc, KeyboardInterrupt):
                print(f"Interrupted. {_paid(receipts)}", file=sys.stderr)
            for file in _saved(receipts, arguments.save):
                print(f"The failed call's receipt: {file}", file=sys.stderr)
            raise
        try:
            # Before anything is shown: whoever reads it may leave first (`| head -1`).
            files = _saved(receipts, arguments.save)
        finally:
            if text is not None:
                print(text)
            print()
            show_receipt(receipts[0])
    for file in files:
        print(f"\nSaved. Check it any time: og-integrations verify --registry {shlex.quote(str(file))}")
    return 0


def _asked(client: Client, arguments: argparse.Namespace, messages: list[JsonObject]) -> str | None:
    """Return the answer, None if it has been shown as it came."""
    if arguments.stream:
        _stream(client, arguments, messages)
        return None
    return printable(client.chat(arguments.model, messages, settlement_mode=arguments.settlement_mode).text)


def _paid(receipts: Receipts) -> str:
    """Return what an interrupted call may have cost."""
    payment = Receipt(receipts[-1]).payment if receipts else None
    if payment is None:
        return "Nothing was paid."
    return f"It may have been charged, at most {payment.most}, by the authorization {payment.payment_hash}."


def _check_folder(folder: str) -> None:
    """Raise `ConfigurationError` if nothing can be kept there: then nothing is paid either."""
    Receipts().save(folder)
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise ConfigurationError(
            f"The receipt could not be saved in {folder}: {exc.strerror}. Nothing was sent."
        ) from exc


def _prompt(given: str) -> str:
    """Return what to ask. Raises `ConfigurationError` for what could only be paid for nothing."""
    try:
        prompt = sys.stdin.read() if given == "-" else given
        # Python reads bytes that are no UTF-8 as lone surrogates, or not at all.
        prompt.encode()
    except UnicodeError as exc:
        raise ConfigurationError("The prompt is no UTF-8 text. Nothing was sent.") from exc
    if not prompt.strip():
        where = "standard input held no text" if given == "-" else "the prompt is empty"
        raise ConfigurationError(f"There is nothing to ask: {where}. Nothing was sent.")
    return prompt


def _saved(receipts: Receipts, folder: str | None) -> list[Path]:
    return [] if folder is None else receipts.save(folder)


def _stream(client: Client, arguments: argparse.Namespace, messages: list[JsonObject]) -> None:
    shown = False
    try:
        for piece in client.stream(arguments.model, messages, settlement_mode=arguments.settlement_mode):
            if not isinstance(piece, Answer):
                shown = True
                print(printable(piece), end="", flush=True)
    finally:
        # What follows, an error too, begins on a line of its own.
        if shown:
            print()


def show_receipt(receipt: JsonObject) -> None:
    """Print a receipt within 80 columns; in colour where rich is installed."""
    lines = Receipt(receipt).summary()
    try:
        from rich.console import Console
        from rich.text import Text
    except ModuleNotFoundError:
        for name, value in lines:
            print(f"{name:<12}  {value}")
        return
    console = Console(width=80, soft_wrap=True, highlight=False)
    for name, value in lines:
        good = name != "status" or value.startswith("verified")
        style = "" if name != "status" else "bold green" if good else "bold red"
        console.print(Text.assemble((f"{name:<12}  ", "dim"), (value, style)))

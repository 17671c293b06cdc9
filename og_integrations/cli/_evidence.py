"""`og-integrations evidence`: one file that a stranger checks without asking anybody, or its redacted form."""

import argparse
import json
import sys
from pathlib import Path

from og_integrations.cli._terminal import read_input
from og_integrations.errors import ConfigurationError
from og_integrations.verify import evidence_of
from og_integrations.verify._bundle import parse_document
from og_integrations.verify._evidence import inclusion_in, payment_in


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `evidence`."""
    command.description = (
        "Print a saved receipt as og-evidence/1: the exchange, the receipt, and what the enclave showed of itself. "
        "`verify --measurements FILE` checks it offline."
    )
    command.add_argument("file", metavar="FILE", help="a receipt saved with its exchange; - for standard input")
    command.add_argument(
        "--redact", action="store_true", help="leave prompt and answer out: the hashes stay, and what was signed"
    )
    command.add_argument(
        "--inclusion",
        metavar="LINES",
        help="add the proof that this receipt was published: what `settlement --inclusion --json` printed",
    )
    command.add_argument(
        "--payment",
        metavar="LINES",
        help="add the transaction that settled its payment: what `settlement --json` printed",
    )
    command.add_argument("--output", metavar="FILE", help="write there instead; a file that is there is kept")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the evidence. Raises `ConfigurationError`."""
    try:
        saved = parse_document(read_input(arguments.file))
        if arguments.inclusion is not None:
            saved = saved | {"inclusion": inclusion_in(saved, read_input(arguments.inclusion))}
        if arguments.payment is not None:
            saved = saved | {"payment": payment_in(saved, read_input(arguments.payment))}
        document = evidence_of(saved, redact=arguments.redact)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{arguments.file}: {exc}") from None
    text = json.dumps(document, indent=2) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    write_new(arguments.output, text)
    return 0


def write_new(name: str, text: str) -> None:
    """Write `text` to a new file. Raises `ConfigurationError`, also if it is there."""
    try:
        with Path(name).open("x", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"{name} cannot be written ({exc}); nothing there was changed.") from exc

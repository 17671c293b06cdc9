"""`og-integrations export` writes a verified receipt as an in-toto Statement in DSSE, signed by a key of one's own."""

import argparse
import json
import sys
import time
from pathlib import PurePath

from og_integrations.cli._evidence import write_new
from og_integrations.cli._terminal import read_input
from og_integrations.cli._verify import add_trust, verifier_of
from og_integrations.errors import ConfigurationError
from og_integrations.verify._bundle import parse_bundle
from og_integrations.verify._statement import load_signing_key, sealed, statement_of


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `export`."""
    command.description = (
        "Verify a saved receipt, and sign what was found as an in-toto Statement in a DSSE envelope. Nothing is signed "
        "that is not verified. Exit code: 0 signed, 2 not."
    )
    command.epilog = (
        "The statement holds hashes, and neither prompt nor answer. It says who has checked, and proves no more."
    )
    command.add_argument(
        "file", metavar="FILE", help="a receipt saved with its exchange, or evidence; - for standard input"
    )
    command.add_argument(
        "--key", required=True, metavar="FILE", help="a private key of yours, Ed25519 or ECDSA P-256, in PEM or DER"
    )
    add_trust(command)
    command.add_argument("--output", metavar="FILE", help="write there instead; a file that is there is kept")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the envelope. Raises `ConfigurationError`, also for what is not verified."""
    verifier = verifier_of(arguments)
    try:
        key = load_signing_key(read_input(arguments.key))
    except ConfigurationError as exc:
        raise ConfigurationError(f"--key {arguments.key}: {str(exc).rstrip('.')}.") from None
    data = read_input(arguments.file)
    try:
        saved = parse_bundle(data)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{arguments.file}: {str(exc).rstrip('.')}.") from None
    name = PurePath(arguments.file).name
    statement = statement_of(saved, verifier.verify(saved), name=name, file=data, now=int(time.time()))
    text = json.dumps(sealed(statement, key)) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        write_new(arguments.output, text)
    return 0

"""
The entry of all commands: which one it is, and the one place where errors become messages and exit codes.

Exit codes: 0 it went well, 1 it did not, 2 it could not be tried (wrong usage, settings or input),
130 it was interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from og_integrations import __version__
from og_integrations.cli._terminal import printable
from og_integrations.errors import ConfigurationError, OpenGradientError

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
COMMANDS = {
    "devnet": ("devnet", "run the whole network on this machine"),
    "ask": ("ask", "ask a model once, and show the answer with its receipt"),
    "batch": ("batch", "ask every prompt of a file once, and resume after any interruption"),
    "infer": ("infer", "run a model on chain once, and show its outputs with the receipt"),
    "workflow": ("workflow", "deploy, run and read workflows on chain"),
    "hub": ("hub", "keep models at the model hub: create, version, upload, list, download"),
    "twins": ("twins", "chat with digital twins, whose answers nobody signs"),
    "verify": ("verify", "check saved receipts or exchanges"),
    "report": ("report", "write a page about saved receipts that checks itself in a browser"),
    "evidence": ("evidence", "make of a saved receipt what a stranger checks, with or without prompt and answer"),
    "export": ("export", "verify a receipt, and sign that as an in-toto Statement with a key of your own"),
    "verify-attestation": ("attestation", "check an enclave's attestation document"),
    "conformance": ("conformance", "put the public vectors to any verifier, this one or another"),
    "measurements": ("measurements", "show what the network's enclaves run, and write the file to pin"),
    "approve": ("approve", "allow Permit2 to take OPG from the wallet, once"),
    "settlement": ("settlement", "find out on the chain what became of a receipt's payment"),
    "serve": ("serve", "serve verified answers to OpenAI clients on this machine"),
    "doctor": ("doctor", "check settings, wallet, registry, enclaves and price, and say what to fix"),
}
"""Command -> its file here, and its line in the list of all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; only argparse itself exits (usage, --help)."""
    _mend_streams()
    try:
        try:
            return _exit_code(sys.argv[1:] if argv is None else argv)
        finally:
            # While it can still be handled: Python flushes at exit, and prints what comes of it.
            sys.stdout.flush()
    except OSError as exc:
        # Redirect standard output to /dev/null so that Python's flush at exit cannot fail again. A closed pipe
        # (`| head`) is normal; other errors, such as a full disk, are reported.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):
            print(f"og-integrations: {type(exc).__name__}: {printable(str(exc))}", file=sys.stderr)
        return FAILED


def _exit_code(argv: Sequence[str]) -> int:
    try:
        # Parsed without the file of any command but the one that is asked for: each loads what it needs.
        command = next((word for word in argv if not word.startswith("-")), None)
        module = import_module(f"og_integrations.cli._{COMMANDS[command][0]}") if command in COMMANDS else None
        arguments = _parser(command, module).parse_args(argv)
        code: int = arguments.run(arguments)
        return code
    except ConfigurationError as exc:
        print(f"og-integrations: {printable(str(exc))}", file=sys.stderr)
        return UNUSABLE
    except OpenGradientError as exc:
        print(f"og-integrations: {type(exc).__name__}: {printable(str(exc))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


class _Parser(argparse.ArgumentParser):
    """A parser takes flags as they are written: an abbreviation may mean another one tomorrow."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)


def _parser(chosen: str | None, module: ModuleType | None) -> _Parser:
    """Return the parser of all commands, with the arguments of the `chosen` one."""
    parser = _Parser(
        prog="og-integrations",
        description="Verifiable, paid LLM calls in attested enclaves: try them, make them, check their receipts.",
        epilog="Exit codes: 0 it went well, 1 it did not, 2 it could not be tried (wrong usage, settings or input), "
        "130 it was interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"og-integrations {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        if name == chosen and module is not None:
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _mend_streams() -> None:
    # One that is closed (`>&-`) is None; the number of its file would go to the next socket.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that is not UTF-8 shows a substitute instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

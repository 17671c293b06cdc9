"""
Arguments of all commands, and the one place where their errors become messages and exit codes.

Exit codes: 0 it went well, 1 it did not, 2 it could not be tried (wrong usage, settings or input),
130 it was interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from og_integrations import __version__
from og_integrations.cli import attestation, values
from og_integrations.cli.terminal import printable
from og_integrations.errors import ConfigurationError, OpenGradientError

if TYPE_CHECKING:
    # What `add_subparsers` returns has no public name, and is generic for type checkers only.
    _Commands = argparse._SubParsersAction["_Parser"]  # noqa: SLF001

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130
DEFAULT_MODEL = "anthropic/claude-sonnet-4-6"
DEFAULT_PORT = 8545


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; only argparse itself exits (usage, --help)."""
    _mend_streams()
    try:
        try:
            return _exit_code(argv)
        finally:
            # While it can still be handled: Python flushes at exit, and prints what comes of it.
            sys.stdout.flush()
    except OSError as exc:
        # What is left to flush goes nowhere. `| head` is no news; a full disk is.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(exc, BrokenPipeError):
            print(f"og-integrations: {type(exc).__name__}: {printable(str(exc))}", file=sys.stderr)
        return FAILED


def _exit_code(argv: Sequence[str] | None) -> int:
    try:
        return _run(_parser().parse_args(argv))
    except ConfigurationError as exc:
        print(f"og-integrations: {printable(str(exc))}", file=sys.stderr)
        return UNUSABLE
    except OpenGradientError as exc:
        print(f"og-integrations: {type(exc).__name__}: {printable(str(exc))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "devnet":
            from og_integrations.cli.devnet import run

            return run(arguments)
        case "ask":
            from og_integrations.cli.ask import run

            return run(arguments)
        case "approve":
            from og_integrations.cli.approve import run

            return run(arguments)
        case "settlement":
            from og_integrations.cli.settlement import run

            return run(arguments)
        case "doctor":
            from og_integrations.cli.doctor import run

            return run(arguments)
        case attestation.NAME:
            return attestation.run(arguments)
        case _:
            from og_integrations.cli.verify import run

            return run(arguments)


class _Parser(argparse.ArgumentParser):
    """Takes flags as they are written: an abbreviation may mean another one tomorrow. Commands are parsers, too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)


def _parser() -> _Parser:
    parser = _Parser(
        prog="og-integrations",
        description="Verifiable, paid LLM calls in attested enclaves: try them, make them, check their receipts.",
        epilog="Exit codes: 0 it went well, 1 it did not, 2 it could not be tried (wrong usage, settings or input), "
        "130 it was interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"og-integrations {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_devnet(commands)
    _add_ask(commands)
    _add_verify(commands)
    attestation.add_arguments(commands)
    _add_approve(commands)
    _add_settlement(commands)
    _add_doctor(commands)
    return parser


def _add_devnet(commands: "_Commands") -> None:
    command = commands.add_parser(
        "devnet",
        help="run the whole network on this machine",
        description="Run chain, registry, gateways and a scripted model on 127.0.0.1 until Ctrl-C. Costs nothing. "
        "Exit code 1: a client misbehaved as far as its requests show, e.g. paid twice; the last lines say how.",
    )
    command.add_argument(
        "--port",
        type=values.port,
        default=DEFAULT_PORT,
        help="of the chain's node; 0 is any free one (default: %(default)s)",
    )
    command.add_argument("--enclaves", type=values.count, default=1, metavar="N", help="gateways to run (default: 1)")
    command.add_argument(
        "--opg", type=values.opg, default="1000", metavar="AMOUNT", help="OPG in the wallet (default: %(default)s)"
    )
    command.add_argument(
        "--json", action="store_true", help="one JSON line when ready, one with the account at the end"
    )
    command.add_argument(
        "--until-eof", action="store_true", help="end when standard input closes, for programs that start a devnet"
    )
    command.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[:TIMES]",
        help="lie or break in this way (may be repeated; 'list' names them all)",
    )
    command.add_argument(
        "--generation", default="2026-04", help="of the gateways: 2026-04 (captured) or next (default: %(default)s)"
    )
    command.add_argument(
        "--upstream", type=values.url, metavar="URL", help="an OpenAI-compatible server that answers for the models"
    )
    command.add_argument(
        "--evm",
        choices=["anvil"],
        nargs="?",
        const="anvil",
        help="a real EVM node (on a port of its own) with the real Permit2 as chain; needs npm and the extra evm",
    )


def _add_ask(commands: "_Commands") -> None:
    command = commands.add_parser(
        "ask",
        help="ask a model once, and show the answer with its receipt",
        description="Ask a model once. Who pays and where: OG_PRIVATE_KEY, OG_NETWORK, … (see the README).",
    )
    command.add_argument("prompt", help="what to ask, in quotes; - reads it from standard input")
    command.add_argument(
        "--model", type=values.model, default=DEFAULT_MODEL, help="provider/name (default: %(default)s)"
    )
    command.add_argument(
        "--settlement-mode",
        metavar="MODE",
        help="what is published about the call: private (nothing), batch (hashes; the default), "
        "individual (prompt and answer in clear)",
    )
    command.add_argument("--stream", action="store_true", help="show the text as it comes, before it is proven")
    command.add_argument(
        "--save", type=values.folder, metavar="FOLDER", help="keep the receipt with its exchange there, for verify"
    )


def _add_verify(commands: "_Commands") -> None:
    command = commands.add_parser(
        "verify",
        help="check saved receipts or exchanges",
        description="Check saved receipts or exchanges, offline except for --registry. Exit code: 0 all verified, "
        "1 one failed, 2 one could not be read, or the registry not be asked.",
        epilog="Without one of --tee-id, --registry and --trust-file-key nobody vouches for the enclave, and the "
        "check enclave-trusted fails.",
    )
    command.add_argument("files", nargs="+", metavar="FILE", help="JSON file, - for standard input")
    trust = command.add_mutually_exclusive_group()
    trust.add_argument("--tee-id", action="append", metavar="ID", help="believe this enclave (may be repeated)")
    trust.add_argument("--registry", action="store_true", help="believe the enclaves that the TEERegistry lists")
    trust.add_argument("--trust-file-key", action="store_true", help="believe the key in the file, whoever made it")
    command.add_argument("--json", action="store_true", help="one JSON line per file")


def _add_approve(commands: "_Commands") -> None:
    command = commands.add_parser(
        "approve",
        help="allow Permit2 to take OPG from the wallet, once",
        description="Show what allowing would do and cost, ask, and send the one transaction that needs gas. Exit "
        "code: 0 it is allowed, 1 it is not, 2 it could not be tried, as without a terminal to ask in.",
    )
    command.add_argument(
        "--allowance",
        type=values.opg,
        default="1",
        metavar="OPG",
        help="do nothing if this much is allowed (default: %(default)s)",
    )
    command.add_argument("--amount", type=values.opg, metavar="OPG", help="to approve (default: twice the allowance)")
    command.add_argument("--yes", action="store_true", help="send it without asking")
    command.add_argument(
        "--timeout", type=values.seconds, default=120.0, metavar="SECONDS", help="wait for it (default: 120)"
    )


def _add_settlement(commands: "_Commands") -> None:
    command = commands.add_parser(
        "settlement",
        help="find out on the chain what became of a receipt's payment",
        description="Find the settlement of a receipt's payment: settled, cancelled by its owner, unused or pending. "
        "Exit code: 0 it was found out, 1 it was not, 2 no receipt of a payment.",
    )
    command.add_argument("file", metavar="FILE", help="a receipt as JSON, - for standard input")
    command.add_argument(
        "--rpc-url",
        type=values.url,
        metavar="URL",
        help="node of the payment chain (default: OG_RPC_URL, or a public one)",
    )
    command.add_argument("--json", action="store_true", help="one JSON line")


def _add_doctor(commands: "_Commands") -> None:
    command = commands.add_parser(
        "doctor",
        help="check settings, wallet, registry, enclaves and price, and say what to fix",
        description="Read-only: nothing is signed or paid. One enclave is asked for its price, by an unpaid request "
        "that says 'ping'. Exit code: 0 ready, 1 something is to be fixed.",
    )
    command.add_argument(
        "--model", type=values.model, default=DEFAULT_MODEL, help="provider/name to look at (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="one JSON line per check")


def _mend_streams() -> None:
    # One that is closed (`>&-`) is None; the number of its file would go to the next socket.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that is not UTF-8 shows a substitute instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

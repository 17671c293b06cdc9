"""
What a person types at a terminal, and what is shown there.

The values of flags are checked by functions that argparse calls; it puts the flag in front of their message.

Files, answers and error messages may hold terminal escapes, which could rewrite what stands on the screen above them:
a verifier must not let a file print its own "verified".
"""

import argparse
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from og_integrations.errors import ConfigurationError

if TYPE_CHECKING:
    from og_integrations.protocol.proof._enclave import EnclavePolicy
    from og_integrations.protocol.proof._measurements import Measurements

_FINGERPRINT = re.compile(r"(?:[0-9a-fA-F]{64})?")
DEFAULT_MODEL = "anthropic/claude-sonnet-4-6"
MAX_LINE_CHARS = 700
_MARKS = {"pass": "✓", "fail": "✗", "skip": "-"}
_PLAIN_MARKS = {"pass": "+", "fail": "!", "skip": "-"}


def printable(text: str) -> str:
    """Return `text` with everything but printable characters, newlines and tabs made visible."""
    # Most texts are harmless, and looking at each character costs.
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """Return `text` on one line of bounded length, safe to print."""
    short = text if len(text) <= MAX_LINE_CHARS else text[: MAX_LINE_CHARS - 1] + "…"
    return short if short.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in short)


def check_marks() -> Mapping[str, str]:
    """Return the result of a check -> the character in front of its line, as standard output can show it."""
    return _MARKS if "utf" in (sys.stdout.encoding or "").lower() else _PLAIN_MARKS


def read_input(name: str) -> bytes:
    """Return what the file `name` holds, or standard input for "-". Raises `ConfigurationError`."""
    from og_integrations.verify._bundle import read_file, read_stream

    return read_stream(sys.stdin.buffer) if name == "-" else read_file(name)


def whole(text: str) -> int:
    """Return a number of at most nine digits, -1 for anything else."""
    return int(text) if text.isdecimal() and len(text) <= 9 else -1


def port(text: str) -> int:
    """Return a TCP port."""
    if not 0 <= whole(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Return a time to wait."""
    from og_integrations.client._settings import check_seconds

    try:
        return check_seconds("the time to wait", float(text))
    except (ValueError, ConfigurationError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait; expected seconds above 0") from exc


def count(text: str) -> int:
    """Return a number of gateways."""
    if not 1 <= whole(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of gateways; expected 1 to 100")
    return int(text)


def count_of(text: str) -> int:
    """Return a number of things, at least one."""
    if whole(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number; expected 1 to 999999999")
    return int(text)


def coins(text: str) -> int:
    """Return an amount of a chain's coin, in wei; it has 18 decimals, as OPG has."""
    from og_integrations.protocol.payment._policy import parse_opg

    try:
        return parse_opg(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of the chain's coin, such as 0.01") from exc


def opg(text: str) -> str:
    """Return an amount of OPG, as text, that is one."""
    from og_integrations.protocol.payment._policy import parse_opg

    try:
        base_units = parse_opg(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc
    if base_units >= 2**256:
        raise argparse.ArgumentTypeError(f"{text!r} OPG is more than any chain can count")
    return text


def model(text: str) -> str:
    """Return a model's name; only the gateway knows which there are."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no model; expected a name such as anthropic/claude-sonnet-4-6")
    return text


def folder(text: str) -> str:
    """Return a folder's name. `Path` takes none for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("'' is no folder; the current one is .")
    return text


def url(text: str) -> str:
    """Return the address of a server. It may hold a key of a node's provider: it is not repeated in the error."""
    from og_integrations.client._settings import check_server

    try:
        return check_server("this", text)
    except ConfigurationError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def fingerprint(text: str) -> str:
    """Return the SHA-256 of a root certificate, or nothing, which is none at all."""
    if not _FINGERPRINT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no SHA-256 of a certificate; expected 64 hex digits, or ''")
    return text


def add_roots(command: argparse.ArgumentParser, of: str = "") -> None:
    """Declare the flag --root-sha256; `of` begins its help."""
    command.add_argument(
        "--root-sha256",
        action="append",
        type=fingerprint,
        metavar="HEX",
        help=f"{of}accept this root certificate instead of AWS's (may be repeated; '' accepts none)",
    )


def roots_in(arguments: argparse.Namespace) -> list[str]:
    """Return the roots to accept: those of --root-sha256, AWS's without one."""
    from og_integrations.protocol.proof._measurements import AWS_ROOT_G1_SHA256

    given: list[str] | None = arguments.root_sha256
    return [AWS_ROOT_G1_SHA256] if given is None else [*filter(None, given)]


def add_enclaves(command: argparse.ArgumentParser) -> None:
    """Declare the flags that say which enclaves may see a prompt."""
    command.add_argument(
        "--measurements",
        metavar="FILE",
        help="ask only enclaves whose attestation document is of one of these builds (`og-integrations measurements` "
        "writes the file)",
    )
    add_roots(command)


def enclave_policy_in(arguments: argparse.Namespace) -> "EnclavePolicy | None":
    """Return what `add_enclaves` was told, None if that is nothing. Raises `ConfigurationError`."""
    from og_integrations.protocol.proof._enclave import EnclavePolicy

    if arguments.measurements is None and arguments.root_sha256 is None:
        return None
    builds = builds_in("--measurements", arguments.measurements)
    return EnclavePolicy(attestation="require", measurements=builds, attestation_roots=roots_in(arguments))


def builds_in(flag: str, name: str | None) -> "list[Measurements] | None":
    """Return the builds in the file that `flag` names, None if it names none. Raises `ConfigurationError`."""
    from og_integrations.protocol._strict_json import decode_json
    from og_integrations.protocol.proof._measurements import read_measurements

    if name is None:
        return None
    try:
        return read_measurements(decode_json(read_input(name)))
    except ConfigurationError as exc:
        raise ConfigurationError(f"{flag} {name}: {str(exc).rstrip('.')}.") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{flag} {name}: not JSON ({type(exc).__name__}).") from exc


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")

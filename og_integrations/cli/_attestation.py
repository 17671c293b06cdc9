"""`og-integrations verify-attestation`: an enclave's own document, judged from AWS's root down."""

import argparse
import json
import re
import time
from dataclasses import replace

from og_integrations.cli._terminal import add_roots, builds_in, read_input, roots_in
from og_integrations.cli._verify import EXIT_CODES, print_report, report_of
from og_integrations.errors import AttestationError, ConfigurationError
from og_integrations.protocol.proof._attestation import (
    Attestation,
    AttestationPolicy,
    decode_body,
    verify_document,
)
from og_integrations.receipt import Check
from og_integrations.verify import Verdict
from og_integrations.verify._verdict import malformed

_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_NOT_FRESH = "; that is the time given by --at, and says nothing about how fresh it is today"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `verify-attestation`."""
    command.description = (
        "Check what an enclave says about itself, offline, from AWS's root down. Exit code: 0 verified, 1 refused, 2 "
        "it could not be read, or not everything was given that it has to be compared with."
    )
    command.epilog = "Without --measurements no document is verified: any AWS customer can make a genuine one."
    command.add_argument(
        "file", metavar="FILE", help="the document, raw or as one line of base64; - for standard input"
    )
    command.add_argument("--nonce", type=_hex, metavar="HEX", help="with which the document was asked for")
    command.add_argument(
        "--measurements",
        metavar="FILE",
        help="JSON with the builds to accept: an object with PCR0, PCR1 and PCR2, a list of them, or the "
        "measurements.txt of a gateway's repository",
    )
    command.add_argument("--tls-certificate", metavar="FILE", help="of the connection that it came through, as DER")
    command.add_argument("--signing-key", metavar="FILE", help="the RSA key that signs answers, as DER")
    command.add_argument("--at", type=_unix, metavar="UNIX", help="judge a saved document at this time (default: now)")
    add_roots(command)
    command.add_argument(
        "--max-age", type=_unix, default=300, metavar="SECONDS", help="of the document (default: %(default)s)"
    )
    command.add_argument(
        "--max-future", type=_unix, default=60, metavar="SECONDS", help="ahead of the clock here (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="one JSON line")


def run(arguments: argparse.Namespace) -> int:
    """Print the verdict on a document and return its exit code. Raises `ConfigurationError` for unusable flags."""
    verdict, found = _judge(arguments)
    if arguments.at is not None:
        verdict = replace(verdict, checks=tuple(map(_at, verdict.checks)))
    report = report_of(arguments.file, verdict)
    if arguments.json:
        print(json.dumps(report))
    else:
        print_report(report)
        if found is not None:
            _print_measurements(found)
    return EXIT_CODES[verdict.status]


def _judge(arguments: argparse.Namespace) -> tuple[Verdict, Attestation | None]:
    builds = builds_in("--measurements", arguments.measurements)
    policy = AttestationPolicy(builds, roots_in(arguments), arguments.max_age, arguments.max_future)
    certificate = _der("--tls-certificate", arguments.tls_certificate)
    key = _der("--signing-key", arguments.signing_key)
    try:
        data = read_input(arguments.file)
    except ConfigurationError as exc:
        return malformed(exc), None
    try:
        found = verify_document(
            # No text of base64 begins like this, and every raw document does.
            data if data[:1] >= b"\x80" else decode_body(data),
            policy=policy,
            now=int(time.time()) if arguments.at is None else arguments.at,
            nonce=arguments.nonce,
            tls_certificate=certificate,
            signing_key=key,
        )
    except AttestationError as exc:
        return Verdict("malformed" if exc.step == "encoding" else "failed", exc.step, tuple(exc.checks)), None
    return Verdict("verified" if found.verified else "undecided", None, tuple(found.checks)), found


def _at(check: Check) -> Check:
    return replace(check, detail=check.detail + _NOT_FRESH) if check.id == "time" and check.result == "pass" else check


def _print_measurements(found: Attestation) -> None:
    for index, pcr in enumerate(found.measurements):
        print(f"  PCR{index}      {pcr}")
    print(f"  pcr hash  {found.pcr_hash}")


def _der(flag: str, name: str | None) -> bytes | None:
    if name is None:
        return None
    data = _read(flag, name)
    if not data.startswith(b"\x30"):
        raise ConfigurationError(
            f"{flag} {name}: no DER; `openssl x509 -outform DER` makes it of a PEM certificate, `openssl pkey -pubin "
            "-outform DER` of a key."
        )
    return data


def _read(flag: str, name: str) -> bytes:
    try:
        return read_input(name)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{flag} {name}: {exc}.") from None


def _hex(text: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no nonce; expected an even number of hex digits")
    return bytes.fromhex(text)


def _unix(text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return int(text)

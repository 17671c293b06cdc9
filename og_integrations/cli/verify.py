"""`og-integrations verify`: saved receipts and exchanges, one verdict each."""

import argparse
import json
from collections import Counter

from og_integrations.cli.terminal import check_marks, one_line, read_input
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.proof.verification import TrustDecision
from og_integrations.protocol.strict_json import JsonObject
from og_integrations.verify.verifier import Verdict, Verifier, malformed

EXIT_CODES = {"verified": 0, "failed": 1, "malformed": 2, "undecided": 2}


class NoTrust:
    """Nobody is believed, since nothing was said about whom to believe."""

    def decide(self, tee_id: str) -> TrustDecision:
        """Return that, and what can be said."""
        return TrustDecision(None, f"nobody vouches for {tee_id}; say --tee-id, --registry or --trust-file-key")

    async def adecide(self, tee_id: str) -> TrustDecision:
        """Return what `decide` returns."""
        return self.decide(tee_id)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `verify`."""
    command.description = (
        "Check saved receipts or exchanges, offline except for --registry. Exit code: 0 all verified, 1 one failed, 2 "
        "one could not be read, or the registry not be asked."
    )
    command.epilog = (
        "Without one of --tee-id, --registry and --trust-file-key nobody vouches for the enclave, and the check "
        "enclave-trusted fails."
    )
    command.add_argument("files", nargs="+", metavar="FILE", help="JSON file, - for standard input")
    trust = command.add_mutually_exclusive_group()
    trust.add_argument("--tee-id", action="append", metavar="ID", help="believe this enclave (may be repeated)")
    trust.add_argument("--registry", action="store_true", help="believe the enclaves that the TEERegistry lists")
    trust.add_argument("--trust-file-key", action="store_true", help="believe the key in the file, whoever made it")
    command.add_argument("--json", action="store_true", help="one JSON line per file")


def run(arguments: argparse.Namespace) -> int:
    """Check each file, print its verdict, and return the worst one's exit code."""
    verifier, statuses = _verifier(arguments), Counter[str]()
    for file in arguments.files:
        report = report_of(file, _verdict(file, verifier))
        statuses[report["status"]] += 1
        if arguments.json:
            print(json.dumps(report), flush=True)
        else:
            print_report(report)
    if not arguments.json and statuses.total() > 1:
        print(f"{statuses.total()} files: " + ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())))
    return max(EXIT_CODES[status] for status in statuses)


def report_of(file: str, verdict: Verdict) -> JsonObject:
    """Return the verdict on `file` as plain JSON that is safe to print."""
    found = verdict.to_json()
    shown = [check | {"detail": one_line(check["detail"])} for check in found["checks"]]
    return {"file": file} | found | {"checks": shown}


def print_report(report: JsonObject) -> None:
    """Print the verdict on one file, a line for each check."""
    marks = check_marks()
    print(f"{one_line(report['file'])}: {report['status']}" + (f" ({report['step']})" if report["step"] else ""))
    for check in report["checks"]:
        print(f"  {marks[check['result']]} {check['result']:5}{check['id']:16}{check['detail']}")


def _verdict(file: str, verifier: Verifier) -> Verdict:
    try:
        return verifier.verify(read_input(file))
    except ConfigurationError as exc:
        return malformed(exc)


def _verifier(arguments: argparse.Namespace) -> Verifier:
    if arguments.registry:
        return Verifier.registry()
    if arguments.tee_id:
        try:
            return Verifier.tee_ids(arguments.tee_id)
        except ConfigurationError as exc:
            raise ConfigurationError(f"--tee-id {exc}") from None
    return Verifier.unsafe_file_key() if arguments.trust_file_key else Verifier(NoTrust())

"""`og-integrations verify`: saved receipts and exchanges, one verdict each."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from og_integrations.cli.judging import judge
from og_integrations.cli.saved import UnusableInputError, read_saved
from og_integrations.cli.terminal import check_marks, one_line
from og_integrations.cli.trust import TrustSource, trust_file_key, trust_ids, trust_nobody, trust_registry
from og_integrations.protocol.proof.verification import Check
from og_integrations.protocol.strict_json import JsonObject

EXIT_CODES = {"verified": 0, "failed": 1, "malformed": 2, "undecided": 2}


def run(arguments: argparse.Namespace) -> int:
    """Check each file, print its verdict, and return the worst one's exit code."""
    statuses = Counter[str]()
    with _trust_source(arguments) as trust:
        for file in arguments.files:
            report = verify_file(file, trust)
            statuses[report["status"]] += 1
            if arguments.json:
                print(json.dumps(report), flush=True)
            else:
                print_report(report)
    if not arguments.json and statuses.total() > 1:
        print(f"{statuses.total()} files: " + ", ".join(f"{n} {status}" for status, n in sorted(statuses.items())))
    return max(EXIT_CODES[status] for status in statuses)


def verify_file(file: str, trust: TrustSource) -> JsonObject:
    """Return the verdict on `file` ("-" is standard input) as plain JSON; never raises for what it holds."""
    try:
        verdict = judge(read_saved(file), trust)
    except UnusableInputError as exc:
        return report_of(file, "malformed", "input", [Check("input", "fail", str(exc))])
    return report_of(file, verdict.status, verdict.step, verdict.checks)


def report_of(file: str, status: str, step: str | None, checks: "list[Check] | tuple[Check, ...]") -> JsonObject:
    """Return the verdict on one file as plain JSON, safe to print."""
    shown = [check.to_json() | {"detail": one_line(check.detail)} for check in checks]
    return {"file": file, "status": status, "step": step, "checks": shown}


def print_report(report: JsonObject) -> None:
    """Print the verdict on one file, a line for each check."""
    marks = check_marks()
    print(f"{one_line(report['file'])}: {report['status']}" + (f" ({report['step']})" if report["step"] else ""))
    for check in report["checks"]:
        print(f"  {marks[check['result']]} {check['result']:5}{check['id']:16}{check['detail']}")


@contextmanager
def _trust_source(arguments: argparse.Namespace) -> Iterator[TrustSource]:
    if arguments.registry:
        # The only part that has sockets, and is not loaded for the others.
        from og_integrations.cli.registry_reader import RegistryReader

        with RegistryReader() as reader:
            yield trust_registry(reader)
    elif arguments.tee_id:
        yield trust_ids(arguments.tee_id)
    else:
        yield trust_file_key if arguments.trust_file_key else trust_nobody

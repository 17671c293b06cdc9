"""`og-integrations verify`: saved receipts and exchanges, one verdict each, and a summary of many."""

import argparse
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from og_integrations.cli._terminal import add_roots, builds_in, check_marks, one_line, read_input, roots_in, whole
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.proof._enclave import EnclavePolicy
from og_integrations.protocol.proof._measurements import AttestationPolicy
from og_integrations.verify._bundle import Source, sources_in, sources_of
from og_integrations.verify._trust import FileKeyTrust, NobodyTrust, RegistryTrust, TeeIdTrust, TrustSource
from og_integrations.verify._verdict import Verdict
from og_integrations.verify._verifier import FirstSeen, Verifier

EXIT_CODES = {"verified": 0, "failed": 1, "malformed": 2, "undecided": 2}
_BY_SEVERITY = ("failed", "malformed", "undecided", "verified")
"""A forged receipt outranks one that cannot be read: junk does not hide it in the exit code."""
_MOST_NAMES = 10
"""Files that the summary names of each kind; `--failed` names them all."""
_COLUMNS = ("file", "status", "step", "detail", "enclave", "signed_at", "duplicate_of")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `verify`."""
    command.description = (
        "Check saved receipts or exchanges, offline except for --registry. Exit code: 0 all verified, 1 one failed, 2 "
        "none failed, but one could not be read, or the registry not be asked."
    )
    command.epilog = (
        "Without one of --tee-id, --registry, --measurements and --trust-file-key nobody vouches for the enclave: the "
        "check enclave-trusted fails, and evidence with an attestation document is undecided."
    )
    add_sources(command)
    add_trust(command)
    add_model_file(command)
    shown = command.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="one JSON line per file")
    shown.add_argument("--csv", action="store_true", help="one line of CSV per file")
    shown.add_argument("--summary", action="store_true", help="only how many, and the names of the first that failed")
    command.add_argument("--failed", action="store_true", help="leave out what is verified and is no duplicate")


def add_sources(command: argparse.ArgumentParser) -> None:
    """Declare what names the files to judge, and how many processes share the work."""
    command.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="JSON, JSON Lines (.jsonl), a folder of them, or a ledger's URL (sqlite:///…, postgresql://…); - for "
        "standard input",
    )
    command.add_argument(
        "--files-from", metavar="LIST", help="a file with the names of such, one a line; - for standard input"
    )
    command.add_argument(
        "--jobs", type=_jobs, default=os.cpu_count() or 1, metavar="N", help="processes for many files"
    )


def add_trust(command: argparse.ArgumentParser) -> None:
    """Declare the flags that say who vouches for the enclave of a file."""
    trust = command.add_mutually_exclusive_group()
    trust.add_argument("--tee-id", action="append", metavar="ID", help="believe this enclave (may be repeated)")
    trust.add_argument("--registry", action="store_true", help="believe the enclaves that the TEERegistry lists")
    trust.add_argument("--trust-file-key", action="store_true", help="believe the key in the file, whoever made it")
    command.add_argument(
        "--pcr-hash", action="append", metavar="HASH", help="with --registry: only of this build (may be repeated)"
    )
    command.add_argument(
        "--measurements",
        metavar="FILE",
        help="of evidence: believe enclaves whose attestation document is of one of these builds (JSON, as "
        "`og-integrations measurements` writes it); asks nobody",
    )
    add_roots(command, "of evidence: ")


def add_model_file(command: argparse.ArgumentParser) -> None:
    """Declare the flag of receipts of models on chain, which `add_trust` does not know."""
    command.add_argument(
        "--model-file", metavar="FILE", help="with --registry: run this ONNX file again for receipts of models on chain"
    )


def run(arguments: argparse.Namespace) -> int:
    """Check each file, print its verdict, and return the exit code of the gravest one."""
    sources = sources_named(arguments)
    tally, verifier = Tally(), verifier_with_chain(arguments)
    if arguments.csv:
        print(_csv_line(_COLUMNS))
    for name, verdict in verifier.verify_many(sources, jobs=arguments.jobs):
        duplicate_of = tally.count(name, verdict)
        if arguments.summary or (arguments.failed and verdict.verified and duplicate_of is None):
            continue
        if arguments.csv:
            print(_csv_line(_row(name, verdict, duplicate_of)))
            continue
        report = report_of(name, verdict) | ({} if duplicate_of is None else {"duplicate_of": duplicate_of})
        if arguments.json:
            print(json.dumps(report), flush=True)
        else:
            print_report(report)
    if not arguments.json and not arguments.csv and (arguments.summary or tally.statuses.total() > 1):
        tally.show(named=arguments.summary)
    return tally.exit_code


@dataclass(slots=True)
class Tally:
    """A tally counts verdicts, and finds the calls that were handed in twice: one signature is one call."""

    statuses: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)
    duplicates: int = 0
    _seen: FirstSeen = field(default_factory=FirstSeen)

    def count(self, name: str, verdict: Verdict) -> str | None:
        """Count one more; return the file that is about the same call and came before, if there is one."""
        self.statuses[verdict.status] += 1
        proven = verdict.proof if verdict.verified else None
        if proven is None:
            step = f" ({verdict.step})" if verdict.step else ""
            self.names.setdefault(verdict.status, []).append(name + step)
        first = self._seen.before(name, proven.signature if proven is not None else None)
        if first is None:
            return None
        self.duplicates += 1
        self.names.setdefault("duplicate", []).append(f"{name} (the same call as {first})")
        return first

    @property
    def exit_code(self) -> int:
        """Return the exit code of the gravest verdict."""
        return next(EXIT_CODES[status] for status in _BY_SEVERITY if self.statuses[status])

    def show(self, *, named: bool) -> None:
        """Print how many there are of each kind and, if `named`, the first names of those that are not right."""
        counts = ", ".join(f"{n} {status}" for status, n in sorted(self.statuses.items()))
        print(f"{self.statuses.total()} files: {counts}")
        if self.duplicates:
            print(
                f"{self.duplicates} of them are the same call as another file: {self._seen.calls} calls are verified."
            )
        for kind, names in self.names.items() if named else ():
            for name in names[:_MOST_NAMES]:
                print(f"  {kind:10} {one_line(name)}")
            if len(names) > _MOST_NAMES:
                print(f"  {kind:10} and {len(names) - _MOST_NAMES} more; --failed names them all")


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
    if "duplicate_of" in report:
        print(f"  {marks['skip']} the same call as {one_line(report['duplicate_of'])}")


def _row(name: str, verdict: Verdict, duplicate_of: str | None) -> tuple[str, ...]:
    detail = next((check.detail for check in verdict.checks if check.id == verdict.step), "")
    proof = verdict.proof
    signed = (proof.tee_id, str(proof.timestamp)) if proof is not None else ("", "")
    return (name, verdict.status, verdict.step or "", one_line(detail), *signed, duplicate_of or "")


def _csv_line(values: Iterable[str]) -> str:
    line = io.StringIO()
    # A spreadsheet takes a text that begins like this for a formula, and a stranger's file may hold any.
    safe = [f"'{value}" if value[:1] in ("=", "+", "-", "@") else value for value in map(one_line, values)]
    csv.writer(line, lineterminator="").writerow(safe)
    return line.getvalue()


def sources_named(arguments: argparse.Namespace) -> Iterator[Source]:
    """Return the documents of all files that were named. Raises `ConfigurationError` if none was."""
    if not arguments.files and not arguments.files_from:
        raise ConfigurationError("There is nothing to verify: name a FILE, or a list of them with --files-from.")
    return documents(_names(arguments))


def _names(arguments: argparse.Namespace) -> Iterator[str]:
    yield from arguments.files
    if arguments.files_from is not None:
        # Cut as bytes: of a text, U+2028 within a name would end a line, too.
        listed = read_input(arguments.files_from).splitlines()
        yield from (name.decode("utf-8", "surrogateescape") for name in listed if name)


def documents(names: Iterable[str]) -> Iterator[Source]:
    """Yield what stands in files, folders and ledgers of these names. Raises `ConfigurationError` if nothing does."""
    empty = True
    for name in names:
        for source in sources_of(sys.stdin.buffer, name) if name == "-" else sources_in(name):
            empty = False
            yield source
    # A folder that was not filled must not look like one in which all is right.
    if empty:
        raise ConfigurationError("There is nothing to judge: no receipt stands in what was named.")


def _jobs(text: str) -> int:
    if not 1 <= whole(text) <= 256:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; expected 1 to 256")
    return int(text)


def verifier_of(arguments: argparse.Namespace) -> Verifier:
    """Return the verifier that the flags of `add_trust` ask for. Raises `ConfigurationError`."""
    if arguments.pcr_hash and not arguments.registry:
        raise ConfigurationError("--pcr-hash needs --registry: only the registry knows which build an enclave runs.")
    documents = None
    if arguments.measurements is not None or arguments.root_sha256 is not None:
        documents = AttestationPolicy(builds_in("--measurements", arguments.measurements), roots_in(arguments))
    return Verifier(_trust(arguments), documents)


def verifier_with_chain(arguments: argparse.Namespace) -> Verifier:
    """Return the same, which with --registry judges receipts of models on chain, too. Raises `ConfigurationError`."""
    if arguments.model_file and not arguments.registry:
        raise ConfigurationError("--model-file needs --registry: what the model was run on stands on the chain.")
    verifier = verifier_of(arguments)
    if not arguments.registry:
        return verifier
    # Loaded for this alone.
    from og_integrations.onchain import ReceiptJudge

    return verifier.with_onchain(ReceiptJudge(model_file=arguments.model_file))


def _trust(arguments: argparse.Namespace) -> TrustSource:
    if arguments.registry:
        return RegistryTrust(policy=EnclavePolicy(allowed_pcr_hashes=arguments.pcr_hash))
    if arguments.tee_id:
        try:
            return TeeIdTrust(arguments.tee_id)
        except ConfigurationError as exc:
            raise ConfigurationError(f"--tee-id {exc}") from None
    return FileKeyTrust() if arguments.trust_file_key else NobodyTrust()

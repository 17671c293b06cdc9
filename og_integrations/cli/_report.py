"""`og-integrations report` writes saved receipts as one page that an auditor reads, and that checks itself."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from og_integrations._urls import is_ledger_url
from og_integrations.cli._terminal import one_line, printable, url
from og_integrations.cli._verify import (
    EXIT_CODES,
    add_model_file,
    add_sources,
    add_trust,
    sources_named,
    verifier_with_chain,
)
from og_integrations.client import Receipt
from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.ledger._entry import SettlementNote
from og_integrations.ledger._ledger import open_ledger
from og_integrations.protocol.payment.schemes._settlement import SettlementStatus
from og_integrations.report import Report


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `report`."""
    command.description = (
        "Write one page about saved receipts: what is proven and what is not, what was authorized, settled and "
        "reported, and every receipt as a row that opens. The page holds all texts, needs no network, and checks "
        "itself in the reader's browser. Exit code: 0 all verified, 1 one failed, 2 none failed, but one could not be "
        "read or decided, or nothing was written."
    )
    command.epilog = "Prompts and answers stand in the page in clear: it is as confidential as they are."
    add_sources(command)
    add_trust(command)
    add_model_file(command)
    command.add_argument("--html", required=True, metavar="FILE", help="where to write the page; - for standard output")
    command.add_argument(
        "--ask-chain", action="store_true", help="ask the chain what was taken of each payment that no ledger knows of"
    )
    command.add_argument(
        "--rpc-url", type=url, metavar="URL", help="node of the payment chain (default: OG_RPC_URL, or a public one)"
    )
    command.add_argument("--title", default="Report of verified inference", help="its title")
    command.add_argument("--force", action="store_true", help="write over a file that is there")


def run(arguments: argparse.Namespace) -> int:
    """Judge everything, write the page, print what it says first, and return the exit code of the gravest verdict."""
    target = None if arguments.html == "-" else Path(arguments.html)
    if target is not None and target.exists() and not arguments.force:
        raise ConfigurationError(f"--html {target}: the file is there, and nothing in it was changed; say --force.")
    report = Report.of(
        sources_named(arguments),
        verifier_with_chain(arguments),
        trust=_trust(arguments),
        jobs=arguments.jobs,
        settlements=dict(_settlements(arguments.files)),
        title=arguments.title,
    )
    if arguments.ask_chain:
        report = replace(report, settlements=dict(report.settlements) | dict(_asked(report, arguments.rpc_url)))
    page = report.html()
    if target is None:
        sys.stdout.write(page)
    else:
        try:
            target.write_text(page, "utf-8")
        except OSError as exc:
            raise ConfigurationError(f"--html {target}: cannot be written ({exc.strerror}).") from exc
        _tell(report, target, len(page))
    statuses = {row.verdict.status for row in report.rows}
    return 1 if "failed" in statuses else max(EXIT_CODES[status] for status in statuses)


def _tell(report: Report, target: Path, size: int) -> None:
    statuses: dict[str, int] = {}
    for row in report.rows:
        statuses[row.verdict.status] = statuses.get(row.verdict.status, 0) + 1
    counts = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
    print(f"{len(report.rows)} documents: {counts or 'none'}")
    copies = sum(row.duplicate_of is not None for row in report.rows)
    if copies:
        print(f"{copies} of them are the same call as another document")
    print(f"{printable(str(target))}: {size / 1e6:.1f} MB; open it in a browser, which checks every receipt again")


def _trust(arguments: argparse.Namespace) -> str:
    """Return in words whom the arguments let be believed."""
    if arguments.measurements is not None:
        return "enclaves that run a pinned build, by their attestation documents"
    if arguments.registry:
        builds = f", of {len(arguments.pcr_hash)} named builds" if arguments.pcr_hash else ""
        return f"the enclaves that the TEERegistry lists{builds}"
    if arguments.tee_id:
        return f"the enclave {one_line(', '.join(arguments.tee_id))}"
    return (
        "whichever key a document names, which says nothing about who made it" if arguments.trust_file_key else "nobody"
    )


def _settlements(names: Sequence[str]) -> Iterator[tuple[str, SettlementNote]]:
    """Yield what the chain said of payments, where a ledger among the sources has kept it."""
    for name in names:
        if is_ledger_url(name) or (name.endswith(".jsonl") and Path(name).is_file()):
            yield from open_ledger(name).settlements().items()


def _asked(report: Report, rpc_url: str | None) -> Iterator[tuple[str, SettlementNote]]:
    """Yield what the chain says of each payment of proven calls that no ledger knows of; each is asked about once."""
    payments: dict[str, Receipt] = {}
    for row in report.rows:
        if row.proven and row.facts.payment and row.facts.payment not in report.settlements:
            payments.setdefault(row.facts.payment, Receipt(row.receipt))
    for payment, receipt in payments.items():
        try:
            found = receipt.settlement(rpc_url)
        except (ConfigurationError, DiscoveryError) as exc:
            # One payment that cannot be looked up does not cost the report: the page says "not asked" beside it.
            print(f"og-integrations: payment {one_line(payment)}: {printable(str(exc))}", file=sys.stderr)
            continue
        taken = None if found.status is SettlementStatus.PENDING else found.amount
        yield (
            payment,
            SettlementNote(
                payment=payment, status=found.status.value, amount=taken, transaction=found.transaction_hash
            ),
        )

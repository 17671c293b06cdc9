"""
This module makes the rows of a report: each document, with its verdict and what its receipt says.

Whoever wrote a document may have written anything, so every member is read as what it is, or as nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from og_integrations._accounting import Facts, Particulars, facts_of, particulars_of
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.receipt import signature_of, upgraded
from og_integrations.verify._bundle import Source, read_file
from og_integrations.verify._verdict import Verdict
from og_integrations.verify._verifier import FirstSeen, Verifier

_LATEST = 253402300799
"""The last second of the year 9999: no time of a receipt is later."""


@dataclass(frozen=True)
class Row:
    """
    A row is one document: its name, its bytes, and the verdict on it.

    `duplicate_of` names the document that is about the same call and came before. `data` is empty for a file that
    could not be read.
    """

    name: str
    data: bytes = field(repr=False)
    verdict: Verdict
    duplicate_of: str | None = None

    @property
    def proven(self) -> bool:
        """Return whether it is a call that is proven, and was not counted before."""
        return self.verdict.verified and self.duplicate_of is None

    @property
    def why(self) -> str:
        """Return what the check says that failed, or could not be made; empty for what is verified."""
        return next((check.detail for check in self.verdict.checks if check.id == self.verdict.step), "")

    @cached_property
    def receipt(self) -> JsonObject:
        """Return the receipt, with the names of today; empty if there is none to read."""
        found = self._document.get("receipt", self._document)
        return upgraded(found) if isinstance(found, dict) else {}

    @cached_property
    def facts(self) -> Facts:
        """Return what the receipt says of model, wallet, payment and cost."""
        return facts_of(self.receipt)

    @cached_property
    def particulars(self) -> Particulars:
        """Return what it says of the kind of the call, its times, the enclave, and a transaction."""
        return particulars_of(self.receipt)

    @property
    def began(self) -> int | None:
        """Return when the call began by the client's clock, unix seconds."""
        return moment(self.particulars.began)

    @property
    def signed(self) -> int | None:
        """Return when the enclave signed by its own clock, unix seconds."""
        return moment(self.particulars.signed)

    @property
    def when(self) -> int | None:
        """Return the moment under which the call is shown."""
        return self.signed or self.began or moment(self._document.get("at"))

    @property
    def seconds(self) -> float | None:
        """Return how long the call took, to its entry in the ledger or else to the signature; None if unknown."""
        ended = self._document.get("at")
        if isinstance(ended, int | float) and not isinstance(ended, bool) and 0 < ended <= _LATEST:
            end: float | None = float(ended)
        else:
            end = self.signed
        if self.began is None or end is None or not 0 <= end - self.began < 86_400:
            return None
        return float(end - self.began)

    @cached_property
    def _document(self) -> JsonObject:
        try:
            found = decode_json(self.data)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def moment(value: object) -> int | None:
    """Return `value` as unix seconds; None for what is no time that a calendar has."""
    return value if type(value) is int and 0 < value <= _LATEST else None


def read_rows(sources: Iterable[Source], verifier: Verifier, *, jobs: int = 1) -> list[Row]:
    """Return a row for each source, in their order, each read once and judged."""
    held = [Source(source.name, _data(source)) for source in sources]
    seen, rows = FirstSeen(), []
    for source, (name, verdict) in zip(held, verifier.verify_many(held, jobs=jobs), strict=True):
        data = source.saved if isinstance(source.saved, bytes) else b""
        row = Row(name, data, verdict)
        rows.append(Row(name, data, verdict, seen.before(name, _call_of(row))))
    return rows


def _call_of(row: Row) -> str | None:
    """Return what no two proven calls have in common, None for what is not proven."""
    if not row.verdict.verified:
        return None
    if row.verdict.proof is not None:
        return row.verdict.proof.signature
    return row.particulars.transaction or signature_of(row.receipt)


def _data(source: Source) -> str | bytes:
    try:
        return source.saved if isinstance(source.saved, bytes) else read_file(source.saved)
    except ConfigurationError:
        # Left to the verifier, whose verdict says what is wrong: one broken file must not end the report.
        return source.saved

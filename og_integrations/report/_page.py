"""
This module writes the page: one file that holds everything it needs, and lets nothing else run.

What a receipt holds is a stranger's text. In the page's markup it is escaped by the template; in the page's data it is
JSON whose `<` and everything beyond ASCII are escapes, so that it ends no script; and the page's policy names the
hashes of its own script and style, so that nothing else runs even if both were wrong.
"""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Self

from og_integrations import __version__
from og_integrations.errors import ConfigurationError
from og_integrations.ledger._entry import SettlementNote
from og_integrations.networks import OPG
from og_integrations.receipt import members
from og_integrations.report._charts import Stack, bars
from og_integrations.report._figures import Bar, Figures, opg
from og_integrations.report._rows import Row, read_rows
from og_integrations.verify._bundle import Source
from og_integrations.verify._verifier import Verifier

if TYPE_CHECKING:
    from jinja2 import Environment

MODULES = ("keccak", "python_json", "canonical", "answer", "claims", "checker", "rows", "page")
"""The parts of the page's script, each after those that it needs."""
_SHOWN, _LISTED = 12, 500
"""Rows of a table that are seen at once, and those that are there at all."""
_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_WORTH_SHARING = 26
"""Characters from which on a text of a document is kept once, if it stands in many."""
_IMPORT = re.compile(r'^import (\{[^}]+\}) from "\./(\w+)\.mjs";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async function|function|class|const) (\w+))", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """
    A report is made of rows, each with its verdict: `Report.of(sources, verifier)` reads and judges them.

    `trust` says in words whom the verifier believed, `settlements` is what the chain said of payments, by payment hash.
    """

    rows: Sequence[Row]
    trust: str
    settlements: Mapping[str, SettlementNote] = field(default_factory=dict)
    title: str = "Report of verified inference"

    @classmethod
    def of(
        cls,
        sources: Iterable[Source],
        verifier: Verifier,
        *,
        trust: str,
        jobs: int = 1,
        settlements: Mapping[str, SettlementNote] | None = None,
        title: str = "Report of verified inference",
    ) -> Self:
        """Return the report of `sources`, judged by `verifier` in `jobs` processes. Raises `ConfigurationError`."""
        rows = read_rows(sources, verifier, jobs=jobs)
        return cls(rows, trust, settlements or {}, title)

    def html(self, *, made_at: float | None = None) -> str:
        """
        Return the page; `made_at` is its moment (unix seconds), now if it is not given.

        Raises `ConfigurationError` where Jinja2 is not installed (extra `report`).
        """
        figures, script, style = Figures(self.rows, self.settlements), script_text(), _file("page.css")
        made = datetime.now(UTC) if made_at is None else datetime.fromtimestamp(made_at, UTC)
        folder = common_folder([row.name for row in self.rows])
        moments = [figures.period] if figures.period is not None else []
        template = _environment().from_string(_file("page.html"))
        return template.render(
            report=self,
            figures=figures,
            version=__version__,
            made=made.strftime("%d %B %Y, %H:%M UTC"),
            period=[_spanned(first, last) for first, last in moments],
            folder=folder,
            trouble=figures.trouble[:_LISTED],
            shown=_SHOWN,
            listed=_LISTED,
            calls_chart=_calls_chart(figures),
            seconds_chart=_chart(figures, "cost", "Seconds of a call over time", "s", lambda bar: bar.seconds),
            cost_chart=_chart(figures, "cost", "OPG reported over time", "OPG", lambda bar: bar.cost / OPG),
            authorized_chart=_chart(
                figures, "authorized", "OPG authorized over time", "OPG", lambda bar: bar.authorized / OPG
            ),
            enclaves=list(_enclaves(figures)),
            policy=_policy(script, style),
            script=script,
            script_sha256=hashlib.sha256(script.encode()).hexdigest(),
            style=style,
            data=_data(self.rows, figures, folder),
        )


def common_folder(names: Sequence[str]) -> str:
    """Return the folder, with its last slash, that all `names` begin with; empty if there is none, or one name only."""
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first.rfind("/", 0, same) + 1]


def script_text() -> str:
    """Return the page's script: its modules as one, since a file on a disk may import no other."""
    return "".join(map(_enclosed, MODULES))


def _enclosed(name: str) -> str:
    """Return a module as a function that is called at once, whose names are its own."""
    text = _file(f"{name}.mjs")
    exports = ", ".join(found[2] for found in _EXPORT.finditer(text))
    inner = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = \2;", text))
    return f"const {name} = (() => {{\n{inner}\nreturn {{ {exports} }};\n}})();\n"


def _file(name: str) -> str:
    return resources.files("og_integrations.report").joinpath(name).read_text("utf-8")


def _environment() -> "Environment":
    try:
        from jinja2 import Environment, StrictUndefined
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            f'The report is not installed ({exc.name} is missing). Run: pip install "og-integrations[report]"'
        ) from exc
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "opg": opg,
        "day": _day,
        "short": _short,
        "number": "{:,}".format,
        "plain": _plain,
        "hashes": _hashes,
    }
    return environment


def _policy(script: str, style: str) -> str:
    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {allowed(script)}; style-src {allowed(style)}; base-uri 'none'; "
        "form-action 'none'"
    )


def _data(rows: Sequence[Row], figures: Figures, folder: str) -> str:
    """Return the page's data: a line about all, and one for each row with the exact text of its document."""
    texts = [_decoded(row.data) for row in rows]
    verdicts = [json.dumps([check.to_json() for check in row.verdict.checks], ensure_ascii=False) for row in rows]
    shared = _shared([*filter(None, texts), *verdicts])
    head = {
        "format": "og-report/1",
        "rows": len(rows),
        "folder": folder,
        "standing": {path: member.standing.word for path, member in members().items()},
        "believed": {group.name: _word(group.rows) for group in figures.enclaves if group.rows},
        "shared": list(shared),
    }
    lines = [json.dumps(head)]
    for row, text, checks in zip(rows, texts, verdicts, strict=True):
        line = {
            "name": row.name,
            "status": row.verdict.status,
            "step": row.verdict.step,
            "duplicate_of": row.duplicate_of,
            "when": row.when,
            "kind": row.particulars.kind,
            "model": row.facts.model,
            "document": None if text is None else _split(text, shared),
            "checks": _split(checks, shared),
        }
        lines.append(json.dumps(line))
    # Surrogates that stand for bytes of a file's name are escapes like all the rest.
    return "\n".join(lines).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _shared(texts: Iterable[str]) -> dict[str, int]:
    """Return the texts that stand in more than one document, each with its place in the list of them."""
    counted = Counter(found for text in texts for found in set(_TEXT.findall(text)) if len(found) >= _WORTH_SHARING)
    return {text: place for place, text in enumerate(text for text, count in counted.items() if count > 1)}


def _split(text: str, shared: Mapping[str, int]) -> list[str | int]:
    """Return `text` in pieces, where those that are shared are numbers: joined, they are the very same text."""
    pieces: list[str | int] = []
    end = 0
    for found in _TEXT.finditer(text):
        if (place := shared.get(found[0])) is not None:
            pieces += [text[end : found.start()], place]
            end = found.end()
    return [*pieces, text[end:]]


def _word(rows: Sequence[Row]) -> str:
    """Return who vouched for the enclave of proven `rows`, in the words of the check."""
    return next(check.detail for check in rows[0].verdict.checks if check.id == "enclave-trusted")


@dataclass(frozen=True, slots=True)
class _Enclave:
    tee_id: str
    calls: int
    word: str
    endpoint: str | None
    measurement: str | None
    trust: str | None


def _enclaves(figures: Figures) -> Iterator[_Enclave]:
    for group in figures.enclaves:
        if group.rows:
            told = group.rows[-1].particulars
            yield _Enclave(
                group.name,
                group.calls,
                _word(group.rows),
                told.endpoint,
                told.measurement,
                told.trust,
            )


def _calls_chart(figures: Figures) -> str:
    stacks = [
        Stack(
            bar.start,
            (("proven", bar.proven), ("failed", bar.failed), ("other", bar.other)),
            f"{_stamp(bar.start)}: {bar.proven} proven, {bar.failed} failed, {bar.other} not decided",
        )
        for bar in figures.bars
    ]
    return bars(stacks, figures.width, "Calls over time", lambda amount: f"{amount:,.0f}" if amount % 1 == 0 else "")


def _chart(figures: Figures, kind: str, name: str, unit: str, amount_of: Callable[[Bar], float]) -> str:
    """Return a picture of one amount over time."""
    stacks = []
    for bar in figures.bars:
        amount = amount_of(bar)
        stacks.append(Stack(bar.start, ((kind, amount),), f"{_stamp(bar.start)}: {amount:,.4g} {unit}"))
    return bars(stacks, figures.width, name, lambda amount: f"{amount:,.4g}")


def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y %H:%M UTC")


def _day(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y")


def _spanned(first: int, last: int) -> str:
    begin, end = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)
    if begin.date() == end.date():
        return f"{begin:%d %B %Y}, {begin:%H:%M} to {end:%H:%M} UTC"
    return f"{begin:%d %B %Y} to {end:%d %B %Y}"


def _short(text: str | None) -> str:
    """Return a long hex text by its ends."""
    return "" if text is None else text if len(text) <= 20 else f"{text[:10]}…{text[-6:]}"


def _hashes(text: str) -> str:
    """Return a text in which each long hex number stands by its ends."""
    return re.sub(r"\b(?:0x)?[0-9a-f]{64}\b", lambda found: _short(found[0]), text)


def _plain(text: str) -> str:
    """Return a stranger's text without what could rewrite the page: only what prints, the rest as escapes."""
    short = text if len(text) <= 300 else text[:299] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in short)

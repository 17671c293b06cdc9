"""Results -> the tables of README.md."""

import datetime as dt
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Results = dict[tuple[str, str], float | str]
Versions = dict[str, dict[str, str]]

TITLES = {
    "httpx": "raw httpx + json",
    "client": "our `Client`",
    "ours": "**`ChatOpenGradient`**",
    "nothing": "do-nothing chat model",
    "bare": "chat model over raw httpx",
    "openai": "`ChatOpenAI`",
    "llama": "**`OpenGradientLLM.complete`**",
    "llama_openai": "LlamaIndex's `OpenAI.complete`",
    "published": "published adapter",
}
VERIFYING = ("client", "ours", "llama")
PAYING = (*VERIFYING, "published")
PER_CALL = ("sync", "asynchronous", "together")
PER_CHUNK = ("tls stream", "tls astream")
README = Path(__file__).parent / "README.md"


def write_tables(results: Results, versions: Versions, names: list[str], *, kept: bool) -> str:
    """Return the tables, and put them into README.md if they are to be `kept`."""
    parts = [_machine(versions), _per_call(results, names), _per_chunk(results, names), _once(results, names)]
    text = "\n".join([*parts, _crowds(results), _growth(results), _troubles(results)]).rstrip() + "\n"
    if kept:
        keep("results", text)
    return text


def keep(name: str, text: str) -> None:
    """Put `text` between the marks of README.md that have `name`. Raises `ValueError` where they are not."""
    before, begin, rest = README.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not end:
        raise ValueError(f"README.md has no place for {name}: a table that was measured for hours would be lost.")
    README.write_text(f"{before}{begin}{text}{end}{after}")


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal says what a ratio must hold: at most `bound`, or at least that if `least`."""

    what: str
    found: float | None
    bound: float
    least: bool = False

    def cells(self) -> list[str]:
        """Return the row of the table."""
        bound = f"{'≥' if self.least else '≤'} {self.bound:.2f}"
        if self.found is None:
            return [self.what, "-", bound, "not measured"]
        held = self.found >= self.bound if self.least else self.found <= self.bound
        return [self.what, f"{self.found:.2f}", bound, "held" if held else "missed"]


def write_goals(results: Results, verified: Mapping[str, float], *, kept: bool) -> str:
    """Return the table of what must hold, and put it into README.md if it is to be `kept`."""

    def found(what: str, name: str, over: float | None = 1.0) -> float | None:
        value = results.get((what, name))
        return value / over if isinstance(value, float | int) and over else None

    cold = {name: found("cold cpu", name) for name in ("openai", "bare")}
    goals = [
        Goal("cold `Client` ÷ `ChatOpenAI`", found("cold cpu", "client", cold["openai"]), 0.25),
        Goal("cold `ChatOpenGradient` ÷ `ChatOpenAI`", found("cold cpu", "ours", cold["openai"]), 0.72),
        Goal("cold `ChatOpenGradient` ÷ bare", found("cold cpu", "ours", cold["bare"]), 1.25),
        Goal("`invoke` ÷ bare", found("tls sync cpu", "ratio"), 0.95),
        Goal("`ainvoke` ÷ bare", found("tls asynchronous cpu", "ratio"), 0.80),
        Goal("32 at once ÷ bare", found("tls together cpu", "ratio"), 0.50),
        Goal("streamed chunk ÷ bare, sync", found("tls stream cpu", "ratio"), 0.75),
        Goal("streamed chunk ÷ bare, async", found("tls astream cpu", "ratio"), 0.75),
    ]
    for name in ("client", "ours"):
        title = TITLES[name].strip("*")
        goals += [
            Goal(f"1,000 unbounded, 1 s answers, {title}: wall ÷ ideal", found("crowd", name), 1.15),
            Goal(f"CPU per call, 2,000 ÷ 32 at once, {title}", found("crowd cpu", name), 1.2),
            Goal(f"MB of 10,000 calls with a sink, after as many, {title}", found("growth_with_sink", name, 1024), 2),
        ]
    for kind, ratio in verified.items():
        least = kind.startswith("two")
        goals.append(Goal(f"`verify`, {kind}", ratio, 1.8 if least else 2.5, least=least))
    load = f"Load average {os.getloadavg()[0]:.1f} at the end." if hasattr(os, "getloadavg") else ""
    rows = markdown_table(["what", "now", "goal", ""], [goal.cells() for goal in goals])
    text = (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {os.cpu_count()} cores. {load}\n\n{rows}\n{_troubles(results)}".rstrip()
        + "\n"
    )
    if kept:
        keep("goals", text)
    return text


def _machine(versions: Versions) -> str:
    libraries = "; ".join(
        " with ".join(f"{name} {number}" for name, number in found.items()) for found in versions.values()
    )
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores shared "
        f"with other work, Python {platform.python_version()}; {libraries}.\n"
    )


def _per_call(results: Results, names: list[str]) -> str:
    columns = [f"{transport} {what}" for transport in ("http", "tls") for what in PER_CALL]
    heads = ["sync", "async", "32 at once", "TLS sync", "TLS async", "TLS 32 at once"]
    rows = [[TITLES[name], *[_number(results, column, name, "{:.2f}") for column in columns]] for name in names]
    rows += _ratios(results, columns)
    return markdown_table(["ms per call", *heads], rows)


def _ratios(results: Results, columns: Sequence[str]) -> list[list[str]]:
    """Return the rows that compare us: with the two floors one after the other, and with both in one program."""
    return [
        [title, *[_number(results, column + suffix, ratio, "{:.2f}") for column in columns]]
        for ratio, over in (("sum ratio", "(httpx + do-nothing)"), ("ratio", "chat model over raw httpx"))
        for title, suffix in ((f"`ChatOpenGradient` ÷ {over}", ""), ("the same, CPU time", " cpu"))
    ]


def _per_chunk(results: Results, names: list[str]) -> str:
    rows = []
    for name in names:
        cells = [_number(results, column, name, "{:.0f}") for column in PER_CHUNK]
        rows.append([TITLES[name], *cells, _number(results, "pieces", name, "{:.0f}")])
    rows += [[*row, ""] for row in _ratios(results, PER_CHUNK)]
    return markdown_table(["µs per streamed chunk (TLS, 500 chunks)", "stream", "astream", "pieces shown"], rows)


def _once(results: Results, names: list[str]) -> str:
    columns: list[tuple[str, str, Callable[[str], bool]]] = [
        (
            "cold_together",
            "authorizations for 32 cold calls",
            lambda name: name in PAYING,
        ),
        ("cold_in_a_row", "for 10 in a row (sync)", lambda name: name in PAYING),
        ("import", "import, ms of CPU", lambda name: True),
        ("cold", "process start to answer, ms", lambda name: name != "nothing"),
        ("cold cpu", "the same, ms of CPU", lambda name: name != "nothing"),
        ("peak", "peak memory, MB", lambda name: True),
        ("checks", "steps of the verification that passed", lambda name: name in VERIFYING),
    ]
    rows = [
        [TITLES[name], *[_number(results, what, name, "{:.0f}") if fits(name) else "" for what, _, fits in columns]]
        for name in names
    ]
    return markdown_table(["", *[head for _, head, _ in columns]], rows)


def _crowds(results: Results) -> str:
    heads = {
        "crowd": "1,000 unbounded calls, 1 s answers: wall ÷ ideal (100 at once)",
        "crowd cpu": "CPU per call, 2,000 ÷ 32 at once",
    }
    rows = [
        [TITLES[name], *[_number(results, what, name, "{:.2f}") for what in heads]]
        for name in ("client", "ours")
        if any((what, name) in results for what in heads)
    ]
    return markdown_table(["crowds (TLS)", *heads.values()], rows) if rows else ""


def _growth(results: Results) -> str:
    heads = {
        "growth_of_calls": "10,000 calls after 5,000",
        "growth_of_stream": "stream of 100,000 chunks after one of 500",
        "growth_of_receipts": "10,000 calls with their receipts in a list",
        "growth_with_sink": "10,000 calls with receipts into a file, after as many",
    }
    rows = [
        [TITLES[name], *[_number(results, what, name, "{:.0f}") for what in heads]]
        for name in ("client", "ours", "nothing")
        if any((what, name) in results for what in heads)
    ]
    return markdown_table(["memory growth, KB", *heads.values()], rows) if rows else ""


def _troubles(results: Results) -> str:
    lines = [f"* {TITLES[name]}, {what}: {value}" for (what, name), value in results.items() if isinstance(value, str)]
    return "Failed:\n" + "\n".join(lines) if lines else ""


def _number(results: Results, what: str, name: str, form: str) -> str:
    value = results.get((what, name))
    return form.format(value) if isinstance(value, float | int) else "-"


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown, with the line that ends it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"

"""
Results -> `docs/images/benchmarks.svg`: milliseconds per call, a group of bars for each way to ask.

`python -m benchmarks.plot` draws it again from the table that README.md holds.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from benchmarks.table import README

PICTURE = README.parents[1] / "docs" / "images" / "benchmarks.svg"
WAYS = {"TLS sync": "one after the other", "TLS async": "awaited, one after the other", "TLS 32 at once": "32 at once"}
"""Column of the table -> what the picture calls it."""
_WIDTH, _LABELS, _BAR, _GAP, _TOP = 760, 210, 18, 34, 64
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1b1f24 } .title { font-size: 16px; font-weight: 600 }
.note { fill: #57606a } rect { fill: #9aa4b2 } .ours { fill: #1a7f5a } line { stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .note { fill: #9aa4b2 } rect { fill: #6b7684 } .ours { fill: #3fb98a } line { stroke: #30363d }
}
"""


def read_table(text: str) -> dict[str, dict[str, float]]:
    """Return the first table of `text` as column -> contestant -> ms; what was not measured is left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found: dict[str, dict[str, float]] = {column: {} for column in head[1:]}
    for name, *cells in rows[1:]:
        if "÷" in name or "CPU" in name:
            break
        for column, cell in zip(head[1:], cells, strict=True):
            if re.fullmatch(r"[0-9.]+", cell):
                found[column][name.strip("*")] = float(cell)
    return found


def draw(table: Mapping[str, Mapping[str, float]]) -> str:
    """Return the picture: one group of bars for each of `WAYS`, ours in another colour, each bar with its number."""
    groups = [(title, sorted(table[way].items(), key=lambda item: item[1])) for way, title in WAYS.items()]
    # One bar that is many times as long as all others would make those too short to compare: it ends with an arrow.
    values = sorted((value for _, bars in groups for _, value in bars), reverse=True)
    while len(values) > 1 and values[0] > 3 * values[1]:
        del values[0]
    parts, y = [], _TOP
    for title, bars in groups:
        parts.append(f'<text x="0" y="{y}" class="title">{escape(title)}</text>')
        y += 12
        for name, value in bars:
            parts += _bar(name, value, values[0], y)
            y += _BAR + 4
        y += _GAP
    note = (
        "Milliseconds per call over TLS, medians of one run; raw httpx and ChatOpenAI pay for nothing, check nothing."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img" aria-labelledby="t">',
            '<title id="t">Milliseconds per model call: this package\'s client and chat model beside others</title>',
            f"<style>{_STYLE}</style>",
            f'<text x="0" y="22" class="note">{note}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def _bar(name: str, value: float, most: float, y: int) -> Sequence[str]:
    shown = escape(name.replace("`", ""))
    kind = ' class="ours"' if "Client" in name or "ChatOpenGradient" in name else ""
    width = min(1.0, value / most) * (_WIDTH - _LABELS - 70)
    told = f"{value:.2f}" + " \u2192" * (value > most)
    return (
        f'<text x="{_LABELS - 8}" y="{y + 14}" text-anchor="end">{shown}</text>',
        f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}"{kind}/>',
        f'<text x="{_LABELS + width + 6:.1f}" y="{y + 14}" class="note">{told}</text>',
    )


def write_plot(place: Path = PICTURE) -> None:
    """Draw what README.md holds of the last run."""
    _, _, rest = README.read_text().partition("<!-- results -->\n")
    place.write_text(draw(read_table(rest.partition("<!-- end of results -->")[0])))


if __name__ == "__main__":
    write_plot()
    sys.stdout.write(f"{PICTURE}\n")

"""This module makes what notebooks show of receipts, sums and verdicts: tables in which everything is escaped."""

from collections.abc import Iterable, Sequence

_LEFT = "style='text-align:left'"
_MOST_ROWS = 200
"""More rows would make a notebook's file large, and nobody reads them there."""


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return `rows` of (name, value) as an HTML table, the names as headings of their rows."""
    import html  # its table of 2,000 names takes longer than a call

    lines = "".join(
        f"<tr><th {_LEFT}>{html.escape(name)}</th><td {_LEFT}>{html.escape(value)}</td></tr>" for name, value in rows
    )
    return f"<table>{lines}</table>"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Return `rows` under the columns of `head` as an HTML table, the first 200 of them, and `note` below it."""
    import html

    top = "".join(f"<th {_LEFT}>{html.escape(name)}</th>" for name in head)
    lines = "".join(
        "<tr>" + "".join(f"<td {_LEFT}>{html.escape(value)}</td>" for value in row) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    left_out = f"{len(rows) - _MOST_ROWS} more rows are not shown." if len(rows) > _MOST_ROWS else ""
    notes = "".join(f"<p>{html.escape(text)}</p>" for text in (left_out, note) if text)
    return f"<table><tr>{top}</tr>{lines}</table>{notes}"

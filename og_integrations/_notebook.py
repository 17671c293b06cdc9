"""This module makes what notebooks show of receipts, sums and verdicts: tables in which everything is escaped."""

from collections.abc import Iterable, Sequence

_LEFT = "style='text-align:left'"
_MOST_ROWS = 200
"""More rows would make a notebook's file large, and nobody reads them there."""


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return `rows` of (name, value) as an HTML table, the names as headings of their rows."""
    from html import escape

    lines = "".join(f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{lines}</table>"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Return `rows` under the columns of `head` as an HTML table, the first 200 of them, and `note` below it."""
    from html import escape

    top = "".join(f"<th {_LEFT}>{escape(name)}</th>" for name in head)
    lines = "".join(
        "<tr>" + "".join(f"<td {_LEFT}>{escape(value)}</td>" for value in row) + "</tr>" for row in rows[:_MOST_ROWS]
    )
    left_out = f"{len(rows) - _MOST_ROWS} more rows are not shown." if len(rows) > _MOST_ROWS else ""
    notes = "".join(f"<p>{escape(text)}</p>" for text in (left_out, note) if text)
    return f"<table><tr>{top}</tr>{lines}</table>{notes}"

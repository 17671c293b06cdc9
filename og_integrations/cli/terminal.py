"""
Text that is safe to print.

Files, answers and error messages may hold terminal escapes, which could rewrite what stands on the
screen above them: a verifier must not let a file print its own "verified".
"""

import sys
from collections.abc import Mapping

MAX_LINE_CHARS = 500
_MARKS = {"pass": "✓", "fail": "✗", "skip": "-"}
_PLAIN_MARKS = {"pass": "+", "fail": "!", "skip": "-"}


def printable(text: str) -> str:
    """Return `text` with everything but printable characters, newlines and tabs made visible."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """Return `text` on one line of bounded length, safe to print."""
    short = text if len(text) <= MAX_LINE_CHARS else text[: MAX_LINE_CHARS - 1] + "…"
    return "".join(c if c.isprintable() else _escaped(c) for c in short)


def check_marks() -> Mapping[str, str]:
    """Return the result of a check -> the character in front of its line, as standard output can show it."""
    return _MARKS if "utf" in (sys.stdout.encoding or "").lower() else _PLAIN_MARKS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")

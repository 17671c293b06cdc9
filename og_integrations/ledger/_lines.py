"""
This module says how documents stand in a file of JSON Lines: one a line, and some lines are no calls.

It holds no more, so that whoever verifies such a file loads nothing of what writes and asks ledgers.
"""

import json

from og_integrations.protocol._strict_json import JsonObject

NOTES_BEGIN = (b'{"settlement":', b'{"leaving":')
"""How the lines begin that are no calls and nothing to verify."""


def line_of(document: JsonObject) -> bytes:
    """Return `document` as one line; ASCII, so that no line separator of Unicode ends it early."""
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"

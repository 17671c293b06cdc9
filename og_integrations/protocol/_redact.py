"""
This module says what of strangers' words (gateways, nodes, operators) a message of ours may repeat.

`Secret` keeps a text of our own out of what error reporters print, `emptied_frames` what a library has of it.

`shown` makes any word of a stranger harmless to print; `quotable` also leaves out what could be a secret. Messages end
in logs and traces. The real gateway's 400 quotes the whole prompt (docs/protocol.md §2), and a hostile one could quote
the payment or the session with which it was asked.
"""

import re
import sys
import traceback
from collections.abc import Iterable
from typing import Self

from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject

MAX_QUOTED_CHARS = 200
WINDOW = 8
"""This many characters in a row are taken for a quotation; of a shorter text, all of it."""
LEAST = 4
"""Texts shorter than this are in every sentence."""

KNOWN = (
    "is not supported",
    "Request processing failed",
    "Stream processing failed",
    "No matching payment requirements",
    "Session expired or exhausted",
    "invalid_permit2_signature",
    "invalid_permit2_spender",
    "invalid_permit2_recipient_mismatch",
    "invalid_upto_evm_payload",
    "permit2_deadline_expired",
    "permit2_allowance_required",
    "permit2_amount_mismatch",
    "permit2_not_yet_valid",
    "permit2_token_mismatch",
    "upto_facilitator_mismatch",
    "insufficient_balance",
)
"""The gateway's own words (docs/protocol.md §2, §3): they quote nobody, also where a prompt is about them."""

# These are compiled by `re` where an error is told of for the first time: most processes never do.
_KNOWN = "|".join(map(re.escape, KNOWN))
# The pattern covers base64 and hex of 32 characters and more, and the beginning of a UUID, which names a session.
_TOKEN = r"[A-Za-z0-9+/=]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-"
# A hostile gateway could spell a quotation in any of these escapes, and a plain comparison would not find it.
_ESCAPE = r"\\u([0-9A-Fa-f]{4})|(?:\\x|%)([0-9A-Fa-f]{2})|\\[nrt]?|&(?:quot|apos|amp|lt|gt|#\d+);"


class Secret:
    """
    A secret is a text that nothing shows: its `repr` and `str` are blank, and it is not pickled.

    Error reporters, debuggers and `pytest -l` print the local variables of each frame of a traceback. Whatever lives
    in such a frame holds a `Secret`, and reveals it in the expression that uses it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text; do not keep it in a variable."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret()"

    # A copy shares the object, since `copy` would otherwise go
    # through `__reduce__` and fail on models that hold a secret.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> str:
        # A pickle is a file or a message of a queue, where the text would be readable by anybody.
        raise ConfigurationError("A secret is not pickled. Send the setting it came from, and read it there.")


class emptied_frames:  # noqa: N801 - used as a function is; a generator would cost a microsecond each time
    """
    Inside this `with` a library has secrets in clear: the frames of what fails in it keep no variable.

    Error reporters read the variables of all frames. The exceptions, their causes and the lines they came from stay.
    """

    __slots__ = ("_handled",)

    def __enter__(self) -> None:
        self._handled = sys.exception()

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        if exc is not None:
            empty_frames(exc, self._handled)


def empty_frames(exc: BaseException, handled: BaseException | None) -> None:
    """Empty the frames that `exc` and what it came from have left, but those of what was `handled` before."""
    waiting: list[BaseException | None] = [exc]
    # What the caller was handling when it came here is behind the last context, and is the caller's own.
    seen = {id(handled), id(None)}
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def shown(text: str, limit: int) -> str:
    """Return a stranger's `text` as it may stand in a message: short, on one line, without terminal escapes."""
    # Escape sequences could recolour or overwrite a terminal, and a line feed could forge a line of a log.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:limit])


def quotable(reason: object, secrets: Iterable[str] = ()) -> str:
    """
    Return what of a stranger's `reason` may stand in a message: on one line and short, or nothing.

    Nothing, if it is no plain sentence (structures quote requests), holds what could be a token, or
    `WINDOW` characters of any of `secrets`, however they are escaped or spelled.
    """
    if not isinstance(reason, str) or not reason:
        return ""
    # The text is cut before it is searched, because the search below costs time for each of its characters.
    short = reason[:MAX_QUOTED_CHARS]
    # A structure in an error usually is the request itself, as in
    # the schema errors of the gateway (docs/protocol.md §2.3).
    if any(bracket in short for bracket in "{[") or re.search(_TOKEN, short):
        return ""
    kept = [_squashed(text) for text in secrets]
    # The gateway's own words are taken out first, or a prompt
    # about payments would silence every error about payments.
    for spelling in (short, re.sub(_ESCAPE, _unescaped, short)):
        if any(_quotes(_squashed(piece), kept) for piece in re.split(_KNOWN, spelling)):
            return ""
    return shown(short, MAX_QUOTED_CHARS)


def texts_of(request: JsonObject) -> list[str]:
    """Return every text of a request's body that its user wrote; keys and the model's name are not."""
    found: list[str] = []
    waiting: list[object] = [value for name, value in request.items() if name != "model"]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            # Values such as "user" and "text" are in every request, and would be found in almost any sentence.
            waiting += [item for key, item in value.items() if key not in ("role", "type")]
    return found


def _quotes(piece: str, texts: list[str]) -> bool:
    windows = {piece[at : at + WINDOW] for at in range(len(piece) - WINDOW + 1)}
    for text in texts:
        if len(text) >= WINDOW:
            if any(window in text for window in windows):
                return True
        elif len(text) >= LEAST and text in piece:
            return True
    return False


def _squashed(text: str) -> str:
    # Case and white space are ignored, since a quotation that
    # is wrapped or capitalised still gives the prompt away.
    return "".join(text.casefold().split())


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code else ""

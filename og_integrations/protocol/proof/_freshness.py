"""
A nonce in the request makes the enclave's signature answer this very call and no other.

The gateway hashes some members that it hands to no model (docs/protocol.md §4.6): a `response_format` of type text,
`stop`, and of a web search every member that it does not know. A random nonce there makes the hash of each request
unlike any other. A recorded answer does not fit it, and nobody who knows a published hash can find out the request by
trying.
"""

import re
from collections.abc import Mapping

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, MAX_STOP, SEARCH_PATH

_NONCE = re.compile(r"[0-9a-f]{32}")
_STOP_PREFIX = "og-nonce:"
_MEMBER = "og_nonce"


def with_nonce(path: str, request: JsonObject, nonce: str) -> JsonObject:
    """
    Return a copy of `request`, a body to be sent to `path`, that carries `nonce` (32 lower-case hex digits).

    It stands in `response_format` where that asks for plain text, else as one more entry of `stop`; a web search has it
    as a member of its own.

    Raises `InvalidRequestError` if there is no place: four stop sequences are all that a gateway takes.
    """
    if not _NONCE.fullmatch(nonce):
        raise InvalidRequestError("A nonce has 32 lower-case hex digits; this one has not. Nothing was sent.")
    if path == SEARCH_PATH:
        # Its whole body is hashed, and what the gateway does not know goes nowhere.
        return request | {_MEMBER: nonce}
    if path not in (CHAT_PATH, COMPLETION_PATH):
        raise InvalidRequestError(f"A request to {path!r:.80} has no place for a nonce: its hash is not known.")
    # Only `{"type": "text"}` is hashed and not forwarded (docs/protocol.md §4.6). JSON formats reach the
    # provider, which may refuse an unknown member.
    if path == CHAT_PATH and request.get("response_format") in (None, {"type": "text"}):
        return request | {"response_format": {"type": "text", _MEMBER: nonce}}
    # Gateways hash `stop` and hand it to no model (docs/protocol.md
    # §2.2), so one more entry does not change the answer.
    stop = request.get("stop") or []
    entries = [stop] if isinstance(stop, str) else stop
    # A fifth entry is answered with 400, after the payment was
    # signed (docs/protocol.md §2.3), so it is refused here.
    if not isinstance(entries, list) or len(entries) >= MAX_STOP:
        raise InvalidRequestError(
            f"The request has no place for a nonce: its response_format is in use, and of stop sequences at most "
            f"{MAX_STOP - 1} leave room for it. Send fewer, or call without a nonce. Nothing was sent."
        )
    return request | {"stop": [*entries, _STOP_PREFIX + nonce]}


def nonce_place(path: str, request: JsonObject, nonce: str) -> str | None:
    """
    Return the member of a parsed `request` in which exactly `nonce` is hashed and handed to no model.

    It is "response_format", "stop" or, of a web search, "og_nonce"; None if the request does not carry the nonce, or
    only where it proves nothing.
    """
    if path == SEARCH_PATH:
        return _MEMBER if _NONCE.fullmatch(nonce) and request.get(_MEMBER) == nonce else None
    if path not in (CHAT_PATH, COMPLETION_PATH) or not _NONCE.fullmatch(nonce):
        return None
    wanted = request.get("response_format") if path == CHAT_PATH else None  # text completions do not hash it
    # Of any other type, it goes to the provider.
    if isinstance(wanted, Mapping) and wanted.get("type") == "text" and wanted.get(_MEMBER) == nonce:
        return "response_format"
    stop = request.get("stop")
    entries = stop if isinstance(stop, list) else [stop]
    return "stop" if _STOP_PREFIX + nonce in entries else None


def nonce_in(path: str, request: JsonObject) -> str | None:
    """Return the nonce that a parsed `request` carries where `nonce_place` finds it; None if there is none."""
    form, stop = request.get("response_format"), request.get("stop")
    held = [form.get(_MEMBER) if isinstance(form, Mapping) else None, request.get(_MEMBER)]
    entries = stop if isinstance(stop, list) else [stop]
    held += [entry.removeprefix(_STOP_PREFIX) for entry in entries if isinstance(entry, str)]
    texts = (text for text in held if isinstance(text, str))
    return next((text for text in texts if nonce_place(path, request, text) is not None), None)


def without_nonce(path: str, request: JsonObject) -> JsonObject:
    """Return a copy of `request` without anything that looks like a nonce in its place: what was asked."""
    rest = {name: value for name, value in request.items() if path != SEARCH_PATH or name != _MEMBER}
    form, stop = request.get("response_format"), request.get("stop")
    if isinstance(form, Mapping) and _MEMBER in form:
        others = {name: value for name, value in form.items() if name != _MEMBER}
        # Plain text is what comes without any format, too.
        rest = rest | {"response_format": others} if others != {"type": "text"} else _without(rest, "response_format")
    entries = stop if isinstance(stop, list) else [stop]
    kept = [entry for entry in entries if not (isinstance(entry, str) and entry.startswith(_STOP_PREFIX))]
    if len(kept) == len(entries):
        return rest
    return rest | {"stop": kept} if kept else _without(rest, "stop")


def _without(request: JsonObject, name: str) -> JsonObject:
    return {other: value for other, value in request.items() if other != name}

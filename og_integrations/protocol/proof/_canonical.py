"""
This module turns request and output into the exact bytes that the enclave hashes and signs (docs/protocol.md §4).

The gateway hashes what it *parsed*, rebuilt field by field and dumped by Python's
`json.dumps(…, sort_keys=True)`. So both sides start from the parsed wire bytes, never from the
objects that made them.

Gateways differ in how they rebuild users' lists of content, and in two options. `RULES` names the known ways, in the
order in which a verifier tries them; for a request of plain texts they all agree.

A nonce in what is hashed makes the enclave's signature answer this very call and no other. The gateway hashes some
members that it hands to no model (docs/protocol.md §4.6): a `response_format` of type text, `stop`, and of a web search
every member that it does not know. A random nonce there makes the hash of each request unlike any other. A recorded
answer does not fit it, and nobody who knows a published hash can find out the request by trying.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, MAX_STOP, SEARCH_PATH, ToolCall

APRIL = "april"
"""The rule of the captured generation: users' content lists are hashed as Python's `str(list)`."""
REDUCED = "reduced"
"""Text is hashed as sent, of anything else only its type and file name; what client 1.1.4 checks."""
EFFORT = "reduced+effort"
"""The same, and `reasoning_effort`."""
VERBATIM = "verbatim"
"""Content lists are hashed as sent."""
DIGEST = "digest"
"""Like `reduced`, and of attached data also the media type and the SHA-256 of its base64 text."""
# The order is that of docs/protocol.md §4.4. Receipts name the
# first rule that fits, so another order would rename them.
RULES = (APRIL, REDUCED, EFFORT, VERBATIM, DIGEST)

_ESCAPE = re.compile(r"\\\\|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_DATA_URI = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_OPTIONS = ("aspect_ratio", "reasoning_effort", "resolution", "web_search")
"""Options that change the answer or its price, and that not every rule hashes, if any does. `n` is one, too."""
_NONCE = re.compile(r"[0-9a-f]{32}")
_NONCE_STOP = "og-nonce:"
_NONCE_MEMBER = "og_nonce"
_T = TypeVar("_T")
_sorted_json = json.JSONEncoder(sort_keys=True).encode
"""Writes what `json.dumps(…, sort_keys=True)` writes, which would make an encoder each time."""


def request_hash(path: str, request: JsonObject, rule: str = APRIL) -> bytes:
    """
    Return the 32-byte hash of a parsed request body sent to `path`, by one of `RULES`.

    Raises `InvalidRequestError` when `request` is not of the form that the gateway accepts.
    """
    return keccak(canonical_request(path, request, rule))


def canonical_request(path: str, request: JsonObject, rule: str = APRIL) -> bytes:
    """Return the bytes under `request_hash`."""
    return _sorted_json(_rebuilt(path, request, rule)).encode("ascii")


def _rebuilt(path: str, request: JsonObject, rule: str) -> JsonObject:
    """Return what a gateway rebuilds of `request`, to hash it."""
    if path == SEARCH_PATH:
        # One rule for all: the whole body, members that nobody knows included.
        return request
    if rule not in RULES:
        raise InvalidRequestError(f"Unknown hash rule {rule!r:.40}; expected one of {', '.join(RULES)}.")
    if path == CHAT_PATH:
        return _chat(request, rule)
    if path == COMPLETION_PATH:
        return _completion(request, rule)
    raise InvalidRequestError(
        f"No request to {path!r:.80} is signed; expected {CHAT_PATH}, {COMPLETION_PATH} or {SEARCH_PATH}."
    )


def plainest_rule(path: str, request: JsonObject, rule: str) -> str:
    """Return the first of `RULES` that makes the same bytes of `request` as `rule`, by which receipts call it."""
    if path == SEARCH_PATH or rule == APRIL:
        return APRIL
    # Most requests have one form under several rules. Calling them
    # by the plainest rule makes receipts of two gateways comparable.
    effort = path == CHAT_PATH and rule == EFFORT and bool(request.get("reasoning_effort"))
    contents = [content for content in _user_contents(request) if path == CHAT_PATH and not isinstance(content, str)]
    if not (effort or contents or request.get("web_search")):
        return APRIL
    if rule == EFFORT:
        return EFFORT if effort else REDUCED
    # What is neither text nor a list has no reduced form.
    if all(isinstance(content, list) and _same_reduced(content, rule) for content in contents):
        return REDUCED
    return rule


def not_hashed(path: str, request: JsonObject, rule: str = APRIL) -> list[str]:
    """Return the members of `request` that its hash leaves out, like `seed` or `messages[].name`, sorted."""
    return sorted(set(_left_out(request, _rebuilt(path, request, rule), "")))


def unsigned_members(path: str, request: JsonObject, rule: str) -> list[str]:
    """
    Return what of `request` may matter to whoever reads the answer, and is not committed to by `rule`.

    `attachments`: the bytes of an image or file, or the address of one. `messages[].name`: who spoke. Options by
    their names, if they ask for something. `not_hashed` returns all that is left out, also what gateways ignore.
    """
    if path == SEARCH_PATH:
        return []
    # April's gateway ignores `web_search`; every later generation
    # hashes it when it is true (docs/protocol.md §4.4).
    hashed = {"web_search"} if rule != APRIL else set()
    if rule == EFFORT and path == CHAT_PATH:
        hashed.add("reasoning_effort")
    found = {name for name in _OPTIONS if request.get(name)} - hashed
    # No rule hashes `n`, although it multiplies the price of pictures, so a receipt must list it as unsigned.
    if (request.get("n") or 1) != 1:
        found.add("n")
    if rule in (REDUCED, EFFORT, DIGEST) and any(
        rule != DIGEST or _digest(part) is None for part in _attachments(request)
    ):
        found.add("attachments")
    # The name of a `function` message is hashed; that of any other
    # role is dropped by the gateway (docs/protocol.md §4.2).
    if any(message.get("name") and message.get("role") != "function" for message in _messages(request)):
        found.add("messages[].name")
    return sorted(found)


def has_attachments(request: JsonObject) -> bool:
    """Return whether users' messages in `request`, which the rules hash in their own ways, hold more than text."""
    return bool(_attachments(request))


def has_lists(request: JsonObject) -> bool:
    """Return whether a user's content in `request` is a list of parts, in which the rules differ."""
    return any(isinstance(content, list) for content in _user_contents(request))


def drops_attachments(request: JsonObject, rule: str) -> bool:
    """Return whether gateways of that rule hash attachments of `request` without handing them to the model."""
    return rule == APRIL and has_attachments(request)


def for_newer_python(request: JsonObject) -> JsonObject:
    """
    Return `request` as the first generation hashes it where its Python knows more characters than ours.

    In lists of content, `str` escapes a character that it does not know, like the emoji of later years.
    """
    listed = request.get("messages")
    return request | {"messages": list(map(_newer, listed))} if isinstance(listed, list) else request


def output_hash(text: str, tool_calls: Sequence[ToolCall], finish_reason: str) -> bytes:
    """Return the 32-byte hash of an answer: of its tool calls if it ended in them, else of its text."""
    return keccak(canonical_output(text, tool_calls, finish_reason))


def canonical_output(text: str, tool_calls: Sequence[ToolCall], finish_reason: str) -> bytes:
    """
    Return the bytes under `output_hash`.

    Raises `InvalidRequestError` for text that no UTF-8 encodes (a lone surrogate).
    """
    if finish_reason == "tool_calls":
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in tool_calls
        ]
        return _sorted_json(calls).encode("ascii")
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequestError("The answer holds a lone surrogate, which UTF-8 cannot encode.") from exc


def spells_tool_calls(text: str) -> bool:
    """Return whether `text` is, byte for byte, what the hash of an answer with tool calls is made of."""
    if not text.startswith('[{"function": {"arguments": ') or not text.endswith('"type": "function"}]'):
        return False
    try:
        listed = json.loads(text)
        calls = [ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in listed]
        # The text is encoded again and compared, since only an exact copy has the hash of a tool call.
        return canonical_output("", calls, "tool_calls") == text.encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def may_be_another_content(request: JsonObject, rule: str) -> bool:
    """
    Return whether a user's content in `request` has its hash in common with one of another kind.

    The rule `april` hashes a list of parts as Python's text of it, so a list and that text are one.
    """
    for content in _user_contents(request) if rule == APRIL else ():
        text = content.strip() if isinstance(content, str) else ""
        if isinstance(content, list) or (text.startswith("[") and text.endswith("]")):
            return True
    return False


def signed_digest(request_hash: bytes, output_hash: bytes, timestamp: int) -> bytes:
    """
    Return the 32 bytes that the enclave's RSA key signs: keccak(request ‖ output ‖ uint256 time).

    `timestamp` is in unix seconds and not negative.
    """
    # The layout is that of Solidity's abi.encodePacked(bytes32,
    # bytes32, uint256), so that contracts can check it, too.
    return keccak(request_hash + output_hash + timestamp.to_bytes(32, "big"))


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
        return request | {_NONCE_MEMBER: nonce}
    if path not in (CHAT_PATH, COMPLETION_PATH):
        raise InvalidRequestError(f"A request to {path!r:.80} has no place for a nonce: its hash is not known.")
    # Only `{"type": "text"}` is hashed and not forwarded (docs/protocol.md §4.6). JSON formats reach the
    # provider, which may refuse an unknown member.
    if path == CHAT_PATH and request.get("response_format") in (None, {"type": "text"}):
        return request | {"response_format": {"type": "text", _NONCE_MEMBER: nonce}}
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
    return request | {"stop": [*entries, _NONCE_STOP + nonce]}


def nonce_place(path: str, request: JsonObject, nonce: str) -> str | None:
    """
    Return the member of a parsed `request` in which exactly `nonce` is hashed and handed to no model.

    It is "response_format", "stop" or, of a web search, "og_nonce"; None if the request does not carry the nonce, or
    only where it proves nothing.
    """
    if path == SEARCH_PATH:
        return _NONCE_MEMBER if _NONCE.fullmatch(nonce) and request.get(_NONCE_MEMBER) == nonce else None
    if path not in (CHAT_PATH, COMPLETION_PATH) or not _NONCE.fullmatch(nonce):
        return None
    wanted = request.get("response_format") if path == CHAT_PATH else None  # text completions do not hash it
    # Of any other type, it goes to the provider.
    if isinstance(wanted, Mapping) and wanted.get("type") == "text" and wanted.get(_NONCE_MEMBER) == nonce:
        return "response_format"
    stop = request.get("stop")
    entries = stop if isinstance(stop, list) else [stop]
    return "stop" if _NONCE_STOP + nonce in entries else None


def nonce_in(path: str, request: JsonObject) -> str | None:
    """Return the nonce that a parsed `request` carries where `nonce_place` finds it; None if there is none."""
    form, stop = request.get("response_format"), request.get("stop")
    held = [form.get(_NONCE_MEMBER) if isinstance(form, Mapping) else None, request.get(_NONCE_MEMBER)]
    entries = stop if isinstance(stop, list) else [stop]
    held += [entry.removeprefix(_NONCE_STOP) for entry in entries if isinstance(entry, str)]
    texts = (text for text in held if isinstance(text, str))
    return next((text for text in texts if nonce_place(path, request, text) is not None), None)


def without_nonce(path: str, request: JsonObject) -> JsonObject:
    """Return a copy of `request` without anything that looks like a nonce in its place: what was asked."""
    rest = {name: value for name, value in request.items() if path != SEARCH_PATH or name != _NONCE_MEMBER}
    form, stop = request.get("response_format"), request.get("stop")
    if isinstance(form, Mapping) and _NONCE_MEMBER in form:
        others = {name: value for name, value in form.items() if name != _NONCE_MEMBER}
        # Plain text is what comes without any format, too.
        rest = rest | {"response_format": others} if others != {"type": "text"} else _without(rest, "response_format")
    entries = stop if isinstance(stop, list) else [stop]
    kept = [entry for entry in entries if not (isinstance(entry, str) and entry.startswith(_NONCE_STOP))]
    if len(kept) == len(entries):
        return rest
    return rest | {"stop": kept} if kept else _without(rest, "stop")


def _newer(message: object) -> object:
    if isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), list):
        return message | {"content": _ESCAPE.sub(_known, str(message["content"]))}
    return message


def _known(escape: re.Match[str]) -> str:
    import unicodedata

    # A character that this Python does not know has the category
    # Cn; a newer Python would have printed it unescaped.
    code = escape[1] or escape[2]
    return chr(int(code, 16)) if code and unicodedata.category(chr(int(code, 16))) == "Cn" else escape[0]


def _messages(request: JsonObject) -> list[JsonObject]:
    listed = request.get("messages")  # of a text completion, anything: nobody has read it
    return [message for message in listed if isinstance(message, dict)] if isinstance(listed, list) else []


def _user_contents(request: JsonObject) -> list[object]:
    return [
        content
        for message in _messages(request)
        if message.get("role") == "user" and (content := message.get("content")) is not None
    ]


def _same_reduced(content: list[object], rule: str) -> bool:
    return bool(_user_content(content, REDUCED) == _user_content(content, rule))


def _attachments(request: JsonObject) -> list[JsonObject]:
    return [
        part
        for content in _user_contents(request)
        if isinstance(content, list)
        for part in content
        if isinstance(part, dict) and part.get("type") != "text"
    ]


def _chat(request: JsonObject, rule: str) -> JsonObject:
    messages = _member(request, "messages", list)
    rebuilt: JsonObject = {
        "model": _member(request, "model", str),
        "messages": [_message(message, rule) for message in messages],
        "temperature": _temperature(request, absent=0.0),
    }
    if request.get("max_tokens") is not None:
        rebuilt["max_tokens"] = request["max_tokens"]
    # The gateway tests these for truth, so an empty list is left out of the hash and not hashed as empty.
    for name in ("stop", "tools", "response_format"):
        if request.get(name):
            rebuilt[name] = request[name]
    # One branch of the gateways hashes the effort; the later public controllers have no trace of it.
    if rule == EFFORT and request.get("reasoning_effort"):
        rebuilt["reasoning_effort"] = request["reasoning_effort"]
    return rebuilt | _search_flag(request, rule)


def _completion(request: JsonObject, rule: str) -> JsonObject:
    rebuilt: JsonObject = {
        "model": _member(request, "model", str),
        "prompt": request.get("prompt"),
        # This endpoint's own defaults are hashed when the member is absent, not when it is null.
        "temperature": _temperature(request, absent=1.0),
    }
    # The schema's default of 16 is hashed when the member is
    # absent, and a null is left out (docs/protocol.md §4.2).
    if (max_tokens := request.get("max_tokens", 16)) is not None:
        rebuilt["max_tokens"] = max_tokens
    if request.get("stop"):
        rebuilt["stop"] = request["stop"]
    return rebuilt | _search_flag(request, rule)


def _search_flag(request: JsonObject, rule: str) -> JsonObject:
    # The gateway hashes the constant true for any truthy value, not the value that was sent.
    return {"web_search": True} if rule != APRIL and request.get("web_search") else {}


def _message(message: object, rule: str) -> JsonObject:
    if not isinstance(message, dict):
        raise InvalidRequestError(f"A message is a {type(message).__name__}, expected a JSON object.")
    role = message.get("role")
    content = message.get("content")
    match role:
        # Roles keep exactly the members that the gateway's parser keeps; a further member would change the hash.
        case "system":
            return {"role": role, "content": content}
        case "user":
            return {"role": role, "content": _user_content(content, rule)}
        case "assistant":
            return _assistant(message)
        case "tool":
            return {"role": role, "content": content, "tool_call_id": message.get("tool_call_id")}
        case "function":
            return {"role": role, "content": content, "name": message.get("name")}
        case _:
            raise InvalidRequestError(
                f"A message has the role {role!r:.40}; the gateway knows system, user, assistant, tool, function."
            )


def _assistant(message: JsonObject) -> JsonObject:
    # The gateway turns a null content into the empty text before it hashes.
    rebuilt: JsonObject = {"role": "assistant", "content": message.get("content") or ""}
    if calls := message.get("tool_calls"):
        try:
            rebuilt["tool_calls"] = [
                {
                    "id": call.get("id"),
                    "type": call.get("type"),
                    "function": {
                        "name": call["function"].get("name"),
                        "arguments": call["function"].get("arguments"),
                    },
                }
                for call in calls
            ]
        except (AttributeError, KeyError, TypeError) as exc:
            raise InvalidRequestError(
                "An assistant message holds a tool call that is not of the form "
                '{"id", "type", "function": {"name", "arguments"}}.'
            ) from exc
    return rebuilt


def _user_content(content: object, rule: str) -> object:
    if isinstance(content, str) or content is None or rule == VERBATIM:
        return content
    if rule == APRIL:
        return str(content)
    if not isinstance(content, list):
        raise InvalidRequestError(f"A user message's content is a {type(content).__name__}, expected text or parts.")
    return [_reduced_part(part, rule) for part in content]


def _reduced_part(part: object, rule: str) -> JsonObject:
    # The reduced rule turns a part that is no object into a text part of its `str`, as the published client does.
    if not isinstance(part, dict):
        return {"type": "text", "text": str(part)}
    if part.get("type") == "text":
        text = part.get("text")
        return {"type": "text", "text": "" if text is None else text}
    file = part.get("file")
    # The name stands inside `file` in OpenAI's form and beside it in the newer form; the first one counts.
    filename = (file.get("filename") if isinstance(file, dict) else None) or part.get("filename")
    reduced: JsonObject = {"type": part.get("type")}
    if filename:
        reduced["filename"] = filename
    return reduced | ((_digest(part) or {}) if rule == DIGEST else {})


def _digest(part: JsonObject) -> JsonObject | None:
    """Return media type and digest of the data in `part`; None if it only names where the data is."""
    for place in (part.get("file"), part.get("image_url"), part):
        for name in ("file_data", "url"):
            text = place.get(name) if isinstance(place, dict) else None
            found = _DATA_URI.match(text) if isinstance(text, str) and text.isascii() else None
            if found is not None:
                # The digest is made of the base64 text as sent and
                # not of the decoded bytes (docs/protocol.md §4.4).
                data = found.string[found.end() :].encode()
                return {"mime_type": found[1], "sha256": hashlib.sha256(data).hexdigest()}
    return None


def _temperature(request: JsonObject, *, absent: float) -> float:
    value = request.get("temperature", absent)
    if value is None:
        return 0.0
    # A bool passes as an int in Python and would be hashed as 1.0, while the gateway refuses it.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError(f"temperature is a {type(value).__name__}, expected a number.")
    try:
        # `1` and `1.0` are dumped differently, and the gateway
        # parses the member as a float, so it is made one here.
        return float(value)
    except OverflowError as exc:
        raise InvalidRequestError("temperature is too large for a number.") from exc


def _left_out(sent: object, hashed: object, where: str) -> Iterator[str]:
    if sent == hashed:
        return
    if isinstance(sent, dict) and isinstance(hashed, dict):
        if "sha256" in hashed and "sha256" not in sent:
            return  # a digest stands for the data, wherever in the part it is
        for name, value in sent.items():
            at = f"{where}.{name}" if where else name
            if name in hashed:
                yield from _left_out(value, hashed[name], at)
            else:
                yield at
    elif isinstance(sent, list) and isinstance(hashed, list):
        for one, other in zip(sent, hashed, strict=True):
            yield from _left_out(one, other, where + "[]")


def _member(request: JsonObject, name: str, kind: type[_T]) -> _T:
    value = request.get(name)
    if not isinstance(value, kind):
        raise InvalidRequestError(f"The request's {name!r} is {type(value).__name__}, expected {kind.__name__}.")
    return value


def _without(request: JsonObject, name: str) -> JsonObject:
    return {other: value for other, value in request.items() if other != name}

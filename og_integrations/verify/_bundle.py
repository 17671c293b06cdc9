"""
The file format of saved exchanges, with its limits.

```text
{"path", "request", "content_type", "response", "tee_id", "public_key_pem"}      all exact text
{"receipt": {…}, "exchange": {the above}}                                        as Receipts.save writes it
{"format": "og-evidence/1", "receipt", "exchange", "nonce", "attestation", …}    the same, and what the enclave showed
```

Of evidence any part may be missing; without the bodies of its exchange it is redacted.

A file whose name ends in `.jsonl` holds one such document a line, a folder any number of files, and a ledger one for
each call (`og_integrations.ledger`). Nothing that is read here has been checked: `verifier` does that.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from og_integrations._urls import is_ledger_url
from og_integrations.errors import ConfigurationError
from og_integrations.ledger._lines import NOTES_BEGIN
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.protocol.chat._sse import SSEDecoder
from og_integrations.receipt import kind_of

MAX_BYTES = 128 * 1024 * 1024
"""No honest exchange is larger, and a file that never ends would fill the memory."""
_USUAL_BYTES = 64 * 1024
"""As many are read at first: memory for the most would be taken, and given back, for each of many files."""
_MANY_BYTES = 256 * 1024
"""As many of a file with several documents are read at once."""
MEMBERS = ("path", "request", "content_type", "response", "tee_id", "public_key_pem")
BODIES = ("request", "response")
EVIDENCE = "og-evidence/1"
RSA_BITS = range(2048, 4096 + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedExchange:
    """
    One exchange as read from a file: of the right form, and nothing in it checked.

    `wire` is the request's body, `public_key` the DER of the key in the file, `receipt` what the file says about it.
    `evidence` is the whole document if it is one of evidence; `redacted` if request and response were left out of it.
    """

    path: str
    wire: bytes
    content_type: str
    response: str
    tee_id: str
    public_key: bytes
    receipt: JsonObject | None
    evidence: JsonObject | None = None
    redacted: bool = False

    @property
    def answer_type(self) -> str:
        """Return the media type of the answer, without parameters and in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    def events(self) -> list[str]:
        """Return the data of each event of a streamed answer. Raises `MalformedReplyError`."""
        # A lone surrogate becomes bytes that are not UTF-8, which the decoder refuses. The line end closes a last line
        # that has none, as the client does.
        return SSEDecoder().feed(self.response.encode("utf-8", "surrogatepass") + b"\n")


def load_bundle(saved: "str | Path | bytes | SavedExchange") -> SavedExchange:
    """
    Return what is in a file (a path), in its bytes, or what was read before.

    Raises `ConfigurationError` with one line about what is wrong with it.
    """
    if isinstance(saved, SavedExchange):
        return saved
    return parse_bundle(saved if isinstance(saved, bytes) else read_file(saved))


def load_judged(saved: "str | Path | bytes | SavedExchange") -> SavedExchange | JsonObject:
    """
    Return the same, or the receipt of a model on chain, alone or with its logs, which has no exchange.

    Raises `ConfigurationError` as `load_bundle` does.
    """
    if isinstance(saved, SavedExchange):
        return saved
    # Decoded once for both: that is a fifth of what judging takes.
    document = _document(saved if isinstance(saved, bytes) else read_file(saved))
    receipt = document.get("receipt", document)
    return receipt if isinstance(receipt, dict) and kind_of(receipt) == "onchain" else _bundle_in(document)


class Place(NamedTuple):
    """A place is where a document stands in a file that holds several: its first byte, and how many there are."""

    file: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Source:
    """
    A source is one document to judge: its name for people, and its bytes or the file that holds them.

    `place` says where another process finds the same bytes, if they stand in a file.
    """

    name: str
    saved: str | bytes
    place: Place | None = field(default=None, repr=False, compare=False)


def sources_in(place: str | Path) -> Iterator[Source]:
    """
    Yield the documents of a file, or of all `.json` and `.jsonl` files in a folder, in the order of their names.

    `place` may be the URL of a ledger (`sqlite:///…`, `postgresql://…`, `s3://…`), whose entries are named by their id.
    What cannot be read is a source too, whose verdict says so; a ledger that cannot be is a `ConfigurationError`.
    """
    name = str(place)
    if is_ledger_url(name):
        # Loaded for this alone.
        from og_integrations.ledger._ledger import open_ledger

        ledger = open_ledger(name)
        yield from (Source(f"{ledger.name}#{entry.id}", entry.line()) for entry in ledger.entries())
        return
    if os.path.isdir(name):
        files = [
            os.path.join(folder, file)
            for folder, _, found in os.walk(name)
            for file in found
            if file.endswith((".json", ".jsonl"))
        ]
        if files:
            for file in sorted(files):
                yield from sources_in(file)
            return
    if name.endswith(".jsonl") and os.path.isfile(name) and os.access(name, os.R_OK):
        with open(name, "rb", _MANY_BYTES) as lines:
            yield from _numbered(lines, name, file=name)
    else:
        yield Source(name, name)


def sources_of(stream: BinaryIO, name: str) -> Iterator[Source]:
    """Yield the documents of a stream that holds one, or one a line."""
    first = stream.readline(MAX_BYTES + 1)
    if not (first.startswith(b"{") and first.rstrip().endswith(b"}")):
        yield Source(name, first + stream.read(MAX_BYTES + 1 - len(first)))
        return
    others = _numbered(stream, name, after=1)
    second = next(others, None)
    if second is None:
        yield Source(name, first)
    else:
        yield from (Source(f"{name}:1", first), second)
        yield from others


def _numbered(lines: BinaryIO, name: str, *, after: int = 0, file: str | None = None) -> Iterator[Source]:
    """Yield the documents of JSON Lines, as `name:number`; blank lines are none, nor notes on payments."""
    number, start = after, 0
    while line := lines.readline(MAX_BYTES + 1):
        number += 1
        if not line.isspace() and not line.startswith(NOTES_BEGIN):
            yield Source(f"{name}:{number}", line, Place(file, start, len(line)) if file is not None else None)
        start += len(line)


def read_places(file: str, places: Iterable[Place]) -> list[bytes]:
    """Return what stands at `places` of `file`. Raises `ConfigurationError`."""
    try:
        with open(file, "rb", _MANY_BYTES) as lines:
            return [_read_at(lines, place) for place in places]
    except OSError as exc:
        raise ConfigurationError(f"cannot be read ({exc})") from None


def _read_at(lines: BinaryIO, place: Place) -> bytes:
    lines.seek(place.start)
    return lines.read(place.length)


def parse_bundle(data: bytes) -> SavedExchange:
    """Read `data` as one JSON document of either form. Raises `ConfigurationError`."""
    return _bundle_in(_document(data))


def _bundle_in(document: JsonObject) -> SavedExchange:
    receipt, evidence = None, document if "format" in document else None
    if evidence is not None and evidence["format"] != EVIDENCE:
        raise ConfigurationError(f"the format is {evidence['format']!r:.60}, expected {EVIDENCE!r}")
    if evidence is not None or "receipt" in document or "exchange" in document:
        if evidence is None or document.get("receipt") is not None:
            receipt = _object(document.get("receipt"), "receipt")
        if document.get("exchange") is None:
            raise ConfigurationError(
                "the receipt was saved without its exchange, so there is nothing to verify it against; collect with "
                "collect_receipts(keep_exchanges=True)"
            )
        document = _object(document["exchange"], "exchange")
        if "request_sha256" in document:
            raise ConfigurationError(
                "the ledger kept only hashes of the exchange; put the exact 'request' and 'response' in their place"
            )
    redacted = evidence is not None and "request" not in document and "response" not in document
    for member in [name for name in MEMBERS if not isinstance(document.get(name), str)]:
        if not (redacted and member in BODIES):
            raise ConfigurationError(f"{member!r} is {_kind(document.get(member))}, expected text")
    return SavedExchange(
        path=document["path"],
        wire=b"" if redacted else _encoded(document["request"]),
        content_type=document["content_type"],
        response="" if redacted else document["response"],
        tee_id=document["tee_id"],
        public_key=_der(document["public_key_pem"]),
        receipt=receipt,
        evidence=evidence,
        redacted=redacted,
    )


def parse_document(data: bytes) -> JsonObject:
    """Read `data` as one JSON document of any form that can be judged, and return that. Raises `ConfigurationError`."""
    parse_bundle(data)
    document = _document(data)
    return document if "exchange" in document else {"exchange": document}


def parse_receipt(data: bytes) -> JsonObject:
    """Read a receipt, alone or saved with its exchange, from JSON. Raises `ConfigurationError`."""
    document = _document(data)
    return _object(document["receipt"], "receipt") if "receipt" in document else document


def read_file(name: str | Path) -> bytes:
    """Return what the file `name` holds. Raises `ConfigurationError`."""
    try:
        with open(name, "rb") as file:
            return read_stream(file)
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"cannot be read ({exc})") from None


def read_stream(stream: BinaryIO) -> bytes:
    """Return what `stream` holds. Raises `ConfigurationError` if that is more than any exchange."""
    data = stream.read(_USUAL_BYTES)
    if len(data) == _USUAL_BYTES:
        data += stream.read(MAX_BYTES + 1 - _USUAL_BYTES)
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"has more than {MAX_BYTES} bytes")
    return data


def _document(data: bytes) -> JsonObject:
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"has more than {MAX_BYTES} bytes")
    try:
        return _object(decode_json(data), "the file")
    except ValueError as exc:
        raise ConfigurationError(f"not JSON ({type(exc).__name__})") from None


def _object(value: object, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name} is {_kind(value)}, expected an object")
    return value


def _kind(value: object) -> str:
    return "missing or null" if value is None else f"a JSON {type(value).__name__}"


def _encoded(request: str) -> bytes:
    try:
        return request.encode()
    except UnicodeEncodeError:
        raise ConfigurationError("'request' holds a lone surrogate: no bytes on a wire were that text") from None


@lru_cache(maxsize=64)
def _der(pem: str) -> bytes:
    # Cached: ten thousand files of one enclave hold one key.
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError("'public_key_pem' is no PEM public key") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in RSA_BITS:
        raise ConfigurationError("'public_key_pem' is not an RSA key of 2048 to 4096 bits, as enclaves have")
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

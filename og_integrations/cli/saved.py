"""
Files that `verify` reads: an exchange, or a receipt with its exchange.

```text
{"path", "request", "content_type", "response", "tee_id", "public_key_pem"}      all exact text
{"receipt": {…}, "exchange": {the above}}                                        as Receipts.save writes it
```
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from og_integrations.protocol.strict_json import JsonObject, decode_json

MAX_FILE_BYTES = 128 * 1024 * 1024
"""No honest exchange is larger, and a file that never ends would fill the memory."""
MEMBERS = ("path", "request", "content_type", "response", "tee_id", "public_key_pem")
RSA_BITS = range(2048, 4096 + 1)


class UnusableInputError(Exception):
    """What was given is not something to verify; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedExchange:
    """
    One exchange as read from a file: of the right form, and nothing in it checked.

    `wire` is the request's body, `public_key` the DER of the key in the file.
    """

    path: str
    wire: bytes
    content_type: str
    response: str
    tee_id: str
    public_key: bytes
    receipt: JsonObject | None


def read_saved(name: str) -> SavedExchange:
    """Read the file `name`, or standard input for "-". Raises `UnusableInputError`."""
    return parse_saved(read_file(name))


def parse_saved(data: bytes) -> SavedExchange:
    """Read `data` as one JSON document of either form. Raises `UnusableInputError`."""
    try:
        value = decode_json(data)
    except ValueError as exc:
        raise UnusableInputError(f"not JSON ({type(exc).__name__})") from exc
    document = _object(value, "the file")
    receipt = None
    if "receipt" in document or "exchange" in document:
        receipt = _object(document.get("receipt"), "receipt")
        if document.get("exchange") is None:
            raise UnusableInputError(
                "the receipt was saved without its exchange, so there is nothing to verify it against; collect with "
                "collect_receipts(keep_exchanges=True)"
            )
        document = _object(document["exchange"], "exchange")
    for member in MEMBERS:
        if not isinstance(document.get(member), str):
            raise UnusableInputError(f"{member!r} is {_kind(document.get(member))}, expected text")
    return SavedExchange(
        path=document["path"],
        wire=_encoded(document["request"]),
        content_type=document["content_type"],
        response=document["response"],
        tee_id=document["tee_id"],
        public_key=_der(document["public_key_pem"]),
        receipt=receipt,
    )


def read_receipt(name: str) -> JsonObject:
    """
    Read a receipt, alone or saved with its exchange, from a file ("-": standard input).

    Raises `UnusableInputError`.
    """
    try:
        document = _object(decode_json(read_file(name)), "the file")
    except ValueError as exc:
        raise UnusableInputError(f"not JSON ({type(exc).__name__})") from exc
    return _object(document["receipt"], "receipt") if "receipt" in document else document


def read_file(name: str) -> bytes:
    """Return the bytes of the file `name` ("-": standard input). Raises `UnusableInputError`."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as exc:
        raise UnusableInputError(f"cannot be read ({exc})") from exc
    if len(data) > MAX_FILE_BYTES:
        raise UnusableInputError(f"has more than {MAX_FILE_BYTES} bytes")
    return data


def _object(value: Any, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise UnusableInputError(f"{name} is {_kind(value)}, expected an object")
    return value


def _kind(value: object) -> str:
    return "missing or null" if value is None else f"a JSON {type(value).__name__}"


def _encoded(request: str) -> bytes:
    try:
        return request.encode()
    except UnicodeEncodeError as exc:
        raise UnusableInputError("'request' holds a lone surrogate: no bytes on a wire were that text") from exc


def _der(pem: str) -> bytes:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise UnusableInputError("'public_key_pem' is no PEM public key") from exc
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in RSA_BITS:
        raise UnusableInputError("'public_key_pem' is not an RSA key of 2048 to 4096 bits, as enclaves have")
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

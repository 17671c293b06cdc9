"""
This module seals requests and opens answers: Oblivious HTTP as the gateway speaks it (RFC 9458, chunked draft 08).

A relay carries what it cannot read. An `Exchange` seals one request to the enclave's key and opens the answer to
this request only, whole (`open`) or as a stream (`stream`). The plaintext is the JSON of the direct path: the gateway
uses no binary HTTP inside. Whatever arrives unsealed may be written by anybody on the way: it is refused or
classified, and never believed, quoted or paid for. All refusals are `SealedChannelError`s.
"""

import base64
import binascii
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from cryptography.exceptions import InvalidTag

from og_integrations.errors import SealedChannelError
from og_integrations.protocol._strict_json import decode_json
from og_integrations.protocol.proof._enclave import key_config_digest
from og_integrations.protocol.proof._verification import StepError, is_signed_by
from og_integrations.protocol.sealing import _hpke as hpke

OHTTP_PATH = "/v1/ohttp"
"""Where a gateway takes sealed requests, from a relay or from whoever pays for them himself."""
REQUEST_TYPE = "message/ohttp-req"
ANSWER_TYPE = "message/ohttp-res"
STREAM_TYPE = "message/ohttp-chunked-res"
STREAM_HEADER = "X-OHTTP-Stream"
MAX_CHUNK = 1024 * 1024
"""Plaintext bytes of one chunk of a stream; the gateway seals each event as one chunk."""
MAX_FINAL = 64 * 1024 * 1024
"""Plaintext bytes of the final chunk, which has no length of its own and ends with the body."""
MAX_FIELD = 4096
"""Characters of a signed field; a key config has 56, a signature 344 or 684."""
BILLING_MAGIC = b"\n--opengradient-ohttp-billing-v1--\n"
MAX_BILLING = 64 * 1024
"""Bytes of the billing frame that the gateway writes in clear for the relay, which should take it out."""

# The labels are those of RFC 9458 §4.4 and the chunked draft, although no binary HTTP is inside.
ANSWER_LABEL = b"message/bhttp response"
STREAM_LABEL = b"message/bhttp chunked response"
_SUITE = struct.pack(">HH", hpke.KDF_ID, hpke.CHACHA20_POLY1305.aead_id)
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_SPOILED = " Nothing of it is used. If a payment went with the request, it may have been charged."


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A key config names the key that requests are sealed to: its id (0 to 255) and X25519 public key (32 bytes)."""

    key_id: int
    public_key: bytes

    @classmethod
    def parse(cls, blob: bytes) -> Self:
        """
        Read a key config (RFC 9458 §3.1), without the length that `application/ohttp-keys` puts in front.

        Raises `SealedChannelError` if it is malformed, lacks our suite, or holds a key of low order.
        """
        if len(blob) < 7 + hpke.KEY_LENGTH or blob[1:3] != hpke.KEM_ID.to_bytes(2, "big"):
            raise _unusable(f"has {len(blob)} bytes and KEM 0x{blob[1:3].hex()}, expected at least 39 and 0x0020")
        length, suites = int.from_bytes(blob[35:37], "big"), blob[37:]
        # The list of suites must end exactly at the blob's end: bytes behind it would be signed and yet unread.
        if length != len(suites) or length % 4:
            raise _unusable(f"announces {length} bytes of suites and has {len(suites)}, expected a multiple of 4")
        if _SUITE not in (suites[at : at + 4] for at in range(0, length, 4)):
            raise _unusable("lacks HKDF-SHA256 with ChaCha20-Poly1305 (0001 0003), the only suite we use")
        hpke.check_public_key(blob[3:35])
        return cls(blob[0], blob[3:35])

    @property
    def ids(self) -> tuple[int, int, int, int]:
        """Return the ids of the key, of its KEM, and of the KDF and AEAD that we use with it."""
        return self.key_id, hpke.KEM_ID, hpke.KDF_ID, hpke.CHACHA20_POLY1305.aead_id

    @property
    def header(self) -> bytes:
        """Return the seven bytes in front of a request that is sealed to this key."""
        return struct.pack(">BHHH", *self.ids)


def check_signed_config(fields: Mapping[str, object], signing_key: bytes) -> KeyConfig:
    """
    Return the key config in `fields` (`hpke` of `/signing-key`) if it is signed by the enclave's `signing_key` (DER).

    The enclave's id and the hash that is signed are computed, never read. Raises `SealedChannelError`.
    """
    ids = [fields.get(name) for name in ("key_id", "kem_id", "kdf_id", "aead_id")]
    key = fields.get("public_key")
    # Several spellings of one blob would let a blob be swapped without changing what is shown of it.
    blob, signature = _strict_base64(fields, "key_config"), _strict_base64(fields, "signature")
    config = KeyConfig.parse(blob)
    # `True == 1`: the types are compared, too.
    if [(type(number), number) for number in ids] != [(int, number) for number in config.ids]:
        raise _unusable(f"is signed for other ids than {config.ids}, which its blob holds")
    # The key stands in the fields and in the blob. Were they
    # to differ, another reader would seal to the other one.
    if not isinstance(key, str) or not _HEX_KEY.fullmatch(key) or bytes.fromhex(key) != config.public_key:
        raise _unusable("is signed for another public key than its blob holds")
    try:
        digest = key_config_digest(signing_key, config.ids, config.public_key, blob)
        signed = is_signed_by(signing_key, digest, signature)
    except StepError as exc:
        raise _unusable(f"cannot be checked: {exc}") from None
    if not signed:
        raise _unusable("is not signed by this enclave's key: whoever wrote it could read what is sealed to it")
    return config


class Exchange:
    """
    An exchange is one request, sealed, and the only means to open its answer.

    `wire` is what is sent. Its keys are secret: they are shown nowhere, and an exchange is not pickled.
    """

    __slots__ = ("_context", "wire")

    def __init__(self, config: KeyConfig, body: bytes, ephemeral: bytes | None = None) -> None:
        """
        Seal `body`, the request's JSON exactly as it would be sent to the enclave.

        `ephemeral` (32 bytes) is for tests; it must never be used twice.
        """
        # The seven header bytes are bound into the key (RFC 9458
        # §4.3), so a relay cannot change the suite unnoticed.
        info = b"message/bhttp request\0" + config.header
        self._context = hpke.setup_sender(config.public_key, info, ephemeral=ephemeral)
        self.wire: bytes = config.header + self._context.enc + self._context.seal(body)

    def open(self, answer: bytes) -> bytes:
        """Return the plaintext of a whole answer. Raises `SealedChannelError` if it is no answer to this request."""
        return open_answer(self._context, answer)

    def stream(self, *, max_chunk: int = MAX_CHUNK) -> "SealedStream":
        """Return a new opener for the answer as a stream, whose chunks have at most `max_chunk` bytes."""
        return SealedStream(self._context, max_chunk=max_chunk)

    def __repr__(self) -> str:
        return f"<Exchange of {len(self.wire)} sealed bytes>"

    def __reduce__(self) -> str:
        raise SealedChannelError("An Exchange is not pickled: the keys of its answer would be.")


class SealedStream:
    """
    A sealed stream gives out each chunk as soon as it opens, and says at `finish` whether the stream was whole.

    What was given out is the enclave's; that nothing was cut off is known only when `finish` has returned. After
    the first `SealedChannelError` every call raises it.
    """

    def __init__(self, context: hpke.Context, *, max_chunk: int = MAX_CHUNK) -> None:
        self._context = context
        self._max_chunk = max_chunk
        self._buffer = bytearray()
        self._cipher: AnswerCipher | None = None
        self._length: int | None = None
        self._opened = 0
        self._billed = False
        self._failure: SealedChannelError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """
        Return the chunks that `data` completes; where the body is cut into pieces does not matter.

        Raises `SealedChannelError` for a broken chunk: at once if it is the first of this piece, else at the next
        call, so that chunks which did open are not lost.
        """
        self._check()
        self._buffer += data
        opened: list[bytes] = []
        try:
            while (chunk := self._next_chunk()) is not None:
                opened.append(chunk)
        except SealedChannelError as exc:
            # The failure is kept for the next call, because chunks
            # that opened before it are genuine and were paid for.
            self._failure = exc
            self._buffer.clear()
            if not opened:
                raise
        return opened

    def finish(self) -> bytes:
        """Return the final chunk, after the body has ended. Raises `SealedChannelError` if the stream was cut."""
        self._check()
        # Only a length of 0 announces the final chunk. A body
        # that ends elsewhere was cut, and must not look complete.
        if self._cipher is None or self._length != 0:
            self._failure = _broken("The sealed stream ended before its final chunk: it was cut on the way.")
            raise self._failure
        self._failure = _broken("The sealed stream is over: it was finished before.")
        # The word "final" is authenticated with the last chunk,
        # so an earlier chunk cannot be passed off as the end.
        return self._cipher.open(self._opened, bytes(self._buffer), b"final")

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _next_chunk(self) -> bytes | None:
        """Take the next chunk out of the buffer; None while it is not all there, and for the final one."""
        if self._cipher is None:
            if len(self._buffer) < nonce_length(self._context):
                return None
            self._cipher = AnswerCipher(self._context, self._take(nonce_length(self._context)), STREAM_LABEL)
        if self._length is None:
            self._length = self._take_length()
        # The final chunk has no length of its own, so without this bound an endless body would fill the memory.
        if self._length == 0 and len(self._buffer) > MAX_FINAL + hpke.TAG_LENGTH:
            raise _broken(f"The final chunk of the sealed stream has more than {MAX_FINAL} bytes.")
        if not self._length or len(self._buffer) < self._length:
            return None
        # The chunk's number is its nonce, so chunks that were dropped, repeated or reordered do not open.
        chunk = self._cipher.open(self._opened, self._take(self._length), b"")
        self._opened += 1
        self._length = None
        return chunk

    def _take_length(self) -> int | None:
        """Take the length of the next chunk, a QUIC integer (RFC 9000 §16); 0 announces the final chunk."""
        # As a length, a line feed would be 10, less than a tag: so it can only begin the billing frame.
        if self._buffer[:1] == b"\n" and not self._billed and not self._skip_billing():
            return None
        # The two highest bits of the first byte give the width, 1, 2, 4 or 8 bytes (RFC 9000 §16).
        width = 1 << (self._buffer[0] >> 6) if self._buffer else 1
        if len(self._buffer) < width:
            return None
        length = int.from_bytes(self._take(width), "big") & (1 << 8 * width - 2) - 1
        # Refused before it is waited for: a length of 2^62 would collect the rest of the body in memory.
        if length and not hpke.TAG_LENGTH < length <= self._max_chunk + hpke.TAG_LENGTH:
            raise _broken(
                f"A chunk of the sealed stream has {length} bytes, expected {hpke.TAG_LENGTH + 1} to "
                f"{self._max_chunk + hpke.TAG_LENGTH}."
            )
        return length

    def _skip_billing(self) -> bool:
        """Take the billing frame out of the buffer, unread; False while it is not all there."""
        head = len(BILLING_MAGIC) + 4
        if not BILLING_MAGIC.startswith(self._buffer[: len(BILLING_MAGIC)]):
            raise _broken("The sealed stream holds something in clear between its chunks.")
        length = int.from_bytes(self._buffer[len(BILLING_MAGIC) : head], "big")
        # The frame is written in clear by whoever is on the way,
        # so its length is bounded and its numbers are never read.
        if length > MAX_BILLING:
            raise _broken(f"The billing frame has {length} bytes, expected at most {MAX_BILLING}.")
        if len(self._buffer) < head + length:
            return False
        self._take(head + length)
        # A second frame is refused, so that a relay cannot fill the stream with text of its own.
        self._billed = True
        return True

    def _take(self, length: int) -> bytes:
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken


Outcome = Literal["answer", "gateway-error", "unauthenticated-error", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    A reply is what became of one sealed request, once its whole body is there.

    `answer`: `plaintext` is what the direct path would have answered, to be verified like it. `gateway-error`: the
    enclave itself refused with `gateway_status` (400 to 599), and `plaintext` is the body of that refusal.
    `unauthenticated-error`: a status outside 2xx in clear, which anybody on the way can write. `refused`: a 2xx that
    is not the answer to this request. The last two have no plaintext, and an `error` to raise.
    """

    outcome: Outcome
    gateway_status: int | None = None
    plaintext: bytes = field(default=b"", repr=False)
    error: SealedChannelError | None = None


def read_reply(exchange: Exchange, *, stream: bool, status: int, content_type: str, body: bytes) -> Reply:
    """
    Classify a whole HTTP reply to `exchange.wire`; `stream` says whether a stream was asked for.

    Never raises: what cannot be used is a `Reply` with an `error`.
    """
    if not 200 <= status < 300:
        return Reply(outcome="unauthenticated-error", error=unauthenticated_error(status))
    try:
        if not stream:
            return _read_answer(exchange.open(body))
        return _read_stream(exchange, body) if opens_as_stream(content_type) else _read_refusal(exchange, body)
    except SealedChannelError as exc:
        return Reply(outcome="refused", error=exc)


def opens_as_stream(content_type: str) -> bool:
    """Return whether a 2xx body is the stream that was asked for; a gateway refuses a stream by a whole answer."""
    # A relay may drop or change the type, so only the one that names the other form is taken for it.
    return content_type.partition(";")[0].strip().lower() != ANSWER_TYPE


def unauthenticated_error(status: int, whom: str = "the relay") -> SealedChannelError:
    """Return the error for a reply in clear by `whom`. Its text is left out: it may quote the prompt, or lie."""
    hint = (
        "Redirects are not followed: check its URL." if 300 <= status < 400 else _HINTS.get(status, "Ask again later.")
    )
    error = SealedChannelError(
        f"{whom[:1].upper()}{whom[1:]} answered HTTP {status} in clear, where a sealed answer was expected. Anybody on "
        f"the way can write this, so nothing of it is believed, quoted or paid. {hint}"
    )
    error.status = status
    # Others may be as busy as the relay says of this one; any other status is about the request or the relay.
    error.blames_enclave = status in (502, 503, 504)
    return error


def request_headers(tee_id: str, *, stream: bool) -> dict[str, str]:
    """Return the headers that a sealed request to the enclave `tee_id` is sent with; a token is the caller's to add."""
    headers = {
        "Content-Type": REQUEST_TYPE,
        "Accept": STREAM_TYPE if stream else ANSWER_TYPE,
        # The published client 1.1.4 sends the id without 0x, so no relay is known to take it with the prefix.
        "X-TEE-ID": tee_id.removeprefix("0x"),
    }
    return headers | {STREAM_HEADER: "true"} if stream else headers


def open_answer(context: hpke.Context, answer: bytes) -> bytes:
    """Return the plaintext of a whole sealed answer (RFC 9458 §4.4). Raises `SealedChannelError`."""
    nonce = answer[: nonce_length(context)]
    return AnswerCipher(context, nonce, ANSWER_LABEL).open(0, answer[len(nonce) :], b"")


class AnswerCipher:
    """A cipher holds the key of one answer, made from the request's secret and the answer's nonce (RFC 9458 §4.4)."""

    def __init__(self, context: hpke.Context, nonce: bytes, label: bytes) -> None:
        # The secret depends on the request's keys, so an answer to another request cannot open here.
        secret = context.export(label, nonce_length(context))
        key = hpke.extract(context.enc + nonce, secret)
        self._cipher = context.suite.cipher(hpke.expand(key, b"key", context.suite.key_length))
        self._base_nonce = hpke.expand(key, b"nonce", hpke.NONCE_LENGTH)

    def seal(self, number: int, plaintext: bytes, associated: bytes) -> bytes:
        """Return the ciphertext of chunk `number`, as the enclave makes it."""
        return self._cipher.encrypt(hpke.numbered_nonce(self._base_nonce, number), plaintext, associated)

    def open(self, number: int, ciphertext: bytes, associated: bytes) -> bytes:
        """Return the plaintext of chunk `number`. Raises `SealedChannelError`."""
        try:
            return self._cipher.decrypt(hpke.numbered_nonce(self._base_nonce, number), ciphertext, associated)
        except InvalidTag:
            raise _broken(
                "The sealed answer does not open with the key of this request: it was made for another one, or "
                "changed or cut on the way."
            ) from None


def nonce_length(context: hpke.Context) -> int:
    """Return the bytes of an answer's nonce: as many as the longer of the AEAD's key and nonce."""
    return max(context.suite.key_length, hpke.NONCE_LENGTH)


def _read_stream(exchange: Exchange, body: bytes) -> Reply:
    opener = exchange.stream()
    try:
        return Reply(outcome="answer", plaintext=b"".join([*opener.feed(body), opener.finish()]))
    except SealedChannelError as exc:
        # A relay may have dropped the type of a sealed error: what opens counts.
        try:
            return _read_refusal(exchange, body)
        except SealedChannelError:
            raise exc from None


def _read_refusal(exchange: Exchange, body: bytes) -> Reply:
    reply = _read_answer(exchange.open(body))
    if reply.outcome == "answer":
        raise _broken("The sealed answer is whole, where a stream was asked for.")
    return reply


def _read_answer(plaintext: bytes) -> Reply:
    try:
        value = decode_json(plaintext)
    except ValueError:
        raise _broken("The sealed answer opened, and is not JSON.") from None
    if not isinstance(value, dict):
        raise _broken(f"The sealed answer opened, and is a JSON {type(value).__name__}, expected an object.")
    # The gateway wraps only its refusals in `status` and `body`; an answer of a model stands as it is.
    if not {"status", "body"} <= value.keys():
        return Reply(outcome="answer", plaintext=plaintext)
    status, body = value["status"], value["body"]
    # A reply of this shape that is neither form could be read as an answer or as an error.
    if type(status) is not int or not 100 <= status < 600 or not isinstance(body, dict):
        raise _broken("The sealed answer has a status and a body, which are neither an answer's nor an error's.")
    if status < 400:
        return Reply(outcome="answer", plaintext=plaintext)
    return Reply(outcome="gateway-error", gateway_status=status, plaintext=json.dumps(body).encode())


def _strict_base64(fields: Mapping[str, object], name: str) -> bytes:
    text = fields.get(name)
    try:
        value = base64.b64decode(text, validate=True) if isinstance(text, str) and len(text) <= MAX_FIELD else b""
    except (binascii.Error, ValueError):
        value = b""
    if not value or base64.b64encode(value).decode() != text:
        raise _unusable(f"has no {name} in canonical base64")
    return value


def _unusable(problem: str) -> SealedChannelError:
    error = SealedChannelError(f"The OHTTP key config {problem}. Nothing was sealed or sent; use another enclave.")
    error.nothing_sent = True
    return error


def _broken(problem: str) -> SealedChannelError:
    return SealedChannelError(problem + _SPOILED)


_HINTS = {
    400: "Either the relay or the gateway found the request malformed; update this package.",
    401: "The relay does not take the token: log in again.",
    402: "The relay is who pays the enclave: no payment of yours is asked for, and none is made.",
    403: "The relay does not take the token: log in again.",
    404: "The relay has no such address: check its URL.",
    413: "The sealed request is too large for the relay or the gateway: send less text or fewer attachments.",
    429: "The relay asks for patience; ask again later.",
}
"""Each hint says what to do, by the status that the relay shows."""

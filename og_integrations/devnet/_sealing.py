"""
The enclave's side of the sealed channel: its OHTTP key opens requests, and answers are sealed for who asked.

Refusals are sealed, too, inside a 200; only what the schema's checker says leaves in clear, as at the real gateways.
"""

import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from og_integrations.devnet._http import Reply, Request
from og_integrations.errors import MalformedReplyError, SealedChannelError
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.protocol.chat._sse import DONE, encode_event
from og_integrations.protocol.chat._wire import CHAT_PATH, SEARCH_PATH
from og_integrations.protocol.proof._enclave import OhttpKey
from og_integrations.protocol.sealing import _hpke as hpke
from og_integrations.protocol.sealing._ohttp import (
    ANSWER_LABEL,
    ANSWER_TYPE,
    BILLING_MAGIC,
    REQUEST_TYPE,
    STREAM_HEADER,
    STREAM_LABEL,
    STREAM_TYPE,
    AnswerCipher,
    KeyConfig,
)

_ENDPOINTS = {None: CHAT_PATH, "web_search": SEARCH_PATH}
_DROPPED = ("endpoint", "user", "metadata", "request_id", "x-request-id")
"""Members of a sealed request that go no further, so that nothing of them is hashed."""
_DONE = encode_event(DONE)
_KEY_ID = 1


class UnopenedError(Exception):
    """A request to the sealed endpoint cannot be opened; `reply` says so in clear."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        content = json.dumps({"error": reason}).encode() + b"\n"
        self.reply = Reply(status=status, headers=[("Content-Type", "application/json")], body=content)


class GatewayKey:
    """A gateway's X25519 key, made in the enclave when it starts; `answer_nonce` makes the 32 bytes of each answer."""

    def __init__(
        self, secret: bytes | None = None, key_id: int = _KEY_ID, answer_nonce: Callable[[], bytes] | None = None
    ) -> None:
        self._secret = secrets.token_bytes(32) if secret is None else secret
        self._key_id = key_id
        self._nonce = answer_nonce or (lambda: secrets.token_bytes(32))

    @cached_property
    def listed(self) -> OhttpKey:
        """Return the key as the registry lists it, signed."""
        public = X25519PrivateKey.from_private_bytes(self._secret).public_key().public_bytes_raw()
        return OhttpKey(self._key_id, public, signed=True)

    @property
    def config(self) -> KeyConfig:
        """Return the key as requests are sealed to it."""
        return KeyConfig(self.listed.key_id, self.listed.public_key)

    def open(self, wire: bytes) -> "OpenedRequest":
        """Return the sealed request `wire`, opened. Raises `UnopenedError`."""
        if wire[:7] != self.config.header:
            raise UnopenedError(400, "OHTTP request is for another key configuration")
        try:
            context = hpke.setup_recipient(self._secret, wire[7:39], b"message/bhttp request\0" + wire[:7])
            return OpenedRequest(context, context.open(wire[39:]), self._nonce())
        except SealedChannelError:
            raise UnopenedError(400, "OHTTP decapsulation failed") from None


class OpenedRequest:
    """An opened request is its plaintext `body`, and the means to seal one answer to it."""

    def __init__(self, context: hpke.Context, body: bytes, nonce: bytes) -> None:
        self.body = body
        self._context = context
        self._nonce = nonce

    def answer(self, plaintext: bytes) -> bytes:
        """Return `plaintext` as the whole answer."""
        return self._nonce + AnswerCipher(self._context, self._nonce, ANSWER_LABEL).seal(0, plaintext, b"")

    def stream(self) -> "StreamSealer":
        """Return what seals a streamed answer."""
        return StreamSealer(AnswerCipher(self._context, self._nonce, STREAM_LABEL), self._nonce)


class StreamSealer:
    """A sealer makes the pieces of one streamed answer, in their order; the first holds the nonce."""

    def __init__(self, cipher: AnswerCipher, nonce: bytes) -> None:
        self._cipher = cipher
        self._number = 0
        self._begin = nonce

    def chunk(self, plaintext: bytes, width: int = 0) -> bytes:
        """Return one more chunk; its length takes at least `width` bytes."""
        sealed = self._cipher.seal(self._number, plaintext, b"")
        self._number += 1
        return self._started() + varint(len(sealed), width) + sealed

    def final(self, plaintext: bytes, *, billing: bytes = b"", width: int = 0) -> bytes:
        """Return the last chunk; `billing` stands in clear in front of it."""
        return self._started() + billing + varint(0, width) + self._cipher.seal(self._number, plaintext, b"final")

    def _started(self) -> bytes:
        begin, self._begin = self._begin, b""
        return begin


def varint(number: int, width: int = 0) -> bytes:
    """Return `number` as a QUIC integer of at least `width` bytes (1, 2, 4 or 8)."""
    size = next(size for size in (1, 2, 4, 8) if size >= width and number < 1 << 8 * size - 2)
    return (number | (size.bit_length() - 1) << 8 * size - 2).to_bytes(size, "big")


def billing_frame(cost: JsonObject) -> bytes:
    """Return the frame that tells the relay, in clear, what a stream cost; the relay is to take it out."""
    content = json.dumps(cost).encode()
    return BILLING_MAGIC + len(content).to_bytes(4, "big") + content


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """This is a request to the sealed endpoint: `inner` is what it is to the gateway's handlers."""

    inner: Request
    opened: OpenedRequest
    streams: bool

    def refusal(self) -> tuple[int, JsonObject] | None:
        """Return status and body of what is wrong with it, None if it can be served."""
        content = _content(self.opened.body)
        if content is None:
            return 400, {"error": "Request body must be a JSON object"}
        if content.get("endpoint") not in _ENDPOINTS:
            return 400, {"error": "Unknown endpoint"}
        if bool(content.get("stream")) != self.streams:
            return 400, {"error": "stream must agree with the request's headers"}
        return None

    def sealed(self, reply: Reply, cost: Callable[[], JsonObject | None]) -> Reply:
        """Return `reply`, sealed; `cost` tells after its end what it cost, None if nothing was charged."""
        headers = [item for item in reply.headers if item[0] not in ("Content-Type", "Cache-Control")]
        if not isinstance(reply.body, bytes):
            body = self._streamed(reply.body, cost)
            return dataclasses.replace(reply, headers=[("Content-Type", STREAM_TYPE), *headers], body=body)
        kind = next((value for name, value in reply.headers if name == "Content-Type"), "")
        if kind == "application/problem+json" and reply.status in (400, 415):
            return reply
        plaintext = reply.body
        if reply.status >= 400:
            plaintext = json.dumps({"status": reply.status, "body": json.loads(reply.body)}).encode()
        elif (charged := cost()) is not None:
            headers += _cost_headers(charged)
        answer = self.opened.answer(plaintext)
        return dataclasses.replace(reply, status=200, headers=[("Content-Type", ANSWER_TYPE), *headers], body=answer)

    async def _streamed(
        self, events: AsyncGenerator[bytes, None], cost: Callable[[], JsonObject | None]
    ) -> AsyncGenerator[bytes, None]:
        sealer, last = self.opened.stream(), b""
        async with contextlib.aclosing(events):
            async for event in events:
                if event == _DONE:
                    last = event
                else:
                    yield sealer.chunk(event)
        charged = cost()
        yield sealer.final(last, billing=b"" if charged is None else billing_frame(charged))


def unsealed(request: Request, key: GatewayKey, *, most: int) -> SealedRequest:
    """Return what `request` asks, with at most `most` sealed bytes. Raises `UnopenedError`."""
    if (request.header("content-type") or "").partition(";")[0].strip().lower() != REQUEST_TYPE:
        raise UnopenedError(415, f"Content-Type must be {REQUEST_TYPE}")
    if len(request.body) > most:
        raise UnopenedError(413, "request body too large")
    opened = key.open(request.body)
    content = _content(opened.body)
    path, body = CHAT_PATH, opened.body
    if content is not None and content.get("endpoint") in _ENDPOINTS:
        path = _ENDPOINTS[content.get("endpoint")]
        if content.keys() & {*_DROPPED}:
            body = json.dumps({name: value for name, value in content.items() if name not in _DROPPED}).encode()
    # The settlement word is that of the outer request; a token of the user's own is not handed on.
    kept = tuple(item for item in request.headers if item[0] == "x-settlement-type")
    headers = (("content-type", "application/json"), ("authorization", "Bearer ohttp"), *kept)
    inner = dataclasses.replace(request, path=path, headers=headers, body=body)
    return SealedRequest(inner, opened, (request.header(STREAM_HEADER) or "").lower() == "true")


def _content(body: bytes) -> JsonObject | None:
    try:
        return parse_json_object(body, "The request", unique=False)
    except MalformedReplyError:
        return None


def _cost_headers(cost: JsonObject) -> list[tuple[str, str]]:
    names = {
        "X-Inference-Cost-OPG": "cost_opg",
        "X-Inference-Cost-USD": "cost_usd",
        "X-Inference-Price-OPG-USD": "opg_price_usd",
    }
    return [(header, str(cost[name])) for header, name in names.items()]

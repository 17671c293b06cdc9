"""
A sealed channel carries requests that only the enclave can open: through a relay, or by the client's own hand.

A relay shows its users' requests to enclaves without saying whose they are, and pays for them; it is shown a token.
Without a relay the client brings the sealed request itself, over TLS pinned to the enclave, and pays as on the direct
path. In both cases the answer is the enclave's because it opens; whatever comes in clear is the word of whoever is in
between, and is refused (`protocol.sealing`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from og_integrations.client.channels._relay import Relay, check_token
from og_integrations.errors import ConfigurationError, InvalidRequestError, OpenGradientError, SealedChannelError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.chat._wire import CHAT_PATH, SEARCH_PATH
from og_integrations.protocol.payment._flow import Effects, Obtain
from og_integrations.protocol.payment._x402 import ReplyHead
from og_integrations.protocol.proof._enclave import OhttpKey, SignedConfig
from og_integrations.protocol.sealing._ohttp import (
    ANSWER_TYPE,
    MAX_FINAL,
    STREAM_TYPE,
    Exchange,
    KeyConfig,
    SealedStream,
    opens_as_stream,
    read_reply,
    request_headers,
    unauthenticated_error,
)

_ENDPOINTS = {CHAT_PATH: None, SEARCH_PATH: "web_search"}
"""What can be asked over a sealed channel -> the name that the request inside has for it."""
_OWN_WORDS = frozenset({"authorization", "content-type", "accept"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """Sealing says that requests are sealed, and who carries them: `relay`, or None for the client itself."""

    relay: Relay | None = None


def sealed_body(path: str, wire: bytes) -> bytes:
    """Return the request `wire` to `path` as it is sealed. Raises `InvalidRequestError` for what is not carried."""
    if path not in _ENDPOINTS:
        raise InvalidRequestError(
            f"channel='ohttp' carries no requests to {path}, only chats and web searches: ask a chat model, or use "
            "another client with channel='pinned'. Nothing was sent."
        )
    endpoint = _ENDPOINTS[path]
    # The gateway takes the name out before it hashes, so that the rest is hashed as it stands in `wire`.
    return wire if endpoint is None else b'{"endpoint": ' + json.dumps(endpoint).encode() + b", " + wire[1:]


def token_of(relay: Relay | None) -> Effects[Secret | None]:
    """Return what `relay` is to be shown, None if it is nothing. Raises `ConfigurationError`."""
    if relay is None or relay.token is None:
        return None
    try:
        return check_token((yield Obtain(relay.token)))
    except BaseException as exc:
        if isinstance(exc, Exception) and not isinstance(exc, OpenGradientError):
            raise ConfigurationError(f"relay_token failed with {type(exc).__name__}. Nothing was sent.") from exc
        raise


class SealedCall:
    """
    A sealed call is one request and the means to open its answer; every time it is sent, it is sealed anew.

    `key` is the enclave's, `signed_config` the enclave's signature of it, `signed_at` where that was seen ("registry"
    or "enclave"). The keys of the answer are shown nowhere.
    """

    def __init__(
        self,
        *,
        key: OhttpKey,
        signed_at: str,
        signed_config: SignedConfig,
        tee_id: str,
        relay: Relay | None,
        token: Secret | None,
        body: bytes,
        stream: bool,
    ) -> None:
        self.key = key
        self.signed_at = signed_at
        self.signed_config = signed_config
        self.relay = relay
        self._config = KeyConfig.parse(key.blob)
        self._tee_id = tee_id
        self._token = token
        self._body = body
        self._stream = stream
        self._exchange: Exchange | None = None
        self._opener: SealedStream | None = None
        self._marked = True
        self.head: ReplyHead | None = None

    def wire(self) -> bytes:
        """Return the request, sealed anew: what opened an earlier answer opens none of this one."""
        self._exchange = Exchange(self._config, self._body)
        return self._exchange.wire

    def headers(self, direct: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Secret]]:
        """Return the headers of the sealed request, and its secrets; `direct` are those of the request in clear."""
        sealed = request_headers(self._tee_id, stream=self._stream)
        if self.relay is None:
            del sealed["X-TEE-ID"]
            return {**direct, **sealed}, {}
        # The relay pays, and in its own way, so nothing of the wallet's payment or settlement goes to it.
        kept = {name: value for name, value in direct.items() if name.lower() not in _OWN_WORDS}
        kept.pop("X-SETTLEMENT-TYPE", None)
        shown = {} if self._token is None else {"Authorization": Secret(f"Bearer {self._token.reveal()}")}
        return {**kept, **sealed}, shown

    def begin(self, head: ReplyHead, whom: str) -> None:
        """Take the head of the reply by `whom`. Raises `SealedChannelError` if it is in clear."""
        if not 200 <= head.status < 300:
            raise unauthenticated_error(head.status, self.relay.name if self.relay is not None else whom)
        kind = head.content_type
        self._marked = kind in (ANSWER_TYPE, STREAM_TYPE)
        if self._stream and opens_as_stream(kind):
            self._opener = self._sent.stream(max_chunk=MAX_FINAL)
            self.head = ReplyHead(200, [("content-type", "text/event-stream")])

    @property
    def streams(self) -> bool:
        """Return whether the answer comes in chunks; otherwise it is opened as a whole."""
        return self._opener is not None

    def feed(self, data: bytes) -> bytes:
        """Return what of a streamed answer opens now that `data` came. Raises `SealedChannelError`."""
        try:
            return b"".join(self._streamed.feed(data))
        except SealedChannelError as exc:
            raise self._explained(exc) from exc

    def finish(self) -> bytes:
        """Return the end of a streamed answer. Raises `SealedChannelError` if it was cut."""
        try:
            return self._streamed.finish()
        except SealedChannelError as exc:
            raise self._explained(exc) from exc

    def open(self, body: bytes) -> bytes:
        """Return a whole answer; `head` then says what the enclave answered. Raises `SealedChannelError`."""
        reply = read_reply(self._sent, stream=self._stream, status=200, content_type=ANSWER_TYPE, body=body)
        if reply.error is not None:
            raise self._explained(reply.error)
        self.head = ReplyHead(reply.gateway_status or 200, [("content-type", "application/json")])
        return reply.plaintext

    def _explained(self, exc: SealedChannelError) -> SealedChannelError:
        # Only a hint: a relay may drop the mark of a sealed answer, too.
        if self._marked:
            return exc
        return SealedChannelError(f"The reply is not marked as sealed, and may be somebody's own words in clear. {exc}")

    @property
    def _sent(self) -> Exchange:
        if self._exchange is None:
            raise AssertionError("A sealed call was not sent.")
        return self._exchange

    @property
    def _streamed(self) -> SealedStream:
        if self._opener is None:
            raise AssertionError("A sealed answer that does not stream is opened as a whole.")
        return self._opener

    def lost(self, exc: Exception) -> SealedChannelError:
        """Return what a lost connection to the relay means: the enclave may have answered, and nobody asks again."""
        error = SealedChannelError(
            f"{exc} The sealed request had left: the enclave may have answered it, at the relay's cost. It was not "
            "sent again."
        )
        error.blames_enclave = False
        return error

    def __repr__(self) -> str:
        return f"<SealedCall by {self.relay.host if self.relay is not None else 'own hand'}>"

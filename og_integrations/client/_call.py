"""
One call has three parts: what is asked (`Call`), how far it got (`CallState`), what came of it (`Answer`).
"""

import base64
import json
import re
import textwrap
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from og_integrations.client.channels.channel import Destination
from og_integrations.errors import (
    ConfigurationError,
    ConnectionLostError,
    GatewayError,
    MalformedReplyError,
    OpenGradientError,
)
from og_integrations.protocol.chat.translation import Plan
from og_integrations.protocol.chat.wire import (
    ChatRequest,
    Completion,
    CompletionRequest,
    ToolCall,
    Usage,
)
from og_integrations.protocol.payment.flow import Effect, in_doubt
from og_integrations.protocol.payment.session import PaymentSession
from og_integrations.protocol.payment.x402 import ReplyHead, Route, SettlementMode
from og_integrations.protocol.proof.enclave import Enclave
from og_integrations.protocol.redact import quotable, texts_of
from og_integrations.protocol.strict_json import JsonObject, parse_json_object

MAX_ERROR_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_HINTS = {
    400: "Check the model name and the parameters.",
    401: "The gateway wants an Authorization header.",
    404: "This gateway does not have the endpoint.",
    413: "The request is too large.",
    429: "Wait and try again.",
}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?|")
_OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "payment-signature",
        "transfer-encoding",
        "x-payment",
        "x-settlement-type",
        "x-upto-session",
    }
)
"""A user's header may be none of these: a gateway might honour either of two X-SETTLEMENT-TYPE headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    An answer is what the caller sees, and was verified.

    `text` is what to show: `completion` holds the signed original, of which it may be a part (see
    the receipt's `presentation`). `images` are `data:` URIs or URLs, `reasoning` what the model thought;
    neither is signed. `model` is the name that the gateway knows, `asked_model` the one that was asked for;
    `created` is when the call began, in unix seconds. `receipt` is plain JSON (`og_integrations.receipt`).
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    model: str
    asked_model: str
    created: int
    usage: Usage | None
    images: tuple[str, ...] = ()
    reasoning: str = field(default="", repr=False)
    id: str
    receipt: JsonObject
    completion: Completion = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    A call is a request that is ready to be sent; `wire` is its exact body.

    `timeout` is in seconds, for each wait on the network; `stop` holds the sequences that are cut here; `plan` says
    how to show the answer.
    """

    request: ChatRequest | CompletionRequest
    wire: bytes = field(repr=False)
    plan: Plan = field(repr=False)
    model: str
    settlement_mode: SettlementMode
    stop: tuple[str, ...]
    timeout: float
    created: int
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def path(self) -> str:
        """Return the path of the endpoint."""
        return self.request.path

    def headers(self) -> dict[str, str]:
        """Return the headers of the request, without those of the payment."""
        return {
            **self.extra_headers,
            # Any bearer will do, but without one the gateway answers 401 after payment.
            "Authorization": "Bearer og-integrations",
            "Content-Type": "application/json",
            # With a browser's Accept the 402 is a 3 MB page.
            "Accept": "text/event-stream" if self.request.stream else "application/json",
            # A compressed body could be a bomb, and gains nothing on answers of this size.
            "Accept-Encoding": "identity",
            "X-SETTLEMENT-TYPE": self.settlement_mode.value,
        }


Piece = str | Answer
"""A stream yields text as it comes, and last the verified answer."""
PIECES = (str, Answer)
Pieces = Generator[Effect | Piece, Any, None]
"""A call that yields, between effects, the pieces of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    A target is one endpoint of one enclave, with all that calls of it have in common.

    `route` is what a session is bound to, `url` where requests go, and `destination` by which channel.
    """

    enclave: Enclave
    route: Route
    url: str
    destination: Destination


@dataclass(slots=True, kw_only=True)
class CallState:
    """
    The state says how far one call got, which is what a receipt of it can tell.

    `target` is whom it goes to, `grant` what pays for it, `sent_at` when it was sent (unix seconds). The answer's
    bytes are kept only if someone collects exchanges: streams can be long.
    """

    call: Call
    target: Target | None = None
    grant: PaymentSession | None = None
    head: ReplyHead | None = None
    sent_at: int = 0
    keep_body: bool = False
    body: bytearray = field(default_factory=bytearray)
    presentation: JsonObject | None = None

    def on_payment(self, grant: PaymentSession) -> None:
        """Remember that a request that `grant` pays for is about to leave."""
        self.grant = grant

    def on_data(self, data: bytes) -> None:
        """Take another part of the answer's body."""
        if self.keep_body:
            self.body += data

    def on_loss(self, exc: ConnectionLostError) -> OpenGradientError:
        """Return what a connection lost inside the body means: in doubt if it was paid for."""
        return in_doubt(exc) if self.grant is not None else exc

    def quotable(self, reason: object) -> str:
        """Return what of the gateway's `reason` may stand in a message: nothing of this call's secrets."""
        secrets = texts_of(json.loads(self.call.wire))
        if self.grant is not None:
            credentials = (self.grant.session_id, self.grant.signature, self.grant.header)
            secrets += [secret.reveal() for secret in credentials if secret]
        return quotable(reason, secrets)

    def exchange(self) -> JsonObject | None:
        """Return the exact request and answer, as `verify` reads them; None if no answer came."""
        if self.head is None or self.target is None or not self.keep_body:
            return None
        enclave = self.target.enclave
        return {
            "path": self.call.path,
            "request": self.call.wire.decode(),
            "content_type": self.content_type(),
            "response": self.body.decode("utf-8", "replace"),
            "tee_id": enclave.tee_id,
            "public_key_pem": _pem(enclave.public_key),
        }

    def content_type(self) -> str:
        """Return the answer's content type without parameters; the last one if there are several."""
        found = [value for name, value in (self.head.headers if self.head else ()) if name.lower() == "content-type"]
        return found[-1].partition(";")[0].strip().lower() if found else ""

    def check_head(self) -> None:
        """Raise `MalformedReplyError` for a 2xx answer whose body is not what was asked for."""
        assert self.head is not None  # noqa: S101 - called after the head came
        encoding = [value for name, value in self.head.headers if name.lower() == "content-encoding"]
        if any(value.strip().lower() not in ("", "identity") for value in encoding):
            raise MalformedReplyError(
                f"The answer is encoded as {', '.join(encoding)[:40]!r}; we asked for plain bytes."
            )
        expected = "text/event-stream" if self.call.request.stream else "application/json"
        if self.content_type() != expected:
            raise MalformedReplyError(f"The answer is {self.content_type()[:80]!r}, expected {expected}.")


def now() -> int:
    """Return the unix time in whole seconds."""
    return int(time.time())


def check_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return a user's `default_headers`. Raises `ConfigurationError` for one that is ours or cannot be sent."""
    if headers is not None and not isinstance(headers, Mapping):
        raise ConfigurationError(f"default_headers is a {type(headers).__name__}, expected names and values.")
    checked: dict[str, str] = {}
    for name, given in cast("Mapping[object, object]", headers or {}).items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise ConfigurationError(
                f"default_headers holds {name!r:.60}, expected the name of a header that is not the client's own."
            )
        if not isinstance(given, str) or not _HEADER_VALUE.fullmatch(given):
            raise ConfigurationError(
                f"The value of {name} in default_headers is not text of printable ASCII characters."
            )
        checked[name] = given
    return checked


def check_size(body: bytearray) -> None:
    """Raise `MalformedReplyError` once a body is larger than any honest answer."""
    if len(body) > MAX_ANSWER_BYTES:
        raise MalformedReplyError(f"The answer has more than {MAX_ANSWER_BYTES} bytes; it was given up.")


def gateway_error(state: CallState, status: int, body: bytes) -> GatewayError:
    """Return the error for an answer outside 2xx, with the gateway's reason as far as it may be quoted."""
    reason = _reason(state, body)
    said = f": {reason}" if reason else ""
    message = f"The gateway answered HTTP {status}{said}. It was not charged. {_hint(status)}".strip()
    return GatewayError(message, status=status)


def _hint(status: int) -> str:
    if 300 <= status < 400:
        return "Redirects are never followed: prompt and payment would go to another host."
    if status >= 500:
        return "Try again later."
    return _HINTS.get(status, "")


def _reason(state: CallState, body: bytes) -> str:
    try:
        reply = parse_json_object(body, "The error")
    except MalformedReplyError:
        return ""
    # The handlers say `error`, problem+json says `detail` and `title` (PROTOCOL §2).
    for name in ("error", "detail", "title"):
        if reason := state.quotable(reply.get(name)):
            return reason
    return ""


def _pem(der: bytes) -> str:
    # As it is: what a broken registry lists as a key is evidence, too.
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join(("-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""))

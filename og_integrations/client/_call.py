"""
One call: what is asked (`Call`), how far it got (`CallState`), what came of it (`Answer`), and the receipt it leaves.

Every call leaves its receipt with the open collectors (`client._collecting`), whatever stopped it: `build_receipt`
makes it.
"""

import base64
import hashlib
import json
import re
import textwrap
import time
from asyncio import CancelledError
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from og_integrations._accounting import ReceiptCost, ReceiptEstimate, ReceiptUsage, estimate
from og_integrations.client import _telemetry
from og_integrations.client._collecting import hand_out, kept_everywhere, wanted_here
from og_integrations.client._evidence import Attested, Shown
from og_integrations.client._settings import opg_price_setting
from og_integrations.client.channels._channel import CONNECT_TIMEOUT, Destination, Pace
from og_integrations.errors import (
    AttestationError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    GatewayError,
    InvalidRequestError,
    LedgerBusyError,
    MalformedReplyError,
    OpenGradientError,
    VerificationError,
)
from og_integrations.protocol._receipt import KINDS, described
from og_integrations.protocol._redact import quotable, texts_of
from og_integrations.protocol._strict_json import JsonObject, encode_json
from og_integrations.protocol.chat._translation import Plan
from og_integrations.protocol.chat._wire import Completion, Request, ToolCall, Usage
from og_integrations.protocol.payment._flow import Consult, Effect, Effects, in_doubt
from og_integrations.protocol.payment._lease import Grant, Lease
from og_integrations.protocol.payment._x402 import (
    ReplyHead,
    Route,
    SettlementMode,
    ToldSettlement,
    blob_id,
    parse_settlement,
    transaction_hash,
)
from og_integrations.protocol.payment.schemes import Authorization
from og_integrations.protocol.proof._canonical import RULES, request_hash
from og_integrations.protocol.proof._enclave import Enclave
from og_integrations.protocol.proof._verification import Channel, VerifiedExchange
from og_integrations.receipt import OWN_HASH, Check, Receipt, ReceiptPayment, ReceiptSealing

if TYPE_CHECKING:
    from og_integrations.client._collecting import Everywhere
    from og_integrations.client.channels._sealed import SealedCall
    from og_integrations.ledger._ledger import Ticket

MAX_ERROR_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 128 * 1024 * 1024
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
        "x-ohttp-stream",
        "x-payment",
        "x-settlement-type",
        "x-tee-id",
        "x-upto-session",
    }
)
"""A user's header may be none of these: a gateway might honour either of two X-SETTLEMENT-TYPE headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    An answer is what the caller sees, and was verified.

    `text` is what to show: `completion` holds the signed original, of which it may be a part (see
    the receipt's `presentation`). `model` is the name that the gateway knows, `asked_model` the one that was asked for;
    `created` is when the call began, in unix seconds. `receipt` is plain JSON (`og_integrations.receipt`), `earlier`
    holds those of the calls that an adapter made for this answer before.

    Not signed are `images` (`data:` URIs, or URLs, which nothing here fetches), `reasoning` (what the model thought),
    `citations` (pages that the gateway says it read: `title`, `url`), `searches` (what it says it searched for) and
    `moderation` (what it says a classifier found).
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
    citations: tuple[JsonObject, ...] = ()
    searches: tuple[str, ...] = ()
    moderation: JsonObject | None = None
    id: str
    receipt: JsonObject
    earlier: tuple[JsonObject, ...] = field(default=(), repr=False)
    completion: Completion = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    A call is a request that is ready to be sent; `wire` is its exact body.

    `timeout` is in seconds, for each wait on the network; `model` is None of a web search; `stop` holds the sequences
    that are cut here; `plan` says how to show the answer, `attachments` whether users' messages hold more than text.
    `nonce` is what the body carries that no other has (32 hex digits), None if nothing; `tags` go
    into ledgers with the receipt.
    """

    request: Request
    wire: bytes = field(repr=False)
    plan: Plan = field(repr=False)
    model: str | None
    settlement_mode: SettlementMode
    stop: tuple[str, ...]
    timeout: float
    created: int
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()
    attachments: bool = False
    nonce: str | None = None

    def without_nonce(self) -> "Call":
        """Return the same call with nothing in its body but what was asked."""
        return replace(self, wire=encode_json(self.request.to_json()), nonce=None)

    def was_hurried(self, exc: OpenGradientError) -> bool:
        """
        Return whether `exc` says no more than that this call waits for less than an enclave may take to connect.

        Counted as the enclave's doing, impatient calls would keep the last one away from all others.
        """
        timed_out = isinstance(exc, ConnectionFailedError | ConnectionLostError) and exc.timed_out
        return timed_out and self.timeout < CONNECT_TIMEOUT

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


class Target(NamedTuple):
    """
    A target is one endpoint of one enclave, with all that calls of it have in common.

    `route` is what a session is bound to, `url` where requests go, and `destination` who is connected to there, which
    messages call `whom`; `channel` is how a receipt calls the way to the enclave, `build` names the enclave's program.
    """

    enclave: Enclave
    build: str
    route: Route
    url: str
    destination: Destination
    whom: str
    channel: Channel


@dataclass(slots=True, kw_only=True)
class CallState:
    """
    The state says how far one call got, which is what a receipt of it can tell.

    `target` is whom it goes to, `attested` what that enclave showed of itself if it had to, `sealed` what opens its
    answer if it is sealed, `grant` what pays for it, `lease` what is to be told of its answer's body, `sent_at` when
    it was sent (unix seconds). `head` is that of the reply, which a sealed answer has its own inside of. `whole` is an
    answer that was read to its end before it was clear what it is. The answer's bytes are kept only if someone
    collects exchanges: streams can be long. `everywhere` is the ledger that the process had when the call began, None
    until that was asked. `opg_price` is what one OPG costs in US dollars, None without that setting.
    """

    call: Call
    target: Target | None = None
    attested: Attested | None = None
    sealed: "SealedCall | None" = None
    grant: Grant | None = None
    lease: Lease | None = None
    head: ReplyHead | None = None
    whole: bytes | None = None
    sent_at: int = 0
    keep_body: bool = False
    body: bytearray = field(default_factory=bytearray)
    presentation: JsonObject | None = None
    tickets: "list[Ticket]" = field(default_factory=list)
    everywhere: "Everywhere | None" = None
    opg_price: Decimal | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def shown(self) -> Shown:
        """Return what the enclave has shown for this call."""
        return Shown(self.attested, None if self.sealed is None else self.sealed.signed_config)

    def on_payment(self, grant: Grant) -> None:
        """Remember that a request that `grant` pays for is about to leave."""
        self.grant = grant

    def on_note(self, name: str, data: JsonObject) -> None:
        """Hand a named event that follows the signed one to what pays."""
        if self.lease is not None:
            self.lease.event(name, data)

    def end_payment(self) -> None:
        """Tell what pays, once, that nothing more comes of the answer."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.ended()

    def pace(self) -> Pace:
        """Return what ends an answer that comes, and does not get to its end."""
        return Pace(self.call.timeout, "the gateway" if self.target is None else self.target.whom)

    def on_data(self, data: bytes) -> None:
        """Take another part of the answer's body."""
        if self.keep_body:
            self.body += data

    def on_loss(self, exc: ConnectionLostError) -> OpenGradientError:
        """Return what a connection lost inside the body means: in doubt if it was paid for, here or by a relay."""
        if self.grant is not None:
            return in_doubt(exc)
        return exc if self.sealed is None else self.sealed.lost(exc)

    def unsealed(self, body: bytes) -> bytes:
        """Return a whole body as the enclave wrote it. Raises `SealedChannelError`."""
        return body if self.sealed is None else self.sealed.open(body)

    @property
    def answer_head(self) -> ReplyHead:
        """Return the head of the enclave's own answer."""
        head = self._own_head
        assert head is not None  # noqa: S101 - asked after the answer has begun
        return head

    @property
    def _own_head(self) -> ReplyHead | None:
        return self.head if self.sealed is None else self.sealed.head

    def quotable(self, reason: object) -> str:
        """Return what of the gateway's `reason` may stand in a message: nothing of this call's secrets."""
        secrets = texts_of(json.loads(self.call.wire))
        if self.grant is not None:
            secrets += [secret.reveal() for secret in self.grant.secrets]
        return quotable(reason, secrets)

    def exchange(self) -> JsonObject | None:
        """Return the exact request and answer, as `verify` reads them; None if no answer came."""
        if self.head is None or self.target is None or not self.keep_body:
            return None
        enclave = self.target.enclave
        return {
            "path": self.call.path,
            "request": self.call.wire.decode(),
            "content_type": self._own_head.content_type if self._own_head is not None else "",
            "response": self.body.decode("utf-8", "replace"),
            "tee_id": enclave.tee_id,
            "public_key_pem": pem_of(enclave.public_key),
        }

    def check_head(self) -> None:
        """Raise `MalformedReplyError` for a 2xx answer whose body is not what was asked for."""
        head = self.answer_head
        encoding = head.values("content-encoding")
        if any(value.strip().lower() not in ("", "identity") for value in encoding):
            raise MalformedReplyError(
                f"The answer is encoded as {', '.join(encoding)[:40]!r}; we asked for plain bytes."
            )
        expected = "text/event-stream" if self.call.request.stream else "application/json"
        found = head.content_type
        if found != expected:
            raise MalformedReplyError(f"The answer is {found[:80]!r}, expected {expected}.")


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
    headers = state.head.headers if state.head is not None else ()
    from og_integrations.protocol.chat._failures import error_of, parse_failure

    return error_of(parse_failure(status, tuple(headers), body), state.quotable)


def pem_of(der: bytes) -> str:
    # As it is: what a broken registry lists as a key is evidence, too.
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join(("-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""))


def collect_verified(state: CallState, verified: VerifiedExchange) -> JsonObject:
    """Return the receipt of a call whose answer is proven, and hand it to every collector."""
    receipt = build_receipt(state, verified=verified).to_json()
    _telemetry.ended(receipt, state.began, None, paying=state.grant is not None)
    collect(state, receipt)
    return receipt


def build_receipt(
    state: CallState, *, verified: VerifiedExchange | None = None, checks: Sequence[Check] = ()
) -> Receipt:
    """
    Return the receipt of a call; its status is "verified" only with a `VerifiedExchange`.

    `checks` are the verdicts of a call without one.
    """
    call, enclave = state.call, state.target.enclave if state.target is not None else None
    payment = _payment(state, state.grant, verified) if state.grant is not None else None
    if verified is None:
        return Receipt(
            kind=KINDS.get(call.path),
            model=call.model,
            created=call.created,
            presentation=state.presentation,
            # Says which request a call without proof was about.
            request_hash=_hash_of(call),
            tee_id=enclave.tee_id if enclave else None,
            enclave=described(enclave) if enclave else None,
            sealing=_sealing(state.sealed, enclave),
            payment=payment,
            checks=tuple(checks),
        )
    proof, exchange = verified.proof, verified.exchange
    return Receipt(
        kind=KINDS.get(call.path),
        status="verified",
        trust=exchange.trust.level if exchange.trust else None,
        hash_rule=verified.hash_rule,
        nonce=exchange.nonce,
        channel=exchange.channel,
        model=call.model,
        created=call.created,
        presentation=state.presentation,
        request_hash=proof.request_hash,
        output_hash=proof.output_hash,
        tee_timestamp=proof.timestamp,
        tee_signature=proof.signature,
        tee_id=proof.tee_id,
        enclave=described(enclave) if enclave else None,
        sealing=_sealing(state.sealed, enclave),
        payment=payment,
        cost=_cost(exchange.completion),
        usage=_usage(exchange.completion),
        estimate=_estimate(call.model or "", exchange.completion, state.opg_price),
        checks=verified.checks,
        unsigned=verified.unsigned(settlement_told=payment is not None and payment.tells_settlement),
    )


def _usage(completion: Completion) -> ReceiptUsage | None:
    usage = completion.usage
    if usage is None:
        return None
    return ReceiptUsage(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)


def _estimate(model: str, completion: Completion, opg_price: Decimal | None) -> ReceiptEstimate | None:
    """Return what the answer costs by the price list, where the gateway does not say."""
    usage = completion.usage
    if usage is None or completion.cost is not None:
        return None
    return estimate(model, usage.prompt_tokens, usage.completion_tokens, opg_price)


def _sealing(sealed: "SealedCall | None", enclave: Enclave | None) -> ReceiptSealing | None:
    if sealed is None:
        return None
    return ReceiptSealing(
        relay=sealed.relay.host if sealed.relay is not None else None,
        key_id=sealed.key.key_id,
        public_key_sha256=hashlib.sha256(sealed.key.public_key).hexdigest(),
        signature_from=sealed.signed_at,
        signing_key_sha256=hashlib.sha256(enclave.public_key).hexdigest() if enclave is not None else None,
    )


def _cost(completion: Completion) -> ReceiptCost | None:
    cost = completion.cost
    if cost is None:
        return None
    return ReceiptCost(
        cost_opg=cost.cost_opg,
        cost_usd=cost.cost_usd,
        opg_price_usd=cost.opg_price_usd,
        contradiction=cost.contradiction,
    )


def _payment(state: CallState, grant: Grant, verified: VerifiedExchange | None) -> ReceiptPayment:
    told = _told_settlement(state.head)
    if verified is not None and (streamed := verified.exchange.completion.settlement):
        told = told._replace(
            transaction_hash=told.transaction_hash
            or transaction_hash(streamed.get("data_settlement_transaction_hash")),
            blob_id=told.blob_id or blob_id(streamed.get("data_settlement_blob_id")),
        )
    return _paid(
        grant.authorization,
        grant.requirements.scheme,
        grant.requirements.network,
        grant.session_ref,
        state.call.settlement_mode.value,
        told,
    )


@lru_cache(maxsize=256)
def _paid(
    authorization: Authorization, scheme: str, network: str, ref: str | None, mode: str, told: ToldSettlement
) -> ReceiptPayment:
    # Cached: the digest takes ten hashes, and all calls of a session have the same payment.
    return replace(
        authorization.in_receipt(),
        payment_hash=told.payment_hash or "0x" + authorization.digest().hex(),
        payment_hash_source=told.payment_hash_source or OWN_HASH,
        scheme=scheme,
        network=network,
        session_ref=ref,
        settlement_mode=mode,
        transaction_hash=told.transaction_hash,
        blob_id=told.blob_id,
        charged_amount=told.charged,
    )


def _told_settlement(head: ReplyHead | None) -> ToldSettlement:
    try:
        return parse_settlement(head) if head else ToldSettlement()
    except MalformedReplyError:
        # Nothing of it is signed, and a receipt is also made while another error is on its way.
        return ToldSettlement()


def collect_failed(state: CallState, exc: BaseException) -> None:
    """Hand the receipt of a call that `exc` stopped to `exc` and to every collector; its status is "unverified"."""
    receipt = build_receipt(state, checks=_failed_checks(exc)).to_json()
    _telemetry.ended(receipt, state.began, exc, paying=state.grant is not None)
    if isinstance(exc, OpenGradientError | CancelledError):
        exc.receipt = receipt  # type: ignore[union-attr]
    # What was refused since a ledger is away would fill its backlog, and the memory.
    collect(state, receipt, ledgers=not isinstance(exc, LedgerBusyError))


def collect(state: CallState, receipt: JsonObject, *, ledgers: bool = True) -> None:
    """Hand `receipt`, and the exchange where it was kept, to every collector in this context, ledgers included."""
    state.tickets += hand_out(
        receipt,
        state.exchange(),
        state.call.tags,
        shown=state.shown,
        ledgers=ledgers,
        everywhere=state.everywhere,
    )


def ready_to_record(state: CallState) -> Effects[None]:
    """Make sure, before anything is paid, that the receipt can be made and kept. Raises `ConfigurationError`."""
    # Read once, and here: an answer is not lost to a setting.
    state.opg_price = opg_price_setting()
    state.everywhere = kept_everywhere()
    ledgers, state.keep_body = wanted_here(state.everywhere)
    for ledger in ledgers:
        if ledger.unprepared:
            yield Consult(ledger.prepare)


def recorded(state: CallState) -> Effects[None]:
    """Wait until the receipt of the call is written wherever that takes its time; not for ever."""
    waiting = [ticket for ticket in state.tickets if not ticket.written]
    if waiting:
        yield Consult(lambda: [ticket.wait() for ticket in waiting])


def _hash_of(call: Call) -> str | None:
    """Return the hash of what was asked, by the first rule that has one for it."""
    for rule in RULES:
        with suppress(InvalidRequestError):
            return request_hash(call.path, json.loads(call.wire), rule).hex()
    return None


def _failed_checks(exc: BaseException) -> list[Check]:
    if isinstance(exc, VerificationError) and exc.step:
        return list(exc.checks) or [Check(exc.step, "fail", str(exc))]
    if isinstance(exc, AttestationError):
        return [Check("attestation", "fail", str(exc))]
    detail = f"{type(exc).__name__}: {exc}" if isinstance(exc, OpenGradientError) else type(exc).__name__
    return [Check("answer", "fail", detail)]

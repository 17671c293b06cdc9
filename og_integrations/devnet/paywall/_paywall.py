"""The paywall makes offers, opens sessions, and charges what answers cost."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._fault import RequestFaults
from og_integrations.devnet._generations import GENERATIONS, Generation
from og_integrations.devnet._http import Reply, Request
from og_integrations.devnet._journal import AuthorizationSeen, Charge, Exchange, Journal, payment_key
from og_integrations.devnet.paywall._facilitator import Facilitator, Payment
from og_integrations.errors import MalformedOfferError
from og_integrations.networks import Network
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, SEARCH_PATH
from og_integrations.protocol.payment._x402 import (
    PAYMENT_REQUIRED,
    PAYMENT_SIGNATURE,
    SESSION,
    decode_header,
    encode_header,
    session_ref,
)
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from og_integrations.protocol.sealing._ohttp import OHTTP_PATH

DESCRIPTIONS = {
    CHAT_PATH: "Chat completion",
    COMPLETION_PATH: "Completion",
    SEARCH_PATH: "Web search",
    OHTTP_PATH: "Sealed request",
}
_JSON = "application/json"
_BROWSER_PAGE_BYTES = 3_068_974
"""The real paywall page holds a whole wallet application; ours is as heavy, and empty."""


def _text_field(pattern: str, description: str) -> JsonObject:
    return {"type": "string", "pattern": pattern, "description": description}


_APPROVAL_FIELDS = {
    "from": _text_field("^0x[a-fA-F0-9]{40}$", "The address of the sender."),
    "asset": _text_field("^0x[a-fA-F0-9]{40}$", "The ERC-20 token contract address to approve."),
    "spender": _text_field("^0x[a-fA-F0-9]{40}$", "The address of the spender (Canonical Permit2)."),
    "amount": _text_field("^[0-9]+$", "Approval amount (uint256)."),
    "signedTransaction": _text_field("^0x[a-fA-F0-9]+$", "RLP-encoded signed transaction calling ERC20.approve()."),
    "version": _text_field(r"^[0-9]+(\.[0-9]+)*$", "Schema version identifier."),
}
EXTENSIONS: JsonObject = {
    "erc20ApprovalGasSponsoring": {
        "info": {
            "description": "The facilitator accepts a raw signed approval transaction and will sponsor the gas fees.",
            "version": "1",
        },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": _APPROVAL_FIELDS,
            "required": list(_APPROVAL_FIELDS),
        },
    }
}


def requirement(network: Network, *, cap: int, timeout: int = 300, pay_to: str, facilitator: str) -> JsonObject:
    """Return the one way to pay that the gateway offers; `cap` in base units of OPG, `timeout` in seconds."""
    return {
        "scheme": "upto",
        "network": network.caip2,
        "asset": network.token,
        "amount": str(cap),
        "payTo": pay_to,
        "maxTimeoutSeconds": timeout,
        "extra": {
            "name": "OpenGradient",
            "version": "1",
            "assetTransferMethod": "permit2",
            "facilitatorAddress": facilitator,
        },
    }


def offer(request: Request, error: str, accepts: JsonObject) -> JsonObject:
    """Return the content of PAYMENT-REQUIRED. `error` says why payment is (still) required."""
    # The real gateway does not know that it stands behind TLS, so its URL says http.
    return {
        "x402Version": 2,
        "error": error,
        "resource": {
            "url": f"http://{request.header('host') or ''}{request.path}",
            "description": DESCRIPTIONS.get(request.path, ""),
            "mimeType": _JSON,
        },
        "accepts": [accepts],
        "extensions": EXTENSIONS,
    }


def offer_reply(content: JsonObject) -> Reply:
    """Return the 402 that carries an offer; the real one sends Content-Type twice."""
    headers = [("Content-Type", _JSON), (PAYMENT_REQUIRED, encode_header(content)), ("Content-Type", _JSON)]
    return Reply(status=402, headers=headers, body=b"{}", chunked=True)


def expired_reply() -> Reply:
    """Return the 402 for a session that is gone: no offer, another body."""
    body = b'{"error": "Session expired or exhausted"}'
    return Reply(status=402, headers=[("Content-Type", _JSON)], body=body, chunked=True)


def wants_browser_page(request: Request) -> bool:
    """Return whether the payment layer takes the caller for a browser."""
    accept, agent = request.header("accept") or "", request.header("user-agent") or ""
    return "text/html" in accept and "Mozilla" in agent


def browser_reply() -> Reply:
    """Return the 402 for browsers: a page of 3 MB, without an offer in the headers."""
    page = b"<!DOCTYPE html><html><head><title>Payment Required</title></head><body></body></html>"
    return Reply(
        status=402,
        headers=[("Content-Type", "text/html"), ("Content-Type", "text/html; charset=utf-8")],
        body=page.ljust(_BROWSER_PAGE_BYTES),
        chunked=True,
    )


_T = TypeVar("_T")
_UNPAID = "Payment required"
_NO_MATCH = "No matching payment requirements"
_UNREADABLE = "invalid_upto_evm_payload"
_COMPARED = ("scheme", "network", "amount", "asset", "payTo")
"""What of `accepted` must be as offered, letter by letter."""


class RefusedError(Exception):
    """A payment that is not taken; `word` becomes the new offer's `error`."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


@dataclass(slots=True)
class Session:
    """
    An open session, paid for on the terms `requirement`. Amounts are base units, times unix seconds;
    `charged_at` is None until the first charge, and a session never charged is never reaped.
    """

    id: str = field(repr=False)
    authorization: Permit2Authorization
    route: tuple[str, str]
    requirement: JsonObject
    spent: int = 0
    charged_at: float | None = None
    closed: bool = False

    @property
    def ref(self) -> str:
        """Return what may be shown of its id."""
        return session_ref(self.id)

    @property
    def cap(self) -> int:
        """Return the most it may spend."""
        return self.authorization.amount

    def charge(self, amount: int, now: float, *, saturates: bool = False) -> int | None:
        """
        Add `amount` and return it. What goes over the cap charges nothing, not even the time, and returns None; with
        `saturates` it takes the rest instead.
        """
        if saturates:
            amount = min(amount, self.cap - self.spent)
        if self.closed or self.spent + amount > self.cap:
            return None
        self.spent += amount
        self.charged_at = now
        return amount


class Sessions:
    """These are the sessions of one gateway, by id and by the payment that opened them."""

    def __init__(self, clock: Clock, generation: Generation) -> None:
        self._clock = clock
        self._generation = generation
        self._by_id: dict[str, Session] = {}
        self._by_payment: dict[str, Session] = {}

    def open(
        self, key: str, authorization: Permit2Authorization, route: tuple[str, str], requirement: JsonObject
    ) -> Session:
        """Open a session for the payment `key`, made on the terms `requirement`."""
        session = Session(str(uuid.uuid4()), authorization, route, requirement)
        self._by_id[session.id] = self._by_payment[key] = session
        return session

    def opened_by(self, key: str) -> Session | None:
        """Return the session that the payment `key` opened, open or not."""
        return self._by_payment.get(key)

    def find(self, session_id: str) -> Session | None:
        """Return the session with that id, open or not."""
        return self._by_id.get(session_id)

    def usable(self, session: Session | None, route: tuple[str, str], margin: float | None = None) -> bool:
        """
        Return whether `session` may serve one more request to `route` (method, path).

        It is not served in the last `margin` seconds before its deadline; None: as many as the generation has.
        """
        return (
            session is not None
            and not session.closed
            and session.spent < session.cap
            and session.route == route
            and not self._is_idle(session)
            and not self._is_near_deadline(session, self._generation.margin if margin is None else margin)
        )

    def due(self) -> list[Session]:
        """Return the open sessions to settle: exhausted, idle since their last charge, or close to their deadline."""
        margin = self._generation.settle_margin
        return [
            session
            for session in self.open_sessions()
            if session.spent >= session.cap or self._is_idle(session) or self._is_near_deadline(session, margin)
        ]

    def open_sessions(self) -> list[Session]:
        """Return all that are not settled."""
        return [session for session in self._by_id.values() if not session.closed]

    def _is_idle(self, session: Session) -> bool:
        idle = self._generation.idle
        return session.charged_at is not None and self._clock.now() - session.charged_at >= idle

    def _is_near_deadline(self, session: Session, margin: float) -> bool:
        return margin > 0 and self._clock.now() >= session.authorization.deadline - margin


class Paywall:
    """Guards the paid paths of one gateway, whose tee id is `enclave`."""

    def __init__(
        self,
        *,
        enclave: str,
        requirement: JsonObject,
        facilitator: Facilitator,
        clock: Clock,
        journal: Journal,
        generation: Generation = GENERATIONS["april"],
    ) -> None:
        self._enclave = enclave
        self._generation = generation
        self._facilitator = facilitator
        self._clock = clock
        self._journal = journal
        self.requirement = requirement
        self._lies: list[JsonObject] = []
        self.sessions: Sessions = Sessions(clock, generation)

    def admit(self, request: Request, exchange: Exchange, faults: RequestFaults) -> Session | Reply:
        """Return the session that pays for `request`, or the 402 (or a fault's reply) instead."""
        self.reap()
        route = (request.method, request.path)
        session_id = request.header(SESSION)
        if session_id:
            exchange.paid_by, exchange.session = "session", session_ref(session_id)
            session = self.sessions.find(session_id)
            exchange.payer = None if session is None else session.authorization.payer.lower()
            if session is not None and faults.expires_session():
                self.close(session)
            margin = None if session is None else self._moved_margin(session, faults)
            if session is None or not self.sessions.usable(session, route, margin):
                return expired_reply()
            return session
        header = request.header(PAYMENT_SIGNATURE)
        if header is None:
            return browser_reply() if wants_browser_page(request) else self._ask(request, _UNPAID, faults)
        exchange.paid_by, exchange.authorization = "payment", payment_key(header)[:16]
        seen = self._see(header, request)
        try:
            return self._take(header, seen, route, exchange, faults)
        except RefusedError as refusal:
            exchange.refused = refusal.word
            seen.refused = seen.refused or refusal.word
            return self._ask(request, refusal.word, faults)

    def stolen(self, session: Session) -> Session:
        """Return a live session like `session`, for which another wallet has paid."""
        payment = self._facilitator.paid_by_another(session.authorization)
        if word := self._facilitator.verify(payment, session.requirement):
            raise RefusedError(word)
        other = self.sessions.open(payment.signature, payment.authorization, session.route, session.requirement)
        self._note(other)
        return other

    def _note(self, session: Session) -> None:
        self._journal.sessions.append(session.ref)
        self._journal.secrets.add(session.id)

    def charge(self, session: Session, amount: int, exchange: Exchange) -> None:
        """Charge one answer; over the cap it is served free (wire/14), or takes the rest where that is the rule."""
        charged = session.charge(amount, self._clock.now(), saturates=self._generation.saturates)
        self._journal.charges.append(
            Charge(
                exchange=exchange.number,
                session=session.ref,
                amount=amount if charged is None else charged,
                refused=charged is None,
            )
        )

    def _moved_margin(self, session: Session, faults: RequestFaults) -> float | None:
        share = faults.margin(session.ref, session.authorization.payer)
        return None if share is None else share * int(session.requirement["maxTimeoutSeconds"])

    def reap(self) -> None:
        """Settle what is exhausted or idle."""
        for session in self.sessions.due():
            self.close(session)

    def close(self, session: Session) -> None:
        """End `session` and settle what it spent."""
        session.closed = True
        settlement = self._facilitator.settle(session.authorization, session.spent, session=session.ref)
        if settlement is not None:
            self._journal.settlements.append(settlement)

    def _ask(self, request: Request, word: str, faults: RequestFaults) -> Reply:
        content = faults.offer(offer(request, word, self.requirement))
        # Who lies about the terms also takes a payment on those terms: one for each lie.
        self._lies += [terms for terms in content.get("accepts", ()) if terms != self.requirement]
        return faults.offer_reply(offer_reply(content))

    def _see(self, header: str, request: Request) -> AuthorizationSeen:
        ref = payment_key(header)[:16]
        self._journal.secrets.add(header)
        seen = self._journal.authorizations.setdefault(
            ref, AuthorizationSeen(ref=ref, enclave=self._enclave, path=request.path, relayed=request.relayed)
        )
        seen.times += 1
        return seen

    def _take(
        self,
        header: str,
        seen: AuthorizationSeen,
        route: tuple[str, str],
        exchange: Exchange,
        faults: RequestFaults,
    ) -> Session | Reply:
        key = payment_key(header)
        session = self.sessions.opened_by(key)
        terms = [self.requirement, *self._lies] if session is None else [session.requirement]
        payment, requirement = _read(header, terms)
        self._journal.keep_secret(payment.signature)
        _describe(seen, payment.authorization)
        exchange.payer = payment.authorization.payer.lower()
        if word := self._facilitator.verify(payment, requirement) or faults.refuses_payment():
            raise RefusedError(word)
        if session is None:
            session = self.sessions.open(key, payment.authorization, route, requirement)
            seen.session, seen.refused = session.ref, None
            self._note(session)
            if requirement is not self.requirement:
                self._lies.remove(requirement)
        elif not self.sessions.usable(session, route):
            return expired_reply()
        exchange.session = session.ref
        return session


def _read(header: str, terms: Iterable[JsonObject]) -> tuple[Payment, JsonObject]:
    """Return the payment, and which of `terms` it is for."""
    content = _or_refuse(lambda: decode_header(header), _UNPAID)
    accepted, payload = content.get("accepted"), content.get("payload")
    if content.get("x402Version") != 2 or not isinstance(accepted, dict) or not isinstance(payload, dict):
        raise RefusedError(_UNPAID)
    for offered in terms:
        if all(accepted.get(name) == offered.get(name) for name in _COMPARED):
            break
    else:
        raise RefusedError(_NO_MATCH)
    chain_id = int(str(offered["network"]).rpartition(":")[2])
    authorization = _or_refuse(lambda: Permit2Authorization.from_payload(payload, chain_id), _UNREADABLE)
    signature = payload.get("signature")
    if not isinstance(signature, str) or not signature.startswith("0x"):
        raise RefusedError(_UNREADABLE)
    if _addresses(authorization.payload("")) != _addresses(payload):
        # Read tolerantly here, but the real ones take EIP-55 only (docs/protocol.md §3.3).
        raise RefusedError(_UNREADABLE)
    return Payment(authorization=authorization, signature=signature), offered


def _addresses(payload: JsonObject) -> tuple[object, ...]:
    permit = payload["permit2Authorization"]
    witness = permit["witness"]
    return permit["from"], permit["permitted"]["token"], permit["spender"], witness["to"], witness.get("facilitator")


def _or_refuse(read: Callable[[], _T], word: str) -> _T:
    try:
        return read()
    except MalformedOfferError as exc:
        raise RefusedError(word) from exc


def _describe(seen: AuthorizationSeen, permit: Permit2Authorization) -> None:
    seen.digest = "0x" + permit.digest().hex()
    seen.payer, seen.pay_to, seen.token = permit.payer, permit.pay_to, permit.token
    seen.chain_id = permit.chain_id
    seen.amount, seen.nonce, seen.deadline = permit.amount, permit.nonce, permit.deadline

"""
The gateway's payment layer: it sees every request to a paid path first (PROTOCOL §3).

A session is looked at before a payment. Whatever the gateway answers afterwards carries
X-Upto-Session; only an answer with status 2xx and usage is charged.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from og_integrations.devnet.clock import Clock
from og_integrations.devnet.facilitator import Facilitator, Payment
from og_integrations.devnet.fault import Trouble
from og_integrations.devnet.http import Reply, Request
from og_integrations.devnet.journal import AuthorizationSeen, Charge, Exchange, Journal
from og_integrations.devnet.offer import browser_reply, expired_reply, offer, offer_reply, wants_browser_page
from og_integrations.devnet.sessions import Session, Sessions, payment_key
from og_integrations.errors import MalformedOfferError
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.permit2 import Permit2Authorization
from og_integrations.protocol.x402 import PAYMENT_SIGNATURE, SESSION, decode_header, session_ref

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
    ) -> None:
        self._enclave = enclave
        self._facilitator = facilitator
        self._clock = clock
        self._journal = journal
        self._requirement = requirement
        self._lies: list[JsonObject] = []
        self.sessions = Sessions(clock)

    def admit(self, request: Request, exchange: Exchange, trouble: Trouble) -> Session | Reply:
        """Return the session that pays for `request`, or the 402 (or a fault's reply) instead."""
        self.reap()
        route = (request.method, request.path)
        session_id = request.header(SESSION)
        if session_id:
            exchange.paid_by, exchange.session = "session", session_ref(session_id)
            session = self.sessions.find(session_id)
            exchange.payer = None if session is None else session.authorization.payer.lower()
            if session is not None and trouble.expires_session():
                self.close(session)
            if session is None or not self.sessions.usable(session, route):
                return expired_reply()
            return session
        header = request.header(PAYMENT_SIGNATURE)
        if header is None:
            return browser_reply() if wants_browser_page(request) else self._ask(request, _UNPAID, trouble)
        exchange.paid_by, exchange.authorization = "payment", payment_key(header)[:16]
        seen = self._see(header, request)
        try:
            return self._take(header, seen, route, exchange, trouble)
        except RefusedError as refusal:
            exchange.refused = refusal.word
            seen.refused = seen.refused or refusal.word
            return self._ask(request, refusal.word, trouble)

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
        """Charge one answer; over the cap it is served free (wire/14)."""
        charged = session.charge(amount, self._clock.now())
        self._journal.charges.append(
            Charge(exchange=exchange.number, session=session.ref, amount=amount, refused=not charged)
        )

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

    def _ask(self, request: Request, word: str, trouble: Trouble) -> Reply:
        content = trouble.offer(offer(request, word, self._requirement))
        # Who lies about the terms also takes a payment on those terms: one for each lie.
        self._lies += [terms for terms in content.get("accepts", ()) if terms != self._requirement]
        return trouble.offer_reply(offer_reply(content))

    def _see(self, header: str, request: Request) -> AuthorizationSeen:
        ref = payment_key(header)[:16]
        self._journal.secrets.add(header)
        seen = self._journal.authorizations.setdefault(
            ref, AuthorizationSeen(ref=ref, enclave=self._enclave, path=request.path)
        )
        seen.times += 1
        return seen

    def _take(
        self,
        header: str,
        seen: AuthorizationSeen,
        route: tuple[str, str],
        exchange: Exchange,
        trouble: Trouble,
    ) -> Session | Reply:
        key = payment_key(header)
        session = self.sessions.opened_by(key)
        terms = [self._requirement, *self._lies] if session is None else [session.requirement]
        payment, requirement = _read(header, terms)
        self._journal.keep_secret(payment.signature)
        _describe(seen, payment.authorization)
        exchange.payer = payment.authorization.payer.lower()
        if word := self._facilitator.verify(payment, requirement) or trouble.refuses_payment():
            raise RefusedError(word)
        if session is None:
            session = self.sessions.open(key, payment.authorization, route, requirement)
            seen.session, seen.refused = session.ref, None
            self._note(session)
            if requirement is not self._requirement:
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
        # Read tolerantly here, but the real ones take EIP-55 only (PROTOCOL §3.3).
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

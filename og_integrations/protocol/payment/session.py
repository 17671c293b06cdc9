"""
What a wallet remembers between calls: signed authorizations, the sessions they opened, past offers.

Rule 1: for one route (payer, network, enclave, path) there is at most one current `Grant`.
Rule 2: calls that find a grant without a session *share* its signed authorization: the gateway joins
identical PAYMENT-SIGNATURE texts into one session. So nobody waits for anybody, and 32 cold calls
cost one authorization.
Rule 3: a grant is replaced only by one that a new request signs, and one request signs once at most.
Rule 4: one of the calls that share an unsigned grant gets it signed, the others wait for that.
Rule 5: the lock is held for look-ups only, never while an owner or a signer is asked, or anything is sent.

A `SessionBook` belongs to one budget and one wallet; it is never shared across those.

Getting an authorization signed: by its owner's leave (`SpendPolicy.on_payment`), then by the wallet.

Calls that share an authorization share both: one of them asks, the others look again now and then. No
lock is held meanwhile, since the owner, and the signer too, may be a person.
"""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal

from og_integrations.errors import OpenGradientError, PayeeRefusedError, SigningError
from og_integrations.protocol.payment.budget import Budget, Hold, Lock
from og_integrations.protocol.payment.effects import Approve, Pause, Sign
from og_integrations.protocol.payment.permit2 import Authorization
from og_integrations.protocol.payment.policy import Payees, PaymentRequest
from og_integrations.protocol.payment.x402 import Requirement, Route, build_authorization, encode_payment

SigningTurn = Literal["sign", "wait", "done"]
RENEW_BEFORE = 130
"""
Seconds before its deadline at which an authorization is no longer used. The gateway settles a
session up to 125 s after its last charged use, and settling after the deadline reverts.
"""
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{130}")


@dataclass(slots=True, kw_only=True, eq=False)
class Grant:
    """
    One authorization: unsigned, then signed and shared, then a session, then retired.

    Until `retire_at` (unix seconds) calls may join it; `in_flight` counts those that have not ended. `header` is
    the PAYMENT-SIGNATURE text, None until it is signed; `approved` says that the owner has agreed, `being_signed`
    that one call is about it. `reached` is true from the first time it may have come to the gateway: then it is
    never released. `refusal` is the gateway's reason if it was not taken, `abandoned` that owner or signer failed.
    """

    requirement: Requirement
    authorization: Authorization
    hold: Hold
    retire_at: int
    signature: str | None = field(default=None, repr=False)
    header: str | None = field(default=None, repr=False)
    session_id: str | None = field(default=None, repr=False)
    approved: bool = False
    being_signed: bool = False
    in_flight: int = 0
    reached: bool = False
    refusal: str | None = field(default=None, repr=False)
    abandoned: bool = False


class SessionBook:
    """The grants and offers of one wallet and one budget."""

    def __init__(self, budget: Budget, lock: Lock) -> None:
        self.budget = budget
        self._lock = lock
        self._grants: dict[Route, Grant] = {}
        self._offers: dict[Route, Requirement] = {}
        self._payees = Payees()

    def join(self, route: Route, now: int) -> Grant | None:
        """
        Return the grant to use for `route` at unix time `now`, counting one more call that does; None without one.

        Each join ends in one of the methods below, from `not_sent` to `unsigned`.
        """
        with self._lock:
            return self._joined(route, now)

    def offer(self, route: Route) -> Requirement | None:
        """Return what was asked for last time, so that a renewal needs no 402 first; None if it may not be paid now."""
        with self._lock:
            known = self._offers.get(route)
            try:
                if known is not None:
                    self._payees.check(known, route, self.budget.policy)
            except PayeeRefusedError:
                # The registry has another payee by now: what the gateway asks today decides.
                del self._offers[route]
                return None
            return known

    def check(self, requirement: Requirement, route: Route) -> None:
        """Ask policy and memory about an offer. Raises `OfferRefusedError`."""
        with self._lock:
            self._check(requirement, route)

    def open(self, route: Route, requirement: Requirement, *, now: int, nonce: Callable[[], int]) -> tuple[Grant, bool]:
        """
        Join the current grant of `route`, or make one for `requirement`; and say whether it was made.

        Policy and budget are asked here, before anything is signed.
        Raises `OfferRefusedError` or `MalformedOfferError`.
        """
        with self._lock:
            grant = self._joined(route, now)
            if grant is not None:
                return grant, False
            self._check(requirement, route)
            authorization = build_authorization(requirement, payer=route.payer, now=now, nonce=nonce())
            lifetime = requirement.max_timeout_seconds
            grant = Grant(
                requirement=requirement,
                authorization=authorization,
                hold=self.budget.hold(requirement.amount, now=now, authorization=authorization),
                # An offer too short for the margin is used for its first half, rather than never.
                retire_at=now + max(lifetime - RENEW_BEFORE, lifetime // 2),
                in_flight=1,
            )
            self._grants[route] = grant
            self._offers[route] = requirement
            return grant, True

    def take_turn(self, grant: Grant) -> SigningTurn:
        """
        Return what the caller has to do until `grant` is signed.

        `"sign"`: get it signed, and then call `signed` or `unsigned`. `"wait"`: another call does; look again.
        `"done"`: it is signed. Raises `SigningError` if that failed for a call that shares it.
        """
        with self._lock:
            if grant.abandoned:
                raise SigningError(
                    "The owner refused, or the signer failed, for a call that shared this authorization. Nothing was "
                    "sent."
                )
            if grant.header is not None:
                return "done"
            if grant.being_signed:
                return "wait"
            grant.being_signed = True
            return "sign"

    def signed(self, grant: Grant, signature: object) -> None:
        """Keep the signature, for all who share the grant. Raises `SigningError` for a malformed one."""
        if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
            raise SigningError("The signer returned no signature: expected 0x and 130 hex digits (r, s, v).")
        with self._lock:
            grant.signature = signature
            grant.header = encode_payment(grant.requirement, grant.authorization, signature)
            grant.being_signed = False

    def not_sent(self, route: Route, grant: Grant) -> None:
        """It did not leave: no connection, or the kill switch. Release the hold if nobody else uses the grant."""
        with self._lock:
            grant.in_flight -= 1
            unused = not grant.in_flight and not grant.reached
            if unused:
                self._drop(route, grant)
        if unused:
            grant.hold.release()

    def in_doubt(self, grant: Grant) -> None:
        """It left and no answer came. The grant stays: sending it again joins the same session."""
        self._arrived(grant)
        if grant.session_id is None:
            grant.hold.doubt()

    def accepted(self, route: Route, grant: Grant, session_id: str | None) -> None:
        """The gateway took it; without a session (one payment per request) it is used up."""
        self._arrived(grant)
        grant.hold.settle()
        with self._lock:
            self._payees.remember(grant.requirement, route)
            if session_id is None:
                self._drop(route, grant)
            else:
                grant.session_id = session_id

    def answered(self, grant: Grant) -> None:
        """A request within a session was answered."""
        self._arrived(grant)

    def refused(self, route: Route, grant: Grant, reason: str | None) -> None:
        """The gateway did not take it: forget the grant and the offer it came from, and tell who shares it why."""
        self._arrived(grant)
        grant.hold.doubt()
        with self._lock:
            grant.refusal = reason if grant.refusal is None else grant.refusal
            self._drop(route, grant)
            if self._offers.get(route) is grant.requirement:
                del self._offers[route]

    def expired(self, route: Route, grant: Grant) -> None:
        """The session is over at the gateway. Its hold stays: it will be settled."""
        self._arrived(grant)
        with self._lock:
            self._drop(route, grant)

    def unsigned(self, route: Route, grant: Grant, turn: SigningTurn, *, cancelled: bool) -> None:
        """
        The owner refused or the signer failed: so it does for all who share the grant, unless it is signed.
        A call that was merely `cancelled` is nobody else's concern, and leaves its `turn` to them.
        """
        with self._lock:
            grant.in_flight -= 1
            if turn == "sign":
                grant.being_signed = False
            if grant.reached or (grant.in_flight and (cancelled or grant.header is not None)):
                return
            grant.abandoned = True
            self._drop(route, grant)
        grant.hold.release()

    def _check(self, requirement: Requirement, route: Route) -> None:
        self.budget.policy.check(requirement, route.host)
        self._payees.check(requirement, route, self.budget.policy)

    def _joined(self, route: Route, now: int) -> Grant | None:
        grant = self._grants.get(route)
        if grant is None or now >= grant.retire_at:
            return None
        grant.in_flight += 1
        return grant

    def _arrived(self, grant: Grant) -> None:
        with self._lock:
            grant.in_flight -= 1
            grant.reached = True

    def _drop(self, route: Route, grant: Grant) -> None:
        if self._grants.get(route) is grant:
            del self._grants[route]


SIGNING_POLL = 0.02
"""Seconds after which a call looks again whether another one got its authorization signed."""


def get_signed(
    book: SessionBook, route: Route, grant: Grant, clock: Callable[[], int]
) -> Generator[Approve | Sign | Pause, Any, None]:
    """
    Have an unsigned grant approved and signed, once for all calls that share it.

    Raises `SigningError` if owner or signer refuse, fail or take too long, `SpendingStoppedError` if the kill
    switch was used meanwhile; the hold is released then.
    """
    turn: SigningTurn = "wait"
    asked = "SpendPolicy.on_payment"
    try:
        while (turn := book.take_turn(grant)) == "wait":
            yield Pause(SIGNING_POLL)
        if turn == "sign":
            yield from _ask_owner(book, route, grant, clock)
            book.budget.require_running()
            asked = f"The signer of {route.payer}"
            book.signed(grant, (yield Sign(grant.authorization.typed_data())))
        if clock() >= grant.retire_at:
            raise SigningError("The authorization was signed after the offer had run out. Nothing was sent; ask again.")
    except BaseException as exc:
        book.unsigned(route, grant, turn, cancelled=not isinstance(exc, Exception))
        if isinstance(exc, Exception) and not isinstance(exc, OpenGradientError):
            raise SigningError(f"{asked} failed with {type(exc).__name__}. Nothing was sent or paid.") from exc
        raise


def _ask_owner(
    book: SessionBook, route: Route, grant: Grant, clock: Callable[[], int]
) -> Generator[Approve, Any, None]:
    on_payment = book.budget.policy.on_payment
    if on_payment is None or grant.approved:
        return
    request = _request(grant, route, book.budget.authorized(clock()) - grant.hold.amount)
    agreed = yield Approve(on_payment, request)
    if not agreed:
        raise SigningError(
            f"SpendPolicy.on_payment refused to authorize {request.opg} OPG for {route.host}: it returned "
            f"{'None' if agreed is None else f'a false {type(agreed).__name__}'}. Nothing was signed or sent. To "
            "allow a payment, return True."
        )
    if clock() >= grant.retire_at:
        raise SigningError(
            "SpendPolicy.on_payment agreed after the offer had run out. Nothing was signed or sent; ask again."
        )
    grant.approved = True


def _request(grant: Grant, route: Route, authorized: int) -> PaymentRequest:
    authorization = grant.authorization
    return PaymentRequest(
        amount=authorization.amount,
        payer=authorization.payer,
        pay_to=authorization.pay_to,
        facilitator=authorization.facilitator,
        asset=authorization.token,
        network=route.network,
        host=route.host,
        deadline=authorization.deadline,
        authorized=authorized,
    )

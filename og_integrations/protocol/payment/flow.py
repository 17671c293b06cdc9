"""
Paying for one request, as a generator of effects (PROTOCOL §3, DESIGN "Payment").

`payment_flow` yields what has to be done (`Send` the request with these headers, `Approve` and `Sign`
this authorization) and receives the outcome by `send()`, a failure by `throw()`. It does no I/O; a sync
and an async driver in `client._runner` run it, and tests run it by hand.

Rule 1: one request causes at most one signature.
Rule 2: only what provably was not processed is repeated: a request that found its session expired.
Rule 3: once a signature left, every way out either brings an answer or marks the payment in doubt.
Rule 4: the kill switch is looked at before anything is signed, and before anything is sent.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    MalformedOfferError,
    MalformedReplyError,
    OpenGradientError,
    PaymentInDoubtError,
    PaymentRefusedError,
    ReadTimeoutError,
    SpendingStoppedError,
)
from og_integrations.protocol.payment.effects import Effect, Send
from og_integrations.protocol.payment.reconcile import AskChain, claim
from og_integrations.protocol.payment.session import Grant, SessionBook, get_signed
from og_integrations.protocol.payment.x402 import (
    PAYMENT_SIGNATURE,
    SESSION,
    ReplyHead,
    Requirement,
    Route,
    parse_offer,
    parse_requirement,
    parse_session,
)
from og_integrations.protocol.redact import quotable

Flow = Generator[Effect, Any, "Paid"]
NOTHING_SENT = (ConnectionFailedError, ConfigurationError, SpendingStoppedError)
"""What ends a flow before the request that was to leave has left: no payment went with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """
    What a flow needs of the outside: the wallet's memory, a clock (unix seconds) and random nonces.

    `ask_chain` asks what an exhausted budget gets back; its effects are yielded as they are.
    """

    book: SessionBook
    clock: Callable[[], int]
    nonce: Callable[[], int]
    ask_chain: AskChain | None = None


@dataclass(frozen=True, slots=True)
class Paid:
    """The answer's head, and the grant that paid for it; None if nothing was asked for."""

    head: ReplyHead
    grant: Grant | None


def payment_flow(
    wallet: Wallet,
    route: Route,
    using: Callable[[Grant], None] = lambda grant: None,
    quote: Callable[[object], str] = quotable,
) -> Flow:
    """
    Get one request answered, paying if asked to, within the budget of `wallet`.

    Returns the head of the first answer that is not about payment (of any status). `using` is told
    of the grant before a request with it leaves, so that whoever stops this flow still knows what
    was paid with. `quote` says what of the gateway's own reason may stand in a message.

    Raises `OfferRefusedError`, `MalformedOfferError`, `SigningError` before, `PaymentRefusedError`,
    `PaymentInDoubtError` after anything was signed, and `SpendingStoppedError` before
    anything is sent.
    """
    grant = wallet.book.join(route, wallet.clock())
    made = False
    while True:
        if grant is None:
            requirement = wallet.book.offer(route)
            if requirement is None:
                answer = yield from ask_price(route, wallet.book)
                if isinstance(answer, ReplyHead):
                    return Paid(answer, None)
                requirement = answer
            grant, made = yield from _open(wallet, route, requirement)
        if grant.session_id is None and grant.header is None:
            yield from get_signed(wallet.book, route, grant, wallet.clock)
        using(grant)
        head = yield from _attempt(wallet, route, grant, quote)
        if head is not None:
            return Paid(head, grant)
        if made:
            _refuse(route, "the session that this payment opened ended before the request was served")
        # The session was over before this request was looked at: ask again, as for a first call.
        grant = wallet.book.join(route, wallet.clock())


def ask_price(route: Route, book: SessionBook) -> Generator[Send, Any, ReplyHead | Requirement]:
    """
    Send the request unpaid; return what is asked for it and allowed, or the answer if it is not a 402.

    Raises `OfferRefusedError`, `MalformedOfferError` or `SpendingStoppedError`.
    """
    book.budget.require_running()
    head: ReplyHead = yield Send(route, {})
    if head.status != 402:
        return head
    offer = parse_offer(head)
    if offer is None:
        raise MalformedOfferError(f"The gateway {route.host} asks for payment without an offer; nothing was signed.")
    refusals: list[OpenGradientError] = []
    for raw in offer.accepts:
        try:
            requirement = parse_requirement(raw)
            book.check(requirement, route)
        except OpenGradientError as exc:
            refusals.append(exc)
        else:
            return requirement
    raise refusals[0]


def _open(wallet: Wallet, route: Route, requirement: Requirement) -> Generator[Effect, Any, tuple[Grant, bool]]:
    def attempt() -> tuple[Grant, bool]:
        return wallet.book.open(route, requirement, now=wallet.clock(), nonce=wallet.nonce)

    return (yield from claim(attempt, wallet.book.budget, requirement.amount, wallet.clock, wallet.ask_chain))


def _attempt(
    wallet: Wallet, route: Route, grant: Grant, quote: Callable[[object], str]
) -> Generator[Effect, Any, ReplyHead | None]:
    """Send with `grant`; return the answer's head, or None if the grant's session is over."""
    if grant.session_id is not None:
        return (yield from _resume(wallet, route, grant, grant.session_id))
    if grant.refusal is not None:
        # While this call waited for the signature, another one came there with it.
        wallet.book.not_sent(route, grant)
        _refuse(route, quote(grant.refusal))
    shared = grant.reached
    head = yield from _send(wallet.book, route, grant, {PAYMENT_SIGNATURE: str(grant.header)})
    try:
        session_id = parse_session(head)
        offer = parse_offer(head) if head.status == 402 else None
    except (MalformedReplyError, MalformedOfferError) as exc:
        wallet.book.in_doubt(grant)
        raise PaymentInDoubtError(f"The payment was sent, and its answer is broken: {exc}") from exc
    if head.status == 402:
        reason = offer.error if offer is not None else "Session expired or exhausted"
        wallet.book.refused(route, grant, None if shared else reason)
        if shared:
            # An authorization that an earlier call brought to the gateway, and whose session is over.
            return None
        _refuse(route, quote(reason))
    if session_id is None and not 200 <= head.status < 300:
        _doubt(
            wallet.book, route, grant, f"HTTP {head.status} to a signed payment, with neither a session nor an offer"
        )
    wallet.book.accepted(route, grant, session_id)
    return head


def _resume(wallet: Wallet, route: Route, grant: Grant, session_id: str) -> Generator[Effect, Any, ReplyHead | None]:
    head = yield from _send(wallet.book, route, grant, {SESSION: session_id})
    if head.status == 402:
        wallet.book.expired(route, grant)
        return None
    if head.status >= 500 and not head.names_session:
        # None of the gateway's own: a proxy before it gave up, while the answer was made and charged.
        _doubt(wallet.book, route, grant, f"HTTP {head.status} within a session, without naming it")
    wallet.book.answered(grant)
    return head


def _send(
    book: SessionBook, route: Route, grant: Grant, headers: Mapping[str, str]
) -> Generator[Effect, Any, ReplyHead]:
    try:
        book.budget.require_running()
    except OpenGradientError:
        book.not_sent(route, grant)
        raise
    try:
        head: ReplyHead = yield Send(route, headers)
    except NOTHING_SENT:
        book.not_sent(route, grant)
        raise
    except ConnectionLostError as exc:
        book.in_doubt(grant)
        raise in_doubt(exc) from exc
    except BaseException:
        # Cancelled or interrupted: it left, and what became of it will not be known here.
        book.in_doubt(grant)
        raise
    return head


def in_doubt(lost: ConnectionLostError) -> PaymentInDoubtError:
    """Return what a lost connection means for a request whose payment had left."""
    kind = ReadTimeoutError if lost.timed_out else PaymentInDoubtError
    return kind(
        f"{lost} The payment had left: the call may have been charged, and was not repeated. Asking again "
        "within the session's life joins the same authorization."
    )


def _doubt(book: SessionBook, route: Route, grant: Grant, answered: str) -> NoReturn:
    book.in_doubt(grant)
    raise PaymentInDoubtError(
        f"The gateway {route.host} answered {answered}: it may have been charged. It was not repeated; the "
        "authorization counts against the budget until its fate is known."
    )


def _refuse(route: Route, reason: str) -> NoReturn:
    said = f": {reason!r}" if reason else ""
    error = PaymentRefusedError(
        f"The gateway {route.host} did not take the signed payment{said}. It was not signed again. "
        "Usual causes: too little OPG, or no Permit2 approval (see `og-integrations doctor`), or a wrong clock."
    )
    error.reason = reason
    raise error

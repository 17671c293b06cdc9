"""
This module pays for one request, as a generator of effects (docs/protocol.md §3, docs/design.md "Payment").

`payment_flow` yields what has to be done (`Send` the request with these headers, `Approve` and `Sign` this
authorization, `Pause`) and receives the outcome by `send()`, a failure by `throw()`. It does no I/O; a synchronous
and an asynchronous driver in `client._runner` run it, and tests run it by hand. Reading a chain has one more effect,
`Fetch`, and sending a transaction its own (`client.chain._transactions`).

The rules that it keeps are those of the sessions: see `protocol.payment._session`.
"""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

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
    SigningError,
    SpendingStoppedError,
)
from og_integrations.protocol._redact import Secret, quotable
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._ecrecover import recover_address
from og_integrations.protocol.payment._budget import Budget, Hold
from og_integrations.protocol.payment._policy import LimitNear, OnLimitNear, OnPayment, PaymentRequest
from og_integrations.protocol.payment._session import Claim, Event, PaymentSession, SessionCache, State, Turn
from og_integrations.protocol.payment._sharing import SHARING_POLL, SessionBoard
from og_integrations.protocol.payment._x402 import (
    PAYMENT_SIGNATURE,
    SESSION,
    PaymentRequirements,
    ReplyHead,
    Route,
    parse_payment_required,
    parse_requirements,
    parse_session,
    refusal_reason,
)
from og_integrations.protocol.payment.schemes import authorize
from og_integrations.protocol.proof._enclave import Enclave


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request to `route` with these headers besides its own; answer with the `ReplyHead`."""

    route: Route
    headers: Mapping[str, Secret]


@dataclass(frozen=True, slots=True)
class Receive:
    """Read on in the body of the answer to the last `Send`; answer with its next bytes, None at its end."""


RECEIVE = Receive()


@dataclass(frozen=True, slots=True)
class Enter:
    """Wait for a place among the calls that are made at once; it is held until the call has ended."""


ENTER = Enter()


@dataclass(frozen=True, slots=True)
class Approve:
    """Ask the owner's `on_payment` about `request`; answer with what it returned."""

    on_payment: OnPayment
    request: PaymentRequest


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the owner's `on_limit_near` that a limit is `near`."""

    on_limit_near: OnLimitNear
    near: LimitNear


@dataclass(frozen=True, slots=True)
class Sign:
    """Have the wallet sign `typed_data`; answer with the signature."""

    typed_data: JsonObject


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for `seconds`: somebody else, another call or the chain, does what this one needs."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """
    POST `body` as JSON to `url`, or GET it if there is none; answer with the reply's body.

    `enclave` is whom the connection is pinned to, None for nodes and gateways given by URL.
    """

    url: str
    body: bytes | None = None
    enclave: Enclave | None = None


@dataclass(frozen=True, slots=True)
class Consult:
    """Do `work`, which waits for the budget's store, where no event loop stands still for it; answer with that."""

    work: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Obtain:
    """Call `provider`, a function of the user's that may wait; answer with what it returned."""

    provider: Callable[[], object]


Effect = Enter | Send | Receive | Approve | Tell | Sign | Pause | Fetch | Consult | Obtain

T = TypeVar("T")
Effects = Generator[Effect, Any, T]
"""A generator that yields effects and returns a `T`; what each is answered with, the effect says."""
Flow = Generator[Effect, Any, "Paid"]
Reclaim = Callable[[Callable[[], Claim], int, int], Generator[Any, Any, Claim]]
"""
Makes a claim of an amount (base units) for a call that began at a unix time, and makes it again if the chain gives
enough back; yields effects of its own. See `protocol.payment._reconcile.Reclaimer`.
"""
NOTHING_SENT = (ConnectionFailedError, ConfigurationError, SpendingStoppedError)
"""What ends a flow before the request that was to leave has left: no payment went with it."""
SIGNING_POLL = 0.02
"""Seconds after which a call looks again whether another one got the session that they share signed."""
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{130}")


@dataclass(frozen=True, kw_only=True)
class PaymentContext:
    """
    A context is what a flow needs: the wallet's sessions, a clock (unix seconds) and random nonces (uint256).

    `reclaim` asks the chain what an exhausted budget gets back; without it a limit is final.
    """

    sessions: SessionCache
    clock: Callable[[], int]
    nonce: Callable[[], int]
    reclaim: Reclaim | None = None


@dataclass(frozen=True, slots=True)
class Paid:
    """Paid is the answer's head, and the session that paid for it; None if nothing was asked for."""

    head: ReplyHead
    session: PaymentSession | None


def payment_flow(
    context: PaymentContext,
    route: Route,
    using: Callable[[PaymentSession], None] = lambda session: None,
    quote: Callable[[object], str] = quotable,
) -> Flow:
    """
    Get one request answered, paying if asked to, within the budget of the wallet.

    Returns the head of the first answer that is not about payment (of any status). `using` is told of the session
    before a request with it leaves, so that whoever stops this flow still knows what was paid with. `quote` says what
    of the gateway's own reason may stand in a message.

    Raises `OfferRefusedError`, `MalformedOfferError`, `SigningError` before, `PaymentRefusedError`,
    `PaymentInDoubtError` after anything was signed, and `SpendingStoppedError` before anything is sent.
    """
    sessions, began = context.sessions, context.clock()
    session = sessions.join(route, began)
    made = False
    while True:
        if session is None:
            session = yield from _found(context, route)
        if session is None:
            # A remembered offer saves the unpaid request, which is one round trip of every renewal.
            requirements = sessions.known_offer(route)
            if requirements is None:
                answer = yield from ask_price(route, sessions)
                if isinstance(answer, ReplyHead):
                    return Paid(answer, None)
                requirements = answer
            session, made = sessions.begin(route, requirements, context.clock())
        if session.unsigned and not (yield from _get_signed(context, session, began)):
            session = None
            continue
        using(session)
        head = yield from _attempt(context, session, quote)
        if head is not None:
            return Paid(head, session)
        # A session of our own making that ends before it served anything would otherwise be signed anew for ever.
        if made and not session.found:
            _refuse(route, "the session that this payment opened ended before the request was served")
        # The session was over before this request was looked at: ask again, as for a first call.
        session = sessions.join(route, context.clock())


def consulted(budget: Budget, work: Callable[[], T]) -> Generator[Effect, Any, T]:
    """Return what `work` returns, which asks the store of `budget`; at once, unless that may block."""
    if not budget.blocks:
        return work()
    result: T = yield Consult(work)
    return result


def ask_price(route: Route, sessions: SessionCache) -> Generator[Effect, Any, ReplyHead | PaymentRequirements]:
    """
    Send the request unpaid; return what is asked for it and allowed, or the answer if it is not a 402.

    Raises `OfferRefusedError`, `MalformedOfferError` or `SpendingStoppedError`.
    """
    yield from consulted(sessions.budget, sessions.budget.require_running)
    head: ReplyHead = yield Send(route, {})
    if head.status != 402:
        return head
    required = parse_payment_required(head)
    if required is None:
        raise MalformedOfferError(f"The gateway {route.host} asks for payment without an offer; nothing was signed.")
    refusals: list[OpenGradientError] = []
    # A gateway may offer several networks, so one way to pay that is refused does not end the request.
    for raw in required.accepts:
        try:
            requirements = parse_requirements(raw)
            sessions.check(requirements, route)
        except OpenGradientError as exc:
            refusals.append(exc)
        else:
            return requirements
    raise refusals[0]


def _get_signed(context: PaymentContext, session: PaymentSession, began: int) -> Generator[Effect, Any, bool]:
    """
    Have `session` claimed, allowed and signed, once for all calls that share it; False to begin anew.

    Raises `SigningError` if owner or signer refuse, fail or take too long, `BudgetExceededError` if a limit does not
    allow it, `SpendingStoppedError` if the kill switch was used meanwhile; the hold is released then.
    """
    sessions, me, asked = context.sessions, object(), ""
    board, own_name = sessions.board, ""
    try:
        # Waiting calls look again instead of holding a lock, since owner and signer may be people.
        while (turn := sessions.take_turn(session, me, context.clock())) is Turn.WAIT:
            yield Pause(SIGNING_POLL)
        if turn is Turn.MINE and session.state is State.NEW and board is not None:
            own_name = f"{context.nonce():x}"
            turn = yield from _among_processes(context, board, session, me, own_name)
        if turn is Turn.MINE and session.state is State.NEW:
            claim = yield from _claim(context, session, began)
            # Another call took the turn over meanwhile, so this claim pays for nothing and is given back.
            if not sessions.claimed(session, claim, me):
                claim.hold.release()
                turn = Turn.AGAIN
        if turn is Turn.AGAIN:
            sessions.left(session)
            return False
        if turn is Turn.MINE:
            if session.state is State.HELD:
                asked = "SpendPolicy.on_limit_near"
                yield from _tell_owner(sessions.budget, session)
                asked = "SpendPolicy.on_payment"
                yield from _ask_owner(context, session)
            yield from consulted(sessions.budget, sessions.budget.require_running)
            asked = f"The signer of {session.route.payer}"
            sessions.signed(session, _checked((yield Sign(session.authorization.typed_data())), session))
            if board is not None:
                yield from consulted(sessions.budget, partial(board.publish, session.route, sessions.told(session)))
        if context.clock() >= session.claimed.retire_at:
            raise SigningError("The authorization was signed after the offer had run out. Nothing was sent; ask again.")
    except BaseException as exc:
        # A cancelled call fails nobody else: those who share the session take its turn.
        failed = isinstance(exc, Exception)
        if board is not None and own_name:
            board.tell_left(session.route, own_name)
        sessions.gave_up(session, me, failed=failed)
        if failed and asked and not isinstance(exc, OpenGradientError):
            raise SigningError(f"{asked} failed with {type(exc).__name__}. Nothing was sent or paid.") from exc
        raise
    return True


def _found(context: PaymentContext, route: Route) -> Generator[Effect, Any, PaymentSession | None]:
    """Return the session of `route` that another process has signed, None if none has."""
    sessions, board, now = context.sessions, context.sessions.board, context.clock()
    if board is None:
        return None
    shared = yield from consulted(sessions.budget, lambda: board.look(route, now, sessions.over(route)))
    return None if shared is None or not sessions.allows(shared, route) else sessions.find(route, shared, now)


def _among_processes(
    context: PaymentContext, board: SessionBoard, session: PaymentSession, me: object, own_name: str
) -> Generator[Effect, Any, Turn]:
    """Return whether it is this process's turn to sign, or another one has: then `session` is what that signed."""
    sessions, route = context.sessions, session.route
    over = sessions.over(route)
    while True:
        now = context.clock()
        outcome = yield from consulted(sessions.budget, partial(board.take, route, own_name, now, over))
        if isinstance(outcome, bool):
            if outcome:
                return Turn.MINE
            yield Pause(SHARING_POLL)
        elif sessions.allows(outcome, route):
            return Turn.DONE if sessions.adopt(session, outcome, me, now) else Turn.AGAIN
        else:
            # Its rules are not ours any more (the registry has another payee), so it is replaced.
            over = outcome.authorization.nonce


def _claim(context: PaymentContext, session: PaymentSession, began: int) -> Generator[Any, Any, Claim]:
    """Have the budget count what `session` needs, before anybody is asked to sign it."""
    sessions, requirements = context.sessions, session.requirements
    made: list[Hold] = []
    given_up = False

    def attempt() -> Claim:
        # Made anew each time: asking the chain takes a while, and an authorization lasts from when it is made.
        now = context.clock()
        authorization = authorize(requirements, payer=session.route.payer, now=now, nonce=context.nonce())
        hold = sessions.budget.hold(requirements.amount, now=now, authorization=authorization)
        made.append(hold)
        if given_up:
            hold.release()
        return Claim.of(requirements, authorization, hold, now, sessions.margin(session.route.host))

    try:
        if context.reclaim is None:
            return (yield from consulted(sessions.budget, attempt))
        return (yield from context.reclaim(attempt, requirements.amount, began))
    except BaseException:
        # Cancelled while the store was at it: the claim is made all the same, and would count for nobody.
        given_up = True
        for hold in made:
            hold.release()
        raise


def _tell_owner(budget: Budget, session: PaymentSession) -> Generator[Effect, Any, None]:
    """Tell the owner of the limits that this authorization makes nearly used up; once, whoever shares it."""
    near, session.hold.near = session.hold.near, ()
    if budget.policy.on_limit_near is not None:
        for limit in near:
            yield Tell(budget.policy.on_limit_near, limit)


def _ask_owner(context: PaymentContext, session: PaymentSession) -> Generator[Effect, Any, None]:
    sessions = context.sessions
    on_payment = sessions.budget.policy.on_payment
    if on_payment is not None:
        now = context.clock()
        counted = yield from consulted(sessions.budget, lambda: sessions.budget.authorized(now))
        request = _request(session, counted - session.hold.amount)
        agreed = yield Approve(on_payment, request)
        # Not `if not agreed`: the answer of `input()` is a text, and "no" is true.
        if agreed is not True:
            raise SigningError(
                f"SpendPolicy.on_payment refused to authorize {request.opg} OPG for {session.route.host}: it returned "
                f"{_described(agreed)}, expected True. Nothing was signed or sent. To allow a payment, return True."
            )
        if context.clock() >= session.claimed.retire_at:
            raise SigningError(
                "SpendPolicy.on_payment agreed after the offer had run out. Nothing was signed or sent; ask again."
            )
    sessions.agreed(session)


def _request(session: PaymentSession, authorized: int) -> PaymentRequest:
    authorization = session.authorization
    return PaymentRequest(
        amount=authorization.amount,
        payer=authorization.payer,
        pay_to=authorization.pay_to,
        facilitator=authorization.facilitator,
        asset=authorization.token,
        network=session.route.network,
        host=session.route.host,
        deadline=authorization.deadline,
        authorized=authorized,
    )


def _described(returned: object) -> str:
    if returned is None or isinstance(returned, bool):
        return str(returned)
    return f"a {type(returned).__name__}"


def _checked(signature: object, session: PaymentSession) -> str:
    """
    Return the signature if it is the payer's, with v 27 or 28. Raises `SigningError`.

    Sent unchecked, a wrong one would be refused by the gateway, blamed on OPG or the clock, and held in doubt.
    """
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise SigningError(
            f"The signer of {session.route.payer} returned no signature: expected 0x and 130 hex digits (r, s, v), got "
            f"{_described(signature)}. Nothing was sent or paid."
        )
    raw = bytes.fromhex(signature[2:])
    if raw[64] in (0, 1):
        # Some hardware wallets and key services number the two points from 0; contracts want 27 and 28.
        raw = raw[:64] + bytes([27 + raw[64]])
    payer = session.route.payer
    found = recover_address(session.authorization.digest(), raw)
    if found is None or found.lower() != payer.lower():
        # Another wallet's pays from that one, and tracebacks are reported with their variables.
        del signature, raw
        whose = "that no key made of this payment" if found is None else f"of another wallet, {found}"
        raise SigningError(
            f"The signer of {payer} returned a signature {whose}, expected one of {payer} (65 bytes r, s, v; s in the "
            "lower half, v 27 or 28). Nothing was sent or paid. Check that address and key belong together; contract "
            "wallets (ERC-1271) cannot pay."
        )
    return "0x" + raw.hex()


def _attempt(
    context: PaymentContext, session: PaymentSession, quote: Callable[[object], str]
) -> Generator[Effect, Any, ReplyHead | None]:
    """Send with `session`; return the answer's head, or None if the session is over."""
    sessions = context.sessions
    # A session is named without the payment, since the gateway
    # looks at the session first (docs/protocol.md §3.4).
    if session.session_id is not None:
        return (yield from _resume(context, session, {SESSION: session.session_id}))
    if session.state is State.REFUSED:
        # While this call waited for the signature, another one came there with it.
        sessions.left(session)
        _refuse(session.route, quote(session.refusal))
    # Read once, before it leaves: another thread may move the session on meanwhile.
    shared, header = session.reached, session.header
    if header is None:
        raise AssertionError(f"A payment session that is {session.state.value} has nothing to pay with.")
    head = yield from _send(sessions, session, {PAYMENT_SIGNATURE: header})
    try:
        session_id = parse_session(head)
        required = parse_payment_required(head) if head.status == 402 else None
    except (MalformedReplyError, MalformedOfferError) as exc:
        sessions.ended(session, Event.LOST)
        raise PaymentInDoubtError(f"The payment was sent, and its answer is broken: {exc}") from exc
    if head.status == 402:
        if shared:
            # An authorization that an earlier call brought to the gateway, and whose session is over.
            sessions.ended(session, Event.ENDED)
            return None
        # Schemes that settle each request say there what became of the payment, and make no offer.
        reason = required.error if required is not None else refusal_reason(head) or "Session expired or exhausted"
        sessions.ended(session, Event.REFUSED, refusal=reason)
        _refuse(session.route, quote(reason))
    # A facilitator's fault is a 502 or 500 with neither session
    # nor offer (docs/protocol.md §3.5): money may have moved.
    if session_id is None and not 200 <= head.status < 300:
        _doubt(sessions, session, f"HTTP {head.status} to a signed payment, with neither a session nor an offer")
    # Without a session (one payment per request) the authorization is used up.
    event = Event.SERVED if session_id is None else Event.ACCEPTED
    sessions.ended(session, event, session_id=session_id, now=context.clock())
    return head


def _resume(
    context: PaymentContext, session: PaymentSession, named: Mapping[str, Secret]
) -> Generator[Effect, Any, ReplyHead | None]:
    sessions = context.sessions
    head = yield from _send(sessions, session, named)
    if head.status == 402:
        # Idle, near its deadline or exhausted: all three look alike, and are the normal end of a session.
        sessions.ended(session, Event.ENDED, now=context.clock())
        return None
    if head.status >= 500 and not head.names_session:
        # None of the gateway's own: a proxy before it gave up, while the answer was made and charged.
        _doubt(sessions, session, f"HTTP {head.status} within a session, without naming it")
    sessions.ended(session, Event.ANSWERED, now=context.clock())
    return head


def _send(
    sessions: SessionCache, session: PaymentSession, credential: Mapping[str, Secret]
) -> Generator[Effect, Any, ReplyHead]:
    try:
        yield from consulted(sessions.budget, sessions.budget.require_running)
    except BaseException:
        sessions.left(session)
        raise
    try:
        head: ReplyHead = yield Send(session.route, credential)
    # These errors prove that the request never left, so no payment went with it.
    except NOTHING_SENT:
        sessions.left(session)
        raise
    except ConnectionLostError as exc:
        sessions.ended(session, Event.LOST)
        raise in_doubt(exc) from exc
    except BaseException:
        # Cancelled or interrupted: it left, and what became of it will not be known here.
        sessions.ended(session, Event.LOST)
        raise
    return head


def in_doubt(lost: ConnectionLostError) -> PaymentInDoubtError:
    """Return what a lost connection means for a request whose payment had left."""
    kind = ReadTimeoutError if lost.timed_out else PaymentInDoubtError
    return kind(
        f"{lost} The payment had left: the call may have been charged, and was not repeated. Asking again "
        "within the session's life joins the same authorization."
    )


def _doubt(sessions: SessionCache, session: PaymentSession, answered: str) -> NoReturn:
    sessions.ended(session, Event.LOST)
    raise PaymentInDoubtError(
        f"The gateway {session.route.host} answered {answered}: it may have been charged. It was not repeated; the "
        "authorization counts against the budget until its fate is known."
    )


def _refuse(route: Route, reason: str) -> NoReturn:
    said = f": {reason!r}" if reason else ""
    advice = "Usual causes: too little OPG, or no Permit2 approval (see `og-integrations doctor`), or a wrong clock."
    if "permit2_allowance_required" in reason:
        advice = "Permit2 may not take that much OPG yet: run `og-integrations approve` once, then ask again."
    error = PaymentRefusedError(
        f"The gateway {route.host} did not take the signed payment{said}. It was not signed again. {advice}"
    )
    error.reason = reason
    raise error

"""
This module pays for one request, as a generator of effects (docs/protocol.md §3, docs/design.md "Payment").

`payment_flow` yields what has to be done (`Send` the request with these headers, `Approve` and `Sign` this
authorization, `Pause`) and receives the outcome by `send()`, a failure by `throw()`. It does no I/O; a synchronous
and an asynchronous driver in `client._runner` run it, and tests run it by hand. Reading a chain has one more effect,
`Fetch`, and sending a transaction its own (`client.chain._transactions`).

The rules that it keeps are the same for each scheme: see `protocol.payment._lease`.
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, TypeVar

from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    MalformedOfferError,
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
from og_integrations.protocol.payment._lease import (
    NEED_TERMS,
    Ask,
    Drawn,
    Grant,
    Lease,
    Outcome,
    PaymentScheme,
    Signing,
    Turn,
    Wait,
)
from og_integrations.protocol.payment._policy import LimitNear, OnLimitNear, OnPayment, PaymentRequest
from og_integrations.protocol.payment._session import SessionCache
from og_integrations.protocol.payment._upto import UptoScheme
from og_integrations.protocol.payment._x402 import PaymentRequirements, ReplyHead, Route, parse_payment_required
from og_integrations.protocol.payment.schemes._settlement import Reading
from og_integrations.protocol.proof._enclave import Enclave


class Send(NamedTuple):
    """Send the request to `route` with these headers besides its own; answer with the `ReplyHead`."""

    route: Route
    headers: Mapping[str, Secret]


class Receive:
    """Read on in the body of the answer to the last `Send`; answer with its next bytes, None at its end."""

    __slots__ = ()


RECEIVE = Receive()


class Gather(NamedTuple):
    """Read the body of the answer to the last `Send` to its end, and hand each piece of it to `take`."""

    take: Callable[[bytes], object]


class Enter:
    """Wait for a place among the calls that are made at once; it is held until the call has ended."""

    __slots__ = ()


ENTER = Enter()


class Decision(NamedTuple):
    """A decision is what owner and signer are asked about, once for all calls of one `budget` to one `route`."""

    budget: Budget
    route: Route


class Approve(NamedTuple):
    """Ask the owner's `on_payment` about `request`; answer with what it returned."""

    on_payment: OnPayment
    request: PaymentRequest
    decision: Decision | None = None


class Tell(NamedTuple):
    """Tell the owner's `on_limit_near` that a limit is `near`."""

    on_limit_near: OnLimitNear
    near: LimitNear
    decision: Decision | None = None


class Sign(NamedTuple):
    """Have the wallet sign `typed_data`; answer with the signature."""

    typed_data: JsonObject
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """
    Wait for `seconds`: somebody else, another call or the chain, does what this one needs.

    `decision` is what is waited for, if it is one: a call that its owner or signer makes must not wait for it.
    """

    seconds: float
    decision: Decision | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fetch:
    """
    POST `body` as JSON to `url`, or GET it if there is none; answer with the reply's body.

    `enclave` is whom the connection is pinned to, None for nodes and gateways given by URL.
    """

    url: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    enclave: Enclave | None = None


class Consult(NamedTuple):
    """Do `work`, which waits for the budget's store, where no event loop stands still for it; answer with that."""

    work: Callable[[], object]


class Obtain(NamedTuple):
    """Call `provider`, a function of the user's that may wait; answer with what it returned."""

    provider: Callable[[], object]


Effect = Enter | Send | Receive | Gather | Approve | Tell | Sign | Pause | Fetch | Consult | Obtain

T = TypeVar("T")
Effects = Generator[Effect, Any, T]
"""A generator that yields effects and returns a `T`; what each is answered with, the effect says."""
Flow = Effects["Paid"]
Reclaim = Callable[[Callable[[], Drawn], int, int], Reading[Drawn]]
"""
Makes a claim of an amount (base units) for a call that began at a unix time, and makes it again if the chain gives
enough back; yields effects of its own. See `protocol.payment._reconcile.Reclaimer`.
"""
NOTHING_SENT = (ConnectionFailedError, ConfigurationError, SpendingStoppedError)
"""What ends a flow before the request that was to leave has left: no payment went with it."""
MOST_BUSY = 120
"""Seconds for which a request that a gateway is too busy to look at is sent again, the very same one."""
_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{130}")


@dataclass(frozen=True, kw_only=True)
class PaymentContext:
    """
    A context is what a flow needs: the wallet's sessions, a clock (unix seconds) and random nonces (uint256).

    `schemes` are the ways to pay, the preferred one first; by default `upto` over the sessions. `reclaim` asks the
    chain what an exhausted budget gets back; without it a limit is final.
    """

    sessions: SessionCache
    clock: Callable[[], int]
    nonce: Callable[[], int]
    reclaim: Reclaim | None = None
    schemes: Sequence[PaymentScheme] = ()

    def __post_init__(self) -> None:
        if not self.schemes:
            object.__setattr__(self, "schemes", (UptoScheme(self.sessions),))

    @property
    def budget(self) -> Budget:
        """Return what counts for the wallet."""
        return self.sessions.budget


class Paid(NamedTuple):
    """Paid is the answer's head, and the lease that it was asked with, to be `ended`; None if nothing was asked for."""

    head: ReplyHead
    lease: Lease | None

    @property
    def grant(self) -> Grant | None:
        """Return what paid for it."""
        return None if self.lease is None else self.lease.grant


def payment_flow(
    context: PaymentContext,
    route: Route,
    using: Callable[[Grant], None] = lambda grant: None,
    quote: Callable[[object], str] = quotable,
) -> Flow:
    """
    Get one request answered, paying if asked to, within the budget of the wallet.

    Returns the head of the first answer that is not about payment (of any status). `using` is told of what pays
    before a request with it leaves, so that whoever stops this flow still knows what was paid with. `quote` says what
    of the gateway's own reason may stand in a message.

    Raises `OfferRefusedError`, `MalformedOfferError`, `SigningError` before, `PaymentRefusedError`,
    `PaymentInDoubtError` after anything was signed, and `SpendingStoppedError` before anything is sent.
    """
    began, signed = context.clock(), False
    while True:
        lease = yield from _leased(context, route)
        if isinstance(lease, ReplyHead):
            return Paid(lease, None)
        if lease.unsigned:
            # One request has a lease signed at most once. A gateway that lets
            # each one run out would otherwise be paid anew for ever.
            if signed:
                lease.gave_up(failed=False)
                _refuse(route, "the session that this payment opened ended before the request was served")
            mine = yield from _get_signed(context, lease, began)
            if mine is None:
                continue
            signed = mine
        using(lease.grant)
        head = yield from _attempt(context, lease, began, quote)
        if head is not None:
            return Paid(head, lease)
        if lease.own:
            _refuse(route, "the session that this payment opened ended before the request was served")
        # It was over before this request was looked at: ask again, as for a first call.


def consulted(budget: Budget, work: Callable[[], T]) -> Effects[T]:
    """Return what `work` returns, which asks the store of `budget`; at once, unless that may block."""
    if not budget.blocks:
        return work()
    result: T = yield Consult(work)
    return result


def ask_price(route: Route, context: PaymentContext) -> Effects[ReplyHead | tuple[PaymentScheme, PaymentRequirements]]:
    """
    Send the request unpaid; return how to pay it, as far as that is allowed, or the answer if it is not a 402.

    Raises `OfferRefusedError`, `MalformedOfferError` or `SpendingStoppedError`.
    """
    yield from consulted(context.budget, context.budget.require_running)
    # Unpaid, but with the prompt in it: the kill switch, looked at just before, holds for this request as well.
    head: ReplyHead = yield Send(route, {})
    if head.status != 402:
        return head
    required = parse_payment_required(head)
    if required is None:
        raise MalformedOfferError(f"The gateway {route.host} asks for payment without an offer; nothing was signed.")
    refusals: list[OpenGradientError] = []
    # A gateway may offer several schemes and networks, so one way to pay that is refused does not end the request.
    for scheme in context.schemes:
        for raw in required.accepts:
            # What no scheme of ours pays is refused by the first one, which says why.
            if raw.get("scheme") != scheme.name and (scheme is not context.schemes[0] or _is_paid(context, raw)):
                continue
            try:
                return scheme, scheme.terms(raw, route)
            except OpenGradientError as exc:
                refusals.append(exc)
    raise refusals[0]


def _is_paid(context: PaymentContext, raw: JsonObject) -> bool:
    return any(raw.get("scheme") == scheme.name for scheme in context.schemes)


def _leased(context: PaymentContext, route: Route) -> Effects[ReplyHead | Lease]:
    """Return a lease for a request to `route`, or its answer if nothing is asked for it."""
    schemes = context.schemes
    terms: PaymentRequirements | None = None
    while True:
        for scheme in schemes:
            found = scheme.lease(route, terms, context.clock())
            while isinstance(found, Ask):
                found = found.then((yield from consulted(scheme.budget, found.work)))
            if isinstance(found, Wait):
                yield Pause(found.seconds)
                break
            if found is not NEED_TERMS:
                return found
        else:
            answer = yield from ask_price(route, context)
            if isinstance(answer, ReplyHead):
                return answer
            scheme, terms = answer
            # Only the scheme whose terms were read goes on: another one would have none, and ask again.
            schemes = (scheme,)


def _turn(context: PaymentContext, lease: Lease) -> Effects[Turn]:
    """Wait until it is this call's turn to have `lease` signed, or that is done."""
    # Waiting calls look again instead of holding a lock, since owner and signer may be people.
    while True:
        turn = lease.turn(context.clock(), context.nonce)
        while isinstance(turn, Ask):
            turn = turn.then((yield from consulted(context.budget, turn.work)))
        if turn is not Turn.WAIT:
            return turn
        yield Pause(lease.poll, Decision(context.budget, lease.route))


def waits_for_itself() -> SigningError:
    """Return the error of a call that would wait for the decision from within which it was made."""
    return SigningError(
        "SpendPolicy.on_payment, on_limit_near or the signer asks a model itself, and this call needs the very "
        "authorization that it is to decide about: both would wait for ever. Nothing was sent or paid for it. "
        "Ask there with another wallet, or with a SpendPolicy(account=...) of its own."
    )


def _get_signed(context: PaymentContext, lease: Lease, began: int) -> Effects[bool | None]:
    """
    Have `lease` claimed, allowed and signed, once for all calls that share it; None to begin anew.

    Returns whether this call had it signed. Raises `SigningError` if owner or signer refuse, fail or take too long,
    `BudgetExceededError` if a limit does not allow it, `SpendingStoppedError` if the kill switch was used meanwhile;
    what was held is released then.
    """
    budget, asked = context.budget, ""
    try:
        turn = yield from _turn(context, lease)
        if turn is Turn.MINE and not lease.claimed:
            drawn = yield from _claim(context, lease, began)
            # Another call took the turn over meanwhile, so this claim pays for nothing and is given back.
            if not lease.count(drawn):
                _release(drawn.holds)
                turn = Turn.AGAIN
        if turn is Turn.AGAIN:
            lease.not_sent()
            return None
        if turn is Turn.MINE:
            decision = Decision(budget, lease.route)
            if not lease.agreed:
                asked = "SpendPolicy.on_limit_near"
                yield from _tell_owner(decision, lease)
                asked = "SpendPolicy.on_payment"
                yield from _ask_owner(context, decision, lease)
            # Asked again: the kill switch may have been used while the owner thought, and then nothing is signed.
            yield from consulted(budget, budget.require_running)
            signatures: list[Secret] = []
            for part in lease.unsigned_parts():
                asked = f"The signer of {part.signer}"
                # In one expression: what was signed must not stand in a variable.
                signatures.append(Secret(_checked((yield Sign(part.message.typed_data(), decision)), part)))
            lease.sign(signatures)
            if (persist := lease.persist()) is not None:
                yield from consulted(budget, persist)
        if context.clock() >= lease.expires_at:
            raise SigningError("The authorization was signed after the offer had run out. Nothing was sent; ask again.")
    except BaseException as exc:
        # A cancelled call fails nobody else: those who share the lease take its turn.
        failed = isinstance(exc, Exception)
        lease.gave_up(failed=failed)
        if failed and asked and not isinstance(exc, OpenGradientError):
            raise SigningError(f"{asked} failed with {type(exc).__name__}. Nothing was sent or paid.") from exc
        raise
    return turn is Turn.MINE


def _claim(context: PaymentContext, lease: Lease, began: int) -> Reading[Drawn]:
    """Have the budget count what `lease` needs, before anybody is asked to sign it."""
    made: list[Hold] = []
    given_up = False

    def attempt() -> Drawn:
        # Made anew each time: asking the chain takes a while, and an authorization lasts from when it is made.
        now = context.clock()
        demands, before = lease.claims(now, context.nonce), len(made)
        try:
            # Noted one by one: what was counted before another one is refused has to be released.
            for demand in demands:
                made.append(context.budget.hold(demand.amount, now=now, authorization=demand.authorization))  # noqa: PERF401
        except BaseException:
            _release(made[before:])
            raise
        if given_up:
            _release(made)
        return Drawn(demands, made[before:], now)

    try:
        if context.reclaim is None:
            return (yield from consulted(context.budget, attempt))
        needed = sum(demand.amount for demand in lease.claims(began, lambda: 0))
        return (yield from context.reclaim(attempt, needed, began))
    except BaseException:
        # Cancelled while the store was at it: the claim is made all the same, and would count for nobody.
        given_up = True
        _release(made)
        raise


def _release(holds: Sequence[Hold]) -> None:
    for hold in holds:
        hold.release()


def _tell_owner(decision: Decision, lease: Lease) -> Effects[None]:
    """Tell the owner of the limits that this lease makes nearly used up; once, whoever shares it."""
    for hold in lease.holds:
        near, hold.near = hold.near, ()
        if (on_limit_near := decision.budget.policy.on_limit_near) is not None:
            for limit in near:
                yield Tell(on_limit_near, limit, decision)


def _ask_owner(context: PaymentContext, decision: Decision, lease: Lease) -> Effects[None]:
    budget = decision.budget
    on_payment = budget.policy.on_payment
    if on_payment is not None:
        now = context.clock()
        counted = yield from consulted(budget, lambda: budget.authorized(now))
        request = lease.request(counted - sum(hold.amount for hold in lease.holds))
        agreed = yield Approve(on_payment, request, decision)
        # Not `if not agreed`: the answer of `input()` is a text, and "no" is true.
        if agreed is not True:
            raise SigningError(
                f"SpendPolicy.on_payment refused to authorize {request.opg} OPG for {lease.route.host}: it returned "
                f"{_described(agreed)}, expected True. Nothing was signed or sent. To allow a payment, return True."
            )
        if context.clock() >= lease.expires_at:
            raise SigningError(
                "SpendPolicy.on_payment agreed after the offer had run out. Nothing was signed or sent; ask again."
            )
    lease.agree()


def _described(returned: object) -> str:
    if returned is None or isinstance(returned, bool):
        return str(returned)
    kind = type(returned)
    # numpy's True is of a type that is called bool, too.
    return f"a {kind.__name__}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{kind.__name__}"


def _checked(signature: object, part: Signing) -> str:
    """
    Return the signature if it is that of whom `part` names, with v 27 or 28. Raises `SigningError`.

    Sent unchecked, a wrong one would be refused by the gateway, blamed on OPG or the clock, and held in doubt.
    """
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        raise SigningError(
            f"The signer of {part.signer} returned no signature: expected 0x and 130 hex digits (r, s, v), got "
            f"{_described(signature)}. Nothing was sent or paid."
        )
    raw = bytes.fromhex(signature[2:])
    if raw[64] in (0, 1):
        # Some hardware wallets and key services number the two points from 0; contracts want 27 and 28.
        raw = raw[:64] + bytes([27 + raw[64]])
    payer = part.signer
    found = recover_address(part.message.digest(), raw)
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
    context: PaymentContext, lease: Lease, began: int, quote: Callable[[object], str]
) -> Effects[ReplyHead | None]:
    """Send with `lease`; return the answer's head, or None if the lease is over."""
    if (told := lease.refusal()) is not None:
        # While this call waited for the signature, another one came there with it.
        lease.not_sent()
        _refuse(lease.route, quote(told))
    while True:
        head = yield from _send(context.budget, lease)
        verdict = lease.judge(head, context.clock())
        if verdict.outcome is Outcome.ANSWERED:
            return head
        if verdict.outcome is Outcome.OVER:
            return None
        if verdict.outcome is Outcome.REFUSED:
            _refuse(lease.route, quote(verdict.reason), retryable=verdict.retryable)
        if verdict.outcome is Outcome.DOUBTFUL:
            raise PaymentInDoubtError(verdict.reason) from verdict.cause
        # Not looked at, and nothing new is signed: the very same request may be sent again.
        if context.clock() - began >= MOST_BUSY:
            lease.lost()
            _refuse(lease.route, quote(verdict.reason), retryable=True)
        yield Pause(verdict.seconds)


def _send(budget: Budget, lease: Lease) -> Effects[ReplyHead]:
    try:
        yield from consulted(budget, budget.require_running)
    except BaseException:
        lease.not_sent()
        raise
    try:
        head: ReplyHead = yield Send(lease.route, lease.headers())
    # These errors prove that the request never left, so no payment went with it.
    except NOTHING_SENT:
        lease.not_sent()
        raise
    except ConnectionLostError as exc:
        lease.lost()
        raise in_doubt(exc) from exc
    except BaseException:
        # Cancelled or interrupted: it left, and what became of it will not be known here.
        lease.lost()
        raise
    return head


def in_doubt(lost: ConnectionLostError) -> PaymentInDoubtError:
    """Return what a lost connection means for a request whose payment had left."""
    kind = ReadTimeoutError if lost.timed_out else PaymentInDoubtError
    return kind(
        f"{lost} The payment had left: the call may have been charged, and was not repeated. Asking again "
        "within the session's life joins the same authorization."
    )


def _refuse(route: Route, reason: str, *, retryable: bool = False) -> NoReturn:
    said = f": {reason!r}" if reason else ""
    advice = "Usual causes: too little OPG, or no Permit2 approval (see `og-integrations doctor`), or a wrong clock."
    if "permit2_allowance_required" in reason:
        advice = "Permit2 may not take that much OPG yet: run `og-integrations approve` once, then ask again."
    error = PaymentRefusedError(
        f"The gateway {route.host} did not take the signed payment{said}. It was not signed again. {advice}"
    )
    error.reason = reason
    error.is_retryable = retryable
    raise error

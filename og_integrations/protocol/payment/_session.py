"""
The sessions of a wallet: what is signed, what the gateway made of it, and which calls share it (docs/protocol.md §3).

A `PaymentSession` is one authorization on its way from an offer to a session that pays for many calls. This is the
whole machine; `PaymentSession.apply` is the only place where its state changes, and `TRANSITIONS` is this table:

```text
state     claimed  agreed    signed  shared  failed    unused    lost     accepted  served   refused  ended    answered
new       held     -         -       shared  dropped   dropped   -        -         -        -        -        -
held      -        approved  -       -       dropped   dropped   -        -         -        -        -        -
approved  -        -         signed  -       dropped   dropped   -        -         -        -        -        -
signed    -        -         -       shared  -         dropped   sent     open      over     refused  -        -
shared    -        -         -       -       -         shared    sent     open      over     refused  -        -
sent      -        -         -       -       -         sent      sent     open      over     refused  over     -
open      -        -         -       -       -         open      open     open      over     over     over     open
over      -        -         -       -       -         over      over     over      over     over     over     over
refused   -        -         -       -       -         refused   refused  over      refused  refused  refused  -
dropped   -        -         -       -       -         dropped   -        -         -        -        -        -
(hold)    made     -         -       -       released  released  doubt    settled   settled  doubt    doubt    -
```

The states say how far it came: nothing is counted yet (new), the budget has counted it (held), its owner allows it
(approved), the wallet has signed it (signed), other processes may send it too (shared), a request with it left and
got no answer (sent), the gateway named its session (open), nothing more comes of it (over, refused), it never left
(dropped). The hold is released only where the session is dropped, and what is settled stays settled; see `Hold`.

The events are what calls meet: `shared` is telling other processes what was signed, or finding what one of them did
(`protocol.payment._sharing`); `unused` is the last call that shared it leaving without having sent anything; `lost`,
a request that left without an answer; `accepted`, an answer that names the session; `served`, one that names none;
`refused` and `ended`, a 402 to something that is new, or known, to the gateway; `answered`, any other answer.

Rules of the machine, all of them:

1. One request causes at most one signature.
2. Only what provably was not processed is repeated: a request that found its session over.
3. Once a signature left, every way out either brings an answer or marks the payment in doubt.
4. The kill switch is looked at before anything is signed, and before anything is sent.
5. For one route (payer, network, enclave, path) there is at most one current session, and it is replaced only by one
   that a new request gets signed.
6. Calls that find a session which the gateway has not named yet share its signed authorization: the gateway joins
   identical PAYMENT-SIGNATURE texts into one session. Nobody waits for a leader, and 32 cold calls cost one signature.
7. One of the calls that share an unsigned session has the turn to claim, ask and sign; the others look again now and
   then. No lock is held meanwhile, since the owner, and the signer too, may be a person.
8. An offer is checked once, by `SpendPolicy` and `Payees`, before a session is made of it; one that is remembered,
   once for each session. What is checked is what is signed.

A `SessionCache` belongs to one budget and one wallet; it is never shared across those.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from og_integrations.errors import OfferRefusedError, PayeeRefusedError, SigningError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.payment._budget import Budget, Hold, Lock
from og_integrations.protocol.payment._lease import Turn
from og_integrations.protocol.payment._policy import Payees
from og_integrations.protocol.payment._sharing import ON_ITS_WAY, SessionBoard, SharedSession
from og_integrations.protocol.payment._x402 import PaymentRequirements, Route, encode_payment, session_ref
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

RENEW_BEFORE = 130
"""
Seconds before its deadline at which an authorization is no longer used. The gateway settles a
session up to 125 s after its last charged use, and settling after the deadline reverts.
"""
FRESH = 55
"""Seconds since its last charged call within which no known gateway ends a session for being idle (the least is 60)."""
LOST = 120
"""Seconds after which the turn of a call that claims is nobody's any more; the chain is asked for less long."""


class State(Enum):
    """A state says how far a session came; the module's docstring says what each means."""

    NEW = "new"
    HELD = "held"
    APPROVED = "approved"
    SIGNED = "signed"
    SHARED = "shared"
    SENT = "sent"
    OPEN = "open"
    OVER = "over"
    REFUSED = "refused"
    DROPPED = "dropped"


class Event(Enum):
    """An event is what a call meets; the module's docstring says what each means."""

    CLAIMED = "claimed"
    AGREED = "agreed"
    SIGNED = "signed"
    SHARED = "shared"
    FAILED = "failed"
    UNUSED = "unused"
    LOST = "lost"
    ACCEPTED = "accepted"
    SERVED = "served"
    REFUSED = "refused"
    ENDED = "ended"
    ANSWERED = "answered"


_UNSENT = {Event.FAILED: State.DROPPED, Event.UNUSED: State.DROPPED}
_FIRST = {
    Event.LOST: State.SENT,
    Event.ACCEPTED: State.OPEN,
    Event.SERVED: State.OVER,
    Event.REFUSED: State.REFUSED,
}
_GONE = (Event.UNUSED, Event.LOST, Event.ACCEPTED, Event.SERVED, Event.REFUSED, Event.ENDED, Event.ANSWERED)
_NEXT: Mapping[State, Mapping[Event, State]] = {
    State.NEW: {Event.CLAIMED: State.HELD, Event.SHARED: State.SHARED} | _UNSENT,
    State.HELD: {Event.AGREED: State.APPROVED} | _UNSENT,
    State.APPROVED: {Event.SIGNED: State.SIGNED} | _UNSENT,
    State.SIGNED: _FIRST | {Event.SHARED: State.SHARED, Event.UNUSED: State.DROPPED},
    # Another process may send it at any time, so it is never dropped; nor does anybody know that it arrived.
    State.SHARED: _FIRST | {Event.UNUSED: State.SHARED},
    # A request that left may still have opened the session, so nothing leads from here to a released hold.
    State.SENT: {
        Event.UNUSED: State.SENT,
        Event.LOST: State.SENT,
        Event.ACCEPTED: State.OPEN,
        Event.SERVED: State.OVER,
        Event.REFUSED: State.REFUSED,
        Event.ENDED: State.OVER,
    },
    # A 402 within a session that the gateway named is its end, and never a refusal of the payment.
    State.OPEN: {
        Event.UNUSED: State.OPEN,
        Event.LOST: State.OPEN,
        Event.ACCEPTED: State.OPEN,
        Event.SERVED: State.OVER,
        Event.REFUSED: State.OVER,
        Event.ENDED: State.OVER,
        Event.ANSWERED: State.OPEN,
    },
    State.OVER: dict.fromkeys(_GONE, State.OVER),
    # A sharer may have got through although another one was refused: those who still wait then use its session.
    State.REFUSED: dict.fromkeys(_GONE[:-1], State.REFUSED) | {Event.ACCEPTED: State.OVER},
    State.DROPPED: {Event.UNUSED: State.DROPPED},
}
TRANSITIONS = {(state, event): after for state, row in _NEXT.items() for event, after in row.items()}
# Tuples: what is found in them by identity need not be hashed, which is a call of Python for each state.
_JOINED = (State.OPEN, State.NEW, State.HELD, State.APPROVED, State.SIGNED, State.SHARED, State.SENT)
_ENDED = (State.OVER, State.REFUSED)
_UNSIGNED = (State.NEW, State.HELD, State.APPROVED)
_TOLD = {
    Event.LOST: Hold.doubt,
    Event.REFUSED: Hold.doubt,
    Event.ENDED: Hold.doubt,
    Event.ACCEPTED: Hold.settle,
    Event.SERVED: Hold.settle,
}


class Claim(NamedTuple):
    """A claim is what the budget has counted: what to sign, its hold, and until when (unix seconds) it is used."""

    authorization: Permit2Authorization
    hold: Hold
    retire_at: int
    made_at: int = 0

    @classmethod
    def of(
        cls,
        requirements: PaymentRequirements,
        authorization: Permit2Authorization,
        hold: Hold,
        now: int,
        margin: int = 0,
    ) -> "Claim":
        """
        Return the claim for an offer that was authorized at unix time `now`.

        `margin` is how many seconds before a deadline its gateway was seen to stop serving.
        """
        lifetime = requirements.max_timeout_seconds
        # An offer too short for the margin is used for its first half, rather than never.
        retire_at = now + max(lifetime - max(RENEW_BEFORE, margin), lifetime // 2)
        return cls(authorization=authorization, hold=hold, retire_at=retire_at, made_at=now)


@dataclass(slots=True, kw_only=True, eq=False)
class PaymentSession:
    """
    A payment session is one authorization, and the session that it opens; see the module's docstring for its states.

    `calls` counts the calls that use it and have not ended; `holder` is the one whose turn it is to get it signed,
    since the unix time `held_since`. `header` is the PAYMENT-SIGNATURE text, `session_id` the gateway's name for it:
    who has either can spend. `session_ref` is what may be shown of the name, `refusal` the gateway's reason if it was
    not taken, `served_at` when it last answered (unix seconds), `reported` what it says its answers cost (base units,
    not signed).
    """

    route: Route
    requirements: PaymentRequirements
    state: State = State.NEW
    calls: int = 0
    holder: object | None = field(default=None, repr=False)
    held_since: int = 0
    claim: Claim | None = None
    signature: Secret | None = None
    header: Secret | None = None
    session_id: Secret | None = None
    session_ref: str | None = None
    refusal: str | None = field(default=None, repr=False)
    found: bool = False
    served_at: int | None = None
    reported: int = 0

    @property
    def authorization(self) -> Permit2Authorization:
        """Return what is signed; there is one as soon as the budget has counted it."""
        return self.claimed.authorization

    @property
    def hold(self) -> Hold:
        """Return what the budget counts for it."""
        return self.claimed.hold

    @property
    def claimed(self) -> Claim:
        """Return the claim; asking for it before there is one is a mistake of ours."""
        if self.claim is None:
            raise AssertionError(f"A session that is {self.state.value} has no claim.")
        return self.claim

    @property
    def unsigned(self) -> bool:
        """Return whether it has to be signed before a request can leave with it."""
        return self.state in _UNSIGNED

    @property
    def reached(self) -> bool:
        """Return whether it may have come to the gateway, so that a 402 to it is the end of it, not a refusal."""
        return self.state not in _UNSIGNED and self.state not in (State.SIGNED, State.SHARED, State.DROPPED)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Return what nobody may be shown: who has one of them can spend."""
        return tuple(secret for secret in (self.session_id, self.signature, self.header) if secret is not None)

    def reports(self, cost: int) -> int | None:
        """Add what an answer is said to cost; return the sum the first time that it is above what was signed."""
        # Without the lock: calls at once may miss each other's sum, and that costs a warning only.
        before, self.reported = self.reported, self.reported + cost
        return self.reported if before <= self.authorization.amount < self.reported else None

    def named(self, session_id: Secret) -> None:
        """Note the gateway's name for it."""
        self.session_id, self.session_ref = session_id, session_ref(session_id.reveal())

    def joinable(self, now: int) -> bool:
        """Return whether a new call may use it at unix time `now`."""
        return self.state in _JOINED and (self.claim is None or now < self.claim.retire_at)

    def apply(self, event: Event) -> None:
        """Move to the state that `TRANSITIONS` has for `event`; one that it does not have is a mistake of ours."""
        after = TRANSITIONS.get((self.state, event))
        # An event that the table does not have is never ignored:
        # a hold could then be released although money left.
        if after is None:
            raise AssertionError(f"A payment session that is {self.state.value} was {event.value}.")
        self.state = after


class SessionCache:
    """
    A cache holds the current sessions and past offers of one wallet and one budget. `lock` is held for look-ups only.

    `keep` is told, with each authorization, until when (unix seconds) it may be used: so long the cache is needed.
    `board` is where other processes find the sessions of this one, and it theirs; None if nobody does.
    """

    def __init__(
        self,
        budget: Budget,
        lock: Lock,
        keep: Callable[[int], None] = lambda until: None,
        board: SessionBoard | None = None,
    ) -> None:
        self.board = board
        self._over: dict[Route, int] = {}
        self.budget = budget
        self._keep = keep
        self._lock = lock
        self._current: dict[Route, PaymentSession] = {}
        self._offers: dict[Route, PaymentRequirements] = {}
        self._payees = Payees()
        self._margins: dict[str, int] = {}

    def margin(self, host: str) -> int:
        """Return how many seconds before its deadline the gateway `host` was seen to drop a session; 0 at first."""
        with self._lock:
            return self._margins.get(host, 0)

    def join(self, route: Route, now: int) -> PaymentSession | None:
        """
        Return the session to use for `route` at unix time `now`, counting one more call that does; None without one.

        Each call that joined ends in `left`, `gave_up` or `ended`.
        """
        with self._lock:
            return self._joined(route, now)

    def known_offer(self, route: Route) -> PaymentRequirements | None:
        """
        Return what was asked for last time, so that a renewal needs no 402 first; None if nobody knows.

        Raises `OfferRefusedError` if the policy does not allow it any more.
        """
        with self._lock:
            known = self._offers.get(route)
            if known is None:
                return None
            # The remembered offer is checked again, because the policy
            # of the account may have changed since it was made.
            self.budget.policy.check(known, route.host)
            try:
                self._payees.check(known, route, self.budget.policy)
            except PayeeRefusedError:
                # The registry has another payee by now: what the gateway asks today decides.
                del self._offers[route]
                return None
            return known

    def check(self, requirements: PaymentRequirements, route: Route) -> None:
        """Raise the `OfferRefusedError` of the first rule of the policy, or of `Payees`, that an offer breaks."""
        self.budget.policy.check(requirements, route.host)
        with self._lock:
            self._payees.check(requirements, route, self.budget.policy)

    def begin(self, route: Route, requirements: PaymentRequirements, now: int) -> tuple[PaymentSession, bool]:
        """
        Join the current session of `route`, or make one of a checked offer; return it, and whether it was made.

        The budget has not counted a new one yet; the call that takes the turn claims it.
        """
        with self._lock:
            # Looked for again under the lock: two calls that got a 402 at once would otherwise sign a session each.
            session = self._joined(route, now)
            if session is not None:
                return session, False
            session = self._current[route] = PaymentSession(route=route, requirements=requirements, calls=1)
            return session, True

    def take_turn(self, session: PaymentSession, me: object, now: int) -> Turn:
        """
        Return what the call `me` has to do at unix time `now`.

        Raises `SigningError` if owner or signer failed for a call that shares the session.
        """
        with self._lock:
            if session.state is State.DROPPED and session.claim is None:
                return Turn.AGAIN
            if session.state is State.DROPPED:
                raise SigningError(
                    "The owner refused, or the signer failed, for a call that shared this authorization. Nothing was "
                    "sent."
                )
            if not session.unsigned:
                return Turn.DONE
            # Owner and signer may think for long. A claim does not: its event loop was stopped in the middle, say.
            lost = session.state is State.NEW and now - session.held_since >= LOST
            if session.holder is me:
                return Turn.MINE
            if session.holder is not None and not lost:
                return Turn.WAIT
            session.holder, session.held_since = me, now
            return Turn.MINE

    def claimed(self, session: PaymentSession, claim: Claim, me: object) -> bool:
        """
        Note that the budget has counted `session`, and keep the offer for its renewal.

        Returns False if it is not the turn of `me` any more: then the claim is nobody's, and has to be released.
        """
        with self._lock:
            # A turn that was taken over has a claim of its own; keeping both would count one payment twice.
            if session.holder is not me:
                return False
            session.claim = claim
            session.apply(Event.CLAIMED)
            self._offers[session.route] = session.requirements
        self._keep(claim.authorization.deadline)
        return True

    def agreed(self, session: PaymentSession) -> None:
        """Note that the owner allows it, so that no call asks again, also if this one is cancelled."""
        with self._lock:
            session.apply(Event.AGREED)

    def signed(self, session: PaymentSession, signature: str) -> None:
        """Keep the signature for all who share the session: signers may randomise, and only equal texts are joined."""
        with self._lock:
            session.signature = Secret(signature)
            session.header = Secret(encode_payment(session.requirements, session.authorization.payload(signature)))
            session.apply(Event.SIGNED)
            if self.board is not None:
                session.apply(Event.SHARED)
            session.holder = None

    def over(self, route: Route) -> int | None:
        """Return the nonce of the session of `route` that was found over last, None if none was."""
        return self._over.get(route)

    def allows(self, shared: SharedSession, route: Route) -> bool:
        """Return whether the rules of this wallet allow what another process signed for `route`."""
        try:
            self.check(shared.requirements, route)
        except OfferRefusedError:
            return False
        # A store may serve several wallets: with another one's signature, that wallet would pay for this call.
        return shared.authorization.payer.lower() == route.payer.lower()

    def find(self, route: Route, shared: SharedSession, now: int) -> PaymentSession:
        """Join the session of `route` that another process signed, or one that this process has by now."""
        with self._lock:
            session = self._joined(route, now)
            if session is None:
                session = self._current[route] = PaymentSession(route=route, requirements=shared.requirements, calls=1)
                self._adopt(session, shared, now)
        self._keep(shared.authorization.deadline)
        return session

    def adopt(self, session: PaymentSession, shared: SharedSession, me: object, now: int) -> bool:
        """Let `session`, which is the turn of `me`, be the one that another process signed; False if it is not."""
        with self._lock:
            if session.holder is not me or session.state is not State.NEW:
                return False
            self._adopt(session, shared, now)
            session.holder = None
        self._keep(shared.authorization.deadline)
        return True

    def told(self, session: PaymentSession) -> SharedSession:
        """Return what other processes have to know of `session`, which is signed."""
        if session.signature is None:
            raise AssertionError(f"A session that is {session.state.value} has nothing to share.")
        claim = session.claimed
        return SharedSession(
            requirements=session.requirements,
            authorization=claim.authorization,
            entry_id=claim.hold.id,
            signed_at=claim.made_at,
            retire_at=claim.retire_at,
            signature=session.signature,
            session_id=session.session_id,
        )

    def gave_up(self, session: PaymentSession, me: object, *, failed: bool) -> None:
        """
        Note that the call `me` ends before anything was sent.

        What `failed` on its turn fails for all who share the session. A call that was merely cancelled is nobody
        else's concern, and leaves its turn to them.
        """
        with self._lock:
            if session.holder is me:
                session.holder = None
                if failed:
                    session.apply(Event.FAILED)
        self.left(session)

    def left(self, session: PaymentSession) -> None:
        """Note that a call ends and sent nothing. The last one to leave drops a session that was never sent."""
        with self._lock:
            session.calls -= 1
            if session.calls == 0:
                session.apply(Event.UNUSED)
            self._forget(session)
        # Only here is a hold given back: the last call has left, and no request with the authorization ever did.
        if session.state is State.DROPPED and session.claim is not None:
            session.hold.release()

    def ended(
        self,
        session: PaymentSession,
        event: Event,
        *,
        session_id: Secret | None = None,
        refusal: str | None = None,
        now: int | None = None,
    ) -> None:
        """
        Note how a request that left with `session` came back, at the unix time `now` if that is told.

        `session_id` is the one that an `accepted` answer names. `refusal` is the gateway's reason, told to all who
        share the session.
        """
        with self._lock:
            session.calls -= 1
            before = session.state, session.session_id
            if now is not None:
                self._learn_margin(session, event, now)
            session.apply(event)
            if session_id is not None:
                session.named(session_id)
            if session.state in _ENDED:
                self._over[session.route] = session.authorization.nonce
            # Only a payee whose gateway took a payment is remembered,
            # so a lie that came to nothing does not bar the true one.
            if event in (Event.ACCEPTED, Event.SERVED):
                self._payees.remember(session.requirements, session.route)
            if session.refusal is None:
                session.refusal = refusal
            self._forget(session)
            unnamed = event is Event.ENDED and session.session_id is None
            if (event is Event.REFUSED or unnamed) and self._offers.get(session.route) is session.requirements:
                # Its terms may be what was not taken: ask again, and do not sign the same a second time.
                del self._offers[session.route]
        # Outside of the lock: a store in a file takes its time.
        if tell := _TOLD.get(event):
            tell(session.hold)
        if self.board is None:
            return
        if session.state in _ENDED and before[0] not in _ENDED:
            self.board.tell_over(session.route, session.authorization)
        elif session.state is State.OPEN and session.session_id is not None and before[1] is None:
            self.board.tell_named(session.route, self.told(session))

    def answered(self, session: PaymentSession, now: int) -> None:
        """Note that a request which named `session` was answered at the unix time `now`, as most are."""
        with self._lock:
            session.calls -= 1
            session.served_at = now
            session.apply(Event.ANSWERED)

    def _adopt(self, session: PaymentSession, shared: SharedSession, now: int) -> None:
        hold = self.budget.held(shared.entry_id, shared.authorization.amount)
        session.requirements, session.found = shared.requirements, True
        session.claim = Claim(
            authorization=shared.authorization, hold=hold, retire_at=shared.retire_at, made_at=shared.signed_at
        )
        session.signature = shared.signature
        if shared.session_id is not None:
            session.named(shared.session_id)
        # In one expression: what is signed must not stand in a variable.
        session.header = Secret(
            encode_payment(shared.requirements, shared.authorization.payload(shared.signature.reveal()))
        )
        session.apply(Event.SHARED)
        if shared.session_id is not None:
            session.apply(Event.ACCEPTED)
        elif now - shared.signed_at >= ON_ITS_WAY:
            # Whoever signed it has sent it by now, or died: a 402 to it is its end then, and no refusal.
            session.apply(Event.LOST)
        self._offers[session.route] = shared.requirements

    def _learn_margin(self, session: PaymentSession, event: Event, now: int) -> None:
        """
        Remember how early a host stops serving a session before its deadline.

        Gateways differ (120 s, 420 s), and none says so; each renewal would cost one more 402.
        """
        if event is Event.ACCEPTED:
            session.served_at = now
            return
        served = session.served_at
        if event is not Event.ENDED or session.state is not State.OPEN or served is None or now - served >= FRESH:
            return
        # The host stopped between the last answer and now; the earlier of the two is safe.
        margin = session.authorization.deadline - served
        # In the first half of its life no gateway hides a session: it was exhausted, or lost in a restart.
        if margin <= session.requirements.max_timeout_seconds // 2:
            host = session.route.host
            self._margins[host] = max(margin, self._margins.get(host, 0))

    def _joined(self, route: Route, now: int) -> PaymentSession | None:
        session = self._current.get(route)
        if session is None or not session.joinable(now):
            return None
        session.calls += 1
        return session

    def _forget(self, session: PaymentSession) -> None:
        """Let go of a session that no call may join any more; a late word about it leaves its successor alone."""
        if session.state not in _JOINED and self._current.get(session.route) is session:
            del self._current[session.route]

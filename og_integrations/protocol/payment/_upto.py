"""
This module gives the flow the scheme `upto`: leases on sessions that a route's calls share (docs/protocol.md §3.4).

What a session is, and which calls may use it, the machine of `_session` says. Here its calls are told what to do next:
a lease is one call's part in a session.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from og_integrations.errors import MalformedOfferError, MalformedReplyError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._budget import Budget, Hold
from og_integrations.protocol.payment._lease import (
    ANSWERED,
    NEED_TERMS,
    OVER,
    Ask,
    Demand,
    Drawn,
    Lease,
    NeedTerms,
    Outcome,
    Signing,
    Turn,
    Verdict,
    Wait,
)
from og_integrations.protocol.payment._policy import PaymentRequest
from og_integrations.protocol.payment._session import Claim, Event, PaymentSession, SessionCache, State
from og_integrations.protocol.payment._sharing import SHARING_POLL, SessionBoard, SharedSession
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
from og_integrations.protocol.payment.schemes import authorize, upto

SIGNING_POLL = 0.02
"""Seconds after which a call looks again whether another one got the session that they share signed."""


class UptoScheme:
    """This is the scheme `upto` over the sessions of one wallet; see `PaymentScheme` for its methods."""

    name: str = upto.NAME

    def __init__(self, sessions: SessionCache) -> None:
        self._sessions = sessions

    @property
    def budget(self) -> Budget:
        """Return what counts what it signs."""
        return self._sessions.budget

    def terms(self, raw: JsonObject, route: Route) -> PaymentRequirements:
        """Read one way to pay. Raises `MalformedOfferError`, or an `OfferRefusedError`."""
        requirements = parse_requirements(raw)
        self._sessions.check(requirements, route)
        return requirements

    def lease(
        self, route: Route, terms: PaymentRequirements | None, now: int
    ) -> "Lease | NeedTerms | Wait | Ask[Lease | NeedTerms | Wait]":
        """Return a part in the session of `route`, in one that another process signed, or in a new one."""
        sessions, board = self._sessions, self._sessions.board
        # The gateway was heard a moment ago: what is remembered of it, or another process's, must not win over that.
        if terms is not None:
            return self._begin(route, terms, now)
        session = sessions.join(route, now)
        if session is not None:
            return UptoLease(sessions, session)
        if board is None:
            return self._known(route, now)
        return Ask(partial(board.look, route, now, sessions.over(route)), partial(self._found, route, now))

    def _found(self, route: Route, now: int, shared: object) -> Lease | NeedTerms | Wait:
        # The process that signed may live by laxer rules; its session is used only if ours allow the same offer.
        if isinstance(shared, SharedSession) and self._sessions.allows(shared, route):
            return UptoLease(self._sessions, self._sessions.find(route, shared, now))
        return self._known(route, now)

    def _known(self, route: Route, now: int) -> Lease | NeedTerms | Wait:
        # A remembered offer saves the unpaid request, which is one round trip of every renewal.
        known = self._sessions.known_offer(route)
        return NEED_TERMS if known is None else self._begin(route, known, now)

    def _begin(self, route: Route, terms: PaymentRequirements, now: int) -> "UptoLease":
        session, made = self._sessions.begin(route, terms, now)
        return UptoLease(self._sessions, session, made=made)


class UptoLease:
    """This is one call's part in a session; see `Lease` for its methods."""

    def __init__(self, sessions: SessionCache, session: PaymentSession, *, made: bool = False) -> None:
        self.poll: float = SIGNING_POLL
        self._sessions = sessions
        self._session = session
        self._made = made
        self._name = ""
        self._named = False
        self._reached = False

    @property
    def own(self) -> bool:
        """Return whether this call began the session, and no other process had signed it."""
        return self._made and not self._session.found

    @property
    def grant(self) -> PaymentSession:
        """Return the session."""
        return self._session

    @property
    def route(self) -> Route:
        """Return what the session is bound to."""
        return self._session.route

    @property
    def unsigned(self) -> bool:
        """Return whether the session has to be signed before a request can leave with it."""
        return self._session.unsigned

    def turn(self, now: int, nonce: Callable[[], int]) -> Turn | Ask[Turn]:
        """Return whose turn it is to get the session signed, among the calls of this process and with others."""
        sessions, session = self._sessions, self._session
        turn = sessions.take_turn(session, self, now)
        board = sessions.board
        # Once claimed, the board is not asked any more: another process's session in this one's place would leave the
        # claim counted for nobody.
        if turn is not Turn.MINE or session.state is not State.NEW or board is None:
            return turn
        self._name = self._name or f"{nonce():x}"
        return self._among_processes(board, now, sessions.over(session.route))

    def _among_processes(self, board: SessionBoard, now: int, over: int | None) -> Ask[Turn]:
        """Ask whether it is this process's turn to sign, or another one has: then the session is what that signed."""
        route = self._session.route

        def then(outcome: object) -> Turn | Ask[Turn]:
            if not isinstance(outcome, SharedSession):
                self.poll = SIGNING_POLL if outcome else SHARING_POLL
                return Turn.MINE if outcome else Turn.WAIT
            if self._sessions.allows(outcome, route):
                return Turn.DONE if self._sessions.adopt(self._session, outcome, self, now) else Turn.AGAIN
            # Its rules are not ours any more (the registry has another payee), so it is replaced.
            return self._among_processes(board, now, outcome.authorization.nonce)

        return Ask(partial(board.take, route, self._name, now, over), then)

    @property
    def claimed(self) -> bool:
        """Return whether the budget has counted the session."""
        return self._session.state is not State.NEW

    def claims(self, now: int, nonce: Callable[[], int]) -> Sequence[Demand]:
        """Return the authorization's cap, which the gateway may take at any time until its deadline."""
        requirements = self._session.requirements
        authorization = authorize(requirements, payer=self.route.payer, now=now, nonce=nonce())
        return (Demand(amount=requirements.amount, authorization=authorization),)

    def count(self, drawn: Drawn) -> bool:
        """Keep what was counted; False if the turn is another call's by now."""
        (demand,), (hold,) = drawn.demands, drawn.holds
        if not isinstance(demand.authorization, upto.Permit2Authorization):
            raise AssertionError("A session is opened by an authorization.")
        sessions, session = self._sessions, self._session
        margin = sessions.margin(session.route.host)
        claim = Claim.of(session.requirements, demand.authorization, hold, drawn.at, margin)
        return sessions.claimed(session, claim, self)

    @property
    def holds(self) -> Sequence[Hold]:
        """Return what the budget counts for the session."""
        return (self._session.hold,)

    @property
    def agreed(self) -> bool:
        """Return whether the owner allows it."""
        return self._session.state is not State.HELD

    def request(self, authorized: int) -> PaymentRequest:
        """Return what the owner is asked, who has authorized so much (base units) before."""
        authorization = self._session.authorization
        return PaymentRequest(
            amount=authorization.amount,
            payer=authorization.payer,
            pay_to=authorization.pay_to,
            facilitator=authorization.facilitator,
            asset=authorization.token,
            network=self.route.network,
            host=self.route.host,
            deadline=authorization.deadline,
            authorized=authorized,
        )

    def agree(self) -> None:
        """Note that the owner allows it, so that no call asks again, also if this one is cancelled."""
        self._sessions.agreed(self._session)

    def unsigned_parts(self) -> Sequence[Signing]:
        """Return the authorization, for the wallet to sign."""
        return (Signing(self.route.payer, self._session.authorization),)

    def sign(self, signatures: Sequence[Secret]) -> None:
        """Keep the signature for all who share the session."""
        (signature,) = signatures
        self._sessions.signed(self._session, signature.reveal())

    def persist(self) -> Callable[[], object] | None:
        """Return what tells other processes of the session, None if nobody shares it."""
        board = self._sessions.board
        if board is None:
            return None
        return partial(board.publish, self.route, self._sessions.told(self._session))

    @property
    def expires_at(self) -> int:
        """Return when the session is left in favour of a new one."""
        return self._session.claimed.retire_at

    def refusal(self) -> str | None:
        """Return why the gateway refused the payment; it was told to the call that came there first."""
        session = self._session
        return (session.refusal or "") if session.session_id is None and session.state is State.REFUSED else None

    def headers(self) -> Mapping[str, Secret]:
        """Return the session's name, or the payment that opens or joins it."""
        session = self._session
        # A session is named without the payment, since the gateway
        # looks at the session first (docs/protocol.md §3.4).
        if session.session_id is not None:
            # Noted for this call alone: until the answer comes, another call may get the session named, and a 402 to
            # the payment itself would be read as the end of a session.
            self._named = True
            return {SESSION: session.session_id}
        # Read once, before it leaves: another thread may move the session on meanwhile.
        self._reached, header = session.reached, session.header
        if header is None:
            raise AssertionError(f"A payment session that is {session.state.value} has nothing to pay with.")
        return {PAYMENT_SIGNATURE: header}

    def judge(self, head: ReplyHead, now: int) -> Verdict:
        """Return what the answer's head means, and move the session on."""
        return self._in_session(head, now) if self._named else self._first(head, now)

    def _first(self, head: ReplyHead, now: int) -> Verdict:
        """Judge the answer to the payment itself."""
        sessions, session = self._sessions, self._session
        try:
            session_id = parse_session(head)
            required = parse_payment_required(head) if head.status == 402 else None
        except (MalformedReplyError, MalformedOfferError) as exc:
            sessions.ended(session, Event.LOST)
            said = f"The payment was sent, and its answer is broken: {exc}"
            return Verdict(outcome=Outcome.DOUBTFUL, reason=said, cause=exc)
        if head.status == 402:
            if self._reached:
                # An authorization that an earlier call brought to the gateway, and whose session is over.
                sessions.ended(session, Event.ENDED)
                return OVER
            # Schemes that settle each request say there what became of the payment, and make no offer.
            reason = required.error if required is not None else refusal_reason(head) or "Session expired or exhausted"
            sessions.ended(session, Event.REFUSED, refusal=reason)
            return Verdict(outcome=Outcome.REFUSED, reason=reason)
        # A facilitator's fault is a 502 or 500 with neither session
        # nor offer (docs/protocol.md §3.5): money may have moved.
        if session_id is None and not 200 <= head.status < 300:
            return self._doubt(f"HTTP {head.status} to a signed payment, with neither a session nor an offer")
        # Without a session (one payment per request) the authorization is used up.
        event = Event.SERVED if session_id is None else Event.ACCEPTED
        sessions.ended(session, event, session_id=session_id, now=now)
        return ANSWERED

    def _in_session(self, head: ReplyHead, now: int) -> Verdict:
        """Judge the answer to a request that named the session."""
        if head.status == 402:
            # Idle, near its deadline or exhausted: all three look alike, and are the normal end of a session.
            self._sessions.ended(self._session, Event.ENDED, now=now)
            return OVER
        if head.status >= 500 and not head.names_session:
            # None of the gateway's own: a proxy before it gave up, while the answer was made and charged.
            return self._doubt(f"HTTP {head.status} within a session, without naming it")
        self._sessions.answered(self._session, now)
        return ANSWERED

    def _doubt(self, answered: str) -> Verdict:
        self.lost()
        said = (
            f"The gateway {self.route.host} answered {answered}: it may have been charged. It was not repeated; the "
            "authorization counts against the budget until its fate is known."
        )
        return Verdict(outcome=Outcome.DOUBTFUL, reason=said)

    def event(self, name: str, data: JsonObject) -> None:
        """Leave it: sessions are charged behind the scenes, and no event says anything of them."""

    def ended(self) -> None:
        """Do nothing: the session has gone on since the answer's head, for all who share it."""

    def lost(self) -> None:
        """Note that the request left and nothing is known of its answer."""
        self._sessions.ended(self._session, Event.LOST)

    def not_sent(self) -> None:
        """Note that the request never left."""
        self._sessions.left(self._session)

    def gave_up(self, *, failed: bool) -> None:
        """Note that the call ends before the session was signed; a cancelled call fails nobody else."""
        board = self._sessions.board
        # Otherwise other processes would wait out the turn of a call that is gone.
        if board is not None and self._name:
            board.tell_left(self.route, self._name)
        self._sessions.gave_up(self._session, self, failed=failed)

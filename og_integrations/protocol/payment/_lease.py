"""
This module is the seam between a request that has to be paid and the x402 scheme by which it is paid.

A `PaymentScheme` reads what a gateway asks for, and gives each request a `Lease`: its right to be sent. The flow
(`_flow.payment_flow`) keeps the rules, whatever the scheme: the budget counts before a key is asked, one request has
a lease signed at most once, only what provably was not processed is repeated, and what left with a signature ends in
an answer or in doubt. A lease says what differs between schemes: what is counted and signed, which headers leave, and
what an answer, and what follows it, means. Neither does I/O; work that waits for a store is handed to the flow (`Ask`,
`Lease.persist`).

| scheme | a lease | where |
| --- | --- | --- |
| `upto` | is shared by all calls of a route; signed once for its session | `_upto`, on the machine of `_session` |
| `batch-settlement` | is one call's alone; signed for each request, some with a deposit | not paid by (`schemes`) |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, NamedTuple, Protocol, TypeVar

from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._budget import Budget, Hold
from og_integrations.protocol.payment._policy import PaymentRequest
from og_integrations.protocol.payment._x402 import PaymentRequirements, ReplyHead, Route
from og_integrations.protocol.payment.schemes import Authorization

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """`work` asks a store, which may wait; `then` makes of its answer what was to be returned."""

    work: Callable[[], object]
    then: "Callable[[object], T | Ask[T]]"


class Wait(NamedTuple):
    """This tells that another call has what this one needs; look again after so many seconds."""

    seconds: float


class NeedTerms(Enum):
    """Nothing is known that could be signed: the gateway has to be asked what it wants."""

    NEED_TERMS = "need terms"


NEED_TERMS = NeedTerms.NEED_TERMS


class Signable(Protocol):
    """This is what a key is asked to sign."""

    def typed_data(self) -> JsonObject:
        """Return the whole EIP-712 message."""
        ...

    def digest(self) -> bytes:
        """Return the 32 bytes that are signed."""
        ...


class Signing(NamedTuple):
    """A signing is one signature that a lease needs: that of the key of the address `signer` under `message`."""

    signer: str
    message: Signable


class Demand(NamedTuple):
    """
    A demand claims a part of the budget: `amount` base units of what `authorization` allows (None: no chain has it).

    `locks` says that the money comes back unless it is charged, such as a deposit. It counts like what is spent.
    """

    amount: int
    authorization: Authorization | None = None
    locks: bool = False


class Drawn(NamedTuple):
    """This holds what was drawn up for a lease at the unix time `at`: `demands`, each with its hold."""

    demands: Sequence[Demand]
    holds: Sequence[Hold]
    at: int


class Turn(Enum):
    """A turn says what a call has to do until the lease that it shares is signed."""

    MINE = "claim, ask and sign it, as far as that is not done, and then `signed` or `gave_up`"
    WAIT = "another call does; look again"
    DONE = "it is signed"
    AGAIN = "it cannot be used any more: get another lease"


class Outcome(Enum):
    """An outcome says what the head of an answer means for the request that left with a lease."""

    ANSWERED = "it was processed, whatever came of it"
    OVER = "the lease was over before the request was looked at: ask again, with another one"
    BUSY = "the request was not looked at: the very same one may be sent again after a while"
    REFUSED = "the payment was not taken"
    DOUBTFUL = "it may have been charged, and nobody says so"


class Verdict(NamedTuple):
    """
    A verdict is an outcome, and what its error says: the gateway's own `reason` of a refusal, or what is doubtful.

    A refusal is `retryable` if it says why the next request, not this one, will be served. `cause` is the error that
    made it doubtful; `seconds` is how long to wait before what is busy is sent again.
    """

    outcome: Outcome
    reason: str = ""
    retryable: bool = False
    cause: Exception | None = None
    seconds: float = 0.0


ANSWERED, OVER = Verdict(outcome=Outcome.ANSWERED), Verdict(outcome=Outcome.OVER)


class Grant(Protocol):
    """A grant is what pays for a call, as its receipt, its errors and its budget show it."""

    @property
    def route(self) -> Route:
        """Return what it is bound to."""
        ...

    @property
    def requirements(self) -> PaymentRequirements:
        """Return the offer that it was made of."""
        ...

    @property
    def authorization(self) -> Authorization:
        """Return what was signed."""
        ...

    @property
    def hold(self) -> Hold:
        """Return what the budget counts for it."""
        ...

    @property
    def session_ref(self) -> str | None:
        """Return what may be shown of the gateway's name for it; None if it has none."""
        ...

    @property
    def secrets(self) -> Sequence[Secret]:
        """Return what nobody may be shown: who has one of them can spend."""
        ...

    def reports(self, cost: int) -> int | None:
        """
        Add what the gateway says an answer cost (base units, not signed).

        Returns the sum the first time that it is above what was signed, otherwise None.
        """
        ...


class Lease(Protocol):
    """
    A lease is one request's right to be sent. Each ends in `lost`, `not_sent` or `gave_up`, or in `judge`; one that
    was answered goes on until `ended`, since how a request was charged may stand behind the answer's body.
    """

    @property
    def own(self) -> bool:
        """Return whether this request had it made, so that nobody else can have used it up."""
        ...

    @property
    def poll(self) -> float:
        """Return the seconds after which a waiting call looks again whose turn it is."""
        ...

    @property
    def grant(self) -> Grant:
        """Return what a receipt shows of it; there is one as soon as it is signed."""
        ...

    @property
    def route(self) -> Route:
        """Return where it is used."""
        ...

    @property
    def unsigned(self) -> bool:
        """Return whether something has to be signed before the request can leave."""
        ...

    def turn(self, now: int, nonce: Callable[[], int]) -> "Turn | Ask[Turn]":
        """
        Return what to do at unix time `now`; `nonce` makes names that nobody else has.

        Raises `SigningError` if it failed for a call that shares it.
        """
        ...

    @property
    def claimed(self) -> bool:
        """Return whether the budget has counted it."""
        ...

    def claims(self, now: int, nonce: Callable[[], int]) -> Sequence[Demand]:
        """Return what the budget has to count, for a lease that is drawn up at unix time `now`."""
        ...

    def count(self, drawn: Drawn) -> bool:
        """Keep what was counted; False if the turn is another call's by now, and its holds are to be released."""
        ...

    @property
    def holds(self) -> Sequence[Hold]:
        """Return what the budget counts for it."""
        ...

    @property
    def agreed(self) -> bool:
        """Return whether the owner allows it, or need not be asked."""
        ...

    def request(self, authorized: int) -> PaymentRequest:
        """Return what the owner is asked, who has authorized so much (base units) before."""
        ...

    def agree(self) -> None:
        """Note that the owner allows it."""
        ...

    def unsigned_parts(self) -> Sequence[Signing]:
        """Return what is to be signed, in the order of their signatures."""
        ...

    def sign(self, signatures: Sequence[Secret]) -> None:
        """Take the signatures (0x-hex, checked) of `unsigned_parts`."""
        ...

    def persist(self) -> Callable[[], object] | None:
        """Return what has to be done, and may wait for a store, before the request leaves."""
        ...

    @property
    def expires_at(self) -> int:
        """Return the unix time from which the request must not leave with it."""
        ...

    def refusal(self) -> str | None:
        """Return why a gateway refused what this call would send, if another call was told; None if none was."""
        ...

    def headers(self) -> Mapping[str, Secret]:
        """Return the headers that pay."""
        ...

    def judge(self, head: ReplyHead, now: int) -> Verdict:
        """Return what the answer's head means, and note it."""
        ...

    def event(self, name: str, data: JsonObject) -> None:
        """
        Take an event of the stream that has a `name` of its own, and follows the signed one.

        Nobody signs its `data`: what is of another form than expected is left, since the answer was paid for.
        """
        ...

    def ended(self) -> None:
        """Note that nothing more comes of an answer: its body was read to its end, or cut, or left."""
        ...

    def lost(self) -> None:
        """Note that the request left and nothing is known of its answer."""
        ...

    def not_sent(self) -> None:
        """Note that the request never left."""
        ...

    def gave_up(self, *, failed: bool) -> None:
        """Note that the call ends before it was signed; what `failed` fails for all who share it."""
        ...


class PaymentScheme(Protocol):
    """A scheme pays in one way, for one wallet and one budget."""

    @property
    def name(self) -> str:
        """Return the x402 name of the scheme."""
        ...

    @property
    def budget(self) -> Budget:
        """Return what counts what it signs."""
        ...

    def terms(self, raw: JsonObject, route: Route) -> PaymentRequirements:
        """Read one way to pay that a gateway offers. Raises `MalformedOfferError`, or an `OfferRefusedError`."""
        ...

    def lease(
        self, route: Route, terms: PaymentRequirements | None, now: int
    ) -> "Lease | NeedTerms | Wait | Ask[Lease | NeedTerms | Wait]":
        """
        Return the lease for a request to `route` at unix time `now`.

        `terms` are those that the gateway was just heard to want, None if it was not asked. Raises
        `OfferRefusedError` if what is remembered of it is not allowed any more.
        """
        ...

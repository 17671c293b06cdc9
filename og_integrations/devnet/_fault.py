"""
A `Fault` is a name and a few small functions, one per place where the devnet can lie or break.

The devnet passes everything it makes through the `RequestFaults` of the request, which applies the faults that
are armed; with none armed it changes nothing. One fault counts one use per request, however many of its places
that request passes.
"""

import contextlib
import functools
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from og_integrations.devnet._attestation import Claims
from og_integrations.devnet._enclave import EnclaveKeys, Output, StreamEvent
from og_integrations.devnet._http import Channel, Pieces, Reply, Request, WireFault
from og_integrations.devnet._journal import Exchange
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._inference import InferenceEvent, ModelOutput
from og_integrations.protocol.proof._enclave import Enclave

_T = TypeVar("_T")
Events = AsyncGenerator[StreamEvent, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    One way to lie or break. `about` says in one line what is done; every other member is a place.

    offer            the 402's content, before it is encoded
    offer_reply      the 402 itself
    offer_wire       the bytes of the 402
    refuse_payment   refuse every payment with this word
    expire_session   the session is gone
    margin           for which share of its life, at its end, a payer's n-th session is not served
    instead          answer this after paying, without session header
    hashed_request   the parsed request, before it is hashed
    output           what the model said, before it is signed
    timestamp        the signed time, unix seconds
    as_impostor      sign with a key that no registry knows
    signed           the JSON answer, after signing
    events           the events of a stream, after signing
    stolen_session   name another payer's session
    elsewhere        redirect whoever paid to a server that is no gateway
    reply            status and headers of a paid answer
    wire             the bytes of a paid answer
    whole_wire       the same, if it is not streamed
    stream_wire      the same, if it is
    settle_data      the facilitator's error when it is to post an `individual` answer
    certificate      show another certificate in the TLS handshake
    registry         what `getActiveTEEs` lists
    invents          what it lists, given what somebody else has set up: an enclave of his own, and a relay
    rpc              the node's answer
    attestation      what an enclave's document says, before it is signed; None: there is no document
    signing_key      what `/signing-key` shows
    relay            the relay's answer, which was sealed
    replays_answer   the relay answers with what was sealed for another request
    swaps_enclave    the relay asks another enclave
    keeps_billing    the relay leaves the frame about the cost in a stream

    Unless `spoils` is False, an answer that it has changed must not be accepted.
    """

    name: str
    about: str
    spoils: bool = True
    offer: Callable[[JsonObject], JsonObject] | None = None
    offer_reply: Callable[[Reply], Reply] | None = None
    offer_wire: WireFault | None = None
    refuse_payment: str | None = None
    expire_session: bool | None = None
    margin: Callable[[int], float] | None = None
    instead: Callable[[Request], Reply] | None = None
    hashed_request: Callable[[JsonObject], JsonObject] | None = None
    output: Callable[[Output], Output] | None = None
    timestamp: Callable[[int], int] | None = None
    as_impostor: bool | None = None
    signed: Callable[[JsonObject], JsonObject] | None = None
    events: Callable[[Events], Events] | None = None
    stolen_session: bool | None = None
    elsewhere: bool | None = None
    reply: Callable[[Reply], Reply] | None = None
    wire: WireFault | None = None
    whole_wire: WireFault | None = None
    stream_wire: WireFault | None = None
    settle_data: str | None = None
    certificate: bool | None = None
    registry: Callable[[list[Enclave]], list[Enclave]] | None = None
    invents: "Callable[[list[Enclave], Strangers], list[Enclave]] | None" = None
    rpc: Callable[[], Reply] | None = None
    attestation: Callable[[Claims], Claims | None] | None = None
    signing_key: Callable[[JsonObject], JsonObject] | None = None
    relay: Callable[[Reply], Reply] | None = None
    replays_answer: bool | None = None
    swaps_enclave: bool | None = None
    keeps_billing: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """
    What somebody else runs, as a registry would list it.

    `enclave` is a real one that runs a program of his own; `relay` hands all that it hears on to an enclave of the
    devnet, and reads it.
    """

    enclave: Enclave
    relay: Enclave


@dataclass(slots=True, eq=False)
class Armed:
    """
    A fault that waits: for `left` more uses (None: always), at `enclave` (a tee id; None: any).

    `sessions` are those of each payer that it has met, in their order, as `session_ref` shows them.
    """

    fault: Fault
    left: int | None
    enclave: str | None
    sessions: dict[str, list[str]] = field(default_factory=dict)

    def spend(self) -> bool:
        """Use it once, if any use is left."""
        if self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True


@dataclass(slots=True)
class FaultInjector:
    """The armed faults of one devnet, and what some of them need: an impostor's key, the URL of redirects."""

    redirect_target: str
    armed: list[Armed] = field(default_factory=list)
    impostor: EnclaveKeys = field(default_factory=EnclaveKeys, repr=False)
    strangers: Strangers | None = None

    def arm(self, fault: Fault, *, times: int | None, enclave: str | None) -> None:
        """Let `fault` happen `times` times (None: until cleared)."""
        self.armed.append(Armed(fault, times, enclave))

    def for_request(self, exchange: Exchange) -> "RequestFaults":
        """Return what will be done to the answer of `exchange`."""
        return RequestFaults(self, exchange)

    def at(self, enclave: str | None) -> list[Armed]:
        """Return the faults that may act at `enclave`."""
        return [armed for armed in self.armed if armed.enclave in {None, enclave}]

    def in_handshake(self, enclave: str) -> Fault | None:
        """Return the fault by which this handshake shall show the impostor's certificate, if any."""
        return next((armed.fault for armed in self.at(enclave) if armed.fault.certificate and armed.spend()), None)

    def listed(self, enclaves: list[Enclave]) -> list[Enclave]:
        """Return what the registry shall list instead of `enclaves`."""
        for armed in self.armed:
            change = armed.fault.registry
            if armed.fault.invents is not None and self.strangers is not None:
                change = functools.partial(_invented, armed.fault.invents, self.strangers)
            if change is None or not armed.spend():
                continue
            here = [item for item in enclaves if armed.enclave in {None, item.tee_id}]
            others = [item for item in enclaves if armed.enclave not in {None, item.tee_id}]
            enclaves = change(here) + others
        return enclaves

    def attested(self, claims: Claims, enclave: str) -> tuple[Claims | None, list[str]]:
        """Return what the document of `enclave` says instead of `claims` (None: there is none), and by which faults."""
        used = []
        for armed in self.at(enclave):
            if armed.fault.attestation is None or not armed.spend():
                continue
            used.append(armed.fault.name)
            changed = armed.fault.attestation(claims)
            if changed is None:
                return None, used
            claims = changed
        return claims, used

    def signing_key(self, document: JsonObject, enclave: str) -> JsonObject:
        """Return what `/signing-key` shows instead of `document`."""
        for armed in self.at(enclave):
            if armed.fault.signing_key is not None:
                document = armed.fault.signing_key(document)
        return document

    def at_node(self) -> Fault | None:
        """Return the fault by which the node shall answer something else, if any."""
        return next((armed.fault for armed in self.at(None) if armed.fault.rpc and armed.spend()), None)


def _invented(
    invents: Callable[[list[Enclave], Strangers], list[Enclave]], strangers: Strangers, enclaves: list[Enclave]
) -> list[Enclave]:
    return invents(enclaves, strangers)


class RequestFaults:
    """The faults as one request meets them; each use is recorded in the exchange's `faults`."""

    def __init__(self, injector: FaultInjector, exchange: Exchange) -> None:
        self._injector = injector
        self._exchange = exchange
        self._used: list[Armed] = []

    def _at(self, place: Callable[[Fault], _T | None], *, spoils: bool = True) -> list[_T]:
        return [value for _, value in self._met(place, spoils=spoils)]

    def _met(self, place: Callable[[Fault], _T | None], *, spoils: bool) -> list[tuple[Fault, _T]]:
        found = []
        for armed in self._injector.at(self._exchange.enclave):
            value = place(armed.fault)
            if value is None or not self._uses(armed):
                continue
            if spoils:
                self._spoil(armed.fault)
            found.append((armed.fault, value))
        return found

    def _uses(self, armed: Armed) -> bool:
        if armed in self._used:
            return True
        if not armed.spend():
            return False
        self._used.append(armed)
        self._exchange.faults.append(armed.fault.name)
        return True

    def _spoil(self, fault: Fault) -> None:
        self._exchange.spoiled = self._exchange.spoiled or fault.spoils

    def _changed(self, value: _T, place: Callable[[Fault], Callable[[_T], _T] | None]) -> _T:
        """Apply the changes of one place; one that found nothing to change spoils nothing."""
        for fault, change in self._met(place, spoils=False):
            changed = change(value)
            if changed != value:
                self._spoil(fault)
            value = changed
        return value

    def offer(self, content: JsonObject) -> JsonObject:
        """Return the content of the offer."""
        return self._changed(content, lambda fault: fault.offer)

    def offer_reply(self, reply: Reply) -> Reply:
        """Return the 402 and its bytes."""
        for change in self._at(lambda fault: fault.offer_reply):
            reply = change(reply)
        reply.wire = _chained(self._at(lambda fault: fault.offer_wire))
        return reply

    def refuses_payment(self) -> str | None:
        """Return the word with which a good payment is refused, None to take it."""
        return next(iter(self._at(lambda fault: fault.refuse_payment)), None)

    def expires_session(self) -> bool:
        """Return whether the shown session is gone."""
        return bool(self._at(lambda fault: fault.expire_session))

    def margin(self, session: str, payer: str) -> float | None:
        """Return the share of its life for which `session` is not served at its end; None: the generation's own."""
        for armed in self._injector.at(self._exchange.enclave):
            if armed.fault.margin is not None and self._uses(armed):
                met = armed.sessions.setdefault(payer, [])
                if session not in met:
                    met.append(session)
                return armed.fault.margin(met.index(session))
        return None

    def instead(self, request: Request) -> Reply | None:
        """Return what is answered after paying, without asking the gateway."""
        return next((make(request) for make in self._at(lambda fault: fault.instead)), None)

    def names_stolen_session(self) -> bool:
        """Return whether the answer names another payer's session."""
        return bool(self._at(lambda fault: fault.stolen_session))

    def hashed_request(self, request: JsonObject) -> JsonObject:
        """Return the request that is signed for."""
        return self._changed(request, lambda fault: fault.hashed_request)

    def output(self, output: Output) -> Output:
        """Return the output that is signed and sent."""
        return self._changed(output, lambda fault: fault.output)

    def timestamp(self, seconds: int) -> int:
        """Return the signed time."""
        return self._changed(seconds, lambda fault: fault.timestamp)

    def keys(self, honest: EnclaveKeys) -> EnclaveKeys:
        """Return whose key signs."""
        return self._injector.impostor if self._at(lambda fault: fault.as_impostor) else honest

    def signed(self, body: JsonObject) -> JsonObject:
        """Return the JSON answer."""
        return self._changed(body, lambda fault: fault.signed)

    def events(self, events: Events) -> Events:
        """Return the events of a stream."""
        for fault, change in self._met(lambda fault: fault.events, spoils=False):
            events = _compared(events, change, functools.partial(self._spoil, fault))
        return events

    def reply(self, reply: Reply) -> Reply:
        """Return a paid answer and its bytes."""
        if self._at(lambda fault: fault.elsewhere):
            reply = Reply(
                status=307, headers=[("Location", f"{self._injector.redirect_target}/stolen"), *reply.headers]
            )
        for change in self._at(lambda fault: fault.reply):
            reply = change(reply)
        faults = self._at(lambda fault: fault.wire)
        if isinstance(reply.body, bytes):
            faults += self._at(lambda fault: fault.whole_wire)
        else:
            faults += self._at(lambda fault: fault.stream_wire)
        reply.wire = _chained(faults)
        return reply

    def at_relay(self, reply: Reply) -> Reply:
        """Return the relay's answer."""
        for change in self._at(lambda fault: fault.relay):
            reply = change(reply)
        return reply

    def replays_answer(self) -> bool:
        """Return whether the relay answers with what was sealed for another request."""
        return bool(self._at(lambda fault: fault.replays_answer))

    def swaps_enclave(self) -> bool:
        """Return whether the relay asks another enclave."""
        return bool(self._at(lambda fault: fault.swaps_enclave))

    def keeps_billing(self) -> bool:
        """Return whether the relay leaves the billing frame in a stream."""
        return bool(self._at(lambda fault: fault.keeps_billing))

    def settle_data_error(self) -> str | None:
        """Return why the facilitator did not post the answer, None if it did."""
        return next(iter(self._at(lambda fault: fault.settle_data)), None)


async def _compared(events: Events, change: Callable[[Events], Events], differs: Callable[[], None]) -> Events:
    """Yield what `change` makes of `events`, and call `differs` as soon as that is something else."""
    behind: deque[bytes] = deque()

    async def honest() -> Events:
        async for event in events:
            behind.append(event.encode())
            yield event

    differing = False
    async with contextlib.aclosing(change(honest())) as changed:
        async for event in changed:
            if not differing and (not behind or behind.popleft() != event.encode()):
                differing = True
                differs()
            yield event
    if not differing and behind:
        differs()


def _chained(faults: list[WireFault]) -> WireFault | None:
    if not faults:
        return None

    def wire(pieces: Pieces, channel: Channel) -> Pieces:
        for fault in faults:
            pieces = fault(pieces, channel)
        return pieces

    return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFault:
    """
    One way in which the chain or its node lies or breaks.

    `output` changes what a model answers, `receipt` what is said of a mined transaction, `call` the answer to a
    JSON-RPC call (None: anvil's own), `drops` whether a transaction is forgotten after it was taken, `reverts`
    whether it fails although its estimate did not, `loses` whether the node takes it and answers with an error,
    `ignores_tasks` whether the scheduler calls nobody. After `times` uses of `call` it is over. `spoils` says that a
    client may not take the result.
    """

    name: str
    about: str
    spoils: bool = True
    output: Callable[[ModelOutput], ModelOutput] | None = None
    event: Callable[[InferenceEvent], InferenceEvent] | None = None
    receipt: Callable[[JsonObject], JsonObject | None] | None = None
    call: Callable[[str], object] | None = None
    drops: bool = False
    reverts: bool = False
    loses: bool = False
    ignores_tasks: bool = False
    times: int | None = None
    api: Callable[[list[str]], list[str]] | None = None

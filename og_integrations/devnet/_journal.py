"""
The journal holds what the devnet saw and did: the ground truth with which a client's claims are compared.

Each request is recorded with a fingerprint of its question, by which it is recognised when it comes again. What a
client may change while it merely tries again is left out of it: `stream`, the nonce (docs/protocol.md §4.6), and all
that gateways ignore (docs/protocol.md §4).
"""

import contextlib
import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field

from og_integrations.devnet._http import Peer, Reply, Request
from og_integrations.devnet.model._model import last_user_text
from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.payment._x402 import PAYMENT_SIGNATURE, SESSION, SettlementMode, session_ref
from og_integrations.protocol.proof._canonical import RULES, request_hash, without_nonce

SETTLEMENT_TYPE = "X-SETTLEMENT-TYPE"
_SIGNATURE_DIGITS = 130


@dataclass(slots=True, kw_only=True)
class Answering:
    """
    How the answer to something went. `began` and `ended_at` are seconds of a clock that only goes forward.

    `answered` says that the answer's head left while the peer was there; `ended` is `"open"`,
    `"complete"`, or `"cut"` when not all of the answer left.
    """

    began: float = 0.0
    ended: str = "open"
    ended_at: float | None = None
    answered: bool = False
    peer: Peer = field(default_factory=Peer, repr=False)

    @property
    def over_at(self) -> float | None:
        """Return when the client had all that it was to get: the answer's end, or its own leaving."""
        return min((at for at in (self.ended_at, self.peer.left_at) if at is not None), default=None)


@dataclass(slots=True, kw_only=True)
class FaultMet(Answering):
    """A request to the node, or a TLS handshake, that met the fault of that name."""

    fault: str


@dataclass(slots=True, kw_only=True)
class Exchange(Answering):
    """
    This is one request to a gateway. `at` is unix seconds.

    `paid_by` is how it asked to be served: `"nothing"`, `"payment"` (a signed authorization) or
    `"session"`; `authorization` and `session` are the references of what it showed or got, never
    the secrets, and `payer` (lower case) whose money that is, None if it is nobody's. `prompt` is the
    last user text (or the prompt) if the body could be read. `status` is 0 until the answer's head is
    decided. `impostor` marks a request that came over a channel showing a wrong certificate, or to a
    server that is no gateway. `faults` names what was done to the answer; `spoiled` says that it must not be
    accepted for that reason.

    `body` is a fingerprint of path and body: equal bytes, equal text. `question` is one of what was
    asked, the same for those that merely try again; `hashes` what a receipt may name as its
    request hash (hex). `refused` is the paywall's word against the payment, `sessions_named` the
    references of the sessions that the answer named, `settlement_word` the X-SETTLEMENT-TYPE as it was
    written. `signature` is what an enclave really signed (base64), with its two hashes (hex); `said` is
    the model's whole text. `listed` says whether any answer of the registry so far vouched for this
    enclave, None if nobody asked it. `sealed` says that it came over the sealed channel (path, prompt and hashes are
    those of what was sealed), `relayed` that a relay brought it and paid.
    """

    number: int
    at: float
    enclave: str
    connection: int
    method: str
    path: str
    paid_by: str = "nothing"
    authorization: str | None = None
    session: str | None = None
    prompt: str | None = None
    settlement: str | None = None
    status: int = 0
    impostor: bool = False
    faults: list[str] = field(default_factory=list)
    spoiled: bool = False
    body: str = ""
    question: str = ""
    hashes: tuple[str, ...] = ()
    payer: str | None = None
    streamed: bool = False
    refused: str | None = None
    sessions_named: list[str] = field(default_factory=list)
    settlement_word: str | None = None
    signature: str | None = None
    request_hash: str | None = None
    output_hash: str | None = None
    said: str | None = None
    listed: bool | None = None
    sealed: bool = False
    relayed: bool = False


@dataclass(slots=True, kw_only=True)
class AuthorizationSeen:
    """
    This is one distinct PAYMENT-SIGNATURE text that reached a gateway. Amounts are base units.

    `ref` is the first 16 hex of the text's sha256; `digest` the EIP-712 digest (0x-hex, None if
    the payload could not be read); `times` how often the text came; `refused` the gateway's word
    if it was never accepted; `session` what it opened. `relayed`: it is the relay's, which pays for others.
    """

    ref: str
    enclave: str
    path: str
    digest: str | None = None
    payer: str | None = None
    pay_to: str | None = None
    token: str | None = None
    chain_id: int = 0
    amount: int = 0
    nonce: int = 0
    deadline: int = 0
    times: int = 0
    refused: str | None = None
    session: str | None = None
    relayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StrayCredential:
    """A session or payment (its `ref`) shown where nothing is paid for; `enclave` is "" if it is none's."""

    ref: str
    enclave: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one answer cost, in base units. `refused`: it was over the rest of the cap, served free."""

    exchange: int
    session: str
    amount: int
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    The end of one session on the chain: `amount` base units moved from `payer` to `pay_to`.

    `error` is the revert's name if the transaction failed (then nothing moved), else None.
    """

    session: str
    payer: str
    pay_to: str
    amount: int
    nonce: int
    transaction_hash: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettlement:
    """
    What the facilitator posted about one answer: hashes (`batch`) or everything (`individual`).

    `published` is the plaintext that `individual` puts on Walrus, None for `batch`.
    """

    exchange: int
    mode: str
    request_hash: str
    output_hash: str
    transaction_hash: str | None = None
    blob_id: str | None = None
    published: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """
    This is the journal in numbers.

    `requests` are those to the gateways' paid paths (and to the target of a redirect); `payments`
    distinct authorizations accepted; `signatures` distinct authorizations seen, accepted or not (the relay's aside);
    `charged` and `settled` base units; `handshakes` TLS handshakes begun, `connections` those accepted;
    `attestations` documents asked for.
    """

    requests: int
    statuses: dict[int, int]
    signatures: int
    payments: int
    sessions: int
    charges: int
    charged: int
    settlements: int
    settled: int
    handshakes: int
    connections: int
    attestations: int
    rpc_calls: dict[str, int]


@dataclass(slots=True)
class Journal:
    """Lists of everything, in order. Written on the devnet's loop only; `secrets` never printed."""

    exchanges: list[Exchange] = field(default_factory=list)
    faults_met: list[FaultMet] = field(default_factory=list)
    authorizations: dict[str, AuthorizationSeen] = field(default_factory=dict)
    stray_credentials: list[StrayCredential] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    data_settlements: list[DataSettlement] = field(default_factory=list)
    rpc_calls: Counter[str] = field(default_factory=Counter)
    attestations: int = 0
    services: "list[ServiceCall]" = field(default_factory=list)
    secrets: set[str] = field(default_factory=set, repr=False)

    def keep_secret(self, signature: str) -> None:
        """Keep the hex of a permit's signature, 0x or not: with the permit, which is no secret, it is a payment."""
        if len(signature) >= _SIGNATURE_DIGITS:
            self.secrets.add(signature.removeprefix("0x"))

    def prompts(self, enclave: str | None = None) -> list[str]:
        """Return the prompts seen, by one enclave (tee id) or by all, in order."""
        return [
            exchange.prompt
            for exchange in self.exchanges
            if exchange.prompt is not None and enclave in {None, exchange.enclave}
        ]

    def stats(self, *, handshakes: int, connections: int) -> Stats:
        """Return the numbers; the two that only servers know are given."""
        seen = [item for item in self.authorizations.values() if not item.relayed]
        return Stats(
            requests=len(self.exchanges),
            statuses=dict(Counter(exchange.status for exchange in self.exchanges)),
            signatures=len(seen),
            payments=sum(authorization.session is not None for authorization in seen),
            sessions=len(self.sessions),
            charges=sum(not charge.refused for charge in self.charges),
            charged=sum(charge.amount for charge in self.charges if not charge.refused),
            settlements=len(self.settlements),
            settled=sum(item.amount for item in self.settlements if item.error is None),
            handshakes=handshakes,
            connections=connections,
            attestations=self.attestations,
            rpc_calls=dict(self.rpc_calls),
        )


@dataclass(slots=True, kw_only=True)
class ServiceCall(Answering):
    """
    This is one request to the model hub, its login, or twins.

    `what` names the call, `question` is a fingerprint of all that it asks for, `credential` one of what it showed.
    `changed` says that it made something; `lost` that a fault then kept the answer back.
    """

    what: str
    question: str
    credential: str
    status: int = 0
    changed: bool = False
    lost: bool = False
    faults: list[str] = field(default_factory=list)


NOT_JSON = object()
"""Stands for a body that is none."""


def parsed(request: Request) -> object:
    """Return the body's JSON, None if there is no body, or `NOT_JSON`."""
    if not request.body:
        return None
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return NOT_JSON


def record_exchange(
    request: Request, journal: Journal, *, enclave: str, at: float, listed: bool | None = None
) -> Exchange:
    """Add `request` to `journal`, as one to `enclave` at unix time `at`; return the entry."""
    content = parsed(request)
    body = hashlib.sha256(request.path.encode() + b"\0" + request.body).hexdigest()[:16]
    asked = without_nonce(request.path, content) if isinstance(content, dict) else content
    hashes = _hashes(request.path, asked)
    exchange = Exchange(
        number=len(journal.exchanges) + 1,
        at=at,
        enclave=enclave,
        connection=request.connection,
        method=request.method,
        path=request.path,
        prompt=_prompt_of(content),
        settlement=mode_of(request),
        settlement_word=request.header(SETTLEMENT_TYPE),
        impostor=request.impostor,
        body=body,
        question=hashes[0] if hashes else body,
        hashes=_hashes(request.path, content),
        began=time.monotonic(),
        peer=request.peer,
        listed=listed,
    )
    journal.exchanges.append(exchange)
    return exchange


def record_stray_credentials(request: Request, journal: Journal, *, enclave: str, place: str) -> None:
    """Note in `journal` what `request`, which is to pay for nothing, shows all the same."""
    session, payment = request.header(SESSION), request.header(PAYMENT_SIGNATURE)
    if session:
        journal.stray_credentials.append(StrayCredential(ref=session_ref(session), enclave=enclave, place=place))
    if payment:
        journal.stray_credentials.append(StrayCredential(ref=payment_key(payment)[:16], enclave=enclave, place=place))


def tracked(reply: Reply, entry: Answering) -> Reply:
    """Return `reply`, which will note in `entry` how far it gets."""

    def begin() -> None:
        entry.answered = True

    def end(complete: bool) -> None:
        entry.ended = "complete" if complete else "cut"
        entry.ended_at = time.monotonic()

    reply.on_begin, reply.on_end = begin, end
    return reply


def _hashes(path: str, body: object) -> tuple[str, ...]:
    found: list[str] = []
    if not isinstance(body, dict):
        return ()
    for rule in RULES:
        with contextlib.suppress(InvalidRequestError, RecursionError):
            found.append(request_hash(path, body, rule).hex())
    return tuple(dict.fromkeys(found))


def _prompt_of(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    prompt = body.get("prompt", body.get("query"))
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return "\n".join(text for text in prompt if isinstance(text, str))
    messages = body.get("messages")
    if not isinstance(messages, list):
        return None
    return last_user_text([message for message in messages if isinstance(message, dict)])


def mode_of(request: Request) -> str:
    """Return how `request` asks to be settled; anything unknown, and nothing at all, means batch."""
    return _known_mode(request.header(SETTLEMENT_TYPE) or "") or SettlementMode.BATCH_HASHED.value


def is_known_mode(word: str) -> bool:
    """Return whether `word` names a settlement mode to gateways, which ignore case, blanks, `-` and `_`."""
    return _known_mode(word) is not None


def _known_mode(word: str) -> str | None:
    squashed = word.lower().replace(" ", "").replace("-", "").replace("_", "")
    return squashed if squashed in {mode.value for mode in SettlementMode} else None


def payment_key(header: str) -> str:
    """Return the key of a payment: sha256 of the PAYMENT-SIGNATURE text (not of what it says)."""
    return hashlib.sha256(header.encode("latin-1", "replace")).hexdigest()

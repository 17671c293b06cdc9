"""What the devnet saw and did: the ground truth that tests compare a client's claims with."""

from collections import Counter
from dataclasses import dataclass, field

from og_integrations.devnet.gateway.http import Peer

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
        """When the client had all that it was to get: the answer's end, or its own leaving."""
        return min((at for at in (self.ended_at, self.peer.left_at) if at is not None), default=None)


@dataclass(slots=True, kw_only=True)
class Encounter(Answering):
    """A request to the node, or a TLS handshake, that met the fault of that name."""

    fault: str


@dataclass(slots=True, kw_only=True)
class Exchange(Answering):
    """
    One request to a gateway. `at` is unix seconds.

    `paid_by` is how it asked to be served: `"nothing"`, `"payment"` (a signed authorization) or
    `"session"`; `authorization` and `session` are the references of what it showed or got, never
    the secrets, and `payer` (lower case) whose money that is, None if it is nobody's. `prompt` is the
    last user text (or the prompt) if the body could be read. `status` is 0 until the answer's head is
    decided. `impostor` marks a request that came over a channel showing a wrong certificate, or to a
    stranger. `faults` names what was done to the answer; `spoiled` says that it must not be accepted for
    that reason.

    `body` is a fingerprint of path and body: equal bytes, equal text. `question` is one of what was
    asked, the same for those that merely try again (`entries`); `hashes` what a receipt may name as its
    request hash (hex). `refused` is the paywall's word against the payment, `told_sessions` the
    references of the sessions that the answer named, `settlement_word` the X-SETTLEMENT-TYPE as it was
    written. `signature` is what an enclave really signed (base64), with its two hashes (hex); `said` is
    the model's whole text. `listed` says whether any answer of the registry so far vouched for this
    enclave, None if nobody asked it.
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
    told_sessions: list[str] = field(default_factory=list)
    settlement_word: str | None = None
    signature: str | None = None
    request_hash: str | None = None
    output_hash: str | None = None
    said: str | None = None
    listed: bool | None = None


@dataclass(slots=True, kw_only=True)
class AuthorizationSeen:
    """
    One distinct PAYMENT-SIGNATURE text that reached a gateway. Amounts are base units.

    `ref` is the first 16 hex of the text's sha256; `digest` the EIP-712 digest (0x-hex, None if
    the payload could not be read); `times` how often the text came; `refused` the gateway's word
    if it was never accepted; `session` what it opened.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
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
    The journal in numbers.

    `requests` are those to the gateways' paid paths (and to a stranger, after a redirect); `payments`
    distinct authorizations accepted; `signatures` distinct authorizations seen, accepted or not;
    `charged` and `settled` base units; `handshakes` TLS handshakes begun, `connections` those accepted.
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
    rpc_calls: dict[str, int]


@dataclass(slots=True)
class Journal:
    """Lists of everything, in order. Written on the devnet's loop only; `secrets` never printed."""

    exchanges: list[Exchange] = field(default_factory=list)
    encounters: list[Encounter] = field(default_factory=list)
    authorizations: dict[str, AuthorizationSeen] = field(default_factory=dict)
    strays: list[Stray] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    data_settlements: list[DataSettlement] = field(default_factory=list)
    rpc_calls: Counter[str] = field(default_factory=Counter)
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
        seen = self.authorizations.values()
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
            rpc_calls=dict(self.rpc_calls),
        )

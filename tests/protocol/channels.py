"""
A second scheme behind the flow: payment channels, as far as their bytes are known (`schemes.batch_settlement`).

No wallet pays by it yet. It is here to use every part of the seam that `upto` leaves alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from og_integrations.errors import MalformedReplyError
from og_integrations.networks import PERMIT2_ADDRESS
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import address_word, selector, uint_word
from og_integrations.protocol.payment._budget import Budget, Hold
from og_integrations.protocol.payment._lease import (
    ANSWERED,
    NEED_TERMS,
    Demand,
    Drawn,
    Grant,
    NeedTerms,
    Outcome,
    Signing,
    Turn,
    Verdict,
    Wait,
)
from og_integrations.protocol.payment._policy import PaymentRequest
from og_integrations.protocol.payment._x402 import (
    PAYMENT_RESPONSE,
    PAYMENT_SIGNATURE,
    PaymentRequirements,
    ReplyHead,
    Route,
    encode_payment,
    parse_payment_required,
    parse_requirements,
    parse_settlement,
    refusal_reason,
)
from og_integrations.protocol.payment.schemes._batch_settlement import (
    SCHEME,
    Deposit,
    Voucher,
    channel_id,
    channel_salt,
    payment_payload,
    read_correction,
    read_terms,
)
from og_integrations.protocol.payment.schemes._settlement import Chain, Reading, Settlement, SettlementStatus
from og_integrations.receipt import ReceiptPayment

LIFETIME = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class VoucherAuthorization:
    """A voucher as a receipt shows it; the chain never tells of one request."""

    voucher: Voucher
    payer: str
    asset: str
    deadline: int = 2**63

    @property
    def chain_id(self) -> int:
        return self.voucher.chain_id

    @property
    def amount(self) -> int:
        return self.voucher.max_claimable

    def typed_data(self) -> JsonObject:
        return self.voucher.typed_data()

    def digest(self) -> bytes:
        return self.voucher.digest()

    def payload(self, signature: str) -> JsonObject:
        return self.voucher.payload(signature)

    def to_json(self) -> JsonObject:
        return {"scheme": SCHEME, "voucher": self.voucher.payload("")}

    def in_receipt(self) -> ReceiptPayment:
        return ReceiptPayment(asset=self.asset, payer=self.payer, max_amount=str(self.amount))

    def explain(self, chain: Chain, skew: int = 0) -> Reading[Settlement]:
        yield from ()
        return Settlement(status=SettlementStatus.PENDING)


@dataclass(frozen=True, kw_only=True, eq=False)
class DepositAuthorization:
    """A deposit as the budget counts it; Permit2 says whether it was made."""

    deposit: Deposit
    payer: str

    @property
    def chain_id(self) -> int:
        return self.deposit.chain_id

    @property
    def amount(self) -> int:
        return self.deposit.amount

    @property
    def deadline(self) -> int:
        return self.deposit.deadline

    def typed_data(self) -> JsonObject:
        return self.deposit.typed_data()

    def digest(self) -> bytes:
        return self.deposit.digest()

    def payload(self, signature: str) -> JsonObject:
        return self.deposit.payload(signature)

    def to_json(self) -> JsonObject:
        return {"scheme": SCHEME, "deposit": self.deposit.payload("")}

    def in_receipt(self) -> ReceiptPayment:
        return ReceiptPayment(payer=self.payer, max_amount=str(self.amount), deadline=self.deadline)

    def explain(self, chain: Chain, skew: int = 0) -> Reading[Settlement]:
        number, at = yield from chain.newest()
        nonce = self.deposit.nonce
        assert isinstance(nonce, int)
        data = selector("nonceBitmap(address,uint256)") + address_word(self.payer) + uint_word(nonce >> 8)
        bitmap = yield from chain.view(PERMIT2_ADDRESS, "0x" + data.hex(), number)
        if int.from_bytes(bitmap, "big") >> (nonce & 255) & 1:
            return Settlement(status=SettlementStatus.SETTLED, amount=self.amount)
        over = at > self.deadline + skew
        return Settlement(status=SettlementStatus.UNUSED if over else SettlementStatus.PENDING)


@dataclass(kw_only=True)
class ChannelGrant:
    """What a receipt shows of a channel's payment."""

    route: Route
    requirements: PaymentRequirements
    authorization: VoucherAuthorization
    hold: Hold
    secrets: Sequence[Secret]
    session_ref: str | None = None

    def reports(self, cost: int) -> int | None:
        return None


@dataclass(kw_only=True)
class ChannelScheme:
    """One channel, in memory; `kept` is what a store would have been given before each request left."""

    budget: Budget
    name: str = SCHEME
    known: PaymentRequirements | None = None
    charged: int = 0
    ceiling: int = 0
    deposited: int = 0
    voucher: str = ""
    held: bool = False
    waits: int = 0
    hold: Hold | None = None
    events: list[str] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def terms(self, raw: JsonObject, route: Route) -> PaymentRequirements:
        requirements = parse_requirements(raw)
        read_terms(requirements)
        self.known = requirements
        return requirements

    def lease(self, route: Route, terms: PaymentRequirements | None, now: int) -> "ChannelLease | NeedTerms | Wait":
        if self.known is None:
            return NEED_TERMS
        if self.held:
            self.waits += 1
            return Wait(0.05)
        self.held = True
        return ChannelLease(self, route, self.known, now)


class ChannelLease:
    """One request's turn in the channel."""

    own = False
    poll = 0.05
    agreed = True

    def __init__(self, scheme: ChannelScheme, route: Route, terms: PaymentRequirements, now: int) -> None:
        self.scheme, self.route, self.requirements = scheme, route, terms
        self.wanted = scheme.charged + terms.amount
        self.expires_at = now + LIFETIME
        self.deposit: Deposit | None = None
        self.holds: Sequence[Hold] = ()
        self.header: Secret | None = None
        self.told: int | None = None
        said = read_terms(terms)
        salt = channel_salt(route.host)
        self.config = said.config(payer=route.payer, voucher_signer=route.payer, salt=salt)
        self.channel = channel_id(self.config, chain_id=terms.chain_id)

    @property
    def grant(self) -> Grant:
        assert self.scheme.hold is not None
        return ChannelGrant(
            route=self.route,
            requirements=self.requirements,
            authorization=VoucherAuthorization(
                voucher=self._voucher, payer=self.route.payer, asset=self.requirements.asset
            ),
            hold=self.scheme.hold,
            secrets=() if self.header is None else (self.header,),
        )

    @property
    def _voucher(self) -> Voucher:
        chain_id = self.requirements.chain_id
        return Voucher(channel=self.channel, max_claimable=self.wanted, chain_id=chain_id)

    @property
    def unsigned(self) -> bool:
        # What was signed up to this ceiling before is sent again as it is.
        return self.header is None and (self.wanted != self.scheme.ceiling or self.wanted > self.scheme.deposited)

    @property
    def claimed(self) -> bool:
        return bool(self.holds)

    def turn(self, now: int, nonce: Callable[[], int]) -> Turn:
        return Turn.MINE

    def claims(self, now: int, nonce: Callable[[], int]) -> Sequence[Demand]:
        demands = []
        if self.wanted != self.scheme.ceiling:
            demands.append(Demand(amount=self.wanted - self.scheme.ceiling))
        if self.wanted > self.scheme.deposited:
            self.deposit = Deposit(
                config=self.config,
                amount=2 * self.requirements.amount,
                chain_id=self.requirements.chain_id,
                method="permit2",
                nonce=nonce(),
                deadline=now + LIFETIME,
            )
            signed = DepositAuthorization(deposit=self.deposit, payer=self.route.payer)
            demands.append(Demand(amount=signed.amount, authorization=signed, locks=True))
        return demands

    def count(self, drawn: Drawn) -> bool:
        self.holds = drawn.holds
        self.scheme.hold = drawn.holds[0]
        return True

    def request(self, authorized: int) -> PaymentRequest:
        raise AssertionError("Its owner was not to be asked.")

    def agree(self) -> None:
        raise AssertionError("Its owner was not to be asked.")

    def unsigned_parts(self) -> Sequence[Signing]:
        parts = [Signing(self.route.payer, self._voucher)]
        return parts if self.deposit is None else [*parts, Signing(self.route.payer, self.deposit)]

    def sign(self, signatures: Sequence[Secret]) -> None:
        self.scheme.voucher, self.scheme.ceiling = signatures[0].reveal(), self.wanted
        if self.deposit is not None:
            self.scheme.deposited += self.deposit.amount
            self.header = self._header(self.deposit.payload(signatures[1].reveal()))

    def persist(self) -> Callable[[], object]:
        return lambda: self.scheme.kept.append(self.scheme.ceiling)

    def refusal(self) -> None:
        return None

    def _header(self, deposit: JsonObject | None) -> Secret:
        kind: Any = "voucher" if deposit is None else "deposit"
        payload = payment_payload(kind, self.config, self._voucher.payload(self.scheme.voucher), deposit)
        return Secret(encode_payment(self.requirements, payload))

    def headers(self) -> Mapping[str, Secret]:
        self.header = self.header or self._header(None)
        return {PAYMENT_SIGNATURE: self.header}

    def judge(self, head: ReplyHead, now: int) -> Verdict:
        if head.status != 402:
            # Of a stream it is told behind the answer, so the channel stays this request's until its end.
            self._hear(head)
            return ANSWERED
        required = parse_payment_required(head)
        if required is None:
            self.scheme.deposited -= 0 if self.deposit is None else self.deposit.amount
            self._end(Hold.doubt)
            return Verdict(outcome=Outcome.REFUSED, reason=refusal_reason(head))
        if required.error.endswith("channel_busy"):
            return Verdict(outcome=Outcome.BUSY, reason=required.error, seconds=0.2)
        proven = read_correction(
            required.accepts[0]["extra"],
            config=self.config,
            chain_id=self.requirements.chain_id,
            signer=self.route.payer,
            highest_signed=self.scheme.ceiling,
            claimed_on_chain=0,
        )
        self.scheme.charged = proven.charged
        self._end(Hold.doubt)
        return Verdict(outcome=Outcome.REFUSED, reason="count corrected", retryable=True)

    def _hear(self, head: ReplyHead) -> None:
        try:
            charged = parse_settlement(head).charged
        except MalformedReplyError:
            return
        self.told = self.told if charged is None else int(charged)

    def event(self, name: str, data: JsonObject) -> None:
        self.scheme.events.append(name)
        if name != "x402-settlement":
            return
        if data.get("success") is True:
            self._hear(ReplyHead(200, [(PAYMENT_RESPONSE, str(data.get("paymentResponse")))]))
        elif data.get("success") is False:
            self.told = 0

    def ended(self) -> None:
        if self.told is not None:
            self.scheme.charged += self.told
        self._end(Hold.doubt if self.told is None else Hold.settle)

    def _end(self, move: Callable[[Hold], None]) -> None:
        for hold in self.holds:
            move(hold)
        self.scheme.held = False

    def lost(self) -> None:
        self._end(Hold.doubt)

    def not_sent(self) -> None:
        self.scheme.held = False

    def gave_up(self, *, failed: bool) -> None:
        self._end(Hold.release)

"""
Another scheme behind the flow: payment channels, as far as their bytes are known (`schemes.batch_settlement`).

No wallet pays by it yet. These tests hold that the flow's rules are its own: whatever a scheme does, the budget counts
before a key is asked, one request has a lease signed at most once, and what is in doubt is not repeated.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from og_integrations.errors import (
    BudgetExceededError,
    ConnectionFailedError,
    ConnectionLostError,
    PaymentInDoubtError,
    PaymentRefusedError,
    SigningError,
    SpendingStoppedError,
)
from og_integrations.networks import BASE
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._budget import Budget, Hold
from og_integrations.protocol.payment._flow import MOST_BUSY, Approve, Pause, PaymentContext, Send, Sign
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
from og_integrations.protocol.payment._upto import UptoScheme
from og_integrations.protocol.payment._x402 import (
    PAYMENT_SIGNATURE,
    PaymentRequirements,
    ReplyHead,
    Route,
    decode_header,
    encode_payment,
    parse_payment_required,
    parse_requirements,
    parse_settlement,
)
from og_integrations.protocol.payment.schemes.batch_settlement import (
    SCHEME,
    Deposit,
    Voucher,
    channel_id,
    channel_salt,
    payment_payload,
    read_correction,
    read_terms,
)
from tests.protocol.flows import AMOUNT, NOW, REQUIREMENT, ROUTE, Call, answer, offer, wallet

CHANNELS = REQUIREMENT | {
    "scheme": SCHEME,
    "extra": {
        "name": "OpenGradient",
        "version": "1",
        "assetTransferMethod": "permit2",
        "receiverAuthorizer": "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3",
        "withdrawDelay": 900,
    },
}
CHARGE = AMOUNT // 10


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
            return Wait(0.05)
        self.held = True
        return ChannelLease(self, route, self.known)


class ChannelLease:
    """One request's turn in the channel."""

    own = False
    poll = 0.05
    agreed = True

    def __init__(self, scheme: ChannelScheme, route: Route, terms: PaymentRequirements) -> None:
        self.scheme, self.route, self.requirements = scheme, route, terms
        self.wanted = scheme.charged + terms.amount
        self.deposit: Deposit | None = None
        self.holds: Sequence[Hold] = ()
        self.header: Secret | None = None
        said = read_terms(terms)
        salt = channel_salt(route.host)
        self.config = said.config(payer=route.payer, voucher_signer=route.payer, salt=salt)
        self.channel = channel_id(self.config, chain_id=terms.chain_id)

    @property
    def grant(self) -> Grant:
        return cast("Grant", SimpleNamespace(route=self.route, requirements=self.requirements, hold=None))

    @property
    def unsigned(self) -> bool:
        # What was signed up to this ceiling before is sent again as it is.
        return self.header is None and self.wanted != self.scheme.ceiling

    @property
    def claimed(self) -> bool:
        return bool(self.holds)

    def turn(self, now: int, nonce: Callable[[], int]) -> Turn:
        return Turn.MINE

    def claims(self, now: int, nonce: Callable[[], int]) -> Sequence[Demand]:
        demands = [Demand(amount=self.wanted - self.scheme.ceiling)]
        if self.wanted > self.scheme.deposited:
            amount = 2 * self.requirements.amount
            self.deposit = Deposit(
                config=self.config,
                amount=amount,
                chain_id=self.requirements.chain_id,
                method="permit2",
                nonce=nonce(),
                deadline=now + 300,
            )
            demands.append(Demand(amount=amount, locks=True))
        return demands

    def count(self, drawn: Drawn) -> bool:
        self.holds = drawn.holds
        return True

    def request(self, authorized: int) -> PaymentRequest:
        raise AssertionError("Its owner was not to be asked.")

    def agree(self) -> None:
        raise AssertionError("Its owner was not to be asked.")

    def unsigned_parts(self) -> Sequence[Signing]:
        chain_id = self.requirements.chain_id
        parts = [Signing(self.route.payer, Voucher(channel=self.channel, max_claimable=self.wanted, chain_id=chain_id))]
        return parts if self.deposit is None else [*parts, Signing(self.route.payer, self.deposit)]

    def sign(self, signatures: Sequence[Secret]) -> None:
        self.scheme.voucher, self.scheme.ceiling = signatures[0].reveal(), self.wanted
        if self.deposit is not None:
            self.scheme.deposited += self.deposit.amount
            self.header = self._header(self.deposit.payload(signatures[1].reveal()))

    def persist(self) -> Callable[[], object]:
        return lambda: self.scheme.kept.append(self.scheme.ceiling)

    @property
    def expires_at(self) -> int:
        return NOW + 300

    def refusal(self) -> None:
        return None

    def _header(self, deposit: JsonObject | None) -> Secret:
        chain_id = self.requirements.chain_id
        voucher = Voucher(channel=self.channel, max_claimable=self.wanted, chain_id=chain_id)
        kind: Any = "voucher" if deposit is None else "deposit"
        payload = payment_payload(kind, self.config, voucher.payload(self.scheme.voucher), deposit)
        return Secret(encode_payment(self.requirements, payload))

    def headers(self) -> Mapping[str, Secret]:
        self.header = self.header or self._header(None)
        return {PAYMENT_SIGNATURE: self.header}

    def judge(self, head: ReplyHead, now: int) -> Verdict:
        if head.status != 402:
            self.scheme.charged += int(parse_settlement(head).charged or 0)
            self._end(Hold.settle)
            return ANSWERED
        required = parse_payment_required(head)
        assert required is not None
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


def purse_of(*, upto: bool = False, clock: Callable[[], int] = lambda: NOW, **policy: Any) -> PaymentContext:
    """Return a wallet that pays by channels, after `upto` if that is asked for, too."""
    made = wallet(clock, **policy)
    channels = ChannelScheme(budget=made.budget)
    schemes: Any = (UptoScheme(made.sessions), channels) if upto else (channels,)
    return PaymentContext(sessions=made.sessions, clock=clock, nonce=made.nonce, schemes=schemes)


def channel_of(purse: PaymentContext) -> ChannelScheme:
    channels = purse.schemes[-1]
    assert isinstance(channels, ChannelScheme)
    return channels


def charging(amount: int = CHARGE) -> ReplyHead:
    told = json.dumps({"success": True, "extra": {"chargedAmount": str(amount)}})
    return ReplyHead(200, [("PAYMENT-RESPONSE", base64.b64encode(told.encode()).decode())])


def refusing(word: str, **state: Any) -> ReplyHead:
    return offer(CHANNELS | {"extra": CHANNELS["extra"] | state}, error=f"invalid_batch_settlement_evm_{word}")


def voucher_in(call: Call) -> dict[str, Any]:
    payload: dict[str, Any] = decode_header(call.payment)["payload"]
    return payload


def opened(purse: PaymentContext) -> PaymentContext:
    """Return `purse` after one answered call: it has a channel."""
    Call(purse).reply(offer(CHANNELS)).sign().sign().reply(charging())
    return purse


def test_first_request_carries_a_voucher_and_a_deposit_that_the_budget_counted_before() -> None:
    purse = purse_of()
    call = Call(purse)
    assert call.effect == Send(ROUTE, {})
    call.reply(offer(CHANNELS))
    assert isinstance(call.effect, Sign)
    # Before the key is asked: what may be charged, and what is locked.
    assert purse.budget.authorized() == AMOUNT + 2 * AMOUNT
    assert call.effect.typed_data["primaryType"] == "Voucher"
    call.sign()
    assert isinstance(call.effect, Sign)
    assert call.effect.typed_data["primaryType"] == "PermitWitnessTransferFrom"
    assert channel_of(purse).kept == []
    call.sign()
    assert channel_of(purse).kept == [AMOUNT]
    payload = voucher_in(call)
    assert (payload["type"], payload["deposit"]["amount"]) == ("deposit", str(2 * AMOUNT))
    assert call.reply(charging()).paid is not None
    assert channel_of(purse).charged == CHARGE


def test_next_request_signs_only_how_far_the_ceiling_moves() -> None:
    purse = opened(purse_of())
    before = purse.budget.authorized()
    call = Call(purse)
    assert isinstance(call.effect, Sign)
    call.sign()
    payload = voucher_in(call)
    assert (payload["type"], payload["voucher"]["maxClaimableAmount"]) == ("voucher", str(AMOUNT + CHARGE))
    assert purse.budget.authorized() - before == CHARGE
    assert call.reply(charging()).paid is not None


def test_busy_channel_gets_the_very_same_request_again() -> None:
    purse = opened(purse_of())
    call = Call(purse).sign()
    first = call.payment
    call.reply(refusing("channel_busy"))
    assert call.effect == Pause(0.2)
    call.sign()  # the pause is over, and nobody is asked to sign
    assert (call.payment, call.signatures) == (first, 1)
    assert call.reply(charging()).paid is not None


def test_channel_that_stays_busy_is_given_up() -> None:
    now = [NOW]
    purse = opened(purse_of(clock=lambda: now[0]))
    call = Call(purse).sign()
    now[0] += MOST_BUSY
    with pytest.raises(PaymentRefusedError, match="channel_busy") as caught:
        call.reply(refusing("channel_busy"))
    assert caught.value.is_retryable
    assert not channel_of(purse).held


def test_corrected_count_is_never_signed_for_by_the_same_request() -> None:
    """Published clients sign and send again at once; a gateway could have them do so for ever."""
    purse = opened(purse_of())
    channels = channel_of(purse)
    call = Call(purse).sign()
    proof = {"signedMaxClaimable": str(channels.ceiling), "signature": channels.voucher}
    state = {"channelState": {"chargedCumulativeAmount": str(3 * CHARGE)}, "voucherState": proof}
    with pytest.raises(PaymentRefusedError, match="count corrected") as caught:
        call.reply(refusing("cumulative_amount_mismatch", **state))
    assert (caught.value.is_retryable, call.signatures) == (True, 1)
    again = Call(purse).sign()
    assert voucher_in(again)["voucher"]["maxClaimableAmount"] == str(AMOUNT + 3 * CHARGE)


def test_requests_in_one_channel_wait_for_each_other() -> None:
    purse = opened(purse_of())
    first, second = Call(purse), Call(purse)
    assert second.effect == Pause(0.05)
    first.sign().reply(charging())
    second.sign()
    assert voucher_in(second)["voucher"]["maxClaimableAmount"] == str(AMOUNT + 2 * CHARGE)


def test_lost_answer_is_in_doubt_and_the_next_request_signs_nothing_new() -> None:
    purse = opened(purse_of())
    call = Call(purse).sign()
    header, counted = call.payment, purse.budget.authorized()
    with pytest.raises(PaymentInDoubtError):
        call.fail(ConnectionLostError("reset"))
    again = Call(purse)
    assert (again.payment, purse.budget.authorized()) == (header, counted)


def test_request_that_never_left_leaves_the_channel_free() -> None:
    purse = opened(purse_of())
    with pytest.raises(ConnectionFailedError):
        Call(purse).sign().fail(ConnectionFailedError("refused"))
    assert not channel_of(purse).held


def test_limit_that_allows_the_request_and_not_its_deposit_holds_nothing() -> None:
    purse = purse_of(total="0.25")
    with pytest.raises(BudgetExceededError):
        Call(purse).reply(offer(CHANNELS))
    assert purse.budget.authorized() == 0


def test_signer_that_fails_at_the_second_signature_leaves_nothing_counted() -> None:
    purse = purse_of()
    call = Call(purse).reply(offer(CHANNELS)).sign()
    with pytest.raises(SigningError):
        call.fail(RuntimeError("unplugged"))
    assert (purse.budget.authorized(), channel_of(purse).kept) == (0, [])


def test_kill_switch_holds_before_each_request() -> None:
    purse = opened(purse_of())
    purse.budget.store.stop("lunch")
    with pytest.raises(SpendingStoppedError):
        Call(purse)
    assert not channel_of(purse).held


def test_preferred_scheme_is_taken_where_both_are_offered() -> None:
    for offered in ((REQUIREMENT, CHANNELS), (CHANNELS, REQUIREMENT)):
        call = Call(purse_of(upto=True)).reply(offer(*offered)).sign()
        assert "permit2Authorization" in decode_header(call.payment)["payload"]
        assert call.reply(answer()).paid is not None
    call = Call(purse_of(upto=True)).reply(offer(CHANNELS)).sign().sign()
    assert voucher_in(call)["type"] == "deposit"


def test_owner_is_asked_what_the_lease_says() -> None:
    """The flow asks, and not the scheme: a lease that has to be allowed cannot be signed without."""
    asked: list[object] = []
    purse = wallet(on_payment=asked.append)
    call = Call(purse).reply(offer())
    assert isinstance(call.effect, Approve)
    assert BASE.caip2 == call.effect.request.network

"""
Another scheme behind the flow: payment channels, as far as their bytes are known (`schemes.batch_settlement`).

No wallet pays by it yet. These tests hold that the flow's rules are its own: whatever a scheme does, the budget counts
before a key is asked, one request has a lease signed at most once, and what is in doubt is not repeated.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

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
from og_integrations.protocol.payment._flow import MOST_BUSY, Approve, Pause, PaymentContext, Send, Sign
from og_integrations.protocol.payment._upto import UptoScheme
from og_integrations.protocol.payment._x402 import ReplyHead, decode_header
from og_integrations.protocol.payment.schemes._batch_settlement import SCHEME
from tests.protocol.channels import ChannelScheme
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


def serve(call: Call, head: ReplyHead | None = None) -> None:
    """Answer `call`, by default with what it was charged, and end the answer's body."""
    paid = call.reply(head or charging()).paid
    assert paid is not None
    assert paid.lease is not None
    paid.lease.ended()


def voucher_in(call: Call) -> dict[str, Any]:
    payload: dict[str, Any] = decode_header(call.payment)["payload"]
    return payload


def opened(purse: PaymentContext) -> PaymentContext:
    """Return `purse` after one answered call: it has a channel."""
    serve(Call(purse).reply(offer(CHANNELS)).sign().sign())
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
    serve(call)
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
    serve(call)


def test_busy_channel_gets_the_very_same_request_again() -> None:
    purse = opened(purse_of())
    call = Call(purse).sign()
    first = call.payment
    call.reply(refusing("channel_busy"))
    assert call.effect == Pause(0.2)
    call.sign()  # the pause is over, and nobody is asked to sign
    assert (call.payment, call.signatures) == (first, 1)
    serve(call)


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
    paid = first.sign().reply(charging()).paid
    assert second.sign().effect == Pause(0.05)  # the first one's answer is still on its way
    assert paid is not None
    assert paid.lease is not None
    paid.lease.ended()
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

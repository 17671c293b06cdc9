"""
A gateway of the devnet that is paid by channels, and a client whose flow has that scheme: what only a channel needs.

No wallet pays by it yet (`tests.protocol.channels`). A channel serves one request at a time, says what it charged
behind the answer, and locks a deposit that may never be made.
"""

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast
from uuid import uuid4

import pytest

from og_integrations.client import Answer, AsyncClient, Client
from og_integrations.devnet import DEFAULT_CAP, Devnet
from og_integrations.devnet._enclave import StreamEvent
from og_integrations.devnet._fault import Fault
from og_integrations.devnet._http import Reply, Request
from og_integrations.devnet._journal import Exchange
from og_integrations.devnet.paywall._paywall import Session, offer, offer_reply
from og_integrations.errors import BudgetExceededError, PaymentRefusedError, StreamCutError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._ecrecover import recover_address
from og_integrations.protocol.chat._sse import DONE
from og_integrations.protocol.payment._budget import SKEW
from og_integrations.protocol.payment._x402 import PAYMENT_RESPONSE, PAYMENT_SIGNATURE, decode_header
from og_integrations.protocol.payment.schemes._batch_settlement import SCHEME, channel_id, voucher_digest
from tests.money.recorded_payments import MODEL
from tests.protocol.channels import LIFETIME, ChannelScheme

HI = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True, slots=True)
class _Named(StreamEvent):
    """An event with the name of the settlement's."""

    def encode(self) -> bytes:
        return b"event: x402-settlement\n" + StreamEvent(self.value).encode()


@dataclass(kw_only=True)
class ChannelPaywall:
    """Takes vouchers in place of permits; `word` is why the facilitator does not make the next deposit."""

    terms: JsonObject
    chain_id: int
    charged: int = 0
    busy: bool = False
    last: int = 0
    word: str = ""
    nonces: list[int] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def admit(self, request: Request, exchange: Exchange, faults: object) -> Session | Reply:
        header = request.header(PAYMENT_SIGNATURE)
        if header is None:
            return offer_reply(offer(request, "Payment required", self.terms))
        payload = decode_header(header)["payload"]
        config, voucher = payload["channelConfig"], payload["voucher"]
        ceiling = int(voucher["maxClaimableAmount"])
        channel = channel_id(config, chain_id=self.chain_id)
        digest = voucher_digest(channel, ceiling, chain_id=self.chain_id)
        signer = recover_address(digest, bytes.fromhex(voucher["signature"][2:]))
        word = "voucher_signature" if signer != config["payerAuthorizer"].lower() else ""
        word = word or ("channel_busy" if self.busy else "")
        word = word or ("cumulative_amount_mismatch" if ceiling != self.charged + DEFAULT_CAP else "")
        if word:
            self.refused.append(word)
            return offer_reply(offer(request, f"invalid_batch_settlement_evm_{word}", self.terms))
        if "deposit" in payload:
            permit = payload["deposit"]["authorization"]["permit2Authorization"]
            self.nonces.append(int(permit["nonce"]))
            if self.word:
                self.refused.append(self.word)
                return Reply(status=402, headers=[(PAYMENT_RESPONSE, _encoded({"errorReason": self.word}))], body=b"{}")
        self.busy, self.last = True, 0
        self.served.append(ceiling)
        return Session(str(uuid4()), cast(Any, None), (request.method, request.path), self.terms)

    def charge(self, session: Session, amount: int, exchange: Exchange) -> None:
        self.last = amount
        self.charged += amount

    def response(self) -> str:
        return _encoded({"success": True, "extra": {"chargedAmount": str(self.last)}})

    def reply(self, reply: Reply) -> Reply:
        """Say in the head of a whole answer what it was charged."""
        if isinstance(reply.body, bytes):
            self.busy = False
            reply.headers.append((PAYMENT_RESPONSE, self.response()))
        return reply

    async def events(self, events: AsyncGenerator[StreamEvent, None]) -> AsyncGenerator[StreamEvent, None]:
        """Say it of a stream before its `[DONE]`."""
        try:
            async for event in events:
                if event.value == DONE:
                    yield _Named({"success": True, "paymentResponse": self.response()})
                    self.busy = False
                yield event
        finally:
            self.busy = False
            await events.aclose()


def _encoded(content: JsonObject) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def paywall(net: Devnet) -> ChannelPaywall:
    """Have the gateways of `net` paid by channels."""
    running = net._gateways[0]
    extra = running.paywall.requirement["extra"] | {
        "receiverAuthorizer": "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3",
        "withdrawDelay": 900,
    }
    made = ChannelPaywall(
        terms=running.paywall.requirement | {"scheme": SCHEME, "extra": extra}, chain_id=net.network.chain_id
    )
    for gateway in net._gateways:
        gateway.gateway._paywall = cast(Any, made)
    net.inject(
        Fault(name="paid by channels", about="says what it charged", spoils=False, reply=made.reply, events=made.events)
    )
    return made


def paying_by_channel(net: Devnet, **policy: Any) -> tuple[Client, ChannelScheme]:
    """Return a client whose only scheme is a channel."""
    made = Client(private_key=net.private_key, network=net.network, spend_policy=policy)
    channel = ChannelScheme(budget=made.engine.budget)
    made.engine._context = replace(made.engine.context, schemes=(channel,))
    return made, channel


def test_charge_that_is_told_behind_the_answer_moves_the_next_ceiling(net: Devnet, paywall: ChannelPaywall) -> None:
    """`event`: without it the client would count nothing, and its next voucher would be refused."""
    payer, channel = paying_by_channel(net)
    with payer:
        *_, first = payer.stream(MODEL, HI)
        assert isinstance(first, Answer)
        assert (channel.charged, channel.events) == (paywall.charged, ["x402-settlement"])
        assert 0 < channel.charged < DEFAULT_CAP
        second = payer.chat(MODEL, HI)
        assert channel.charged == paywall.charged > paywall.last == int(second.receipt["payment"]["charged_amount"])
    assert (paywall.refused, payer.spent().in_doubt) == ([], 0)
    # The receipt names what was signed: the voucher, which says nothing of a facilitator.
    payment = first.receipt["payment"]
    assert (payment["scheme"], payment["max_amount"], payment["facilitator"]) == (SCHEME, str(DEFAULT_CAP), None)


def test_channel_is_one_request_s_until_its_answer_has_ended(net: Devnet, paywall: ChannelPaywall) -> None:
    """`ended`: the second call would otherwise be sent into a channel that is busy."""
    payer, channel = paying_by_channel(net)
    with payer:
        pieces = payer.stream(MODEL, HI)
        next(pieces)
        asking = threading.Thread(target=payer.chat, args=(MODEL, HI))
        asking.start()
        while channel.waits < 3:
            time.sleep(0.01)
        assert (len(paywall.served), channel.held) == (1, True)
        for _ in pieces:
            pass
        asking.join(20)
    assert paywall.refused == []
    assert paywall.served == [DEFAULT_CAP, DEFAULT_CAP + paywall.charged - paywall.last]
    assert not channel.held


@pytest.mark.parametrize("way", ["cut", "left", "left by a task"])
def test_stream_that_does_not_end_leaves_the_channel_free_and_its_voucher_in_doubt(
    net: Devnet, paywall: ChannelPaywall, way: str
) -> None:
    """What was signed up to there is sent again; nothing new is signed for it."""
    payer, channel = paying_by_channel(net)
    with payer:
        payer.chat(MODEL, HI)
        if way == "cut":
            net.inject("cut_stream", times=1)
            with pytest.raises(StreamCutError):
                list(payer.stream(MODEL, HI))
        elif way == "left":
            pieces = payer.stream(MODEL, HI)
            next(pieces)
            pieces.close()
        else:

            async def leave() -> None:
                async with contextlib.aclosing(AsyncClient(engine=payer.engine).stream(MODEL, HI)) as stream:
                    await anext(stream)

            asyncio.run(leave())
        assert (channel.held, channel.events) == (False, [])
        assert payer.spent().in_doubt > 0
        signed, counted = channel.ceiling, payer.spent().authorized
        while paywall.busy:
            time.sleep(0.01)
        # A gateway charges no stream that was not read to its end.
        paywall.charged = channel.charged
        payer.chat(MODEL, HI)
    assert (paywall.served[-1], channel.ceiling, payer.spent().authorized) == (signed, signed, counted)
    assert (paywall.refused, channel.charged) == ([], paywall.charged)


@pytest.mark.parametrize("made", [False, True], ids=["never made", "made after all"])
def test_deposit_that_was_never_made_comes_back(
    net: Devnet, paywall: ChannelPaywall, pass_time: Callable[[Devnet, float], None], made: bool
) -> None:
    """`explain`: the chain is asked about a deposit by who knows where it leaves its trace."""
    # A voucher and its deposit fit, and a second deposit does not.
    payer, channel = paying_by_channel(net, total="0.35")
    with payer:
        paywall.word = "invalid_batch_settlement_evm_deposit_transaction_failed"
        with pytest.raises(PaymentRefusedError, match="deposit_transaction_failed"):
            payer.chat(MODEL, HI)
        paywall.word = ""
        assert (payer.spent().authorized, payer.spent().in_doubt) == (3 * DEFAULT_CAP, 3 * DEFAULT_CAP)
        # Until its deadline somebody may still send it.
        with pytest.raises(BudgetExceededError):
            payer.chat(MODEL, HI)
        if made:
            net._call(lambda: net.chain.used_nonces.add((net.wallet.lower(), paywall.nonces[0])))
        pass_time(net, LIFETIME + 2 * SKEW)
        if made:
            with pytest.raises(BudgetExceededError, match=r"0\.3 of 0\.35 OPG"):
                payer.chat(MODEL, HI)
            return
        assert payer.chat(MODEL, HI).text
        assert payer.spent().authorized == 3 * DEFAULT_CAP
    assert (len(paywall.nonces), channel.charged) == (2, paywall.charged)

"""The kill switch, used at the worst moments: nothing is signed after it, and nothing leaves."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client, LocalSigner
from og_integrations.devnet import Devnet
from og_integrations.errors import SpendingStoppedError
from og_integrations.protocol.payment._flow import Send, Sign
from tests.money.recorded_payments import MODEL
from tests.protocol.flows import EXPIRED, ROUTE, Call, offer, paying, signing, wallet, warm

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


class Switch:
    """An owner and a signer who use the switch of `payer`, and go on as if nothing were."""

    def __init__(self, private_key: str) -> None:
        self.payer: Any = None
        self.signed = 0
        self._local = LocalSigner(private_key)
        self.address = self._local.address

    def allow(self, request: object) -> bool:
        self.payer.stop_spending("lunch")
        return True

    def sign_typed_data(self, typed_data: dict[str, Any]) -> str:
        self.signed += 1
        self.payer.stop_spending("lunch")
        return self._local.sign_typed_data(typed_data)


class SlowSwitch(Switch):
    """The same, asynchronous."""

    async def sign_typed_data(self, typed_data: dict[str, Any]) -> str:  # type: ignore[override]
        await asyncio.sleep(0.05)
        return super().sign_typed_data(typed_data)


@pytest.mark.parametrize("by", ["owner", "signer"])
def test_switch_used_while_owner_or_signer_is_asked(net: Devnet, by: str) -> None:
    """The call ends, the hold is released, and the gateway has seen nothing but the question for the price."""
    switch = Switch(net.private_key)
    policy = {"on_payment": switch.allow} if by == "owner" else {}
    with Client(signer=switch, network=net.network, spend_policy=policy) as switch.payer:
        with pytest.raises(SpendingStoppedError, match="lunch"):
            switch.payer.chat(MODEL, HI)
        assert (net.stats().requests, net.stats().signatures, switch.signed) == (1, 0, int(by == "signer"))
        assert switch.payer.spent().authorized == 0
        switch.payer.resume_spending()


def test_switch_used_while_an_asynchronous_signer_is_asked(net: Devnet) -> None:
    """For all who wait for it."""
    switch = SlowSwitch(net.private_key)

    async def ask() -> list[Any]:
        async with AsyncClient(signer=switch, network=net.network) as switch.payer:
            return await asyncio.gather(*(switch.payer.chat(MODEL, HI) for _ in range(8)), return_exceptions=True)

    assert {type(item) for item in asyncio.run(ask())} == {SpendingStoppedError}
    assert (net.stats().signatures, switch.signed, switch.payer.spent().authorized) == (0, 1, 0)


def test_switch_is_looked_at_before_every_step() -> None:
    """Unpaid, paid, within a session, after it ended, after another one signed."""
    for stage in ("unsigned", "signed", "shared", "session", "renewal"):
        purse = warm(wallet()) if stage in ("session", "renewal") else wallet()
        stop = purse.sessions.budget.store.stop
        before = purse.sessions.budget.authorized()
        if stage in ("unsigned", "session"):
            stop("lunch")
            with pytest.raises(SpendingStoppedError):
                Call(purse)
        elif stage == "renewal":
            call = Call(purse)
            stop("lunch")
            with pytest.raises(SpendingStoppedError):
                call.reply(EXPIRED)
        else:
            calls = signing(purse, 2 if stage == "shared" else 1)
            assert isinstance(calls[0].effect, Sign)
            stop("lunch")
            for call in calls:
                with pytest.raises(SpendingStoppedError):
                    call.sign()
        assert purse.sessions.budget.authorized() == before
        stop(None)
        assert isinstance(Call(purse).effect, Send | Sign)


def test_switch_does_not_hide_what_left() -> None:
    """A payment on its way goes on counting; the next call of that session does not leave."""
    purse = wallet()
    call = paying(purse)
    purse.sessions.budget.store.stop("lunch")
    with pytest.raises(SpendingStoppedError):
        Call(purse)
    call.flow.close()
    assert purse.sessions.budget.spent(0).in_doubt == purse.sessions.budget.authorized() > 0


def test_price_is_not_asked_for_after_it() -> None:
    """The question holds the prompt."""
    purse = wallet()
    call = Call(purse)
    assert call.effect == Send(ROUTE, {})
    purse.sessions.budget.store.stop("lunch")
    with pytest.raises(SpendingStoppedError):
        call.reply(offer())

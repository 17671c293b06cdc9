"""A budget goes on as long as the chain says that little of it was taken, and no longer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.devnet import DEFAULT_CAP, Devnet
from og_integrations.errors import BudgetExceededError, PaymentInDoubtError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.protocol.payment._reconcile import REST, Reclaimer
from tests.money.recorded_payments import MODEL
from tests.sizes import sized

HI = [{"role": "user", "content": "hi"}]
SETTLED_AFTER, OVERDUE_AFTER = 120, 240
"""Seconds until an idle session is settled, and then until its deadline is over."""
PassTime = Callable[[Devnet, float], None]


def end_session(net: Devnet, pass_time: PassTime) -> None:
    pass_time(net, SETTLED_AFTER)
    pass_time(net, OVERDUE_AFTER)


def client_of(net: Devnet) -> Client:
    """Return a client that may authorize one payment."""
    return Client(private_key=net.private_key, network=net.network, spend_policy={"total": "0.1"})


def times_asked(payer: Client) -> int:
    """Return how often the chain was asked what it gives back."""
    reclaim = payer.engine._account.context().reclaim
    assert isinstance(reclaim, Reclaimer)
    return reclaim.turns.ended()


def leave_in_doubt(net: Devnet, payer: Client) -> None:
    """Use up the total by a payment that leads to nothing."""
    net.inject("facilitator_down", times=1)
    with pytest.raises(PaymentInDoubtError, match="502"):
        payer.chat(MODEL, HI)
    payer.engine.sessions._current.clear()
    assert payer.spent().in_doubt == DEFAULT_CAP


@sized("sessions", small=10, full=100)
@pytest.mark.parametrize("kept", ["memory", "file"])
def test_agent_goes_on_for_many_sessions(
    own_evm: Devnet, pass_time: PassTime, kept: str, tmp_path: Path, sessions: int
) -> None:
    """Two authorizations fit into its total; many sessions, in every way to ask, are paid from it."""
    net, wallet = own_evm, own_evm.new_wallet()
    policy = {"total": "0.25", "store": str(tmp_path / "budget.sqlite") if kept == "file" else None}
    options: dict[str, Any] = {"private_key": wallet.private_key, "network": net.network, "spend_policy": policy}
    before = net.chain.balance(wallet.address)
    with Client(**options) as payer:
        for session in range(sessions):
            if session % 2:
                payer.chat(MODEL, HI)
            else:
                asyncio.run(AsyncClient(engine=payer.engine).chat(MODEL, HI))
            assert payer.spent().authorized <= 25 * 10**16
            end_session(net, pass_time)
        taken = before - net.chain.balance(wallet.address)
        assert payer.reconcile_spending().authorized == taken == net.stats().charged > 0
    assert (net.stats().signatures, net.stats().payments) == (sessions, sessions)


@pytest.mark.parametrize("adapter", ["langchain", "llama_index"])
def test_adapters_go_on_as_well(own_evm: Devnet, pass_time: PassTime, adapter: str) -> None:
    net = own_evm
    options: dict[str, Any] = {
        "network": net.network,
        "private_key": net.private_key,
        "spend_policy": {"total": "0.11"},
    }
    model: Any = (ChatOpenGradient if adapter == "langchain" else OpenGradientLLM)(model=MODEL, **options)
    for _ in range(3):
        (model.invoke if adapter == "langchain" else model.complete)("hi")
        end_session(net, pass_time)
    taken = net.stats().charged
    assert model.spent().authorized == DEFAULT_CAP + taken * 2 // 3  # the last one was not asked about
    assert model.reconcile_spending().authorized == taken
    assert asyncio.run(model.areconcile_spending()).authorized == taken
    model.close()


def test_calls_at_once_free_the_budget_once(own_evm: Devnet, pass_time: PassTime) -> None:
    """32 threads and 32 tasks meet the limit: one new authorization, and one look at the chain for each."""
    net = own_evm
    options: dict[str, Any] = {
        "network": net.network,
        "private_key": net.private_key,
        "spend_policy": {"total": "0.11"},
    }
    with Client(**options) as payer:
        payer.chat(MODEL, HI)
        end_session(net, pass_time)
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda _: payer.chat(MODEL, HI), range(32)))
        assert (net.stats().signatures, times_asked(payer)) == (2, 1)
        end_session(net, pass_time)

        async def ask() -> None:
            async with AsyncClient(engine=payer.engine) as awaited:
                await asyncio.gather(*(awaited.chat(MODEL, HI) for _ in range(32)))

        asyncio.run(ask())
        assert (net.stats().signatures, times_asked(payer)) == (3, 2)


def test_unused_authorization_comes_back_without_a_real_chain(pass_time: PassTime) -> None:
    """One that the gateway refused, say: in doubt until its deadline is over."""
    with Devnet() as net, client_of(net) as payer:
        leave_in_doubt(net, payer)
        with pytest.raises(BudgetExceededError, match=r"0\.1 of 0\.1 OPG"):
            payer.chat(MODEL, HI)
        pass_time(net, 340)
        assert payer.chat(MODEL, HI).text
        assert (payer.spent().authorized, payer.spent().in_doubt) == (DEFAULT_CAP, 0)


def test_chain_that_is_away_is_said_and_asked_again_later(pass_time: PassTime) -> None:
    """Nothing comes back meanwhile, and the refusal says why."""
    with Devnet() as net, client_of(net) as payer:
        leave_in_doubt(net, payer)
        pass_time(net, 340)
        net.inject("dead_registry")
        said = (
            r"0\.1 of 0\.1 OPG.*go on counting, since the chain could not say what was taken: http.* answered HTTP 503"
        )
        for _ in range(2):
            with pytest.raises(BudgetExceededError, match=said):
                payer.chat(MODEL, HI)
        assert payer.spent().authorized == DEFAULT_CAP
        net.clear_faults()
        pass_time(net, REST)
        assert payer.chat(MODEL, HI).text
    assert net.stats().signatures == 2

"""Rules that owners ask for: a number of payments, an end, shares, a stop after silence, word at 80 per cent."""

import asyncio
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.client.stores import open_store
from og_integrations.devnet import Devnet
from og_integrations.errors import (
    BudgetExceededError,
    ConfigurationError,
    PaymentRefusedError,
    SigningError,
    SpendingStoppedError,
)
from og_integrations.networks import OPG
from og_integrations.protocol.payment._budget import Budget, BudgetStore, BudgetTotals, Entry
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.payment._policy import LimitNear, SpendPolicy
from tests.money.test_limits import NOW
from tests.protocol.flows import new_budget

MODEL, ASKED = "openai/gpt-5-mini", [{"role": "user", "content": "hi"}]
DIME = OPG // 10


def _budget(policy: SpendPolicy, store: BudgetStore) -> Budget:
    return new_budget(policy, store, new_id=lambda: secrets.token_hex(8))


@pytest.fixture(params=["memory", "file", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BudgetStore:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryStore(threading.RLock())
    is_file = request.param == "file"
    kept = open_store(tmp_path / "budget.sqlite" if is_file else request.getfixturevalue("database"))
    assert kept is not None
    return kept


def test_number_of_payments_in_an_hour(store: BudgetStore) -> None:
    budget = _budget(SpendPolicy(payments_per_hour=2), store=store)
    first = budget.hold(1, now=NOW)
    budget.hold(2**70, now=NOW)
    with pytest.raises(
        BudgetExceededError, match=r"2 authorizations were made in the last hour, expected at most 2"
    ) as caught:
        budget.hold(1, now=NOW + 3_600)
    assert caught.value.limit == "payments_per_hour"
    first.release()
    budget.hold(1, now=NOW + 3_600)
    budget.hold(1, now=NOW + 3_601)
    assert "payments an hour  2 of 2, 0 left" in str(budget.spent(NOW + 3_601))


def test_shares_are_parts_of_one_total(store: BudgetStore) -> None:
    """A part may neither exceed its own share nor, with the others, the whole."""
    one, two, rest = (
        _budget(SpendPolicy.of({"total": "0.5"} | more), store=store)
        for more in ({"account": "one", "share": "0.2"}, {"account": "two", "share": "0.4"}, {})
    )
    held = one.hold(2 * DIME, now=NOW)
    with pytest.raises(BudgetExceededError, match=r"0\.2 of 0\.2 OPG \(SpendPolicy\.share\)"):
        one.hold(1, now=NOW)
    two.hold(3 * DIME, now=NOW)
    with pytest.raises(BudgetExceededError, match=r"SpendPolicy\.total"):
        two.hold(1, now=NOW)
    assert (one.spent(NOW).share, two.spent(NOW).share) == (2 * DIME, 3 * DIME)
    held.release()
    rest.hold(2 * DIME, now=NOW)
    assert (one.spent(NOW).share, rest.spent(NOW).authorized) == (0, 5 * DIME)


def test_silence_stops_spending_until_the_owner_says_otherwise(store: BudgetStore) -> None:
    budget = _budget(SpendPolicy(stop_after_unanswered=2), store=store)
    budget.hold(1, now=NOW).doubt()
    budget.hold(1, now=NOW).settle()
    budget.hold(1, now=NOW).doubt()
    late = budget.hold(1, now=NOW)
    late.doubt()
    with pytest.raises(SpendingStoppedError, match="2 payments in a row brought no answer"):
        budget.hold(1, now=NOW)
    late.settle()
    budget.hold(1, now=NOW).doubt()
    budget.hold(1, now=NOW).doubt()
    with pytest.raises(SpendingStoppedError):
        budget.hold(1, now=NOW)
    store.stop(None)
    budget.hold(1, now=NOW)


def test_owner_is_told_once_at_80_per_cent(store: BudgetStore) -> None:
    """Not before, not again; of each limit."""
    budget = _budget(SpendPolicy.of({"total": "1", "payments_per_hour": 100}), store=store)
    assert [budget.hold(DIME, now=NOW).near for _ in range(7)] == [()] * 7
    assert budget.hold(DIME, now=NOW).near == (LimitNear(limit="total", counted=8 * DIME, allowed=OPG),)
    assert budget.hold(DIME, now=NOW).near == ()


def test_store_of_others_that_knows_no_shares_is_refused_for_one() -> None:
    class Old(MemoryStore):
        counts_shares = False

    with pytest.raises(ConfigurationError, match="needs a store that counts shares, and Old does not"):
        _budget(SpendPolicy(account="one", share="1"), store=Old(threading.RLock()))
    with pytest.raises(ConfigurationError, match="share is of an account: give account a name"):
        SpendPolicy.of({"share": "1"})


def test_store_that_returns_nothing_still_claims() -> None:
    """It was written before there was anything to return."""

    class Old(MemoryStore):
        def claim(self, entry: Entry, judge: Callable[[BudgetTotals], None]) -> None:  # type: ignore[override]
            super().claim(entry, judge)

    assert _budget(SpendPolicy.of({"total": "1"}), store=Old(threading.RLock())).hold(OPG, now=NOW).near == ()


@pytest.fixture
def net() -> Any:
    with Devnet() as devnet:
        yield devnet


def make(net: Devnet, **policy: Any) -> Client:
    return Client(private_key=net.private_key, network=net.network, spend_policy=policy)


def test_nothing_is_sent_after_the_end(net: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also within a session that is paid."""
    until = datetime.now(UTC) + timedelta(hours=1)
    with make(net, valid_until=until.isoformat()) as client:
        client.chat(MODEL, ASKED)
        monkeypatch.setattr(client.engine.budget, "_clock", lambda: int(until.timestamp()) + 1)
        with pytest.raises(SpendingStoppedError, match=r"SpendPolicy\.valid_until was .*: nothing is signed or sent"):
            client.chat(MODEL, ASKED)
    assert net.stats().payments == 1
    with pytest.raises(ConfigurationError, match=r"valid_until: .*timezone"):
        SpendPolicy.of({"valid_until": "2026-12-31T00:00:00"})


def test_accounts_with_shares_count_together_in_one_process(net: Devnet) -> None:
    """Without any store; each has a session of its own."""
    with make(net, total="0.2", account="a", share="0.1") as a, make(net, total="0.2", account="b", share="0.2") as b:
        a.chat(MODEL, ASKED)
        b.chat(MODEL, ASKED)
        assert (net.stats().payments, a.spent().authorized, a.spent().share) == (2, 2 * DIME, DIME)


def test_word_of_a_limit_comes_before_the_signature(net: Devnet) -> None:
    """Who raises there refuses."""
    told: list[LimitNear] = []
    with make(net, total="0.1", on_limit_near=told.append) as client:
        client.chat(MODEL, ASKED)
        client.chat(MODEL, ASKED)
    assert told == [LimitNear(limit="total", counted=DIME, allowed=DIME)]

    def refuse(near: LimitNear) -> None:
        raise KeyError(near.limit)

    with (
        make(net, total="0.1", on_limit_near=refuse) as client,
        pytest.raises(SigningError, match=r"SpendPolicy\.on_limit_near failed with KeyError\. Nothing was sent"),
    ):
        client.chat(MODEL, ASKED)
    assert (net.stats().payments, client.spent().authorized) == (1, 0)


def test_word_of_a_limit_may_be_awaited(net: Devnet) -> None:
    told: list[str] = []

    async def tell(near: LimitNear) -> None:
        await asyncio.sleep(0)
        told.append(near.limit)

    async def ask() -> None:
        policy = {"total": "0.1", "on_limit_near": tell}
        async with AsyncClient(private_key=net.private_key, network=net.network, spend_policy=policy) as client:
            await client.chat(MODEL, ASKED)

    asyncio.run(ask())
    assert told == ["total"]


def test_refused_payments_stop_a_client(net: Devnet) -> None:
    """Each is signed and not taken; the third is not even signed."""
    poor = net.new_wallet(opg=0)
    policy = {"stop_after_unanswered": 2}
    with Client(private_key=poor.private_key, network=net.network, spend_policy=policy) as client:
        for _ in range(2):
            with pytest.raises(PaymentRefusedError):
                client.chat(MODEL, ASKED)
        with pytest.raises(SpendingStoppedError, match="2 payments in a row brought no answer"):
            client.chat(MODEL, ASKED)

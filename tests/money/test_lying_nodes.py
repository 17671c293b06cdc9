"""A node that lies or is dead gives nothing back to a budget, as far as that can be known."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from og_integrations.client._runner import drive
from og_integrations.client._settings import resolve_settings
from og_integrations.client.chain import _settlement as reconciling
from og_integrations.client.chain._approval import plan_approval
from og_integrations.client.chain._settlement import OverdueAsker, reconcile
from og_integrations.errors import ApprovalError, ConfigurationError, DiscoveryError
from og_integrations.networks import BASE, DEVNET, Network
from og_integrations.protocol.payment._budget import SKEW, Budget, HoldState
from og_integrations.protocol.payment._flow import Fetch
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment._reconcile import Findings
from tests.money.scripted_node import Node, receipt_of
from tests.protocol.flows import new_budget
from tests.protocol.test_settlement import PERMIT, calldata

CAP = PERMIT.amount
OVER = PERMIT.deadline + SKEW + 1


def budget(count: int = 1) -> Budget:
    """Return a budget with accepted authorizations, none of which is explained."""
    made = new_budget(SpendPolicy())
    for _ in range(count):
        made.hold(CAP, now=1_600, authorization=PERMIT).settle()
    return made


def ask(account: Budget, node: Node, now: int, enough: Callable[[], bool] = lambda: False) -> Findings:
    """Ask as a call does that met the total."""
    found = Findings()
    node.run(OverdueAsker(account.store, BASE, lambda: now)(account.overdue(now, "total"), enough, found))
    return found


def test_honest_node_gives_back_what_was_not_taken() -> None:
    """Settled for less, or not at all."""
    for settled, left in ((7, 7), (CAP, CAP), (None, 0)):
        account = budget()
        assert ask(account, Node(OVER, settled), OVER).corrected == 1
        assert (account.authorized(OVER), account.store.entries()) == (left, [])


@pytest.mark.parametrize(
    "node",
    [
        Node(OVER - 1),  # late: its newest block is not yet past the deadline
        Node(OVER, eth_getBlockByNumber={"number": hex(900), "timestamp": hex(PERMIT.deadline)}),
        Node(OVER, eth_getBlockByNumber={"number": None, "timestamp": hex(OVER)}),
        Node(OVER, eth_call="0x"),
        Node(OVER, settled=0),
        Node(OVER, settled=CAP + 1),
        Node(OVER, settled=7, eth_getLogs=[]),
        Node(OVER, settled=7, eth_getTransactionByHash=None),
        Node(OVER, settled=7, eth_getTransactionByHash={"hash": "0x" + "cd" * 32, "input": "0x" + calldata(7).hex()}),
        Node(OVER, settled=7, eth_getTransactionReceipt=receipt_of(Node(OVER, 7), transactionHash="0x" + "cd" * 32)),
        Node(OVER, settled=7, eth_getTransactionReceipt=receipt_of(Node(OVER, 7), status="0x0")),
        Node(OVER, settled=7, eth_getTransactionReceipt=receipt_of(Node(OVER, 7), blockNumber=hex(1_001))),
        Node(OVER, settled=7, eth_getTransactionReceipt=receipt_of(Node(OVER, 7), blockNumber=hex(499))),
        Node(OVER, settled=7, eth_getTransactionReceipt=receipt_of(Node(OVER, 7), logs=[])),
    ],
)  # fmt: skip
def test_lie_that_can_be_known_gives_nothing_back(node: Node) -> None:
    account = budget()
    assert ask(account, node, OVER).corrected == 0
    node.run(reconcile(account, BASE, OVER))
    assert account.authorized(OVER) == CAP
    assert len(account.store.entries()) == 1


def test_node_ahead_of_our_clock_gives_nothing_back() -> None:
    """It says that the deadline is over; by our own clock it is not."""
    account = budget()
    ahead = Node(OVER + 10**6)
    ahead.run(reconcile(account, BASE, OVER - 1))
    assert ask(account, ahead, OVER - 1).corrected == 0
    assert account.authorized(OVER) == CAP
    ahead.run(reconcile(account, BASE, OVER))
    assert account.authorized(OVER) == 0


@pytest.mark.parametrize("settled", [7, None])
def test_nothing_is_believed_before_the_deadline(settled: int | None) -> None:
    """A used nonce is final, but one node's word is not: until then, the gateway could take the cap."""
    account = budget()
    for node in (Node(1_700, settled), Node(OVER, settled), Node(2**40, settled)):
        for now in (1_700, OVER - 1):
            node.run(reconcile(account, BASE, now))
            assert ask(account, node, now).corrected == 0
            assert set(node.calls) == {"eth_chainId"}
    assert account.authorized(OVER) == CAP


def test_held_authorization_is_not_corrected() -> None:
    """Its call is not over."""
    account = new_budget(SpendPolicy())
    hold = account.hold(CAP, now=1_600, authorization=PERMIT)
    for node in (Node(OVER), Node(OVER, settled=7)):
        node.run(reconcile(account, BASE, OVER))
        assert ask(account, node, OVER).corrected == 0
    assert (account.authorized(OVER), hold.state) == (CAP, HoldState.HELD)


def test_dead_node_is_said() -> None:
    """At once, or in the middle; what was found until then is kept."""
    account, node = budget(3), Node(OVER, settled=7)
    node.dead = True
    with pytest.raises(DiscoveryError, match="No connection"):
        ask(account, node, OVER)
    node.dead = False

    def die() -> bool:
        node.dead = True
        return False

    found = Findings()
    with pytest.raises(DiscoveryError, match="No connection"):
        node.run(OverdueAsker(account.store, BASE, lambda: OVER)(account.overdue(OVER, "total"), die, found))
    assert (found.corrected, list(found.in_vain)) == (1, ["2"])
    assert account.authorized(OVER) == 7 + 2 * CAP


def test_node_that_stops_answering_is_asked_once() -> None:
    """Not for each authorization again; and it is said how many nobody could explain."""
    account, node = budget(3), Dying(OVER, settled=7)
    with pytest.raises(DiscoveryError, match=r"No connection.* 2 of 3 authorizations were not asked about and go on"):
        node.run(reconcile(account, BASE, OVER))
    assert node.failures == 1
    assert account.authorized(OVER) == 7 + 2 * CAP


class Dying(Node):
    """It explains one payment, and is never heard of again."""

    failures = 0

    def _reply(self, effect: Fetch) -> bytes:
        self.dead = self.calls["eth_getTransactionReceipt"] > 0
        self.failures += self.dead
        return super()._reply(effect)


@pytest.mark.parametrize("network", [dataclasses.replace(DEVNET, rpc_url="http://127.0.0.1:1"), DEVNET, None])
def test_other_networks_give_nothing_back(network: Network | None) -> None:
    """A devnet has the chain id of Base, and any number of them has one name."""
    account = new_budget(SpendPolicy(), network=BASE.identity)
    account.hold(CAP, now=1_600, authorization=PERMIT).settle()
    other, node = network or dataclasses.replace(BASE, name="fork"), Node(OVER)
    node.run(reconcile(account, other, OVER))
    node.run(OverdueAsker(account.store, other, lambda: OVER)(account.store.entries(), lambda: False, Findings()))
    assert (account.authorized(OVER), set(node.calls)) == (CAP, {"eth_chainId"})
    elsewhere = dataclasses.replace(BASE, rpc_url="http://127.0.0.1:1")  # a node of one's own
    node.run(reconcile(account, elsewhere, OVER))
    assert account.authorized(OVER) == 0


def test_devnets_are_told_apart() -> None:
    assert dataclasses.replace(DEVNET, rpc_url="http://127.0.0.1:1").identity != DEVNET.identity != BASE.identity


def test_entry_of_an_older_file_is_explained_by_a_real_chain_only() -> None:
    """It did not note its network."""
    account, node = budget(), Node(OVER)
    node.run(reconcile(account, DEVNET, OVER))
    assert account.authorized(OVER) == CAP
    node.run(reconcile(account, BASE, OVER))
    assert account.authorized(OVER) == 0


def test_node_of_another_chain_is_said() -> None:
    account = budget()
    with pytest.raises(ConfigurationError, match="serves chain 1, expected 8453"):
        ask(account, Node(OVER, eth_chainId="0x1"), OVER)


def test_other_chains_authorizations_are_left_alone() -> None:
    """One store may serve wallets on two networks."""
    account = new_budget(SpendPolicy())
    account.hold(CAP, now=1_600, authorization=dataclasses.replace(PERMIT, chain_id=84532)).settle()
    node = Node(OVER)
    assert ask(account, node, OVER).corrected == 0
    assert set(node.calls) == {"eth_chainId"}
    assert account.authorized(OVER) == CAP


def test_slow_node_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call does not hang on thousands of answers; it says what took too long."""
    passed = iter(range(10**6))

    class Slow:
        @staticmethod
        def monotonic() -> float:
            return float(next(passed))

    monkeypatch.setattr(reconciling, "time", Slow)
    account, node = budget(3), Node(OVER, settled=7)
    found: Any = ask(account, node, OVER)
    assert found.corrected <= 1
    assert any("took more than 30 s" in reason for reason in found.in_vain.values())
    assert node.calls.total() < 40


def test_asking_ends_when_it_is_enough() -> None:
    account, node = budget(3), Node(OVER)
    assert ask(account, node, OVER, enough=lambda: True).corrected == 1
    assert account.authorized(OVER) == 2 * CAP


def test_price_of_gas_beyond_all_bounds_is_refused() -> None:
    """All numbers are as large as they can be; the message says what they make."""
    most = "0x" + "ff" * 32
    names = ("eth_estimateGas", "eth_maxPriorityFeePerGas", "eth_getTransactionCount", "eth_getBalance")
    node = Node(OVER, eth_getBlockByNumber={"baseFeePerGas": most})
    replies = iter(("0x" + "00" * 32, most))  # allowance and balance
    settings = resolve_settings(private_key="11" * 32, network=BASE, environment={})

    def reply(effect: Fetch) -> bytes:
        if b'"eth_call"' in (effect.body or b""):
            return json.dumps({"result": next(replies)}).encode()
        return node._reply(effect)

    for name in names:
        setattr(node, name, lambda *_: most)
    with pytest.raises(ApprovalError, match=r"asks for \d{100,}\S* ETH of gas, expected at most 0\.001 ETH\. Nothing"):
        drive(plan_approval(settings, "1"), reply)

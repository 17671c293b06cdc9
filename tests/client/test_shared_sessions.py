"""Clients of one wallet and one budget share sessions; nobody else does."""

import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import Client, _accounts
from og_integrations.devnet import Devnet
from og_integrations.protocol.payment._memory import MemoryStore
from tests.client.ways_to_ask import MODEL, user

MakeClient = Callable[..., Client]


def asked(net: Devnet, *clients: Client) -> int:
    """Ask by each client; return how many authorizations that took so far."""
    for client in clients:
        assert client.chat(MODEL, user("hi")).receipt["status"] == "verified"
    return net.stats().payments


def test_one_file_is_one_session(net: Devnet, make_client: MakeClient, tmp_path: Path) -> None:
    """However its path is written."""
    (tmp_path / "deeper").mkdir()
    paths = (tmp_path / "budget.db", str(tmp_path / "deeper" / ".." / "budget.db"))
    assert asked(net, *(make_client(spend_policy={"store": path, "total": "0.1"}) for path in paths)) == 1


def test_one_store_is_one_session(net: Devnet, make_client: MakeClient) -> None:
    store = MemoryStore(threading.RLock())
    assert asked(net, *(make_client(spend_policy={"store": store}) for _ in range(3))) == 1


def test_other_budgets_share_nothing(net: Devnet, make_client: MakeClient) -> None:
    """Another store, other rules for the same store, or an account of another name."""
    store, other = MemoryStore(threading.RLock()), MemoryStore(threading.RLock())
    policies: list[dict[str, Any]] = [
        {"store": store},
        {"store": other},
        {"store": store, "total": "5"},
        {"store": store, "on_payment": lambda request: True},
        {},
        {"account": "of its own"},
    ]
    assert asked(net, *(make_client(spend_policy=policy) for policy in policies)) == len(policies)


def test_other_wallets_share_nothing(net: Devnet, make_client: MakeClient) -> None:
    policy = {"store": MemoryStore(threading.RLock())}
    clients = [make_client(spend_policy=policy, private_key=net.new_wallet().private_key) for _ in range(2)]
    assert asked(net, make_client(spend_policy=policy), *clients) == 3
    assert len({seen.payer for seen in net.journal.authorizations.values()}) == 3


def test_gateway_without_attestation_is_not_shown_the_session_of_an_enclave(make_client: MakeClient) -> None:
    """It says itself who it is, and could name any enclave of the registry."""
    policy = {"store": MemoryStore(threading.RLock())}
    with Devnet(tls=False) as net:
        options: dict[str, Any] = {"private_key": net.private_key, "network": net.network, "spend_policy": policy}
        direct = make_client(**options, gateway_url=net.enclaves[0].endpoint)
        again = make_client(**options, gateway_url=net.enclaves[0].endpoint)
        assert direct.engine.sessions is again.engine.sessions
        assert direct.engine.sessions is not make_client(**options).engine.sessions
        assert asked(net, direct, again) == 1


@pytest.mark.parametrize("kept", ["process", "store"])
def test_account_that_authorized_nothing_goes_with_its_last_client(net: Devnet, kept: str) -> None:
    def use() -> weakref.ref[Any]:
        policy = {"store": MemoryStore(threading.RLock())} if kept == "store" else {}
        client = Client(private_key=net.private_key, network=net.network, spend_policy=policy)
        return weakref.ref(client.engine.sessions)

    gone = use()
    gc.collect()
    assert gone() is None


def test_client_made_for_each_request_pays_once(net: Devnet) -> None:
    """15 objects, one after the other, none of which outlives its call: one authorization within one total."""
    for _ in range(15):
        with Client(private_key=net.private_key, network=net.network, spend_policy={"total": "0.1"}) as client:
            assert client.chat(MODEL, user("hi")).receipt["status"] == "verified"
        del client
        gc.collect()
    assert net.stats().payments == 1


def test_account_lives_until_its_last_authorization_is_over(net: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    """After that nothing of it is left: a service that makes rules for each user does not grow for ever."""

    def ask() -> weakref.ref[Any]:
        with Client(private_key=net.private_key, network=net.network) as client:
            client.chat(MODEL, user("hi"))
            return weakref.ref(client.engine.sessions)

    account = ask()
    gc.collect()
    assert account() is not None
    later = time.time() + 3600
    monkeypatch.setattr(_accounts, "now", lambda: int(later))
    Client(private_key=net.new_wallet().private_key, network=net.network)
    gc.collect()
    assert account() is None

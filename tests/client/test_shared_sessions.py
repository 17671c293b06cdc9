"""Clients of one wallet and one budget share sessions; nobody else does."""

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.protocol.payment.budget import MemoryStore
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
    """Another store, other rules for the same store, or none: equal accounts, but not the same one."""
    store, other = MemoryStore(threading.RLock()), MemoryStore(threading.RLock())
    policies: list[dict[str, Any]] = [
        {"store": store},
        {"store": other},
        {"store": store, "total": "5"},
        {"store": store, "on_payment": lambda request: True},
        {},
        {},
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


def test_book_goes_with_its_last_client(net: Devnet) -> None:
    def use() -> weakref.ref[Any]:
        client = Client(
            private_key=net.private_key,
            network=net.network,
            spend_policy={"store": MemoryStore(threading.RLock())},
        )
        return weakref.ref(client.engine.sessions)

    gone = use()
    gc.collect()
    assert gone() is None

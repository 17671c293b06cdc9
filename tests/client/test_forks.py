"""A forked child pays from its own sessions, on its own connections, and not beyond its parent's limits."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import Client
from og_integrations.client.stores._thread import StoreThread
from og_integrations.devnet import DEFAULT_CAP, Devnet
from og_integrations.errors import BudgetExceededError, ConfigurationError, SpendingStoppedError
from og_integrations.langchain import ChatOpenGradient, ReceiptCallbackHandler
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.protocol.payment._memory import MemoryStore
from tests.client.ways_to_ask import MODEL, user

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


def in_child(act: Callable[[], object]) -> None:
    """Run `act` in a forked child, which has ten seconds; fail if it does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads is the point
        pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def client(net: Devnet, **policy: Any) -> Client:
    return Client(private_key=net.private_key, network=net.network, spend_policy=policy)


def verified(payer: Client) -> None:
    assert payer.chat(MODEL, user("hi")).receipt["status"] == "verified"


@pytest.mark.parametrize(("kept", "shared"), [("memory", True), ("file", True), ("file", False)])
def test_parent_and_child_are_both_answered(net: Devnet, tmp_path: Path, kept: str, shared: bool) -> None:
    """Warm, on different connections; in one session only where they have a store in which to find it."""
    store = tmp_path / "budget.sqlite" if kept == "file" else None
    payments = 1 if kept == "file" and shared else 3
    with client(net, store=store, share_sessions=shared) as payer:
        verified(payer)
        for _ in range(2):
            in_child(lambda: verified(payer))
            verified(payer)
        assert (net.stats().handshakes, net.stats().payments) == (3, payments)
        assert payer.spent().authorized == (payments if kept == "file" else 1) * DEFAULT_CAP


@pytest.mark.parametrize("limit", ["total", "per_hour", "per_day"])
def test_limit_in_memory_is_not_counted_anew(net: Devnet, limit: str) -> None:
    """Neither by the child nor by its child; whatever store object in memory it was."""

    def refused(payer: Client) -> None:
        for attempt in (lambda: verified(payer), payer.spent):
            with pytest.raises(ConfigurationError, match=r"made before a fork.*set SpendPolicy\.store to a file"):
                attempt()

    for store in (None, MemoryStore(threading.RLock())):
        with client(net, **{limit: "0.2"}, store=store) as payer:
            in_child(lambda: refused(payer))
            in_child(lambda: in_child(lambda: refused(payer)))
            verified(payer)
    in_child(lambda: verified(client(net, **{limit: "0.1"})))
    assert net.stats().payments == 3


def test_copies_of_a_model_do_not_count_anew_in_the_child(net: Devnet) -> None:
    """Nor does one that is made there with other options, but with its parent's wallet and account."""
    model = ChatOpenGradient(
        model=MODEL, private_key=net.private_key, network=net.network, spend_policy={"total": "0.1"}
    )

    def refused() -> None:
        for other in (model, model.model_copy(update={"max_retries": 0})):
            with pytest.raises(ConfigurationError, match="made before a fork"):
                other.invoke("hi")

    model.invoke("hi")
    in_child(refused)
    model.close()
    assert net.stats().payments == 1


def test_limit_in_a_file_holds_for_both(net: Devnet, tmp_path: Path) -> None:
    def refused() -> None:
        with pytest.raises(BudgetExceededError):
            verified(payer)

    with client(net, total="0.2", store=tmp_path / "budget.sqlite", share_sessions=False) as payer:
        verified(payer)
        in_child(lambda: verified(payer))
        in_child(refused)
        verified(payer)
    assert net.stats().payments == 2


def test_kill_switch_stays_where_it_was(net: Devnet) -> None:
    def stopped() -> None:
        with pytest.raises(SpendingStoppedError, match="lunch"):
            verified(payer)

    with client(net) as payer:
        payer.stop_spending("lunch")
        in_child(stopped)


def test_clients_of_one_file_share_their_sessions_in_the_child(net: Devnet, tmp_path: Path) -> None:
    policy = {"store": tmp_path / "budget.sqlite"}

    def both() -> None:
        assert one.engine.sessions is other.engine.sessions is not parents
        verified(one)
        verified(other)

    with client(net, **policy) as one, client(net, **policy) as other:
        parents = one.engine.sessions
        in_child(both)
    assert net.stats().payments == 1


def locks_of(thing: object, seen: set[int]) -> Iterator[Any]:
    """Return every lock that can be reached from `thing` by the attributes of our own objects."""
    for value in getattr(thing, "__dict__", {}).values():
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, type(threading.Lock()) | type(threading.RLock())):
            yield value
        elif type(value).__module__.startswith("og_integrations"):
            yield from locks_of(value, seen)


@pytest.mark.parametrize("kind", ["client", "langchain", "llama_index"])
def test_locks_that_a_thread_held_do_not_hang_the_child(net: Devnet, kind: str) -> None:
    """All of them, at the moment of the fork."""
    options: dict[str, Any] = {"private_key": net.private_key, "network": net.network}
    handler = ReceiptCallbackHandler()
    payer = Client(**options)
    lc = ChatOpenGradient(model=MODEL, callbacks=[handler], **options)
    li = OpenGradientLLM(model=MODEL, **options)
    ask: dict[str, Callable[[], object]] = {
        "client": lambda: payer.chat(MODEL, user("hi")),
        "langchain": lambda: lc.invoke("hi"),
        "llama_index": lambda: li.complete("hi"),
    }
    roots: dict[str, tuple[object, ...]] = {
        "client": (payer,),
        "langchain": (lc.engines, lc.clients.sync, handler),
        "llama_index": (li.engines, li.clients.sync),
    }
    ask[kind]()
    locks = [lock for root in roots[kind] for lock in locks_of(root, set())]
    assert len(locks) >= 5
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        forked.wait()
        for lock in locks:
            lock.release()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        in_child(ask[kind])
    finally:
        forked.set()
        holder.join()
    ask[kind]()
    payer.close()
    lc.close()
    li.close()


def test_fork_waits_for_the_store_in_the_middle_of_its_work() -> None:
    """A child that is forked in a transaction would find its parent's lock in its memory, and wait for it in vain."""
    thread, begun, done = StoreThread(), threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        time.sleep(0.2)
        done.append("committed")

    thread.later(work)
    begun.wait()
    in_child(lambda: thread.run(lambda: done.append("in the child")))
    assert done == ["committed"]

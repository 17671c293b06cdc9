"""
Which clients of this process pay from the same sessions: those of one wallet and one budget.

One budget means: the same rules, and the same `SpendPolicy.store` (one file, or one object). Without a store each
client has a budget of its own, and shares nothing unless it is given another's `engine`.
"""

import secrets
import threading
import time
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from og_integrations.client._settings import Settings
from og_integrations.client.chain.settlement import OverdueAsker
from og_integrations.client.stores.sqlite import BudgetFile, open_store
from og_integrations.errors import ConfigurationError
from og_integrations.forking import survive_forks
from og_integrations.protocol.payment.budget import Budget, BudgetStore, MemoryStore
from og_integrations.protocol.payment.flow import PaymentContext
from og_integrations.protocol.payment.policy import SpendPolicy
from og_integrations.protocol.payment.reconcile import Reclaimer
from og_integrations.protocol.payment.session import SessionCache


class _Shared:
    """
    The payment contexts of this process that may be shared, under what a client must have in common with them.

    `memories` are the budgets in memory: after a fork those of the parent are not ours. `heirs` maps each of them to
    the one that replaces it here, None until it is asked for.
    """

    def __init__(self) -> None:
        self.memories: WeakSet[MemoryStore] = WeakSet()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Leave sessions, locks and memory to the parent process."""
        self.lock = threading.Lock()
        self.contexts: WeakValueDictionary[tuple[object, ...], PaymentContext] = WeakValueDictionary()
        self.heirs: WeakKeyDictionary[MemoryStore, MemoryStore | None] = WeakKeyDictionary()
        self.heirs.update(dict.fromkeys(self.memories))

    def reachable(self, store: BudgetStore, policy: SpendPolicy) -> BudgetStore:
        """Return `store`, or what stands for it in a forked child. Raises `ConfigurationError` if nothing may."""
        if not isinstance(store, MemoryStore):
            return store
        with self.lock:
            if store in self.heirs:
                store = self._heir(store, policy)
            self.memories.add(store)
            return store

    def _heir(self, store: MemoryStore, policy: SpendPolicy) -> MemoryStore:
        if (policy.total, policy.per_hour, policy.per_day) != (None, None, None):
            raise ConfigurationError(
                "This client's account was made before a fork, and is in the parent's memory: here its limits would "
                "count anew. Nothing was sent. Make the client in the child, or set SpendPolicy.store to a file."
            )
        heir = self.heirs[store]
        if heir is None:
            heir = self.heirs[store] = MemoryStore(threading.RLock())
            # Without limits the account may begin empty, but the kill switch stays where it was.
            heir.stop(store.stopped())
        return heir


_SHARED = _Shared()


class Account:
    """
    An account is one wallet under one set of rules: what an engine pays from. A forked child has another one.

    With a store that both can reach, the child is on the same budget. A budget in memory cannot be shared with the
    parent: limits would hold for each of them, so that a child that has any must not spend.
    """

    def __init__(self, settings: Settings, policy: SpendPolicy) -> None:
        self._settings = settings
        self._policy = policy
        self._store = open_store(policy.store) or MemoryStore(threading.RLock())
        self.begin_again()
        self.context()
        survive_forks(self)

    def begin_again(self) -> None:
        """Leave the sessions to the parent; our own are made when they are needed."""
        self._lock = threading.Lock()
        self._context: PaymentContext | None = None

    def context(self) -> PaymentContext:
        """Return what this process pays from. Raises `ConfigurationError` if it must not pay."""
        with self._lock:
            if self._context is None:
                self._store = _SHARED.reachable(self._store, self._policy)
                self._context = shared_context(self._settings, self._policy, self._store)
            return self._context


def shared_context(settings: Settings, policy: SpendPolicy, store: BudgetStore) -> PaymentContext:
    """Return what to pay from: that of a living client that it may be shared with, or a new one."""
    if settings.signer is None:
        return _new_context(settings, policy, store)
    key = (
        settings.signer.address.lower(),
        settings.network,
        # A gateway without attestation may claim to be any enclave, and must not be shown that one's session.
        settings.gateway_url,
        policy.model_copy(update={"store": None}),
        store.path if isinstance(store, BudgetFile) else id(store),
    )
    with _SHARED.lock:
        context = _SHARED.contexts.get(key)
        if context is None:
            context = _SHARED.contexts[key] = _new_context(settings, policy, store)
        return context


def _new_context(settings: Settings, policy: SpendPolicy, store: BudgetStore) -> PaymentContext:
    # Re-entrant: the garbage collector may finalize an abandoned flow on a thread that holds one.
    lock = threading.RLock()
    budget = Budget(policy, lock, store=store, new_id=lambda: secrets.token_hex(16), network=settings.network.identity)
    return PaymentContext(
        sessions=SessionCache(budget, threading.RLock()),
        clock=_now,
        nonce=lambda: secrets.randbits(256),
        reclaim=Reclaimer(budget, _now, OverdueAsker(store, settings.network, _now), lock),
    )


def _now() -> int:
    return int(time.time())

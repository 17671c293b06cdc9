"""
Which clients of this process share their sessions: those of one wallet and one budget.

One budget means: the same rules, and the same `SpendPolicy.store` (one file, or one object). Without a
store each client has an account of its own, and shares nothing unless it is given another's `engine`.
"""

import secrets
import threading
from weakref import WeakKeyDictionary, WeakSet

from og_integrations.client._settings import Settings
from og_integrations.client.stores.sqlite import BudgetFile, open_store
from og_integrations.errors import ConfigurationError
from og_integrations.forking import survive_forks
from og_integrations.protocol.payment.budget import Budget, BudgetStore, MemoryStore
from og_integrations.protocol.payment.policy import SpendPolicy
from og_integrations.protocol.payment.session import SessionBook


class _Books:
    """
    The books of this process that may be shared, each with what a client must have in common with it.

    `memories` are the accounts in memory: after a fork those of the parent are not ours. `heirs` maps each of
    them to the account that replaces it here, None until it is asked for.
    """

    def __init__(self) -> None:
        self.memories: WeakSet[MemoryStore] = WeakSet()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """A parent's sessions are not ours, nor are its locks and what it has in memory."""
        self.lock = threading.Lock()
        self.owners: WeakKeyDictionary[SessionBook, tuple[object, ...]] = WeakKeyDictionary()
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


_BOOKS = _Books()


class OwnBook:
    """
    The book of one engine. A forked child has another one: the sessions are its parent's.

    With a store that both can reach it is on the same account. An account in memory cannot be shared with the
    parent: limits would hold for each of them, so that a child that has any must not spend.
    """

    def __init__(self, settings: Settings, policy: SpendPolicy) -> None:
        self._settings = settings
        self._policy = policy
        self._store = open_store(policy.store) or MemoryStore(threading.RLock())
        self.begin_again()
        self.book()
        survive_forks(self)

    def begin_again(self) -> None:
        """Leave the book to the parent; our own is made when it is needed."""
        self._lock = threading.Lock()
        self._book: SessionBook | None = None

    def book(self) -> SessionBook:
        """Return the book of this process. Raises `ConfigurationError` if it must not have one."""
        with self._lock:
            if self._book is None:
                self._store = _BOOKS.reachable(self._store, self._policy)
                self._book = session_book(self._settings, self._policy, self._store)
            return self._book


def session_book(settings: Settings, policy: SpendPolicy, store: BudgetStore) -> SessionBook:
    """Return the book to pay from: a new one, or that of a living client that it may be shared with."""
    if settings.signer is None:
        return _new_book(settings, policy, store)
    whose = (
        settings.signer.address.lower(),
        settings.network,
        # A gateway without attestation may claim to be any enclave, and must not be shown that one's session.
        settings.gateway_url,
        policy.model_copy(update={"store": None}),
        store.path if isinstance(store, BudgetFile) else id(store),
    )
    with _BOOKS.lock:
        for book, owner in list(_BOOKS.owners.items()):
            if owner == whose:
                return book
        book = _new_book(settings, policy, store)
        _BOOKS.owners[book] = whose
        return book


def _new_book(settings: Settings, policy: SpendPolicy, store: BudgetStore) -> SessionBook:
    # Re-entrant: the garbage collector may finalize an abandoned flow on a thread that holds one.
    budget = Budget(
        policy,
        threading.RLock(),
        store=store,
        new_id=lambda: secrets.token_hex(16),
        network=settings.network.identity,
    )
    return SessionBook(budget, threading.RLock())

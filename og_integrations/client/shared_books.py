"""
Which clients of this process share their sessions: those of one wallet and one budget.

One budget means: the same rules, and the same `SpendPolicy.store` (one file, or one object). Without a
store each client has an account of its own, and shares nothing unless it is given another's `engine`.
"""

import secrets
import threading
from weakref import WeakKeyDictionary

from og_integrations.client.budget_file import BudgetFile, open_store
from og_integrations.client.settings import Settings
from og_integrations.errors import ConfigurationError
from og_integrations.forking import survive_forks
from og_integrations.protocol.account import BudgetStore, MemoryStore
from og_integrations.protocol.budget import Budget, SpendPolicy
from og_integrations.protocol.sessions import SessionBook


class _Books:
    """The books of this process that may be shared, each with what a client must have in common with it."""

    def __init__(self) -> None:
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """A parent's sessions are not ours, nor are its locks."""
        self.lock = threading.Lock()
        self.owners: WeakKeyDictionary[SessionBook, tuple[object, ...]] = WeakKeyDictionary()


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
        self._lock = threading.Lock()
        self._store = open_store(policy.store)
        self._of_parent: SessionBook | None = None
        self._book: SessionBook | None = session_book(settings, policy, self._store)
        survive_forks(self)

    def begin_again(self) -> None:
        """Leave the book to the parent. The new one is made when it is needed, by then without its locks."""
        self._lock = threading.Lock()
        self._of_parent, self._book = self._book or self._of_parent, None

    def book(self) -> SessionBook:
        """Return the book of this process. Raises `ConfigurationError` if it must not have one."""
        with self._lock:
            if self._book is None:
                assert self._of_parent is not None  # noqa: S101 - begin_again has put it there
                self._book = self._reborn(self._of_parent.budget.store)
            return self._book

    def _reborn(self, known: BudgetStore) -> SessionBook:
        if not isinstance(known, MemoryStore):
            return session_book(self._settings, self._policy, self._store)
        policy = self._policy
        if (policy.total, policy.per_hour, policy.per_day) != (None, None, None):
            raise ConfigurationError(
                "This client was made before a fork, and its account is in its parent's memory: here its limits would "
                "count anew. Nothing was sent. Make the client in the child, or set SpendPolicy.store to a file."
            )
        book = _new_book(self._settings, policy, None)
        # Without limits the account may begin empty, but the kill switch stays where it was.
        book.budget.store.stop(known.stopped())
        return book


def session_book(settings: Settings, policy: SpendPolicy, store: BudgetStore | None) -> SessionBook:
    """Return the book to pay from: a new one, or that of a living client that it may be shared with."""
    if store is None or settings.signer is None:
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


def _new_book(settings: Settings, policy: SpendPolicy, store: BudgetStore | None) -> SessionBook:
    # Re-entrant: the garbage collector may finalize an abandoned flow on a thread that holds one.
    budget = Budget(
        policy,
        threading.RLock(),
        store=store,
        new_id=lambda: secrets.token_hex(16),
        network=settings.network.identity,
    )
    return SessionBook(budget, lock=threading.RLock)

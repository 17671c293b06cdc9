"""
Which clients of this process share their sessions: those of one wallet and one budget.

One budget means: the same rules, and the same `SpendPolicy.store` (one file, or one object). Without a
store each client has an account of its own, and shares nothing unless it is given another's `engine`.
"""

import os
import secrets
import threading
from pathlib import Path
from weakref import WeakKeyDictionary

from og_integrations.client.budget_file import open_store
from og_integrations.client.settings import Settings
from og_integrations.protocol.budget import Budget, SpendPolicy
from og_integrations.protocol.sessions import SessionBook

_BOOKS: WeakKeyDictionary[SessionBook, tuple[object, ...]] = WeakKeyDictionary()
_LOCK = threading.Lock()


def session_book(settings: Settings, policy: SpendPolicy) -> SessionBook:
    """Return the book to pay from: a new one, or that of a living client that it may be shared with."""
    store = open_store(policy.store)
    if store is None or settings.signer is None:
        return _new_book(policy, None)
    place = Path(policy.store).resolve() if isinstance(policy.store, str | Path) else id(store)
    whose = (
        # A fork has copies of the locks, as they were at that moment.
        os.getpid(),
        settings.signer.address.lower(),
        settings.network,
        # A gateway without attestation may claim to be any enclave, and must not be shown that one's session.
        settings.gateway_url,
        policy.model_copy(update={"store": None}),
        place,
    )
    with _LOCK:
        for book, owner in list(_BOOKS.items()):
            if owner == whose:
                return book
        book = _new_book(policy, store)
        _BOOKS[book] = whose
        return book


def _new_book(policy: SpendPolicy, store: object) -> SessionBook:
    # Re-entrant: the garbage collector may finalize an abandoned flow on a thread that holds one.
    budget = Budget(policy, threading.RLock(), store=open_store(store), new_id=lambda: secrets.token_hex(16))
    return SessionBook(budget, lock=threading.RLock)

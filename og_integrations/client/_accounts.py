"""
Which clients of this process pay from the same sessions: those of one wallet under one set of rules.

An account belongs to the process, not to an object: a model that is made anew for each request, or unpickled by each
task, finds the budget and the session of the one before. It lives while a client of it does, and after that until its
last authorization is over and counts against no limit any more. Who wants two accounts names them
(`SpendPolicy.account`); a `SpendPolicy.store` keeps one for many processes.
"""

import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from og_integrations._forking import survive_forks
from og_integrations.client import _telemetry
from og_integrations.client._call import now
from og_integrations.client._sealed_sessions import session_board
from og_integrations.client._settings import Settings
from og_integrations.client.stores import open_store
from og_integrations.errors import ConfigurationError
from og_integrations.networks import Network
from og_integrations.protocol.payment._budget import DAY, HOUR, Budget, BudgetStore, Entry
from og_integrations.protocol.payment._flow import PaymentContext
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment._reconcile import Findings, Reclaimer
from og_integrations.protocol.payment._session import SessionCache
from og_integrations.protocol.payment.schemes._settlement import Reading

Key = tuple[object, ...]
_FOR_EVER = 2**62


class _Shared:
    """
    The payment contexts of this process, under what a client must have in common with them.

    `kept` holds those that authorized something, until the unix time at which that is over. `memories` are the budgets
    in memory: after a fork those of the parent are not ours. `heirs` maps each of them to the one that replaces it
    here, None until it is asked for; `inherited` says which account was whose.
    """

    def __init__(self) -> None:
        self.memories: WeakSet[MemoryStore] = WeakSet()
        self.contexts: WeakValueDictionary[Key, PaymentContext] = WeakValueDictionary()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Leave sessions, locks and memory to the parent process."""
        # Re-entrant: the garbage collector may end an abandoned call on a thread that holds it.
        self.lock = threading.RLock()
        self.inherited = {key: context.sessions.budget.store for key, context in self.contexts.items()}
        self.contexts = WeakValueDictionary()
        self.kept: dict[Key, tuple[PaymentContext, int]] = {}
        self.wholes: WeakValueDictionary[Key, MemoryStore] = WeakValueDictionary()
        self.heirs: WeakKeyDictionary[MemoryStore, MemoryStore | None] = WeakKeyDictionary()
        self.heirs.update(dict.fromkeys(self.memories))

    def keep(self, key: Key, until: int) -> None:
        """Keep the account of `key` until that unix time, also if nobody uses it: it authorized something."""
        with self.lock:
            context = self.contexts.get(key)
            if context is not None:
                self.kept[key] = (context, max(until, self.kept.get(key, (context, 0))[1]))

    def memory(self, whose: Key, policy: SpendPolicy) -> MemoryStore:
        """Return where this process counts for `policy`; accounts with a share of the same one count together."""
        made = MemoryStore(threading.RLock())
        if policy.share is None:
            return made
        whole = policy.model_copy(update={"store": None, "account": "", "share": None})
        return self.wholes.setdefault((*whose, whole), made)

    def forget(self, now: int) -> None:
        """Let go of the accounts whose authorizations are all over at unix time `now`."""
        for key in [key for key, (_, until) in self.kept.items() if until < now]:
            del self.kept[key]

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
        if policy.limited:
            raise ConfigurationError(
                "This client's account was made before a fork, and is in the parent's memory: here its limits would "
                "count anew. Nothing was sent. Make a client with other rules, or another SpendPolicy.account, in the "
                "child, or set SpendPolicy.store to a file."
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
        # With a share, an account is a part of the unnamed one, in whose sums it counts.
        self._store = open_store(policy.store, "" if policy.share is not None else policy.account)
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
                if self._store is not None:
                    self._store = _SHARED.reachable(self._store, self._policy)
                self._context = shared_context(self._settings, self._policy, self._store)
                self._store = self._context.sessions.budget.store
            return self._context


def shared_context(settings: Settings, policy: SpendPolicy, store: BudgetStore | None) -> PaymentContext:
    """
    Return what to pay from: the one that wallet, network, rules and store have in this process, or a new one.

    `store` is None for the process's own memory.
    """
    if settings.signer is None or not _hashable(policy):
        return _new_context(settings, policy, store or MemoryStore(threading.RLock()), None)
    whose = (
        settings.signer.address.lower(),
        settings.network,
        # A gateway without attestation may claim to be any enclave, and must not be shown that one's session.
        settings.gateway_url,
        type(policy),
        policy.model_copy(update={"store": None}),
    )
    key = (*whose, None if store is None else getattr(store, "place", id(store)))
    with _SHARED.lock:
        _SHARED.forget(now())
        own = _SHARED.contexts.get((*whose, None))
        if own is not None and own.sessions.budget.store is store:
            # The process's own account, named by its store.
            return own
        context = _SHARED.contexts.get(key)
        if context is None:
            if store is None:
                # Of the same wallet and rules as one of the parent's: its limits must not count anew here.
                store = _SHARED.inherited.get(key) or _SHARED.memory(whose[:-1], policy)
            kept = _SHARED.reachable(store, policy)
            context = _SHARED.contexts[key] = _new_context(settings, policy, kept, key)
        return context


def _hashable(policy: SpendPolicy) -> bool:
    try:
        hash(policy.model_copy(update={"store": None}))
    except TypeError:
        # A subclass with a list in it, say: nobody can tell two of them apart, so that each is an account.
        return False
    return True


def _new_context(settings: Settings, policy: SpendPolicy, store: BudgetStore, key: Key | None) -> PaymentContext:
    # Re-entrant: the garbage collector may finalize an abandoned flow on a thread that holds one.
    lock = threading.RLock()
    budget = Budget(
        policy,
        lock,
        store=store,
        new_id=lambda: secrets.token_hex(16),
        network=settings.network.identity,
        clock=now,
    )
    _telemetry.watch(budget)
    keep = (lambda until: None) if key is None else (lambda until: _SHARED.keep(key, max(until, _counted(policy))))
    return PaymentContext(
        sessions=SessionCache(budget, threading.RLock(), keep=keep, board=session_board(settings, policy, store)),
        clock=now,
        nonce=lambda: secrets.randbits(256),
        reclaim=Reclaimer(budget, now, partial(_ask_chain, store, settings.network), lock),
    )


def _ask_chain(
    store: BudgetStore, network: Network, entries: Sequence[Entry], enough: Callable[[], bool], found: Findings
) -> Reading[None]:
    """Ask what became of `entries`, for the first time that a budget is used up: see `OverdueAsker`."""
    from og_integrations.client.chain._settlement import OverdueAsker

    return OverdueAsker(store, network, now)(entries, enough, found)


def _counted(policy: SpendPolicy) -> int:
    """Return the unix time until which what is authorized now counts against a limit of `policy`."""
    if policy.on_payment is not None or policy.on_limit_near is not None:
        # A callback that is made for each request makes an account for each: these must not pile up.
        return 0
    if (policy.total, policy.share, policy.stop_after_unanswered) != (None, None, None):
        return _FOR_EVER
    hourly = policy.per_hour is not None or policy.payments_per_hour is not None
    return now() + (DAY if policy.per_day is not None else HOUR if hourly else 0)

"""
The wallet, budget, sessions and connections behind a model, and behind every copy of it.

LangChain copies models freely: `configurable_fields` builds a new one for each call, `bind` and
`with_config` wrap, `deepcopy` doubles. Were each copy to have an engine of its own, each would pay
anew, and a total in the `SpendPolicy` would bound nothing. So all copies share one `Engines`, and all
engines of one wallet in it count on one account, whatever else was changed in a copy.
"""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from og_integrations.forking import survive_forks

if TYPE_CHECKING:
    from og_integrations.client import AsyncClient, Client
    from og_integrations.protocol.payment.budget import BudgetStore

_SETTINGS = ("private_key", "signer", "network", "rpc_url", "registry_rpc_url", "registry_address", "gateway_url")


@dataclass(frozen=True, slots=True)
class Clients:
    """The two clients of one engine."""

    sync: "Client"
    asynchronous: "AsyncClient"


class Engines:
    """One engine for each set of options that was ever asked for, made on first use; one account per wallet."""

    def __init__(self) -> None:
        self._made: list[tuple[dict[str, Any], Clients]] = []
        self._stores: dict[str, BudgetStore] = {}
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds, also in a forked child."""
        self._lock = threading.Lock()

    def clients(self, options: dict[str, Any], *, http_client: Any, http_async_client: Any) -> Clients:
        """Return the clients for `options`. Raises `ConfigurationError`."""
        wanted = {**options, "http_client": http_client, "http_async_client": http_async_client}
        with self._lock:
            for known, clients in self._made:
                if known == wanted:
                    return clients
            made = self._connect(options, http_client, http_async_client)
            self._made.append((wanted, made))
            return made

    def made(self) -> list[Clients]:
        """Return all clients made so far."""
        with self._lock:
            return [clients for _, clients in self._made]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Stay the same: a copy of a model spends from the same budget."""
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        """Travel empty: neither key nor sessions leave this process."""
        return type(self), ()

    def _connect(self, options: dict[str, Any], http_client: Any, http_async_client: Any) -> Clients:
        from og_integrations.client import AsyncClient, Client, Engine
        from og_integrations.client._settings import resolve_settings
        from og_integrations.protocol.payment.budget import MemoryStore
        from og_integrations.protocol.payment.policy import SpendPolicy

        signer = resolve_settings(**{name: options[name] for name in _SETTINGS}).signer
        policy = SpendPolicy.of(options["spend_policy"])
        if signer is not None and policy.store is None:
            # Re-entrant as the locks of `client._accounts`, and for their reason.
            store = self._stores.setdefault(signer.address.lower(), MemoryStore(threading.RLock()))
            policy = policy.model_copy(update={"store": store})
        engine = Engine(**{**options, "private_key": None, "signer": signer, "spend_policy": policy})
        return Clients(
            Client(engine=engine, http_client=http_client), AsyncClient(engine=engine, http_client=http_async_client)
        )

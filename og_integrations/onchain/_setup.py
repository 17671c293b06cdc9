"""
Where models on chain run, who pays for their gas, and how much of it may be spent.

Gas is not OPG: a `SpendPolicy` knows nothing of it, so it has limits and a budget of its own.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from og_integrations._forking import survive_forks
from og_integrations.client._settings import Settings, check_seconds
from og_integrations.client._signer import TransactionSigner
from og_integrations.client.chain._jsonrpc import Fetching, as_number, check_chain, quantity
from og_integrations.client.chain._transactions import (
    RECEIPT_TIMEOUT,
    GasLimits,
    Place,
    Sending,
    SentTransaction,
    Tell,
    Waiting,
    draft,
    most_cost,
    transact,
    transaction_signer,
)
from og_integrations.errors import (
    ConfigurationError,
    GasBudgetExceededError,
    InvalidRequestError,
    TransactionInDoubtError,
    TransactionRefusedError,
    TransactionRevertedError,
)
from og_integrations.networks import format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain.inference import HUB_ADDRESS, PRECOMPILE_ADDRESS
from og_integrations.protocol.chain.workflow import SCHEDULER_ADDRESS, check_address

Leaving = Callable[[SentTransaction], object]
Progress = Callable[[Tell], object]
MOST_COST = 10**16
"""The most that one transaction may cost unless you say otherwise, in wei (0.01 of the chain's coin)."""


class GasBudget:
    """
    The most that all transactions of its clients may cost together, in wei; safe to share between threads.

    What a transaction may cost at most is held before it is signed. What it did cost counts once it is mined; one
    that was never sent is given back, and one in doubt counts in full.
    """

    def __init__(self, total: int) -> None:
        if type(total) is not int or total < 0:
            raise ConfigurationError(f"The gas budget is {total!r:.40}, expected wei as a whole number, 0 or more.")
        self.total = total
        self._spent = 0
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Take a lock that nobody holds; what was spent stays spent."""
        self._lock = threading.Lock()

    @property
    def spent(self) -> int:
        """What was spent or is held, in wei."""
        with self._lock:
            return self._spent

    @contextmanager
    def hold(self, most: int) -> Iterator["GasHold"]:
        """Hold `most` wei for one transaction. Raises `GasBudgetExceededError` if that is over the budget."""
        hold = GasHold(most)
        with self._lock:
            if self._spent + most > self.total:
                raise GasBudgetExceededError(
                    f"The transaction may cost {format_opg(most)} of the chain's coin, and {format_opg(self._spent)} "
                    f"of the gas budget of {format_opg(self.total)} are spent or held. Nothing was sent."
                )
            self._spent += most
        try:
            yield hold
        finally:
            with self._lock:
                self._spent -= most - hold.cost


@dataclass
class GasHold:
    """What one transaction counts for: nothing until it leaves, all while it is in doubt, then what it did cost."""

    most: int
    cost: int = 0


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything that all calls of one client share. Amounts are wei, times are seconds."""

    settings: Settings
    limits: GasLimits = field(default_factory=lambda: GasLimits(cost=MOST_COST))
    budget: GasBudget | None = None
    timeout: float = RECEIPT_TIMEOUT
    result_timeout: float = RECEIPT_TIMEOUT
    hub: str = HUB_ADDRESS
    precompile: str = PRECOMPILE_ADDRESS
    scheduler: str = SCHEDULER_ADDRESS
    leaving: Leaving | None = None
    progress: Progress | None = None
    checked: set[str] = field(default_factory=set)
    """The nodes that are known to be of the right chain."""

    def __post_init__(self) -> None:
        check_seconds("timeout", self.timeout)
        check_seconds("result_timeout", self.result_timeout)
        for name in ("hub", "precompile", "scheduler"):
            try:
                check_address(getattr(self, name))
            except InvalidRequestError as exc:
                raise ConfigurationError(f"{name} is no address; expected 0x and 40 hex digits.") from exc

    @property
    def url(self) -> str:
        """The node of the OpenGradient chain."""
        return self.settings.network.registry_rpc_url

    @property
    def place(self) -> Place:
        """The chain, as the sender of transactions takes it."""
        network = self.settings.network
        return Place(url=self.url, chain_id=network.registry_chain_id, name=network.name)

    def signer(self) -> TransactionSigner:
        """Return the wallet. Raises `ConfigurationError`."""
        return transaction_signer(self.settings.require_signer())


@dataclass(frozen=True, kw_only=True)
class Mined:
    """A mined transaction: what was signed, what the node says of it, and what its gas cost, in wei."""

    sent: SentTransaction
    receipt: JsonObject
    cost: int


def send(setup: Setup, to: str | None, data: bytes, what: str, *, limits: GasLimits | None = None) -> Sending[Mined]:
    """
    Send a transaction from the wallet within all limits and return it mined; `what` begins sentences about it.

    The node tries it first, so what would fail costs nothing. Raises `TransactionError`, `ConfigurationError`,
    `SigningError` or `DiscoveryError`.
    """
    sender = setup.signer().address
    yield from check_place(setup)
    transaction = yield from draft(setup.place, sender, to, "0x" + data.hex(), limits or setup.limits, what)
    most = most_cost(transaction)
    owned = yield from quantity(setup.url, "eth_getBalance", sender, "latest")
    if owned < most:
        raise TransactionRefusedError(
            f"The wallet {sender} has {format_opg(owned)} of the chain's coin for gas, expected {format_opg(most)}. "
            "Nothing was sent. Fund it first."
        )
    # A client without a budget still has one for the transaction itself.
    with (setup.budget or GasBudget(most)).hold(most) as hold:
        try:
            sent, receipt = yield from transact(setup.place, sender, transaction, Waiting(what, setup.timeout))
        except (TransactionInDoubtError, TransactionRevertedError):
            hold.cost = most
            raise
        hold.cost = min(most, _cost_of(receipt, setup.url, most))
    return Mined(sent=sent, receipt=receipt, cost=hold.cost)


def check_place(setup: Setup) -> Fetching[None]:
    """Raise `ConfigurationError` if the node is of another chain; asked once."""
    place = setup.place
    if place.url not in setup.checked:
        yield from check_chain(place.url, place.chain_id)
        setup.checked.add(place.url)


def _cost_of(receipt: JsonObject, url: str, most: int) -> int:
    used, price = receipt.get("gasUsed"), receipt.get("effectiveGasPrice")
    return most if price is None else as_number(used, url) * as_number(price, url)

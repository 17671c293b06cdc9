"""
Where models on chain run, who pays for their gas, and how much of it may be spent.

Gas is not OPG: a `SpendPolicy` knows nothing of it, so it has limits and a budget of its own.
"""

import dataclasses
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from og_integrations._forking import survive_forks
from og_integrations.client._call import now
from og_integrations.client._collecting import wanted_here
from og_integrations.client._settings import Settings, check_seconds
from og_integrations.client._signer import TransactionSigner
from og_integrations.client.chain._jsonrpc import RECEIPT_TIMEOUT, Fetching, as_number, check_chain, quantity
from og_integrations.client.chain._transactions import (
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
from og_integrations.client.stores import open_store
from og_integrations.errors import (
    ConfigurationError,
    DiscoveryError,
    GasBudgetExceededError,
    InvalidRequestError,
    SigningError,
    TransactionRefusedError,
)
from og_integrations.networks import format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._inference import HUB_ADDRESS, PRECOMPILE_ADDRESS
from og_integrations.protocol.chain._workflow import SCHEDULER_ADDRESS, check_address
from og_integrations.protocol.payment._budget import BudgetTotals, Entry, HoldState, Limits
from og_integrations.protocol.payment._flow import Consult
from og_integrations.protocol.payment._memory import MemoryStore

if TYPE_CHECKING:
    from og_integrations.onchain._web3 import Web3Node
    from og_integrations.protocol.payment._budget import BudgetStore

Leaving = Callable[[SentTransaction], object]
Progress = Callable[[Tell], object]
_NEVER_SENT = (ConfigurationError, DiscoveryError, SigningError, TransactionRefusedError)
MOST_COST = 10**16
"""The most that one transaction may cost unless you say otherwise, in wei (0.01 of the chain's coin)."""


class GasBudget:
    """
    The most that the transactions of its clients may cost, in wei: all together (`total`), in an hour, in a day.

    It has the rules of a `SpendPolicy`: what a transaction may cost at most is held before it is signed; what it did
    cost counts once it is mined; one that was never sent is given back, and one in doubt counts in full until its
    receipt is seen. `store` (a path or a `BudgetStore`) shares it with other processes, under the name `account`;
    without one it is in this process's memory, and a forked child must not spend from it.
    """

    def __init__(
        self,
        total: int | None = None,
        *,
        per_hour: int | None = None,
        per_day: int | None = None,
        store: "str | Path | BudgetStore | None" = None,
        account: str = "gas",
    ) -> None:
        for name, limit in (("total", total), ("per_hour", per_hour), ("per_day", per_day)):
            if limit is not None and (type(limit) is not int or limit < 0):
                raise ConfigurationError(
                    f"The gas budget's {name} is {limit!r:.40}, expected wei as a whole number, 0 or more."
                )
        self._limits = Limits(total=total, per_hour=per_hour, per_day=per_day)
        self._store = open_store(store, account) or MemoryStore(threading.RLock())
        self._doubtful: dict[str, str] = {}
        self._inherited = False
        survive_forks(self)

    def begin_again(self) -> None:
        """Note in a forked child that what is in memory is the parent's."""
        self._inherited = isinstance(self._store, MemoryStore)

    @property
    def spent(self) -> int:
        """Return what was spent or is held, in wei. Raises `ConfigurationError` if the store cannot be read."""
        return self._store.totals(now()).authorized

    def claim(self, most: int) -> "GasHold":
        """
        Hold `most` wei for one transaction.

        Raises `GasBudgetExceededError`, or `SpendingStoppedError` where the store's kill switch is on.
        """
        if self._inherited:
            raise ConfigurationError(
                "This gas budget was made before a fork, and is in the parent's memory: here its limits would count "
                "anew. Nothing was sent. Make one in the child, or give it a store."
            )
        entry = Entry(id=secrets.token_hex(16), amount=most, at=now())
        limits = dataclasses.replace(self._limits, amount=most)

        def judge(totals: BudgetTotals) -> None:
            name = limits.exceeded(totals)
            if totals.stopped is None and name is not None:
                limit = dict(limits.by_name())[name] or 0
                raise GasBudgetExceededError(
                    f"The transaction may cost {format_opg(most)} of the chain's coin, and "
                    f"{format_opg(totals.counted(name))} of the gas budget of {format_opg(limit)} ({name}) are spent "
                    "or held. Nothing was sent."
                )
            limits(totals)

        self._store.claim(entry, judge)
        return GasHold(self._store, entry.id, self._doubtful)

    def concluded(self, transaction_hash: str, cost: int) -> None:
        """Note what a transaction that was in doubt did cost, in wei."""
        if (entry := self._doubtful.pop(transaction_hash, None)) is not None:
            self._store.correct(entry, cost)


class GasHold:
    """What one transaction counts for: all that it may cost, until it is known not to have left, or what it cost."""

    def __init__(self, store: "BudgetStore", entry: str, doubtful: dict[str, str]) -> None:
        self._store, self._entry, self._doubtful = store, entry, doubtful

    def release(self) -> None:
        """Note that it never left."""
        self._store.move(self._entry, HoldState.RELEASED)

    def doubt(self, transaction_hash: str) -> None:
        """Note that it left, and nobody saw what became of it."""
        self._doubtful[transaction_hash] = self._entry
        self._store.move(self._entry, HoldState.IN_DOUBT)

    def settle(self, cost: int) -> None:
        """Note that it did cost that much, in wei."""
        self._store.correct(self._entry, cost)


class Notes:
    """
    These are the notes on one inference's transaction in every ledger here; a crash after it has left loses nothing.

    A transaction that is signed anew replaces the one before in the notes, by the same write.
    """

    def __init__(self) -> None:
        self._ledgers, _ = wanted_here()
        self._noted: list[str] = []

    def write_down(self, sent: SentTransaction) -> None:
        """Write down what leaves next. Raises `LedgerBusyError` or `ConfigurationError`: then it must not leave."""
        before = self._noted[-1] if self._noted else None
        if before == sent.transaction_hash:
            return
        self._noted.append(sent.transaction_hash)
        for ledger in self._ledgers:
            ledger.note_transaction(sent.to_json(), replaces=before)

    def give_up(self) -> None:
        """Note that nothing of what was written down is at a node, or ever will be sent."""
        for transaction_hash in self._noted:
            self.end(transaction_hash, "it was not sent")

    def end(self, transaction_hash: str, why: str) -> None:
        """Note that a transaction need not be resumed any more."""
        for ledger in self._ledgers:
            ledger.end_transaction(transaction_hash, why)


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
    node: "Web3Node | None" = None
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
        """Return the node of the OpenGradient chain."""
        return self.settings.network.registry_rpc_url

    @property
    def place(self) -> Place:
        """Return the chain, as the sender of transactions takes it."""
        network = self.settings.network
        return Place(url=self.url, chain_id=network.registry_chain_id, name=network.name)

    def signer(self) -> TransactionSigner:
        """Return the wallet. Raises `ConfigurationError`."""
        if self.settings.signer is None:
            raise ConfigurationError(
                "No wallet pays the gas: set OG_ONCHAIN_PRIVATE_KEY, or OG_PRIVATE_KEY (a program may pass "
                "private_key=… or signer=…). Reading needs none. Nothing was sent."
            )
        return transaction_signer(self.settings.signer)


@dataclass(frozen=True, kw_only=True)
class Mined:
    """This is a mined transaction: what was signed, what the node says of it, and what its gas cost, in wei."""

    sent: SentTransaction
    receipt: JsonObject
    cost: int


def send(
    setup: Setup,
    to: str | None,
    data: bytes,
    what: str,
    *,
    limits: GasLimits | None = None,
    notes: Notes | None = None,
) -> Sending[Mined]:
    """
    Send a transaction from the wallet within all limits and return it mined; `what` begins sentences about it.

    It is written down in `notes` before it leaves; if that raises, nothing is sent. The node tries the transaction
    first, so what would fail costs nothing. Raises `TransactionError`, `ConfigurationError`, `SigningError` or
    `DiscoveryError`.
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
    budget = setup.budget
    waiting = Waiting(what, setup.timeout, write_down=None if notes is None else notes.write_down)
    hold = None if budget is None else (yield Consult(lambda: budget.claim(most)))
    try:
        sent, receipt = yield from transact(setup.place, sender, transaction, waiting)
    except BaseException as exc:
        # Whoever is cancelled after it left does not know either.
        left = waiting.transaction_hash and not isinstance(exc, _NEVER_SENT)
        if hold is not None:
            hold.doubt(waiting.transaction_hash) if left else hold.release()
        if notes is not None and not left:
            notes.give_up()
        raise
    cost = cost_of(receipt, setup.url)
    cost = most if cost is None else min(most, cost)
    if hold is not None:
        yield Consult(lambda: hold.settle(cost))
    return Mined(sent=sent, receipt=receipt, cost=cost)


def check_place(setup: Setup) -> Fetching[None]:
    """Raise `ConfigurationError` if the node is of another chain; asked once."""
    place = setup.place
    if place.url not in setup.checked:
        yield from check_chain(place.url, place.chain_id)
        setup.checked.add(place.url)


def cost_of(receipt: JsonObject, url: str) -> int | None:
    """Return what a mined transaction did cost, in wei; None if the node does not say it, or not as a number."""
    try:
        return as_number(receipt.get("gasUsed"), url) * as_number(receipt.get("effectiveGasPrice"), url)
    except DiscoveryError:
        # The gas is spent: an error that means "nothing was sent" would be a lie.
        return None

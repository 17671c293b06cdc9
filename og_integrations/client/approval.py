"""
The wallet's one transaction: allowing Permit2 to take OPG (PROTOCOL §6).

Both clients run the generator `ensure_approval`. web3 is not needed: a node is asked by `client.rpc`,
the signer signs, and the logic exists once for sync and async.
"""

import asyncio
import inspect
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

from og_integrations.client.approval_plan import Amount, plan_approval
from og_integrations.client.chain_reads import read_allowance
from og_integrations.client.connections import AsyncConnections, SyncConnections
from og_integrations.client.driving import awaited, not_awaitable
from og_integrations.client.fetching import afetch, fetch
from og_integrations.client.rpc import Fetch, Fetching, rpc
from og_integrations.client.settings import Settings, check_seconds
from og_integrations.client.signer import TransactionSigner
from og_integrations.errors import (
    ApprovalError,
    ConfigurationError,
    DiscoveryError,
    OpenGradientError,
    SigningError,
)
from og_integrations.protocol.amounts import format_opg
from og_integrations.protocol.canonical import keccak
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.effects import Pause

T = TypeVar("T")
RECEIPT_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """
    What `ensure_opg_approval` did: allowances in base units, `tx_hash` None if nothing was needed.
    """

    allowance_before: int
    allowance_after: int
    tx_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalProgress:
    """
    How far the transaction got: `sent`, `waiting` (again and again), `mined`, and `visible`, when the
    node's answers follow it. `seconds` since it was sent.
    """

    step: Literal["sent", "waiting", "mined", "visible"]
    transaction_hash: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SignTransaction:
    """Have the wallet sign `transaction`; answer with the raw transaction, 0x-hex."""

    transaction: JsonObject


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the caller's progress callback."""

    progress: ApprovalProgress


Approving = Generator[Fetch | SignTransaction | Pause | Tell, Any, T]
OnProgress = Callable[[ApprovalProgress], object]


class ApprovalOptions(TypedDict, total=False):
    """What the transaction may cost, and how to wait for it; see `Client.ensure_opg_approval`."""

    timeout: float
    on_progress: OnProgress | None
    max_cost: int | None


def ensure_approval(
    settings: Settings,
    min_allowance: Amount,
    approve_amount: Amount | None = None,
    *,
    timeout: float = RECEIPT_TIMEOUT,
    max_cost: int | None = None,
) -> Approving[Approval]:
    """
    Allow Permit2 to take OPG if less than `min_allowance` is allowed; see `Client.ensure_opg_approval`.

    Raises what `plan_approval` raises, `SigningError`, and `ApprovalError` with the transaction's hash.
    """
    check_seconds("timeout", timeout)
    plan = yield from plan_approval(settings, min_allowance, approve_amount, max_cost=max_cost)
    if plan.transaction is None:
        return Approval(allowance_before=plan.allowance, allowance_after=plan.allowance, tx_hash=None)
    if plan.capped:
        warnings.warn(
            f"Only {format_opg(plan.amount)} OPG are approved: that is all the wallet {plan.owner} has.",
            stacklevel=_level_of_caller(),
        )
    raw = yield from _signed(settings, plan.transaction)
    url = settings.network.rpc_url
    # Our own hash: what the node says could be of another transaction, and it may say nothing.
    clock = _Waiting("0x" + keccak(raw).hex(), timeout)
    try:
        yield from rpc(url, "eth_sendRawTransaction", ["0x" + raw.hex()])
    except DiscoveryError as exc:
        # "Already known", "nonce too low": somebody who approves at the same time has sent this very transaction.
        if not isinstance((yield from _or_nothing(rpc(url, "eth_getTransactionByHash", [clock.tx_hash]))), dict):
            raise clock.error(f"{exc} Whether the transaction was sent is not known.") from exc
    yield from clock.tell("sent")
    yield from _mined(url, clock)
    yield from clock.tell("mined")
    while True:
        allowance = yield from _or_nothing(read_allowance(settings.network, plan.owner))
        if allowance is not None and allowance > plan.allowance:
            break
        # Public nodes are many behind one name, and some are a block late.
        yield from clock.wait("its allowance is not visible yet")
    yield from clock.tell("visible")
    return Approval(allowance_before=plan.allowance, allowance_after=allowance, tx_hash=clock.tx_hash)


def _signed(settings: Settings, transaction: JsonObject) -> Approving[bytes]:
    owner = signer_of(settings).address
    try:
        raw = yield SignTransaction(transaction)
    except BaseException as exc:
        if isinstance(exc, Exception) and not isinstance(exc, OpenGradientError):
            raise SigningError(f"The signer of {owner} failed with {type(exc).__name__}. Nothing was sent.") from exc
        raise
    try:
        return bytes.fromhex(raw.removeprefix("0x"))
    except (AttributeError, TypeError, ValueError) as exc:
        raise SigningError(
            f"The signer of {owner} returned a {type(raw).__name__}, expected the transaction as 0x-hex. Nothing was "
            "sent."
        ) from exc


def _level_of_caller() -> int:
    """Return the `stacklevel` at which a warning of this function's caller points out of this package."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("og_integrations"):
        level, frame = level + 1, frame.f_back
    return level


def signer_of(settings: Settings) -> TransactionSigner:
    """Return the wallet, if it can sign transactions. Raises `ConfigurationError`."""
    signer = settings.require_signer()
    if not isinstance(signer, TransactionSigner):
        raise ConfigurationError(
            f"The signer ({type(signer).__name__}) cannot sign transactions: it has no `sign_transaction`. "
            "Nothing was sent. Approve once with a local key (`og-integrations approve`)."
        )
    return signer


class _Waiting:
    """The time since a transaction left, and what to say when it is over."""

    def __init__(self, tx_hash: str, timeout: float) -> None:
        self.tx_hash = tx_hash
        self._timeout = timeout
        self._started = time.monotonic()
        self._pause = 0.05

    def progress(self, step: Literal["sent", "waiting", "mined", "visible"]) -> ApprovalProgress:
        return ApprovalProgress(step=step, transaction_hash=self.tx_hash, seconds=time.monotonic() - self._started)

    def tell(self, step: Literal["sent", "waiting", "mined", "visible"]) -> Approving[None]:
        try:
            yield Tell(self.progress(step))
        except BaseException as exc:
            if isinstance(exc, Exception):
                raise self.error(
                    f"The approval was sent (it is {step}), but on_progress failed with {type(exc).__name__}."
                ) from exc
            raise

    def wait(self, what: str) -> Approving[None]:
        seconds = self.progress("waiting").seconds
        if seconds >= self._timeout:
            raise self.error(
                f"The approval was sent {seconds:.0f} s ago and {what}. It may still come: look it up before "
                "approving again."
            )
        yield from self.tell("waiting")
        yield Pause(self._pause)
        self._pause = min(2.0, 2 * self._pause)

    def error(self, message: str) -> ApprovalError:
        error = ApprovalError(f"{message} Transaction: {self.tx_hash}.")
        error.transaction_hash = self.tx_hash
        return error


def _mined(url: str, clock: _Waiting) -> Approving[None]:
    while True:
        # A node that is busy for a moment does not make the transaction uncertain: ask again.
        receipt = yield from _or_nothing(rpc(url, "eth_getTransactionReceipt", [clock.tx_hash]))
        if isinstance(receipt, dict):
            if receipt.get("status") != "0x1":
                raise clock.error("The approval was mined and reverted: only its gas was spent.")
            return
        yield from clock.wait("is not mined yet")


def _or_nothing(reading: Fetching[T]) -> Fetching[T | None]:
    try:
        return (yield from reading)
    except DiscoveryError:
        return None


class SyncApprover:
    """Performs the effects of `ensure_approval` for a synchronous client."""

    def __init__(self, settings: Settings, connections: SyncConnections, on_progress: OnProgress | None) -> None:
        self._settings, self._connections, self._on_progress = settings, connections, on_progress

    def perform(self, effect: object) -> object:
        """Perform one effect."""
        match effect:
            case Fetch():
                return fetch(self._connections, effect)
            case SignTransaction():
                return not_awaitable(signer_of(self._settings).sign_transaction(effect.transaction), "The signer")
            case Pause():
                time.sleep(effect.seconds)
            case Tell() if self._on_progress is not None:
                self._on_progress(effect.progress)
        return None


class AsyncApprover:
    """Performs the effects of `ensure_approval` for an asynchronous client; its callback may be either."""

    def __init__(self, settings: Settings, connections: AsyncConnections, on_progress: OnProgress | None) -> None:
        self._settings, self._connections, self._on_progress = settings, connections, on_progress

    async def perform(self, effect: object) -> object:
        """Perform one effect."""
        match effect:
            case Fetch():
                return await afetch(self._connections, effect)
            case SignTransaction():
                return await awaited(signer_of(self._settings).sign_transaction(effect.transaction))
            case Pause():
                await asyncio.sleep(effect.seconds)
            case Tell() if self._on_progress is not None:
                await awaited(self._on_progress(effect.progress))
        return None

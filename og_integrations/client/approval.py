"""
The wallet's one transaction: allowing Permit2 to take OPG (PROTOCOL §6).

Both clients run the generator `ensure_approval`. web3 is not needed: a node is asked by `client.rpc`,
the signer signs, and the logic exists once for sync and async.
"""

import asyncio
import time
import warnings
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

from og_integrations.client.approval_plan import Amount, plan_approval
from og_integrations.client.chain_reads import read_allowance
from og_integrations.client.rpc import Fetch, Fetching, decode_hex, rpc
from og_integrations.client.settings import Settings
from og_integrations.client.signer import TransactionSigner
from og_integrations.errors import ApprovalError, ConfigurationError, DiscoveryError
from og_integrations.protocol.budget import format_opg
from og_integrations.protocol.canonical import keccak
from og_integrations.protocol.chat import JsonObject

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
class Pause:
    """Wait for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the caller's progress callback."""

    progress: ApprovalProgress


Approving = Generator[Fetch | SignTransaction | Pause | Tell, Any, T]
OnProgress = Callable[[ApprovalProgress], object]


class ApprovalOptions(TypedDict, total=False):
    """How to wait for the transaction; see `Client.ensure_opg_approval`."""

    timeout: float
    on_progress: OnProgress | None


def ensure_approval(
    settings: Settings,
    min_allowance: Amount,
    approve_amount: Amount | None = None,
    *,
    timeout: float = RECEIPT_TIMEOUT,
) -> Approving[Approval]:
    """
    Allow Permit2 to take OPG if less than `min_allowance` is allowed; see `Client.ensure_opg_approval`.

    Raises what `plan_approval` raises, and `ApprovalError` with the transaction's hash.
    """
    plan = yield from plan_approval(settings, min_allowance, approve_amount)
    if plan.transaction is None:
        return Approval(allowance_before=plan.allowance, allowance_after=plan.allowance, tx_hash=None)
    if plan.capped:
        warnings.warn(
            f"Only {format_opg(plan.amount)} OPG are approved: that is all the wallet {plan.owner} has.", stacklevel=2
        )
    signer_of(settings)
    raw = yield SignTransaction(plan.transaction)
    url = settings.network.rpc_url
    # Our own hash: what the node says could be of another transaction, and it may say nothing.
    tx_hash = "0x" + keccak(decode_hex(raw, "signer")).hex()
    clock = _Waiting(tx_hash, timeout)
    try:
        yield from rpc(url, "eth_sendRawTransaction", [raw])
    except DiscoveryError as exc:
        raise clock.error(f"{exc} Whether the transaction was sent is not known.") from exc
    yield Tell(clock.progress("sent"))
    yield from _mined(url, clock)
    yield Tell(clock.progress("mined"))
    while True:
        allowance = yield from _or_nothing(read_allowance(settings.network, plan.owner))
        if allowance is not None and allowance > plan.allowance:
            break
        # Public nodes are many behind one name, and some are a block late.
        yield from clock.wait("its allowance is not visible yet")
    yield Tell(clock.progress("visible"))
    return Approval(allowance_before=plan.allowance, allowance_after=allowance, tx_hash=tx_hash)


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

    def wait(self, what: str) -> Approving[None]:
        waiting = self.progress("waiting")
        if waiting.seconds >= self._timeout:
            raise self.error(
                f"The approval was sent {waiting.seconds:.0f} s ago and {what}. It may still come: look it up before "
                "approving again."
            )
        yield Tell(waiting)
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

    def __init__(self, settings: Settings, fetch: Callable[[Fetch], bytes], on_progress: OnProgress | None) -> None:
        self._settings, self._fetch, self._on_progress = settings, fetch, on_progress

    def perform(self, effect: object) -> object:
        """Perform one effect."""
        match effect:
            case Fetch():
                return self._fetch(effect)
            case SignTransaction():
                raw = signer_of(self._settings).sign_transaction(effect.transaction)
                if not isinstance(raw, str):
                    raise ConfigurationError("The signer is asynchronous; use AsyncClient, or a synchronous signer.")
                return raw
            case Pause():
                time.sleep(effect.seconds)
            case Tell() if self._on_progress is not None:
                self._on_progress(effect.progress)
        return None


class AsyncApprover:
    """Performs the effects of `ensure_approval` for an asynchronous client; its callback may be either."""

    def __init__(
        self, settings: Settings, fetch: Callable[[Fetch], Awaitable[bytes]], on_progress: OnProgress | None
    ) -> None:
        self._settings, self._fetch, self._on_progress = settings, fetch, on_progress

    async def perform(self, effect: object) -> object:
        """Perform one effect."""
        match effect:
            case Fetch():
                return await self._fetch(effect)
            case SignTransaction():
                raw = signer_of(self._settings).sign_transaction(effect.transaction)
                return raw if isinstance(raw, str) else await raw
            case Pause():
                await asyncio.sleep(effect.seconds)
            case Tell() if self._on_progress is not None:
                told = self._on_progress(effect.progress)
                if isinstance(told, Awaitable):
                    await told
        return None

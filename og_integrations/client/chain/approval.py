"""
What an approval would do: read from the chain, nothing signed and nothing sent (PROTOCOL §6).

The wallet's one transaction: allowing Permit2 to take OPG (PROTOCOL §6).

Both clients run the generator `ensure_approval`. web3 is not needed: a node is asked by `client.chain.jsonrpc`,
the signer signs, and the logic exists once for sync and async.
"""

import asyncio
import inspect
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypedDict, TypeVar

from og_integrations.client._effects import awaited, not_awaitable
from og_integrations.client._settings import Settings, check_seconds
from og_integrations.client.chain.jsonrpc import (
    Fetch,
    Fetching,
    afetch,
    as_number,
    check_chain,
    fetch,
    quantity,
    read_allowance,
    read_balance,
    read_block,
    rpc,
)
from og_integrations.client.channels.connections import AsyncConnections, SyncConnections
from og_integrations.client.channels.pool import server_of
from og_integrations.client.signer import TransactionSigner
from og_integrations.errors import (
    ApprovalError,
    ConfigurationError,
    DiscoveryError,
    OpenGradientError,
    SigningError,
)
from og_integrations.networks import OPG, PERMIT2_ADDRESS
from og_integrations.protocol.chain.abi import encode_approve, keccak
from og_integrations.protocol.payment.flow import Pause
from og_integrations.protocol.payment.policy import format_opg, parse_opg
from og_integrations.protocol.strict_json import JsonObject

LEAST_ALLOWANCE = OPG // 10
"""What a gateway asks to authorize at least, in base units; a smaller allowance is never enough."""
MOST_GAS_COST = 10**15
"""The most that the transaction may cost, in wei (0.001 ETH, a thousand times Base's usual): nodes can lie."""
Amount = Decimal | int | str
"""OPG, exact: never a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPlan:
    """
    What `ensure_opg_approval` would do. `allowance`, `balance` and `amount` are base units of OPG.

    `transaction` is what would be signed: None if enough is allowed, and then nothing else was looked at.
    `max_cost` is the most it can cost and `native` what the wallet has, both in wei. Base adds the price of
    publishing the transaction on Ethereum, which no transaction can limit and is usually less.
    """

    owner: str
    allowance: int
    balance: int = 0
    amount: int = 0
    capped: bool = False
    native: int = 0
    max_cost: int = 0
    transaction: JsonObject | None = None


def plan_approval(
    settings: Settings, min_allowance: Amount, approve_amount: Amount | None = None, *, max_cost: int | None = None
) -> Fetching[ApprovalPlan]:
    """
    Read what is there and return what is to be done, for at most `max_cost` wei; nothing is signed or sent.

    Raises `ConfigurationError` (amounts, no wallet, wrong chain), `ApprovalError` (no OPG, no gas) or
    `DiscoveryError` (the node).
    """
    least, wanted = read_amounts(min_allowance, approve_amount)
    network, owner = settings.network, settings.require_signer().address
    url = network.rpc_url
    yield from check_chain(url, network.chain_id)
    allowance = yield from read_allowance(network, owner)
    if allowance >= least:
        return ApprovalPlan(owner=owner, allowance=allowance)
    balance = yield from read_balance(network, owner)
    if balance < least:
        raise ApprovalError(
            f"The wallet {owner} has {format_opg(balance)} OPG on {network.name}, expected at least the "
            f"{format_opg(least)} OPG to be allowed. Nothing was sent. Send OPG ({network.token}) to it first."
        )
    amount = min(wanted, balance)
    most = MOST_GAS_COST if max_cost is None else min(max_cost, MOST_GAS_COST)
    transaction = yield from _transaction(settings, owner, encode_approve(PERMIT2_ADDRESS, amount), most)
    native = yield from quantity(url, "eth_getBalance", owner, "latest")
    cost = transaction["gas"] * transaction["maxFeePerGas"]
    if native < cost:
        raise ApprovalError(
            f"The wallet {owner} has {format_opg(native)} ETH for gas on {network.name}, expected {format_opg(cost)} "
            "ETH. Nothing was sent. Send a little ETH to it first."
        )
    return ApprovalPlan(
        owner=owner,
        allowance=allowance,
        balance=balance,
        amount=amount,
        capped=amount < wanted,
        native=native,
        max_cost=cost,
        transaction=transaction,
    )


def read_amounts(
    min_allowance: Amount,
    approve_amount: Amount | None,
    *,
    names: tuple[str, str] = ("min_allowance", "approve_amount"),
) -> tuple[int, int]:
    """
    Return both amounts in base units; `names` is what the caller knows them by.

    Raises `ConfigurationError` for one that is none, or too small.
    """
    try:
        least = parse_opg(min_allowance)
        wanted = 2 * least if approve_amount is None else parse_opg(approve_amount)
    except ValueError as exc:
        raise ConfigurationError(f"The approval's {exc}.") from exc
    if least < LEAST_ALLOWANCE:
        raise ConfigurationError(
            f"{names[0]} is {format_opg(least)} OPG, expected at least {format_opg(LEAST_ALLOWANCE)}: gateways ask "
            "to authorize that much."
        )
    if wanted < least:
        raise ConfigurationError(
            f"{names[1]} is {format_opg(wanted)} OPG, expected at least {names[0]}, {format_opg(least)} OPG."
        )
    return least, wanted


def _transaction(settings: Settings, owner: str, data: str, most: int) -> Fetching[JsonObject]:
    network = settings.network
    url = network.rpc_url
    call = {"from": owner, "to": network.token, "data": data}
    try:
        estimate = yield from quantity(url, "eth_estimateGas", call)
    except DiscoveryError as exc:
        raise ApprovalError(f"The approval would fail: {exc} Nothing was sent.") from exc
    block = yield from read_block(url, "latest")
    base_fee = as_number(block.get("baseFeePerGas"), url)
    tip = yield from quantity(url, "eth_maxPriorityFeePerGas")
    gas = estimate + estimate // 4
    if gas * (base_fee + tip) > most:
        raise ApprovalError(
            f"The node {server_of(url)} asks for {format_opg(gas * (base_fee + tip))} ETH of gas, expected at most "
            f"{format_opg(most)} ETH. Nothing was sent. Try again later, or another node (OG_RPC_URL)."
        )
    return {
        "type": 2,
        "chainId": network.chain_id,
        "nonce": (yield from quantity(url, "eth_getTransactionCount", owner, "pending")),
        "to": network.token,
        "value": 0,
        "data": data,
        "gas": gas,
        # The fee of a block rises by an eighth at most: doubled, it is enough for the next five.
        "maxFeePerGas": min(2 * base_fee + tip, most // max(gas, 1)),
        "maxPriorityFeePerGas": tip,
    }


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

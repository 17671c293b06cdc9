"""
This module makes the wallet's one transaction, which allows Permit2 to take OPG (docs/protocol.md §6).

`plan_approval` reads what it would do; nothing is signed or sent. Both clients run the generator `ensure_approval`;
`client.chain._transactions` sends.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypedDict

from og_integrations._urls import NodeUrl
from og_integrations._warnings import level_of_user
from og_integrations.client._settings import Settings, check_seconds
from og_integrations.client._signer import TransactionSigner
from og_integrations.client.chain._jsonrpc import (
    RECEIPT_TIMEOUT,
    Fetching,
    check_chain,
    quantity,
    read_allowance,
    read_balance,
)
from og_integrations.client.chain._transactions import (
    GasLimits,
    Place,
    Sending,
    Step,
    Tell,
    Waiting,
    draft,
    most_cost,
    or_nothing,
    transact,
    transaction_signer,
)
from og_integrations.errors import ApprovalError, ConfigurationError, TransactionError, TransactionRefusedError
from og_integrations.networks import OPG, PERMIT2_ADDRESS, format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import encode_approve
from og_integrations.protocol.payment._policy import parse_opg

_WHAT = "The approval"
LEAST_ALLOWANCE = OPG // 10
"""What a gateway asks to authorize at least, in base units; a smaller allowance is never enough."""
MOST_GAS_COST = 10**15
"""The most that the transaction may cost, in wei (0.001 ETH, a thousand times Base's usual): nodes can lie."""
Amount = Decimal | int | str
"""OPG, exact: never a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPlan:
    """
    A plan says what `ensure_opg_approval` would do. `allowance`, `balance` and `amount` are base units of OPG.

    `transaction` is what would be signed, without its nonce: None if enough is allowed, and then nothing else was
    looked at.
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
    url = NodeUrl(network.rpc_url)
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
    place = _place(settings)
    data = encode_approve(PERMIT2_ADDRESS, amount)
    try:
        transaction = yield from draft(place, owner, network.token, data, GasLimits(cost=most), _WHAT)
    except TransactionRefusedError as exc:
        raise _approval_error(exc) from exc
    native = yield from quantity(url, "eth_getBalance", owner, "latest")
    cost = most_cost(transaction)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval says what `ensure_opg_approval` did: allowances in base units, `tx_hash` None if none was needed."""

    allowance_before: int
    allowance_after: int
    tx_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalProgress:
    """
    Progress says how far the transaction got: `sent`, `waiting` (again and again), `mined`, and `visible`, when the
    node's answers follow it. `seconds` since it was sent.
    """

    step: Step
    transaction_hash: str
    seconds: float


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
) -> Sending[Approval]:
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
            stacklevel=level_of_user(),
        )
    signer_of(settings)
    waiting = Waiting(_WHAT, timeout)
    try:
        yield from transact(_place(settings), plan.owner, plan.transaction, waiting)
        while True:
            allowance = yield from or_nothing(read_allowance(settings.network, plan.owner))
            if allowance is not None and allowance > plan.allowance:
                break
            # Public nodes are many behind one name, and some are a block late.
            yield from waiting.wait("its allowance is not visible yet")
        yield from waiting.tell("visible")
    except TransactionError as exc:
        raise _approval_error(exc) from exc
    tx_hash = waiting.transaction_hash
    return Approval(allowance_before=plan.allowance, allowance_after=allowance, tx_hash=tx_hash)


def _place(settings: Settings) -> Place:
    network = settings.network
    return Place(url=network.rpc_url, chain_id=network.chain_id, name=network.name)


def _approval_error(exc: TransactionError) -> ApprovalError:
    error = ApprovalError(str(exc))
    error.transaction_hash = exc.transaction_hash
    return error


def signer_of(settings: Settings) -> TransactionSigner:
    """Return the wallet, if it can sign transactions. Raises `ConfigurationError`."""
    return transaction_signer(settings.require_signer())


def progress_teller(on_progress: OnProgress | None) -> Callable[[Tell], object] | None:
    """Return what a sender tells its steps to, so that `on_progress` gets them as an `ApprovalProgress`."""
    if on_progress is None:
        return None
    return lambda told: on_progress(
        ApprovalProgress(step=told.step, transaction_hash=told.transaction_hash, seconds=told.seconds)
    )

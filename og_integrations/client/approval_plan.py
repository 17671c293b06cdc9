"""
What an approval would do: read from the chain, nothing signed and nothing sent (PROTOCOL §6).
"""

from dataclasses import dataclass
from decimal import Decimal

from og_integrations.client.chain_reads import (
    as_number,
    check_chain,
    quantity,
    read_allowance,
    read_balance,
    read_block,
)
from og_integrations.client.rpc import Fetching
from og_integrations.client.settings import Settings
from og_integrations.client.transport import server_of
from og_integrations.errors import ApprovalError, ConfigurationError, DiscoveryError
from og_integrations.networks import OPG, PERMIT2_ADDRESS
from og_integrations.protocol.amounts import format_opg, parse_opg
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.erc20 import encode_approve

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

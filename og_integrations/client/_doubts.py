"""This module warns a user once of what the gateway of a verified answer did not sign, publish or take."""

from og_integrations._accounting import reported_cost
from og_integrations._warnings import warn_once
from og_integrations.client._call import CallState
from og_integrations.networks import format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import SettlementMode
from og_integrations.protocol.proof._canonical import unsigned_members
from og_integrations.protocol.proof._verification import VerifiedExchange
from og_integrations.receipt import Receipt


def tell_of_payment(state: CallState, receipt: JsonObject) -> None:
    """Warn of what `receipt` (plain JSON) shows of the settlement and the cost of the call `state`."""
    _tell_unpublished(state, receipt)
    _tell_costs(state, receipt)


def tell_unsigned(verified: VerifiedExchange) -> None:
    """Say that an option which was asked for is not among what the enclave signed."""
    if not verified.request.get("reasoning_effort"):
        return
    if "reasoning_effort" in unsigned_members(verified.exchange.path, verified.request, verified.hash_rule):
        warn_once(
            "reasoning_effort is not signed",
            "reasoning_effort was sent, but the gateway did not sign it, and has probably ignored it; the receipt "
            "names it as not signed.",
        )


def _tell_unpublished(state: CallState, receipt: JsonObject) -> None:
    """Say that a call which was to be settled by itself was answered without a word about that."""
    if state.call.settlement_mode is not SettlementMode.INDIVIDUAL_FULL:
        return
    payment = Receipt.payment_of(receipt)
    if payment is None or payment.tells_settlement:
        return
    warn_once(
        "individual settlement",
        "settlement_mode='individual' was asked for, and the gateway says nothing of a transaction: the answer may not "
        "have been published.",
    )


def _tell_costs(state: CallState, receipt: JsonObject) -> None:
    """Say that a gateway reports more for the calls of one authorization than that allows to take."""
    cost, grant = reported_cost(receipt), state.grant
    if cost is None or grant is None or (told := grant.reports(cost)) is None:
        return
    host, most = grant.route.host, format_opg(grant.authorization.amount)
    warn_once(
        f"costs of {host}",
        f"The gateway {host} reports {format_opg(told)} OPG for the calls of one authorization of {most} "
        f"OPG. At most {most} OPG can be taken; what it reports is not signed, and no budget counts by it.",
    )

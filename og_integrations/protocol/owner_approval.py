"""
Asking the wallet's owner before an authorization is signed (`SpendPolicy.on_payment`).

Calls that share an authorization share the answer: one of them asks, the others look again now and
then. No lock is held meanwhile, since the owner may be a person.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from og_integrations.errors import OpenGradientError, SigningError
from og_integrations.protocol.sessions import Grant, Route, SessionBook
from og_integrations.protocol.spend_policy import OnPayment, PaymentRequest

APPROVAL_POLL = 0.02
"""Seconds after which a call looks again whether the owner has answered another one."""


@dataclass(frozen=True, slots=True)
class Approve:
    """Ask the owner's `on_payment` about `request`; answer with what it returned."""

    on_payment: OnPayment
    request: PaymentRequest


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for `seconds`: another call that shares the authorization is asking its owner."""

    seconds: float


def ask_owner(
    book: SessionBook, route: Route, grant: Grant, clock: Callable[[], int]
) -> Generator[Approve | Pause, Any, None]:
    """
    Have the owner agree to an unsigned grant, once for all calls that share it.

    Raises `SigningError` if the owner refuses, fails or takes too long; the hold is released then.
    """
    on_payment = book.budget.policy.on_payment
    if on_payment is None:
        return
    asking = False
    try:
        while (turn := book.approval_turn(grant)) != "given":
            if turn == "asking":
                yield Pause(APPROVAL_POLL)
                continue
            asking = True
            request = _request(grant, route, book.budget.authorized(clock()) - grant.hold.amount)
            if (yield Approve(on_payment, request)) is False:
                raise SigningError(
                    f"SpendPolicy.on_payment refused to authorize {request.opg} OPG for {route.host}. Nothing was "
                    "signed or sent."
                )
            if clock() >= grant.retire_at:
                raise SigningError(
                    "SpendPolicy.on_payment agreed after the offer had run out. Nothing was signed or sent; ask again."
                )
            book.approval(grant, given=True)
    except BaseException as exc:
        cancelled = not isinstance(exc, Exception)
        if asking and cancelled:
            book.approval(grant, given=False)
        book.unsigned(route, grant, cancelled=cancelled)
        if isinstance(exc, Exception) and not isinstance(exc, OpenGradientError):
            raise SigningError(
                f"SpendPolicy.on_payment failed with {type(exc).__name__}. Nothing was signed or sent."
            ) from exc
        raise


def _request(grant: Grant, route: Route, authorized: int) -> PaymentRequest:
    authorization = grant.authorization
    return PaymentRequest(
        amount=authorization.amount,
        payer=authorization.payer,
        pay_to=authorization.pay_to,
        facilitator=authorization.facilitator,
        asset=authorization.token,
        network=route.network,
        host=route.host,
        deadline=authorization.deadline,
        authorized=authorized,
    )

"""
Getting an authorization signed: by its owner's leave (`SpendPolicy.on_payment`), then by the wallet.

Calls that share an authorization share both: one of them asks, the others look again now and then. No
lock is held meanwhile, since the owner, and the signer too, may be a person.
"""

from collections.abc import Callable, Generator
from typing import Any

from og_integrations.errors import OpenGradientError, SigningError
from og_integrations.protocol.effects import Approve, Pause, Sign
from og_integrations.protocol.routes import Route
from og_integrations.protocol.sessions import Grant, SessionBook, SigningTurn
from og_integrations.protocol.spend_policy import PaymentRequest

SIGNING_POLL = 0.02
"""Seconds after which a call looks again whether another one got its authorization signed."""


def get_signed(
    book: SessionBook, route: Route, grant: Grant, clock: Callable[[], int]
) -> Generator[Approve | Sign | Pause, Any, None]:
    """
    Have an unsigned grant approved and signed, once for all calls that share it.

    Raises `SigningError` if owner or signer refuse, fail or take too long, `SpendingStoppedError` if the kill
    switch was used meanwhile; the hold is released then.
    """
    turn: SigningTurn = "wait"
    asked = "SpendPolicy.on_payment"
    try:
        while (turn := book.take_turn(grant)) == "wait":
            yield Pause(SIGNING_POLL)
        if turn == "sign":
            yield from _ask_owner(book, route, grant, clock)
            book.budget.require_running()
            asked = f"The signer of {route.payer}"
            book.signed(grant, (yield Sign(grant.authorization.typed_data())))
        if clock() >= grant.retire_at:
            raise SigningError("The authorization was signed after the offer had run out. Nothing was sent; ask again.")
    except BaseException as exc:
        book.unsigned(route, grant, turn, cancelled=not isinstance(exc, Exception))
        if isinstance(exc, Exception) and not isinstance(exc, OpenGradientError):
            raise SigningError(f"{asked} failed with {type(exc).__name__}. Nothing was sent or paid.") from exc
        raise


def _ask_owner(
    book: SessionBook, route: Route, grant: Grant, clock: Callable[[], int]
) -> Generator[Approve, Any, None]:
    on_payment = book.budget.policy.on_payment
    if on_payment is None or grant.approved:
        return
    request = _request(grant, route, book.budget.authorized(clock()) - grant.hold.amount)
    agreed = yield Approve(on_payment, request)
    if not agreed:
        raise SigningError(
            f"SpendPolicy.on_payment refused to authorize {request.opg} OPG for {route.host}: it returned "
            f"{'None' if agreed is None else f'a false {type(agreed).__name__}'}. Nothing was signed or sent. To "
            "allow a payment, return True."
        )
    if clock() >= grant.retire_at:
        raise SigningError(
            "SpendPolicy.on_payment agreed after the offer had run out. Nothing was signed or sent; ask again."
        )
    grant.approved = True


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

"""These faults are about money: offers, payments, sessions."""

import copy
from collections.abc import Callable

from og_integrations.devnet._fault import Fault
from og_integrations.devnet._http import Reply
from og_integrations.devnet.gateway._answers import failed
from og_integrations.networks import OPG
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import PAYMENT_REQUIRED, SESSION

STRANGER = "0x000000000000000000000000000000000baDC0DE"
_FOREIGN_SESSION = "5e551011-0000-4000-8000-000000000000"
_USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"

_MARGINS = (1.0, 0.2, 0.4, 0.0)
"""Shares of their lives for which one session after the other is not served; gateways were seen to use one of 0.2."""


def _offering(**members: object) -> Callable[[JsonObject], JsonObject]:
    """Return a hook that overwrites members of the offered way to pay."""

    def change(content: JsonObject) -> JsonObject:
        changed = copy.deepcopy(content)
        for way in changed["accepts"]:
            way.update(members)
        return changed

    return change


def _facilitated_by(facilitator: str | None) -> Callable[[JsonObject], JsonObject]:
    def change(content: JsonObject) -> JsonObject:
        changed = copy.deepcopy(content)
        for way in changed["accepts"]:
            way["extra"]["facilitatorAddress"] = facilitator
            if facilitator is None:
                del way["extra"]["facilitatorAddress"]
        return changed

    return change


def _header(name: str, change: Callable[[str], list[str]]) -> Callable[[Reply], Reply]:
    """Return a hook that replaces the header `name` by any number of others."""

    def replace(reply: Reply) -> Reply:
        headers: list[tuple[str, str]] = []
        for key, value in reply.headers:
            values = change(value) if key == name else [value]
            headers += [(key, item) for item in values]
        reply.headers = headers
        return reply

    return replace


def _html_500() -> Reply:
    body = b"<!doctype html><title>500 Internal Server Error</title>"
    return Reply(status=500, headers=[("Content-Type", "text/html; charset=utf-8")], body=body)


def _facilitator_502() -> Reply:
    return Reply(
        status=502,
        headers=[("Content-Type", "application/json")],
        body=b'{"error": "Facilitator verify failed (503)"}',
    )


PAYMENT_FAULTS = (
    Fault(
        name="offer_over_cap",
        about="the gateway asks for 50 OPG",
        offer=_offering(amount=str(50 * OPG)),
    ),
    Fault(name="offer_of_everything", about="the gateway asks for 2^160-1", offer=_offering(amount=str(2**160 - 1))),
    Fault(name="offer_of_nothing", about="the gateway asks for 0", offer=_offering(amount="0")),
    Fault(name="fractional_offer", about="the offered amount is no whole number", offer=_offering(amount="0.1")),
    Fault(name="other_asset", about="the gateway asks for USDC", offer=_offering(asset=_USDC)),
    Fault(name="other_network", about="the gateway asks for money on Ethereum", offer=_offering(network="eip155:1")),
    Fault(name="other_scheme", about="the gateway asks for scheme exact", offer=_offering(scheme="exact")),
    Fault(name="other_pay_to", about="the offer pays a stranger", offer=_offering(payTo=STRANGER)),
    Fault(
        name="other_facilitator",
        about="the offer lets a stranger settle",
        offer=_facilitated_by(STRANGER),
    ),
    Fault(name="no_facilitator", about="the offer names nobody who settles", offer=_facilitated_by(None)),
    Fault(name="empty_offer", about="the offer holds no way to pay", offer=lambda content: content | {"accepts": []}),
    Fault(name="old_offer", about="the offer is of x402 version 1", offer=lambda content: content | {"x402Version": 1}),
    Fault(
        name="garbage_offer",
        about="PAYMENT-REQUIRED is not base64",
        offer_reply=_header(PAYMENT_REQUIRED, lambda _: ["!!!notbase64"]),
    ),
    Fault(
        name="duplicate_offer",
        about="PAYMENT-REQUIRED comes twice",
        offer_reply=_header(PAYMENT_REQUIRED, lambda value: [value, value]),
    ),
    Fault(
        name="missing_offer",
        about="the 402 has no PAYMENT-REQUIRED",
        offer_reply=_header(PAYMENT_REQUIRED, lambda _: []),
    ),
    Fault(
        name="giant_offer",
        about="PAYMENT-REQUIRED has 90 kB",
        offer_reply=_header(PAYMENT_REQUIRED, lambda value: [value + "A" * 90_000]),
    ),
    Fault(
        name="second_402",
        about="a good payment is refused",
        refuse_payment="invalid_permit2_signature",
    ),
    Fault(name="expired_session", about="the session is gone before its time", expire_session=True),
    Fault(
        name="moving_margin",
        about="each session of a wallet stops being served at another time before its deadline, the first one at once",
        margin=lambda number: _MARGINS[number % len(_MARGINS)],
    ),
    Fault(
        name="server_error_after_payment",
        about="500 after paying, without a session",
        instead=lambda _: failed(),
    ),
    Fault(
        name="facilitator_down",
        about="502 after paying, without offer or session",
        instead=lambda _: _facilitator_502(),
    ),
    Fault(name="facilitator_crash", about="500 with HTML after paying", instead=lambda _: _html_500()),
    Fault(
        name="missing_session",
        spoils=False,
        about="the paid answer has no session",
        reply=_header(SESSION, lambda _: []),
    ),
    Fault(
        name="duplicate_session",
        spoils=False,
        about="the paid answer has two sessions",
        reply=_header(SESSION, lambda value: [value, value[::-1]]),
    ),
    Fault(
        name="foreign_session",
        about="the paid answer names a session that nobody opened",
        spoils=False,
        reply=_header(SESSION, lambda _: [_FOREIGN_SESSION]),
    ),
    Fault(
        name="stolen_session",
        about="the paid answer names a live session that another wallet pays for",
        spoils=False,
        stolen_session=True,
    ),
    Fault(
        name="malformed_session",
        spoils=False,
        about="the session id is not a token",
        reply=_header(SESSION, lambda value: [value + " ; ¿"]),
    ),
)

"""
This package says how an offer is paid: one module per x402 scheme, and all that the flow knows of them.

| file | what it holds |
| --- | --- |
| `_upto` | the only scheme that gateways offer: a Permit2 authorization, settled in sessions |
| `batch_settlement` | payment channels as bytes: what is signed and sent, what a correction must prove; not paid by |

A scheme turns an offer into an `Authorization`: what the wallet signs (`typed_data`, `digest`), what is sent with the
signature (`payload`) and what a receipt shows. To add one, write its module and name it in `SCHEMES`; a class of its
own joins the union `Authorization`, and `decode_authorization` reads it back from a store.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict

from og_integrations.errors import MalformedOfferError, SchemeRefusedError
from og_integrations.networks import format_opg
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import PaymentRequirements
from og_integrations.protocol.payment.schemes import _upto as upto
from og_integrations.protocol.payment.schemes import batch_settlement

Authorization = upto.Permit2Authorization
"""Everything that a wallet may be asked to sign for a payment."""
SCHEMES: Mapping[str, Callable[..., Authorization]] = {upto.NAME: upto.authorize}
"""Of each scheme that can be paid, the function that makes its authorization."""


def authorize(requirements: PaymentRequirements, *, payer: str, now: int, nonce: int) -> Authorization:
    """
    Return what the wallet `payer` (0x-hex) has to sign for `requirements`.

    `now` is in unix seconds, `nonce` a fresh random uint256. Raises `SchemeRefusedError` for a scheme that we do not
    pay, `MalformedOfferError` for an offer that the scheme cannot sign safely.
    """
    make = SCHEMES.get(requirements.scheme)
    if make is None:
        raise not_paid(requirements, f"The gateway asks for scheme {shown(requirements.scheme, 42)!r}")
    return make(requirements, payer=payer, now=now, nonce=nonce)


def not_paid(requirements: PaymentRequirements, asked: str) -> SchemeRefusedError:
    """Return the error for an offer whose scheme this version does not pay; `asked` says who asks for which."""
    # Not "allow it in SpendPolicy": that could not help, and would send the owner looking.
    return SchemeRefusedError(
        f"{asked}, expected one of {sorted(SCHEMES)}: this version of og-integrations does not pay any other. Nothing "
        f"was signed.{_would_lock(requirements)} Ask another gateway, or update."
    )


def _would_lock(requirements: PaymentRequirements) -> str:
    if requirements.scheme != batch_settlement.SCHEME:
        return ""
    try:
        terms = batch_settlement.read_terms(requirements)
    except MalformedOfferError:
        return " It locks a deposit in a contract, on terms that this offer does not say in full."
    least = max(requirements.amount, terms.min_deposit or 0)
    return (
        f" It locks a deposit of at least {format_opg(least)} OPG in the contract "
        f"{batch_settlement.SETTLEMENT_ADDRESS}, for up to {terms.withdraw_delay} s after it is asked back."
    )


def encode_authorization(authorization: Authorization) -> JsonObject:
    """Return `authorization` as plain JSON, for a store; `decode_authorization` reads it."""
    return {"scheme": upto.NAME} | asdict(authorization)


def decode_authorization(stored: object) -> Authorization:
    """
    Read what `encode_authorization` wrote.

    Without a `scheme` it was written before there were several, and is `upto`. Raises `ValueError` for anything else;
    stores turn that into a `ConfigurationError` that names the store.
    """
    if not isinstance(stored, dict):
        raise ValueError(f"an authorization is a {type(stored).__name__}, expected an object")
    # The members are copied, because `pop` would take the scheme out of the store's own object.
    members = dict(stored)
    scheme = members.pop("scheme", upto.NAME)
    if scheme != upto.NAME:
        raise ValueError(f"an authorization is of scheme {scheme!r:.40}, expected one of {sorted(SCHEMES)}")
    try:
        return upto.Permit2Authorization(**members)
    except TypeError as exc:
        raise ValueError(f"an authorization lacks a member, or has one too many ({exc})") from exc

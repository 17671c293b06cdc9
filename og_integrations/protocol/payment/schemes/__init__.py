"""
This package says how an offer is paid: one module per x402 scheme, and all that the flow knows of them.

| file | what it holds |
| --- | --- |
| `_upto` | the only scheme that gateways offer: a Permit2 authorization, settled in sessions |
| `_batch_settlement` | payment channels as bytes: what is signed and sent, what a correction must prove; not paid by |
| `_settlement` | what can become of an authorization, and what of a chain is read to find that out |

A scheme turns an offer into an `Authorization`. To add one, write its module, have `decode_authorization` read its
class back from a store, and put a `PaymentScheme` before the flow (`protocol.payment._lease`).
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from og_integrations.errors import MalformedOfferError, SchemeRefusedError
from og_integrations.networks import format_opg
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import PaymentRequirements
from og_integrations.protocol.payment.schemes import _upto as upto
from og_integrations.protocol.payment.schemes._settlement import Chain, Reading, Settlement
from og_integrations.receipt import ReceiptPayment


class Authorization(Protocol):
    """
    An authorization is what a wallet signs for a payment, and what a budget counts until a chain explains it.

    At most `amount` base units leave `payer` by it on the chain `chain_id`, until `deadline` (unix seconds).
    """

    @property
    def chain_id(self) -> int:
        """Return the chain on which it is settled."""
        ...

    @property
    def payer(self) -> str:
        """Return the wallet's address."""
        ...

    @property
    def amount(self) -> int:
        """Return the most that can be taken by it."""
        ...

    @property
    def deadline(self) -> int:
        """Return the unix time after which nothing more can be taken by it."""
        ...

    def typed_data(self) -> JsonObject:
        """Return the whole EIP-712 message."""
        ...

    def digest(self) -> bytes:
        """Return the 32 bytes that are signed; they name it in receipts."""
        ...

    def payload(self, signature: str) -> JsonObject:
        """Return what is sent with its `signature` (0x-hex)."""
        ...

    def __hash__(self) -> int:
        """Return a hash: equal ones are the same payment, which is asked about, and described, once."""
        ...

    def to_json(self) -> JsonObject:
        """Return it as plain JSON with its `scheme`, for a store; `decode_authorization` reads it."""
        ...

    def in_receipt(self) -> ReceiptPayment:
        """Return what it says of itself in a receipt; what the call adds is left out."""
        ...

    def explain(self, chain: Chain, skew: int = 0) -> Reading[Settlement]:
        """
        Return what `chain`, which is that of `chain_id`, says became of it; pending ends `skew` seconds after the end.

        Raises `DiscoveryError` if the chain does not say.
        """
        ...


SCHEMES: Mapping[str, Callable[..., upto.Permit2Authorization]] = {upto.NAME: upto.authorize}
"""Of each scheme that can be paid, the function that makes its authorization."""


def authorize(requirements: PaymentRequirements, *, payer: str, now: int, nonce: int) -> upto.Permit2Authorization:
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
    # Loaded here, since no gateway has offered it so far.
    from og_integrations.protocol.payment.schemes import _batch_settlement as batch_settlement

    if requirements.scheme != batch_settlement.SCHEME:
        return ""
    try:
        terms = batch_settlement.read_terms(requirements)
    except MalformedOfferError:
        # That money would be locked is said in any case; only the sum needs terms that can be read.
        return " It locks a deposit in a contract, on terms that this offer does not say in full."
    least = max(requirements.amount, terms.min_deposit or 0)
    return (
        f" It locks a deposit of at least {format_opg(least)} OPG in the contract "
        f"{batch_settlement.SETTLEMENT_ADDRESS}, for up to {terms.withdraw_delay} s after it is asked back."
    )


def decode_authorization(stored: object) -> upto.Permit2Authorization:
    """
    Read what `Authorization.to_json` wrote.

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
        # A member too many is refused, not dropped: without it the digest, and so the payment, would be another one.
        return upto.Permit2Authorization(**members)
    except TypeError as exc:
        raise ValueError(f"an authorization lacks a member, or has one too many ({exc})") from exc

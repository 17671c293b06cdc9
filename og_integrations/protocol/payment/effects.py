"""
What a call asks the outside to do: the effects that its generators yield.

Whoever drives one performs each effect and sends the outcome back in, failures by `throw`. `client._runner`
does; approving Permit2 has effects of its own (`client.chain.approval`).
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from og_integrations.protocol.payment.policy import OnPayment, PaymentRequest
from og_integrations.protocol.payment.x402 import Route
from og_integrations.protocol.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request to `route` with these headers besides its own; answer with the `ReplyHead`."""

    route: Route
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receive:
    """Read on in the body of the answer to the last `Send`; answer with its next bytes, None at its end."""


RECEIVE = Receive()


@dataclass(frozen=True, slots=True)
class Approve:
    """Ask the owner's `on_payment` about `request`; answer with what it returned."""

    on_payment: OnPayment
    request: PaymentRequest


@dataclass(frozen=True, slots=True)
class Sign:
    """Have the wallet sign `typed_data`; answer with the signature."""

    typed_data: JsonObject


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for `seconds`: somebody else, another call or the chain, does what this one needs."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """POST `body` as JSON to `url`, or GET it if there is none; answer with the reply's body."""

    url: str
    body: bytes | None = None


Effect = Send | Receive | Approve | Sign | Pause | Fetch

T = TypeVar("T")
Effects = Generator[Effect, Any, T]
"""A generator that yields effects and returns a `T`; what each is answered with, the effect says."""

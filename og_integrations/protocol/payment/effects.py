"""
What a call asks the outside to do: the effects that its generators yield.

Whoever drives one performs each effect and sends the outcome back in, failures by `throw`. `client._runner`
does; reading a chain has one more effect, `client.chain.jsonrpc.Fetch`, and approving Permit2 its own
(`client.chain.approval`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


Effect = Send | Approve | Sign | Pause

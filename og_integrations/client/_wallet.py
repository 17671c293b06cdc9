"""
This module holds what the owner of a wallet can ask and say about its spending, in the words of both clients.

`price_of` asks what the next call may cost: a gateway's own offer, without paying (docs/protocol.md §3.1). The request
is a real one, since gateways answer no other; but its prompt says nothing, and it goes to an enclave whose certificate
is pinned.
"""

import time
from collections.abc import Collection

from og_integrations.client._call import CallState, now
from og_integrations.client._engine import Engine
from og_integrations.client._runner import SyncDriver
from og_integrations.client.channels._connections import SyncConnections
from og_integrations.errors import DiscoveryError, GatewayError, SigningError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._budget import BudgetTotals
from og_integrations.protocol.payment._flow import Effects, ask_price
from og_integrations.protocol.payment._x402 import PaymentRequirements, ReplyHead

PROMPT = "ping"
TIMEOUT = 15.0
"""Seconds for each wait: an offer comes before any model is asked."""


class NobodySigner:
    """This wallet signs nothing, so that asking cannot pay."""

    address = ""

    def sign_typed_data(self, typed_data: JsonObject) -> str:
        """Raise `SigningError`."""
        raise SigningError("A price was asked for, and nothing is to be signed.")


def price_of(engine: Engine, model: str, avoid: Collection[str] = ()) -> PaymentRequirements:
    """
    Return what an enclave, none of those whose ids are in `avoid`, asks for a call of `model`.

    Raises `OfferRefusedError` if the engine's `SpendPolicy` would not sign it, `MalformedOfferError`,
    `GatewayError` if it asks for nothing, and what finding and reaching an enclave raises.
    """
    call = engine.prepare_chat(model, [{"role": "user", "content": PROMPT}], timeout=TIMEOUT)
    connections = SyncConnections()
    try:
        state = CallState(call=call)
        with SyncDriver(state, connections, NobodySigner) as driver:
            return driver.run(_asking(engine, state, avoid))
    finally:
        connections.close()


def _asking(engine: Engine, state: CallState, avoid: Collection[str]) -> Effects[PaymentRequirements]:
    enclave = yield from engine.directory.choose(time.monotonic(), avoid)
    target = state.target = engine.directory.target(enclave, state.call.path)
    if not enclave.certificate:
        raise DiscoveryError(f"{enclave.endpoint} has no certificate to pin. It was asked for nothing.")
    answer = yield from ask_price(target.route, engine.context)
    if isinstance(answer, ReplyHead):
        raise GatewayError(
            f"{enclave.endpoint} answered HTTP {answer.status} to an unpaid request, expected 402 and an offer. "
            "Nothing was paid. Try again later: calls would fail as well.",
            status=answer.status,
        )
    _, requirements = answer
    return requirements


class Spending:
    """This class lets whoever has an `engine` ask about its budget, and stop it."""

    engine: Engine

    def spent(self) -> BudgetTotals:
        """
        Return what the budget has authorized, in base units: sums that bound what can be taken; `settled` was.

        Printed, it is a report: sums, limits and what is left of them, in OPG. Sessions usually take less
        than they authorized; the rest comes back by itself where a limit is reached, and by
        `reconcile_spending`.
        """
        return self.engine.budget.spent(now())

    def stop_spending(self, reason: str = "stop_spending() was called") -> None:
        """
        The kill switch: from now on calls raise `SpendingStoppedError` and nothing is signed or sent.

        For everybody who shares the budget, other processes included. What left before cannot be
        called back, but is bounded by what `spent` says.
        """
        self.engine.budget.store.stop(reason)

    def resume_spending(self) -> None:
        """Allow spending again."""
        self.engine.budget.store.stop(None)

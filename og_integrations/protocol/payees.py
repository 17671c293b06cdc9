"""
Whom a wallet pays where its `SpendPolicy` names nobody (DESIGN "Payment").

Rule 1: `payTo` must be a payment address of the registry's enclaves, or one that the network is known for.
Rule 2: where neither says anything (a registry entry without address, one gateway without registry),
the first one that an enclave was paid at stays; another one is refused.
Rule 3: the same for the facilitator, whom no registry names: the first one of a network stays.

Remembered is who was in a payment that a gateway took: a lie that came to nothing must not bar the truth.
"""

from og_integrations.errors import PayeeRefusedError
from og_integrations.protocol.routes import Route
from og_integrations.protocol.spend_policy import SpendPolicy
from og_integrations.protocol.x402 import Requirement


class Payees:
    """What one wallet and budget remember of whom they paid. Guarded by the lock of its `SessionBook`."""

    def __init__(self) -> None:
        self._paid: dict[str, str] = {}
        self._settled_by: dict[str, str] = {}

    def check(self, requirement: Requirement, route: Route, policy: SpendPolicy) -> None:
        """Raise `PayeeRefusedError` if the offer `requirement` pays, or lets settle, somebody else."""
        if policy.pay_to is None:
            self._check_payee(requirement, route)
        if policy.facilitators is None:
            self._check_facilitator(requirement, route)

    def remember(self, requirement: Requirement, route: Route) -> None:
        """A gateway took a payment for `requirement`."""
        self._paid.setdefault(route.tee_id, requirement.pay_to.lower())
        if requirement.facilitator is not None:
            self._settled_by.setdefault(route.network, requirement.facilitator.lower())

    def _check_payee(self, requirement: Requirement, route: Route) -> None:
        offered = requirement.pay_to.lower()
        if route.payees:
            if offered not in route.payees:
                raise PayeeRefusedError(
                    f"The gateway {route.host} asks for payTo {requirement.pay_to}, expected one of "
                    f"{sorted(route.payees)}: the registry's payment addresses. Nothing was signed. If you trust it, "
                    "allow it in SpendPolicy.pay_to."
                )
            return
        known = self._paid.get(route.tee_id)
        if known is not None and known != offered:
            raise PayeeRefusedError(
                f"The gateway {route.host} asks for payTo {requirement.pay_to}, but was paid at {known} before. "
                "Nothing was signed. If both are right, allow both in SpendPolicy.pay_to."
            )

    def _check_facilitator(self, requirement: Requirement, route: Route) -> None:
        offered, known = requirement.facilitator, self._settled_by.get(route.network)
        if offered is not None and known is not None and known != offered.lower():
            raise PayeeRefusedError(
                f"The gateway {route.host} asks for facilitator {offered}, but earlier payments on {route.network} "
                f"went through {known}. Nothing was signed. If both are right, allow both in SpendPolicy.facilitators."
            )

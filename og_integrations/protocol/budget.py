"""
What may be spent: the owner's rules, and the account of what was authorized under them.

`SpendPolicy` is a frozen value; it is asked *before* the signer is touched, about exactly the fields
that are then signed. `Budget` counts authorizations: each is held from the moment it is about to be
signed, and ends as settled, released or in doubt:

    held ──> settled    the gateway opened a session for it: up to `amount` may be taken
      ├────> released   it never left this machine
      └────> in doubt   it left, and what became of it is not known; counts like settled

An authorization that was refused by the gateway is in doubt as well: whoever has it could still
settle it before its deadline.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from og_integrations.errors import (
    AssetRefusedError,
    BudgetExceededError,
    ConfigurationError,
    HostRefusedError,
    NetworkRefusedError,
    OfferRefusedError,
    PayeeRefusedError,
    SchemeRefusedError,
)
from og_integrations.networks import OPG, Network
from og_integrations.protocol.x402 import Requirement

Lock = AbstractContextManager[Any]
"""A plain mutual exclusion lock; given by the caller, since this package starts no threads."""

# Exact or an error, whatever the caller's own decimal context is; 100 digits hold a uint256.
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])


def parse_opg(value: object) -> int:
    """
    Read an amount of OPG (`Decimal`, `int` or text, never float) as base units.

    Raises `ValueError` (for pydantic) if it is negative, finer than 18 decimals or no number.
    """
    if isinstance(value, bool | float) or not isinstance(value, Decimal | int | str):
        raise ValueError(f"an amount of OPG is a Decimal, int or text, not {type(value).__name__}")
    try:
        base_units = _EXACT.multiply(Decimal(value), Decimal(OPG))
    except (DecimalException, ValueError) as exc:
        raise ValueError(f"{value!r} is not an amount of OPG") from exc
    if not base_units.is_finite() or base_units < 0 or base_units != int(base_units):
        raise ValueError(f"{value!r} OPG is negative, infinite or finer than 18 decimals")
    return int(base_units)


def format_opg(base_units: int) -> str:
    """Return base units as OPG, exactly, without trailing zeros: `"0.1"`."""
    return format(_EXACT.divide(Decimal(base_units), Decimal(OPG)).normalize(_EXACT), "f")


def _lowered(values: object) -> object:
    if values is None:
        return None
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError("give a list of texts")
    return frozenset(str(value).lower() for value in values)


_Names = Annotated[frozenset[str] | None, BeforeValidator(_lowered)]
_Opg = Annotated[int, BeforeValidator(parse_opg)]


class SpendPolicy(BaseModel):
    """
    What the owner of the wallet allows. Every rule must hold; None means no rule.

    `max_per_authorization` and `total` are given in OPG (`"0.5"`, `Decimal`, `int`) and kept in base
    units. `networks` (`eip155:…`) and `assets` default to the network's own chain and token.
    `total` bounds the sum of all authorizations of one budget, not the (smaller) sum finally taken.
    `max_validity_seconds` bounds the time in which an authorization can be settled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_per_authorization: _Opg = OPG
    total: Annotated[int | None, BeforeValidator(lambda v: None if v is None else parse_opg(v))] = None
    schemes: _Names = frozenset({"upto"})
    networks: _Names = None
    assets: _Names = None
    pay_to: _Names = None
    facilitators: _Names = None
    hosts: _Names = None
    max_validity_seconds: int = 3600

    @classmethod
    def of(cls, value: "SpendPolicy | dict[str, Any] | None") -> "SpendPolicy":
        """Return `value` as a policy. Raises `ConfigurationError`, never pydantic's `ValueError`."""
        if isinstance(value, SpendPolicy):
            return value
        try:
            return cls.model_validate({} if value is None else value)
        except ValidationError as exc:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
            raise ConfigurationError(f"spend_policy is not valid: {problems}.") from exc

    def on(self, network: Network) -> "SpendPolicy":
        """Return this policy with `network`'s chain and token where none were given."""
        defaults: dict[str, Any] = {}
        if self.networks is None:
            defaults["networks"] = frozenset({network.caip2})
        if self.assets is None:
            defaults["assets"] = frozenset({network.token.lower()})
        return self.model_copy(update=defaults)

    def check(self, requirement: Requirement, host: str) -> None:
        """
        Raise the `OfferRefusedError` of the first rule that `requirement`, offered by `host`, breaks.

        The limits on sums are the `Budget`'s.
        """
        rules = (
            (self.schemes, requirement.scheme, "scheme", SchemeRefusedError),
            (self.networks, requirement.network, "network", NetworkRefusedError),
            (self.assets, requirement.asset, "asset", AssetRefusedError),
            (self.pay_to, requirement.pay_to, "payTo", PayeeRefusedError),
            (self.facilitators, requirement.facilitator or "", "facilitator", PayeeRefusedError),
            (self.hosts, host, "host", HostRefusedError),
        )
        for allowed, offered, name, error in rules:
            if allowed is not None and offered.lower() not in allowed:
                raise error(
                    f"The gateway {host} asks for {name} {offered}, expected one of {sorted(allowed)}. Nothing was "
                    "signed. If you trust it, allow it in SpendPolicy."
                )
        if requirement.max_timeout_seconds > self.max_validity_seconds:
            raise OfferRefusedError(
                f"The gateway {host} asks for an authorization that stays valid for "
                f"{requirement.max_timeout_seconds} s, expected at most {self.max_validity_seconds} s "
                "(SpendPolicy.max_validity_seconds). Nothing was signed."
            )
        if requirement.amount > self.max_per_authorization:
            raise BudgetExceededError(
                f"The gateway {host} asks for {format_opg(requirement.amount)} OPG, expected at most "
                f"{format_opg(self.max_per_authorization)} OPG (SpendPolicy.max_per_authorization). "
                "Nothing was signed."
            )


class HoldState(Enum):
    """What became of one authorization; see the module docstring."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    IN_DOUBT = "in doubt"


class Hold:
    """One authorization's claim on the budget: `amount` base units."""

    def __init__(self, amount: int, lock: Lock) -> None:
        self.amount = amount
        self.state = HoldState.HELD
        self._lock = lock

    def settle(self) -> None:
        """The gateway accepted it. Ends doubt, too: a later answer may bring certainty."""
        self._move(HoldState.SETTLED, HoldState.HELD, HoldState.IN_DOUBT)

    def release(self) -> None:
        """It never left this machine; nothing is owed. Only a held one can be released."""
        self._move(HoldState.RELEASED, HoldState.HELD)

    def doubt(self) -> None:
        """It left, and what became of it is not known."""
        self._move(HoldState.IN_DOUBT, HoldState.HELD)

    def _move(self, to: HoldState, *sources: HoldState) -> None:
        with self._lock:
            if self.state in sources:
                self.state = to


class Budget:
    """The account of one policy. Safe to share between threads with the `lock` it was given."""

    def __init__(self, policy: SpendPolicy, lock: Lock) -> None:
        self.policy = policy
        self._lock = lock
        self._holds: list[Hold] = []
        self._settled = 0

    def hold(self, amount: int) -> Hold:
        """Claim `amount` base units. Raises `BudgetExceededError` if the total does not allow it."""
        with self._lock:
            counted = self._authorized()
            if self.policy.total is not None and counted + amount > self.policy.total:
                raise BudgetExceededError(
                    f"The next authorization needs {format_opg(amount)} OPG, but {format_opg(counted)} of "
                    f"{format_opg(self.policy.total)} OPG (SpendPolicy.total) are authorized already. "
                    "Nothing was signed."
                )
            hold = Hold(amount, self._lock)
            self._holds.append(hold)
            return hold

    def authorized(self) -> int:
        """Return the sum of all authorizations that were not released, in base units."""
        with self._lock:
            return self._authorized()

    def in_doubt(self) -> int:
        """Return the part of `authorized` whose fate is not known, in base units."""
        with self._lock:
            return sum(hold.amount for hold in self._holds if hold.state is HoldState.IN_DOUBT)

    def _authorized(self) -> int:
        # Final ones are folded into a number, so that a long life does not make this slow.
        self._settled += sum(hold.amount for hold in self._holds if hold.state is HoldState.SETTLED)
        self._holds = [h for h in self._holds if h.state in (HoldState.HELD, HoldState.IN_DOUBT)]
        return self._settled + sum(hold.amount for hold in self._holds)

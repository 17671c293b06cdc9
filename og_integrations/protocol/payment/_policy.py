"""
This module holds what the owner of a wallet allows: `SpendPolicy`, the rules about whom to pay, and amounts of OPG.

The rules are asked before the signer is touched, about exactly the fields that are then signed. Amounts are written
in OPG by people and counted in base units (10^-18 OPG) everywhere else.

Where a `SpendPolicy` names no payee, three rules decide (`Payees`, docs/design.md "Payment"):

1. `payTo` must be a payment address of the registry's enclaves, or one that the network is known for.
2. Where neither says anything (a registry entry without address, one gateway without registry), the first address
   that an enclave was paid at stays; another one is refused.
3. The same for the facilitator, whom no registry names: the first one of a network stays.

Only payments that a gateway took are remembered: a lie that came to nothing must not bar the truth later.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

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
from og_integrations.networks import OPG, Network, format_opg
from og_integrations.protocol._redact import shown
from og_integrations.protocol.payment._x402 import PaymentRequirements, Route
from og_integrations.protocol.payment.schemes import SCHEMES, not_paid

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# Exact or an error, whatever the caller's own decimal context is; 100 digits hold a uint256.
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])


def parse_opg(value: object) -> int:
    """
    Read an amount of OPG (`Decimal`, `int`, text, or a float as its shortest decimal text) as base units.

    Raises `ValueError` (for pydantic) if it is negative, finer than 18 decimals or no number.
    """
    if isinstance(value, float):
        # 0.1 is meant as 0.1, not as the binary fraction next to it, which has 55 decimals.
        value = repr(float(value))
    # A bool is an int to Python, and `total=True` would be a limit of one OPG.
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        raise ValueError(f"an amount of OPG is a Decimal, int, float or text, not a {type(value).__name__}")
    try:
        base_units = _EXACT.multiply(Decimal(value), Decimal(OPG))
    except (DecimalException, ValueError) as exc:
        raise ValueError(f"{value!r} is not an amount of OPG") from exc
    # Infinity passes the exact context and would be no limit at all.
    if not base_units.is_finite() or base_units < 0 or base_units != int(base_units):
        raise ValueError(f"{value!r} OPG is negative, infinite or finer than 18 decimals")
    return int(base_units)


def _lowered(values: object) -> object:
    if values is None:
        return None
    # A text is an iterable of letters, so `hosts="a.example"` would allow only hosts of one letter.
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError("give a list of texts")
    return frozenset(str(value).lower() for value in values)


def _amount(value: object) -> Decimal:
    return Decimal(format_opg(parse_opg(value)))


def _limit(value: object) -> Decimal | None:
    return None if value is None else _amount(value)


def _units(name: str, value: object) -> int:
    if not isinstance(value, Decimal):
        raise _unchecked(name, value)
    return parse_opg(value)


def _invalid(problems: str) -> ConfigurationError:
    return ConfigurationError(f"spend_policy is not valid: {problems}.")


def _unchecked(name: str, value: object) -> ConfigurationError:
    return ConfigurationError(
        f"SpendPolicy.{name} is a {type(value).__name__} that nothing has checked, expected a value that went "
        f"through SpendPolicy(…). Nothing was signed. Write SpendPolicy({name}=…) instead of model_copy(update=…)."
    )


_MEANT = {
    "budget": "total",
    "chains": "networks",
    "daily": "per_day",
    "expires": "valid_until",
    "file": "store",
    "hourly": "per_hour",
    "limit": "total",
    "max_per_call": "max_per_authorization",
    "max_per_request": "max_per_authorization",
    "path": "store",
}
"""What members of other limits are called here."""


def _meant(name: str) -> str:
    """Return a suggestion for a member that a policy does not have: a limit that is misspelt would be none."""
    close = [_MEANT[name]] if name in _MEANT else get_close_matches(name, SpendPolicy.model_fields, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _told(problem: "ErrorDetails") -> str:
    meant = _meant(str(problem["loc"][-1])) if problem["type"] == "extra_forbidden" else ""
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}{meant}"


def without_password(store: object) -> object:
    """Return `store`, or, where it is a URL with a password, that URL without it."""
    return _PASSWORD.sub(lambda found: found[1] or "", store) if isinstance(store, str) and "://" in store else store


def _path_as_text(value: object) -> object:
    # What `os.fspath` does, without `os` and `pathlib`, which are not for this package.
    return value.__fspath__() if hasattr(value, "__fspath__") else value


# Of `scheme://user:password@host`, and of the query, which libpq reads as well; a password may itself hold an @.
_PASSWORD = re.compile(r"(?<=://)([^:@/?]*):[^/?]*(?=@)|(?<=[?&])password=[^&]*()")


# What may be given, and what type checkers then accept; held as frozensets and Decimals.
_Names = Annotated[frozenset[str] | set[str] | list[str] | tuple[str, ...] | None, BeforeValidator(_lowered)]
_Opg = Annotated[Decimal | int | float | str, BeforeValidator(_amount)]
_Limit = Annotated[Decimal | int | float | str | None, BeforeValidator(_limit)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """
    A payment request is what `on_payment` is asked about: one authorization, before it is signed.

    At most `amount` base units of `asset` on `network` may go from `payer` to `pay_to` until `deadline`
    (unix seconds). `authorized` is what the budget had authorized before, in base units.
    """

    amount: int
    payer: str
    pay_to: str
    facilitator: str | None
    asset: str
    network: str
    host: str
    deadline: int
    authorized: int

    @property
    def opg(self) -> str:
        """Return the amount in OPG."""
        return format_opg(self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitNear:
    """
    A limit is near: one authorization made what counts against it 80 per cent of it, or more.

    `limit` is its name in `SpendPolicy`; `counted` and `allowed` are base units, of `payments_per_hour` numbers.
    """

    limit: str
    counted: int
    allowed: int


OnLimitNear = Callable[[LimitNear], object]
"""Is told, and what it returns means nothing; it may be asynchronous with an asynchronous client."""
OnPayment = Callable[[PaymentRequest], object]
"""
Returns True to allow; anything else refuses, a text such as "no" too, and so does an exception.

It may be asynchronous with an asynchronous client.
"""


class SpendPolicy(BaseModel):
    """
    A policy is what the owner of the wallet allows. Every rule must hold; None means no rule.

    Amounts are given in OPG (`"0.5"`, `Decimal`, `int`): `max_per_authorization`, `total` (of all that one
    budget ever authorizes) and `per_hour`, `per_day` (in any 60 minutes, 24 hours). An authorization counts
    with its cap, until its deadline is over and the chain says what was really taken; see `Budget`.
    `networks` (`eip155:…`) and `assets` default to the network's own chain and token, `pay_to` and
    `facilitators` to what `protocol.payment._policy` says: the registry's payment addresses, or the first one.
    `payments_per_hour` bounds the number of authorizations in any 60 minutes, `valid_until` (a datetime with a time
    zone, or its ISO 8601 text) when the last call may begin, and `stop_after_unanswered` how many payments in a row
    may bring no answer: after that nothing is paid until `resume_spending()`. `on_limit_near` is told once when an
    authorization makes it 80 per cent of a limit, before it is signed; if it raises, nothing is.
    `max_validity_seconds` bounds the time in which an authorization can be settled. `on_payment` is asked
    before anything is signed, and has to return True. All clients of a process that have the same wallet, network and
    rules are one account; `account` names another one, which counts and pays for itself. With a `share` (OPG) it is a
    part of the unnamed account instead: that authorizes `share` for it at most, and its other limits hold for all parts
    together. `store` keeps the account: the path of a file that several processes share, the URL of a PostgreSQL
    database (`postgresql://…`), or a `BudgetStore`; by default it is the process's memory. Processes that name one
    store also share the sessions, sealed with a key that the wallet's key gives, unless `share_sessions` is False.
    """

    # Unknown fields are refused, because a limit whose name is misspelt would not be a limit.
    # pydantic makes the validator on first use: who gives no policy needs none, and it takes longer than a call.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True
    )

    # What the newest public gateway asks for; April's asked for 0.1.
    max_per_authorization: _Opg = Decimal(5)
    total: _Limit = None
    per_hour: _Limit = None
    per_day: _Limit = None
    payments_per_hour: Annotated[int | None, Field(ge=0, strict=True)] = None
    valid_until: AwareDatetime | None = None
    stop_after_unanswered: Annotated[int | None, Field(ge=1, strict=True)] = None
    schemes: _Names = frozenset({"upto"})
    networks: _Names = None
    assets: _Names = None
    pay_to: _Names = None
    facilitators: _Names = None
    hosts: _Names = None
    max_validity_seconds: int = 3600
    on_payment: OnPayment | None = Field(default=None, repr=False)
    on_limit_near: OnLimitNear | None = Field(default=None, repr=False)
    account: str = ""
    share: _Limit = None
    share_sessions: bool = True
    store: Annotated[object, BeforeValidator(_path_as_text)] = Field(default=None, repr=False)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, values: object, read: ModelWrapValidatorHandler[Self]) -> Self:
        """Raise `ConfigurationError`, never pydantic's `ValueError`, which LlamaIndex swallows."""
        try:
            made = read(values)
            if made.share is None or made.account:
                return made
            problems = "share is of an account: give account a name, or use total"
        except ValidationError as exc:
            problems = "; ".join(map(_told, exc.errors(include_input=False)))
        raise _invalid(problems)

    def model_copy(self, *, update: Mapping[str, object] | None = None, deep: bool = False) -> Self:
        """Copy it, with `update` in place of its members. Raises `ConfigurationError` for one that it does not have."""
        for name in (update or {}).keys() - type(self).model_fields.keys():
            raise ConfigurationError(f"SpendPolicy has no member {name!r}{_meant(name)}.")
        return super().model_copy(update=update, deep=deep)

    def __getstate__(self) -> dict[str, object]:
        """Return what is pickled: a password in the store's URL is not."""
        state = super().__getstate__()
        members = state["__dict__"]
        return state | {"__dict__": members | {"store": without_password(members.get("store"))}}

    @property
    def cap_units(self) -> int:
        """Return `max_per_authorization` in base units. Raises `ConfigurationError`, as those below."""
        return _units("max_per_authorization", self.max_per_authorization)

    @property
    def total_units(self) -> int | None:
        """Return `total` in base units."""
        return None if self.total is None else _units("total", self.total)

    @property
    def hour_units(self) -> int | None:
        """Return `per_hour` in base units."""
        return None if self.per_hour is None else _units("per_hour", self.per_hour)

    @property
    def day_units(self) -> int | None:
        """Return `per_day` in base units."""
        return None if self.per_day is None else _units("per_day", self.per_day)

    @property
    def limited(self) -> bool:
        """Return whether any sum, or number of payments, has a limit."""
        limits = (self.total, self.per_hour, self.per_day, self.share, self.payments_per_hour)
        return any(limit is not None for limit in (*limits, self.stop_after_unanswered))

    @property
    def share_units(self) -> int | None:
        """Return `share` in base units."""
        return None if self.share is None else _units("share", self.share)

    @classmethod
    def of(cls, value: "SpendPolicy | Mapping[str, object] | None") -> "SpendPolicy":
        """Return `value` as a policy. Raises `ConfigurationError`, never pydantic's `ValueError`."""
        if isinstance(value, SpendPolicy):
            value.require_checked()
            return value
        if value is not None and not isinstance(value, Mapping):
            raise ConfigurationError(
                f"spend_policy is a {type(value).__name__}, expected a SpendPolicy or its fields as a dict."
            )
        # Our own defaults are as checks leave them.
        return cls.model_validate(value) if value else cls.model_construct()

    def require_checked(self) -> None:
        """Raise `ConfigurationError` for a member that is not as checks leave it: within a call it would be foreign."""
        given = ((value, _DEFAULTS.get(name)) for name, value in vars(self).items())
        ours = type(self) is SpendPolicy  # a class of the owner's may refuse what is our default
        if ours and all(type(value) is type(default) and value == default for value, default in given):
            return  # our own defaults need no validator, which takes longer to build than a call
        try:
            # pydantic's `model_copy(update=…)` and `model_construct` check nothing.
            checked = vars(type(self).model_validate(dict(vars(self))))
        except ValidationError as exc:  # of a validator that a subclass adds: `_read` does not stand around it
            raise _invalid("; ".join(map(_told, exc.errors(include_input=False)))) from None
        for name, value in vars(self).items():
            if type(value) is not type(checked[name]):
                raise _unchecked(name, value)

    def on(self, network: Network) -> "SpendPolicy":
        """Return this policy with `network`'s chain and token where none were given."""
        defaults: dict[str, object] = {}
        # Left open, an offer on another chain or in another token would be signed if its number is small enough.
        if self.networks is None:
            defaults["networks"] = frozenset({network.caip2})
        if self.assets is None:
            defaults["assets"] = frozenset({network.token.lower()})
        return self.model_copy(update=defaults)

    def check(self, requirements: PaymentRequirements, host: str) -> None:
        """
        Raise the `OfferRefusedError` of the first rule that `requirements`, offered by `host`, breaks.

        The limits on sums are the `Budget`'s.
        """
        if requirements.scheme not in SCHEMES:
            raise not_paid(requirements, f"The gateway {host} asks for scheme {shown(requirements.scheme, 42)}")
        # The order puts what is offered before whom it pays, so that the first message names the broader mistake.
        rules = (
            (self.schemes, requirements.scheme, "scheme", SchemeRefusedError),
            (self.networks, requirements.network, "network", NetworkRefusedError),
            (self.assets, requirements.asset, "asset", AssetRefusedError),
            (self.pay_to, requirements.pay_to, "payTo", PayeeRefusedError),
            (self.facilitators, requirements.facilitator or "", "facilitator", PayeeRefusedError),
            (self.hosts, host, "host", HostRefusedError),
        )
        for allowed, offered, name, error in rules:
            if allowed is not None and offered.lower() not in allowed:
                raise error(
                    f"The gateway {host} asks for {name} {shown(offered, 42)}, expected one of {sorted(allowed)}. "
                    "Nothing was signed. If you trust it, allow it in SpendPolicy."
                )
        # Until its deadline an authorization can be settled by
        # whoever has it, so a long one holds the budget for long.
        if requirements.max_timeout_seconds > self.max_validity_seconds:
            raise OfferRefusedError(
                f"The gateway {host} asks for an authorization that stays valid for "
                f"{requirements.max_timeout_seconds} s, expected at most {self.max_validity_seconds} s "
                "(SpendPolicy.max_validity_seconds). Nothing was signed."
            )
        if requirements.amount > self.cap_units:
            too_much = BudgetExceededError(
                f"The gateway {host} asks for {format_opg(requirements.amount)} OPG, expected at most "
                f"{format_opg(self.cap_units)} OPG (SpendPolicy.max_per_authorization). Nothing was signed. To allow "
                f'it, write SpendPolicy(max_per_authorization="{format_opg(requirements.amount)}").'
            )
            # Another enclave may ask for less, so the price is a reason to try the next one.
            too_much.blames_enclave = True
            raise too_much


_DEFAULTS = vars(SpendPolicy.model_construct())


class Payees:
    """These are the payees that one wallet and budget remember. They are guarded by the lock of its `SessionCache`."""

    def __init__(self) -> None:
        self._paid: dict[str, str] = {}
        self._settled_by: dict[str, str] = {}

    def check(self, requirements: PaymentRequirements, route: Route, policy: SpendPolicy) -> None:
        """Raise `PayeeRefusedError` if the offer `requirements` pays, or lets settle, somebody else."""
        if policy.pay_to is None:
            self._check_payee(requirements, route)
        if policy.facilitators is None:
            self._check_facilitator(requirements, route)

    def remember(self, requirements: PaymentRequirements, route: Route) -> None:
        """Note that a gateway took a payment for `requirements`."""
        # The first address stays: a gateway that is taken over later cannot move the payments elsewhere.
        self._paid.setdefault(route.tee_id, requirements.pay_to.lower())
        if requirements.facilitator is not None:
            self._settled_by.setdefault(route.network, requirements.facilitator.lower())

    def _check_payee(self, requirements: PaymentRequirements, route: Route) -> None:
        offered = requirements.pay_to.lower()
        # The registry's word is stronger than our memory: it is asked first, and a change in it is followed.
        if route.payees:
            if offered not in route.payees:
                raise PayeeRefusedError(
                    f"The gateway {route.host} asks for payTo {requirements.pay_to}, expected one of "
                    f"{sorted(route.payees)}: the registry's payment addresses. Nothing was signed. If you trust it, "
                    "allow it in SpendPolicy.pay_to."
                )
            return
        known = self._paid.get(route.tee_id)
        if known is not None and known != offered:
            raise PayeeRefusedError(
                f"The gateway {route.host} asks for payTo {requirements.pay_to}, but was paid at {known} before. "
                "Nothing was signed. If both are right, allow both in SpendPolicy.pay_to."
            )

    def _check_facilitator(self, requirements: PaymentRequirements, route: Route) -> None:
        offered, known = requirements.facilitator, self._settled_by.get(route.network)
        if offered is not None and known is not None and known != offered.lower():
            raise PayeeRefusedError(
                f"The gateway {route.host} asks for facilitator {offered}, but earlier payments on {route.network} "
                f"went through {known}. Nothing was signed. If both are right, allow both in SpendPolicy.facilitators."
            )

"""
What happens, told to logs and metrics: payments, failures and limits, for who does not read receipts.

Logs are Python's own, under `og_integrations.payment`, `.enclaves` and `.ledger`; nobody sees them who has not asked.
Beside its text each record has `og_event` and what belongs to it as attributes (`extra=`), for structured logs. Metrics
are those of OpenTelemetry's API, and cost nothing in a program that has not imported it: `METRICS` names them all.

Neither holds a key, a signature, a session id, a prompt or an answer.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from og_integrations._accounting import facts_of, model_in, reported_cost, whole
from og_integrations.errors import ConfigurationError, OpenGradientError, PaymentInDoubtError, VerificationError
from og_integrations.networks import OPG, format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._budget import Budget
from og_integrations.protocol.payment._lease import Grant
from og_integrations.protocol.proof._enclave import Enclave

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

logging.getLogger("og_integrations").addHandler(logging.NullHandler())
_payment = logging.getLogger("og_integrations.payment")
_enclaves = logging.getLogger("og_integrations.enclaves")

METRICS: Mapping[str, tuple[str, str, str]] = {
    "opengradient.calls": ("counter", "{call}", "calls that ended, by outcome, model and error"),
    "opengradient.call.duration": ("histogram", "s", "seconds from the beginning of a call to its end"),
    "opengradient.calls.active": ("up_down_counter", "{call}", "calls that have a place at the gate"),
    "opengradient.calls.waiting": ("up_down_counter", "{call}", "calls that wait for a place at the gate"),
    "opengradient.verification.failures": ("counter", "{call}", "answers that were not proven, by step"),
    "opengradient.payments.in_doubt": ("counter", "{call}", "calls that may have been charged without an answer"),
    "opengradient.opg.authorized": ("counter", "{OPG}", "OPG that wallets have signed for, the most that can be taken"),
    "opengradient.opg.settled": ("counter", "{OPG}", "OPG that the chain says was taken"),
    "opengradient.opg.reported": ("counter", "{OPG}", "OPG that gateways say calls cost; not proven"),
    "opengradient.enclaves.left": ("counter", "{enclave}", "enclaves that were left for another one"),
    "opengradient.budget.left": ("observable_gauge", "{OPG}", "OPG that are left of each limit"),
}
"""Name of a metric -> its kind, unit and meaning."""


class _Counter(Protocol):
    def add(self, amount: float, attributes: Mapping[str, str]) -> None:
        """Count."""


class _Histogram(Protocol):
    def record(self, amount: float, attributes: Mapping[str, str]) -> None:
        """Note one value."""


_watched: "WeakSet[Budget]" = WeakSet()


@lru_cache(maxsize=1)
def _instruments() -> Mapping[str, Any]:
    from opentelemetry.metrics import get_meter

    meter = get_meter("og_integrations")
    made: dict[str, Any] = {}
    for name, (kind, unit, about) in METRICS.items():
        callbacks = {"callbacks": [_budgets_left]} if kind == "observable_gauge" else {}
        made[name] = getattr(meter, f"create_{kind}")(name, unit=unit, description=about, **callbacks)
    return made


def _instrument(name: str) -> Any:
    """Return the instrument of that name, None in a program without OpenTelemetry's metrics."""
    return _instruments()[name] if "opentelemetry.metrics" in sys.modules else None


def _add(name: str, amount: float, **attributes: str) -> None:
    counter: _Counter | None = _instrument(name)
    if counter is not None:
        counter.add(amount, attributes)


def _budgets_left(options: "CallbackOptions") -> "Iterator[Observation]":
    from opentelemetry.metrics import Observation

    for budget in list(_watched):
        try:
            totals = budget.spent(int(time.time()))
        except ConfigurationError:
            # A store that is away; the calls say so.
            continue
        for name, limit in totals.limits:
            if limit is not None and name in ("total", "per_hour", "per_day"):
                left = max(0, limit - totals.counted(name)) / OPG
                yield Observation(left, {"limit": name, "account": budget.policy.account or ""})


def watch(budget: Budget) -> None:
    """Have what is left of the limits of `budget` measured, as long as it lives."""
    _watched.add(budget)
    _instrument("opengradient.budget.left")


def authorized(typed_data: JsonObject) -> None:
    """Tell that a wallet has signed for a payment."""
    message = typed_data.get("message", {})
    amount = whole(message.get("permitted", {}).get("amount")) or 0
    _add("opengradient.opg.authorized", amount / OPG)
    extra = {"og_event": "authorized", "og_amount": str(amount), "og_deadline": str(message.get("deadline"))}
    _payment.info("A wallet authorized %s OPG at most.", format_opg(amount), extra=extra)


def settled(amount: int, payer: str, status: str) -> None:
    """Tell what the chain says was taken of an authorization that is over."""
    _add("opengradient.opg.settled", amount / OPG)
    extra = {"og_event": "settled", "og_amount": str(amount), "og_payer": payer, "og_status": status}
    _payment.info("An authorization of %s is over: %s OPG were taken.", payer, format_opg(amount), extra=extra)


def paid_with(grant: Grant) -> None:
    """Tell, once for each authorization, that it brought a limit of the budget near its end."""
    near, grant.hold.came_near = grant.hold.came_near, ()
    for limit in near:
        extra = {"og_event": "limit_near", "og_limit": limit.limit, "og_counted": str(limit.counted)}
        counts = limit.limit == "payments_per_hour"
        counted, allowed = (str(n) if counts else format_opg(n) for n in (limit.counted, limit.allowed))
        unit = "" if counts else " OPG"
        said = "The budget is at 80 per cent or more of SpendPolicy.%s: %s of %s%s."
        _payment.info(said, limit.limit, counted, allowed, unit, extra=extra)


def enclave_left(enclave: Enclave, *, lied: bool = False) -> None:
    """Tell that another enclave is chosen in place of this one."""
    _add("opengradient.enclaves.left", 1)
    why = "it did not do its part" if lied else "it could not be reached"
    extra = {"og_event": "enclave_left", "og_enclave": enclave.tee_id}
    _enclaves.info("The enclave %s is left: %s.", enclave.tee_id, why, extra=extra)


def failed_over(enclave: Enclave, attempt: int) -> None:
    """Tell that a call goes to another enclave, since this one could not be reached."""
    extra = {"og_event": "failover", "og_enclave": enclave.tee_id, "og_attempt": attempt}
    _enclaves.info("A call goes to another enclave than %s. Nothing was sent to it.", enclave.tee_id, extra=extra)


def ended(receipt: JsonObject, began: float, exc: BaseException | None, *, paying: bool) -> None:
    """Tell how a call ended that began at `began` (monotonic); `paying` says whether a payment had left with it."""
    if exc is None and "opentelemetry.metrics" not in sys.modules:
        # Nobody counts, and of a verified call no log tells: its receipt need not be read.
        return
    model, reported = model_in(receipt), reported_cost(receipt)
    doubt = paying and exc is not None and (isinstance(exc, PaymentInDoubtError) or not isinstance(exc, Exception))
    outcome = "verified" if exc is None else "in_doubt" if doubt else "failed"
    error = "" if exc is None else type(exc).__name__
    _add("opengradient.calls", 1, outcome=outcome, model=model, error=error)
    histogram: _Histogram | None = _instrument("opengradient.call.duration")
    if histogram is not None:
        histogram.record(time.monotonic() - began, {"outcome": outcome, "model": model})
    if reported:
        _add("opengradient.opg.reported", reported / OPG, model=model)
    if isinstance(exc, VerificationError):
        _add("opengradient.verification.failures", 1, step=exc.step or "")
    if doubt:
        _add("opengradient.payments.in_doubt", 1)
        said = str(exc) if isinstance(exc, OpenGradientError) else "The call was given up after its payment had left."
        payment = facts_of(receipt).payment
        extra = {"og_event": "in_doubt", "og_payment": payment, "og_model": model, "og_error": error}
        _payment.warning("A call of %s may have been charged: %s", model, said, extra=extra)


@contextmanager
def waiting_for_a_place() -> Iterator[None]:
    """Count a call that waits at the gate."""
    _add("opengradient.calls.waiting", 1)
    try:
        yield
    finally:
        _add("opengradient.calls.waiting", -1)


def place_taken(change: int) -> None:
    """Count a call that took its place at the gate (1), or gave it back (-1)."""
    _add("opengradient.calls.active", change)
    if change > 0:
        # Most calls wait for nothing, and a chart of who waits should say 0 then, not be empty.
        _add("opengradient.calls.waiting", 0)

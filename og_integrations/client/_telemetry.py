"""
What happens, told beside the receipts: to logs and metrics, on the spans of an application, and in warnings.

Logs are Python's own, under `og_integrations.payment`, `.enclaves` and `.ledger`; nobody sees them who has not asked.
Beside its text each record has `og_event` and what belongs to it as attributes (`extra=`), for structured logs. Metrics
are those of OpenTelemetry's API: `METRICS` names them all. Its spans get the receipt of a call. OpenTelemetry is never
imported here: nobody counts or has a span who has not imported it, and it would cost everybody else 30 ms. A user is
warned, once, of what the gateway of a verified answer did not sign, publish or reckon as it should.

None of these holds a key, a signature, a session id, a prompt or an answer.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast
from weakref import WeakSet

from og_integrations._accounting import facts_of, model_in, reported_cost, whole
from og_integrations._warnings import warn_once
from og_integrations.errors import ConfigurationError, OpenGradientError, PaymentInDoubtError, VerificationError
from og_integrations.networks import OPG, format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import SettlementMode
from og_integrations.receipt import SPAN_RECEIPT, Receipt, span_attributes

if TYPE_CHECKING:
    # An adapter has spans before it has paid for anything, and what pays is heavy.
    from opentelemetry.metrics import CallbackOptions, Observation

    from og_integrations.protocol.payment._budget import Budget
    from og_integrations.protocol.payment._lease import Grant
    from og_integrations.protocol.proof._enclave import Enclave
    from og_integrations.protocol.proof._verification import VerifiedExchange

_T = TypeVar("_T")

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


def watch(budget: "Budget") -> None:
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


def paid_with(grant: "Grant") -> None:
    """Tell, once for each authorization, that it brought a limit of the budget near its end."""
    hold = grant.hold
    near, hold.came_near = hold.came_near, ()
    for limit in near:
        extra = {"og_event": "limit_near", "og_limit": limit.limit, "og_counted": str(limit.counted)}
        counts = limit.limit == "payments_per_hour"
        counted, allowed = (str(n) if counts else format_opg(n) for n in (limit.counted, limit.allowed))
        unit = "" if counts else " OPG"
        said = "The budget is at 80 per cent or more of SpendPolicy.%s: %s of %s%s."
        _payment.info(said, limit.limit, counted, allowed, unit, extra=extra)


def enclave_left(enclave: "Enclave", *, lied: bool = False) -> None:
    """Tell that another enclave is chosen in place of this one."""
    _add("opengradient.enclaves.left", 1)
    why = "it did not do its part" if lied else "it could not be reached"
    extra = {"og_event": "enclave_left", "og_enclave": enclave.tee_id}
    _enclaves.info("The enclave %s is left: %s.", enclave.tee_id, why, extra=extra)


def failed_over(enclave: "Enclave", attempt: int) -> None:
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
    if "opentelemetry.metrics" not in sys.modules:
        return
    _add("opengradient.calls.active", change)
    if change > 0:
        # Most calls wait for nothing, and a chart of who waits should say 0 then, not be empty.
        _add("opengradient.calls.waiting", 0)


def tell_of_payment(receipt: JsonObject, mode: SettlementMode, grant: "Grant | None", reported: int | None) -> None:
    """Warn of what `receipt` (plain JSON) shows of the settlement, and of what its call is `reported` to cost."""
    if mode is SettlementMode.INDIVIDUAL_FULL:
        _tell_unpublished(receipt)
    if grant is not None and reported is not None:
        _tell_costs(grant, reported)


def tell_unsigned(verified: "VerifiedExchange") -> None:
    """Say that an option which was asked for is not among what the enclave signed."""
    if not verified.request.get("reasoning_effort"):
        return
    from og_integrations.protocol.proof._canonical import unsigned_members

    if "reasoning_effort" in unsigned_members(verified.exchange.path, verified.request, verified.hash_rule):
        warn_once(
            "reasoning_effort is not signed",
            "reasoning_effort was sent, but the gateway did not sign it, and has probably ignored it; the receipt "
            "names it as not signed.",
        )


def _tell_unpublished(receipt: JsonObject) -> None:
    """Say that a call which was to be settled by itself was answered without a word about that."""
    payment = Receipt.payment_of(receipt)
    if payment is None or payment.tells_settlement:
        return
    warn_once(
        "individual settlement",
        "settlement_mode='individual' was asked for, and the gateway says nothing of a transaction: the answer may not "
        "have been published.",
    )


def _tell_costs(grant: "Grant", cost: int) -> None:
    """Say that a gateway reports more for the calls of one authorization than that allows to take."""
    if (told := grant.reports(cost)) is None:
        return
    host, most = grant.route.host, format_opg(grant.authorization.amount)
    warn_once(
        f"costs of {host}",
        f"The gateway {host} reports {format_opg(told)} OPG for the calls of one authorization of {most} "
        f"OPG. At most {most} OPG can be taken; what it reports is not signed, and no budget counts by it.",
    )


class Span(Protocol):
    """What is used of a span of OpenTelemetry."""

    def is_recording(self) -> bool:
        """Return whether attributes are kept."""
        ...

    def set_attribute(self, key: str, value: str | bool | int) -> None:
        """Set one attribute."""
        ...

    def add_event(self, name: str, attributes: dict[str, str | bool | int]) -> None:
        """Add something that happened meanwhile."""
        ...


class ReceiptSpan:
    """A span, or None without one, that gets the receipt of the call made inside the `with`."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the receipt of a call that failed or was cancelled."""
        self.note(error)

    def note(self, answer: _T) -> _T:
        """Write the receipt of an answer or error on the span, and return it; a piece of text has none."""
        if self._span is None:
            return answer
        receipt = getattr(answer, "receipt", None)
        if receipt is not None and self._span.is_recording():
            attributes = span_attributes(receipt)
            for name, value in attributes.items():
                self._span.set_attribute(name, value)
            # The attributes are the last call's; where one span stands for several calls, such as an agent's, each
            # has an event.
            self._span.add_event(SPAN_RECEIPT, attributes)
        return answer


def current_span() -> Span | None:
    """Return the span that is current where a call begins; a stream's is no longer current when its receipt comes."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span()
    # OpenInference hands out a proxy that points to another span as soon as this one is detached.
    return cast("Span", getattr(span, "__wrapped__", span))

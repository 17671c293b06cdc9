"""
The errors of a call as LangChain sees them.

Each class of `og_integrations.errors` has here a class of the same name that is also a
`langchain_core.exceptions.ModelError`: both `except` clauses work, and `is_retryable` tells LangChain's
retry middleware what it may repeat. Never a payment that left, a proof that failed, or a paid answer
that disobeyed: repeating those would pay again, or ask a liar again. LangGraph's `RetryPolicy` does not
look at it, and repeats whatever is none of the built-in errors; so these are `RuntimeError`s as well.

Answers outside 2xx have classes of their own: `AuthenticationError`, `BadRequestError`,
`ContextLengthError`, `PermissionDeniedError`, `RateLimitError`, `ServerError`, `UnknownModelError`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from og_integrations import errors
from og_integrations.receipt import RECEIPT_KEY

_KINDS: dict[type[errors.OpenGradientError], type[ModelError]] = {
    errors.OpenGradientError: ModelError,
    errors.ConfigurationError: ModelInvalidRequestError,
    errors.InvalidRequestError: ModelInvalidRequestError,
    errors.DiscoveryError: ModelConnectionError,
    errors.EnclaveRejectedError: ModelPermissionDeniedError,
    errors.ConnectionFailedError: ModelConnectionError,
    errors.CertificateMismatchError: ModelConnectionError,
    errors.ConnectionLostError: ModelConnectionError,
    errors.PaymentError: ModelError,
    errors.ReadTimeoutError: ModelTimeoutError,
    errors.GatewayError: ModelAPIError,
    errors.MalformedReplyError: ModelAPIError,
    errors.StreamFailedError: ModelAPIError,
    errors.VerificationError: ModelError,
}
"""What LangChain takes an error (and what derives from it) for."""


class AuthenticationError(errors.GatewayError, ModelAuthenticationError, RuntimeError):
    """The gateway answered 401."""


class BadRequestError(errors.GatewayError, ModelInvalidRequestError, RuntimeError):
    """The gateway refused the request (400, 413, 422, …)."""


class ContextLengthError(errors.GatewayError, ContextOverflowError, RuntimeError):
    """
    The messages do not fit into the model's context window.

    The gateway hides its providers' reasons, so this is also what a server failure is taken for when
    the messages are, by estimate, longer than the window.
    """


class PermissionDeniedError(errors.GatewayError, ModelPermissionDeniedError, RuntimeError):
    """The gateway answered 403."""


class RateLimitError(errors.GatewayError, ModelRateLimitError):
    """The gateway answered 429; it was not charged."""

    is_retryable = True


class ServerError(errors.GatewayError, ModelAPIError):
    """The gateway answered 5xx; it was not charged."""

    is_retryable = True


class UnknownModelError(errors.GatewayError, ModelNotFoundError, RuntimeError):
    """The gateway does not serve this model, or lacks the endpoint (404)."""


def _kind(error: type[errors.OpenGradientError]) -> type[ModelError]:
    return next(_KINDS[cls] for cls in error.__mro__ if cls in _KINDS)


def _doubles() -> dict[str, type[errors.OpenGradientError]]:
    found: dict[str, type[errors.OpenGradientError]] = {}
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.OpenGradientError):
            bases = (error, _kind(error)) if error.is_retryable else (error, _kind(error), RuntimeError)
            found[name] = type(name, bases, {"__module__": __name__, "__doc__": error.__doc__})
    return found


DOUBLES = _doubles()
"""Name of a class of `og_integrations.errors` -> the class raised here. Also attributes of this module."""
globals().update(DOUBLES)  # importable and picklable by name

_CONTEXT_WORDS = ("context length", "context window", "context_length", "prompt is too long", "maximum context")
_STATUS_CLASSES: dict[int, type[errors.GatewayError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: UnknownModelError,
    429: RateLimitError,
}


class _TimedOutError(errors.ConnectionLostError, ModelTimeoutError):
    """No answer came in time, before anything was paid for this request."""


RETRYABLE = tuple(
    cls
    for cls in (*DOUBLES.values(), RateLimitError, ServerError, _TimedOutError)
    if issubclass(cls, ModelError) and cls.is_retryable
)
"""What `with_retry` repeats unless it is told otherwise: nothing that was paid, or not proven."""


@dataclass(frozen=True, slots=True)
class FailedResponse:
    """
    What LangChain looks for in `error.response`, and writes into the trace of a failed run.

    There the receipt is `response_metadata["body"]["opengradient"]` of an empty message.
    """

    receipt: dict[str, Any]

    def json(self) -> dict[str, Any]:
        """Return the receipt under its key."""
        return {RECEIPT_KEY: self.receipt}


def as_model_error(
    exc: errors.OpenGradientError, *, too_long: Callable[[], str | None] = lambda: None
) -> errors.OpenGradientError:
    """
    Return `exc` as the `ModelError` of the same name, with everything it carries.

    `too_long` says why the messages cannot fit into the model's window, None if they do.
    """
    if isinstance(exc, ModelError):
        return exc
    reason = too_long() if _provider_failed(exc) else None
    kind = ContextLengthError if reason else _class_for(exc)
    error = kind(f"{exc} {reason}" if reason else str(exc))
    error.__dict__.update(exc.__dict__, is_retryable=kind.is_retryable and exc.is_retryable)
    if exc.receipt is not None:
        error.__dict__["response"] = FailedResponse(exc.receipt)
    return error


@contextmanager
def model_errors(too_long: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Let errors of the client leave as their `ModelError` double."""
    try:
        yield
    except errors.OpenGradientError as exc:
        raise as_model_error(exc, too_long=too_long) from exc


def _provider_failed(exc: errors.OpenGradientError) -> bool:
    return isinstance(exc, errors.StreamFailedError) or (isinstance(exc, errors.GatewayError) and exc.status >= 500)


def _class_for(exc: errors.OpenGradientError) -> type[errors.OpenGradientError]:
    if isinstance(exc, errors.ConnectionLostError) and exc.timed_out:
        return _TimedOutError
    if type(exc) is errors.GatewayError:
        return _gateway_class(exc)
    return DOUBLES.get(type(exc).__name__) or DOUBLES["OpenGradientError"]


def _gateway_class(exc: errors.GatewayError) -> type[errors.OpenGradientError]:
    text = str(exc).lower()
    if exc.status < 500 and any(words in text for words in _CONTEXT_WORDS):
        return ContextLengthError
    if exc.status == 400 and "model" in text and "not supported" in text:
        return UnknownModelError
    if exc.status in _STATUS_CLASSES:
        return _STATUS_CLASSES[exc.status]
    if exc.status >= 500:
        return ServerError
    return BadRequestError if exc.status >= 400 else cast("type[errors.GatewayError]", DOUBLES["GatewayError"])

"""
This module holds the errors of a call as LangChain sees them.

Each class of `og_integrations.errors` has a double of the same name here that is also a
`langchain_core.exceptions.ModelError`: both `except` clauses work, and `is_retryable` tells LangChain's
retry middleware what it may repeat. Never a payment that left, a proof that failed, or a paid answer
that disobeyed: repeating those would pay again, or ask a liar again. LangGraph's `RetryPolicy` does not
look at it, and repeats whatever is none of the built-in errors; so what must not be repeated is a
`RuntimeError` as well.

Doubles derive from each other as the originals do, except that what may be repeated is the base of nothing
that may not: `with_retry` goes by classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

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
    ModelRefusalError,
    ModelTimeoutError,
)

from og_integrations import errors
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import RECEIPT_KEY


class OpenGradientError(errors.OpenGradientError, ModelError):
    """This is the base of all errors of our models."""


class UnclassifiedError(OpenGradientError, RuntimeError):
    """The client raised an error that has no class of its own here."""


class ConfigurationError(errors.ConfigurationError, OpenGradientError, ModelInvalidRequestError, RuntimeError):
    """A setting is missing or wrong; the message names it and where it can be set."""


class BudgetBusyError(errors.BudgetBusyError, OpenGradientError, ModelConnectionError):
    """The store of the budget is held by others, or away, for too long; nothing was signed or sent."""


class LedgerBusyError(errors.LedgerBusyError, OpenGradientError, ModelConnectionError):
    """The ledger that receipts are written to is held by others, or away, for too long; nothing was sent."""


class InvalidRequestError(errors.InvalidRequestError, OpenGradientError, ModelInvalidRequestError, RuntimeError):
    """The gateway would refuse this request, or drop part of it silently; nothing was sent."""


class DiscoveryError(errors.DiscoveryError, OpenGradientError, ModelConnectionError):
    """The registry could not be read, or lists no usable enclave."""


class EnclaveRejectedError(errors.EnclaveRejectedError, OpenGradientError, ModelPermissionDeniedError, RuntimeError):
    """Enclaves were found, but the `EnclavePolicy` accepts none of them."""


class AttestationError(errors.AttestationError, EnclaveRejectedError):
    """An attestation document is missing, or does not prove what it has to; its enclave is sent nothing."""


class ConnectionFailedError(errors.ConnectionFailedError, OpenGradientError, ModelConnectionError):
    """There was no connection to the enclave: no byte of the request was sent, nothing was paid."""


class CertificateMismatchError(errors.CertificateMismatchError, OpenGradientError, ModelConnectionError, RuntimeError):
    """The peer showed another certificate than the pinned one; the handshake was aborted."""


class ConnectionLostError(errors.ConnectionLostError, OpenGradientError, ModelConnectionError):
    """The connection broke before anything was paid for this request."""


class ConnectionTimedOutError(ConnectionLostError, ModelTimeoutError):
    """No answer came in time, before anything was paid for this request."""


class PaymentError(errors.PaymentError, OpenGradientError, RuntimeError):
    """This is the base of what goes wrong around paying."""


class MalformedOfferError(errors.MalformedOfferError, PaymentError):
    """The 402 answer does not hold exactly one readable x402 v2 offer; nothing was signed."""


class OfferRefusedError(errors.OfferRefusedError, PaymentError):
    """The `SpendPolicy` does not allow what the gateway asks for; nothing was signed."""


class SchemeRefusedError(errors.SchemeRefusedError, OfferRefusedError):
    """The offer uses a payment scheme that the policy does not allow."""


class NetworkRefusedError(errors.NetworkRefusedError, OfferRefusedError):
    """The offer is for another chain than the policy allows."""


class AssetRefusedError(errors.AssetRefusedError, OfferRefusedError):
    """The offer is for another token than the policy allows."""


class PayeeRefusedError(errors.PayeeRefusedError, OfferRefusedError):
    """The offer pays someone, or goes through a facilitator, whom the policy does not allow."""


class HostRefusedError(errors.HostRefusedError, OfferRefusedError):
    """The offer comes from a host that the policy does not allow."""


class BudgetExceededError(errors.BudgetExceededError, OfferRefusedError):
    """The amount is over the cap per authorization, or over what is left of a sum."""


class SpendingStoppedError(errors.SpendingStoppedError, OfferRefusedError):
    """The owner's kill switch (`stop_spending`): nothing is authorized or sent until it is released."""


class SigningError(errors.SigningError, PaymentError):
    """The signer gave no usable signature, or the owner refused; nothing was paid."""


class PaymentRefusedError(errors.PaymentRefusedError, PaymentError):
    """The gateway did not take the signed payment."""


class PaymentInDoubtError(errors.PaymentInDoubtError, PaymentError):
    """Payment left, no complete answer came: it may have been charged."""


class ReadTimeoutError(errors.ReadTimeoutError, PaymentInDoubtError, ModelTimeoutError):
    """The answer did not come in time, after the payment had left."""


class StreamCutError(errors.StreamCutError, PaymentInDoubtError):
    """The connection ended before the signed final event; `partial_text` is what had come."""


class ApprovalError(errors.ApprovalError, PaymentError):
    """Permit2 could not be allowed to take OPG, so calls cannot be paid."""


class GatewayError(errors.GatewayError, OpenGradientError):
    """The gateway answered with an HTTP error; `status` is its code."""


class UnexpectedStatusError(GatewayError, ModelAPIError, RuntimeError):
    """The gateway answered neither 2xx nor an error (a redirect), or says that asking it again will not help."""


class AuthenticationError(GatewayError, ModelAuthenticationError, RuntimeError):
    """The gateway answered 401."""


class BadRequestError(GatewayError, ModelInvalidRequestError, RuntimeError):
    """The gateway refused the request (400, 413, 422, …)."""


class ContextLengthError(GatewayError, ContextOverflowError, RuntimeError):
    """
    The messages do not fit into the model's context window.

    The gateway hides its providers' reasons, so this is also what a server failure is taken for when
    the messages are, by estimate, longer than the window.
    """


class PermissionDeniedError(GatewayError, ModelPermissionDeniedError, RuntimeError):
    """The gateway answered 403."""


class RateLimitError(GatewayError, ModelRateLimitError):
    """The gateway, or the provider behind it, answered 429; it was not charged."""

    is_retryable = True


class ServerError(GatewayError, ModelAPIError):
    """The gateway answered 5xx, or says that it may be asked again; it was not charged."""

    is_retryable = True


class UnknownModelError(GatewayError, ModelNotFoundError, RuntimeError):
    """The gateway does not serve this model, or lacks the endpoint (404)."""


class MalformedReplyError(errors.MalformedReplyError, GatewayError, ModelAPIError, RuntimeError):
    """The gateway broke the protocol: not JSON, missing fields, too large, wrong content type. It may be charged."""


class StreamFailedError(errors.StreamFailedError, GatewayError, ModelAPIError):
    """The gateway reported a failure inside a stream; failed streams are not charged."""


class StreamRateLimitError(StreamFailedError, ModelRateLimitError):
    """The provider behind the gateway answered 429 before a stream ended; it was not charged."""


class StreamRefusedError(errors.StreamFailedError, GatewayError, ModelInvalidRequestError, RuntimeError):
    """The provider refused the request inside a stream; asked again, it would again."""

    is_retryable = False


class StreamGivenUpError(errors.StreamFailedError, GatewayError, ModelAPIError, RuntimeError):
    """A stream failed, and the gateway says that asking it again will not help."""

    is_retryable = False


class ContentRefusedError(errors.ContentRefusedError, GatewayError, ModelRefusalError, RuntimeError):
    """The gateway's moderation refused the request; `categories` are its words for why."""


class RequestTooLargeError(errors.RequestTooLargeError, GatewayError, ModelInvalidRequestError, RuntimeError):
    """The gateway does not take a request of this size."""


class AttachmentRefusedError(errors.AttachmentRefusedError, GatewayError, ModelInvalidRequestError, RuntimeError):
    """The model does not take the picture or file that was sent."""


class TransactionError(errors.TransactionError, OpenGradientError, RuntimeError):
    """A transaction of the wallet did not succeed."""


class TransactionRefusedError(errors.TransactionRefusedError, TransactionError):
    """The transaction would fail or cost too much, or no node took it: nothing was sent."""


class GasBudgetExceededError(errors.GasBudgetExceededError, TransactionRefusedError):
    """The transaction may cost more than is left of the budget of gas: nothing was signed or sent."""


class TransactionRevertedError(errors.TransactionRevertedError, TransactionError):
    """The transaction was mined and reverted: its gas is spent, and nothing else happened."""


class TransactionInDoubtError(errors.TransactionInDoubtError, TransactionError):
    """The transaction left and was not seen mined: it may still be."""


class OnchainError(errors.OnchainError, OpenGradientError, RuntimeError):
    """A model or workflow on chain gave no usable result."""


class StaleWorkflowError(errors.StaleWorkflowError, OnchainError):
    """The newest result of a workflow is older than is allowed; nothing was spent."""


class HubError(errors.HubError, OpenGradientError, RuntimeError):
    """The model hub refused a call, or answered something else than it should; nothing is ever paid there."""


class LoginRefusedError(errors.LoginRefusedError, HubError):
    """The identity service of the model hub refused a login, or the hub what came of it."""


class FileMismatchError(errors.FileMismatchError, HubError):
    """A file is not the one that its id or its size names: do not use it."""


class TwinsError(errors.TwinsError, OpenGradientError, RuntimeError):
    """A twin did not answer, or not in the form that is known; nothing is paid there."""


class VerificationError(errors.VerificationError, OpenGradientError, RuntimeError):
    """The proof is missing or wrong. `step` names the check that failed."""


class SealedChannelError(errors.SealedChannelError, OpenGradientError, RuntimeError):
    """A sealed request could not be made, or its answer not opened."""


class ToolChoiceNotHonoredError(errors.ToolChoiceNotHonoredError, OpenGradientError, RuntimeError):
    """A tool was required by `tool_choice`, and the (verified) answer did not call it."""


_CLASSES = [kind for kind in list(vars().values()) if isinstance(kind, type) and issubclass(kind, OpenGradientError)]
DOUBLES: dict[type[errors.OpenGradientError], type[OpenGradientError]] = {
    base: kind for kind in _CLASSES for base in kind.__bases__ if vars(errors).get(kind.__name__) is base
}
"""Class of `og_integrations.errors` -> its double."""
RETRYABLE: tuple[type[BaseException], ...] = tuple(kind for kind in _CLASSES if kind.is_retryable)
"""What `with_retry` repeats unless it is told otherwise: nothing that was paid, or not proven."""
_CONTEXT_WORDS = ("context length", "context window", "context_length", "prompt is too long", "maximum context")
_STATUS_CLASSES: dict[int, type[GatewayError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: UnknownModelError,
    429: RateLimitError,
}
_ABOUT_THE_REQUEST = frozenset({400, 404, 409, 413, 415, 422})
_TooLong = Callable[[], str | None]
"""Says why the messages cannot fit into the model's window; None if they do."""


@dataclass(frozen=True, slots=True)
class _FailedResponse:
    """
    A failed response is what LangChain looks for in `error.response`, and writes into the trace of a failed run.

    There the receipt is `response_metadata["body"]["opengradient"]` of an empty message.
    """

    receipt: JsonObject

    def json(self) -> JsonObject:
        """Return the receipt under its key."""
        return {RECEIPT_KEY: self.receipt}


class ModelErrors:
    """This context manager lets errors of the client leave as their doubles."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise the double of `error`, if it is one of ours."""
        if isinstance(error, errors.OpenGradientError) and not isinstance(error, ModelError):
            # In its place: its own frames would fill a screen, and stand in every report with their locals.
            raise as_model_error(error, too_long=self.too_long) from error.__cause__

    def too_long(self) -> str | None:
        """Return why the messages cannot fit into the model's window, None if they do or nobody knows."""
        return None


def as_model_error(exc: errors.OpenGradientError, *, too_long: _TooLong = lambda: None) -> errors.OpenGradientError:
    """Return the double of `exc`, with everything it carries; `too_long` is asked if a provider failed."""
    if isinstance(exc, ModelError):
        return exc
    reason = too_long() if _provider_failed(exc) else None
    kind = ContextLengthError if reason else _class_for(exc)
    error = kind(f"{exc} {reason}" if reason else str(exc))
    error.__dict__.update(exc.__dict__, is_retryable=kind.is_retryable and exc.is_retryable)
    if exc.receipt is not None:
        error.__dict__["response"] = _FailedResponse(exc.receipt)
    return error


def _provider_failed(exc: errors.OpenGradientError) -> bool:
    # Where the gateway tells what the provider said, nothing has to be guessed.
    if not isinstance(exc, errors.GatewayError) or exc.provider_status is not None:
        return False
    return isinstance(exc, errors.StreamFailedError) or exc.status >= 500


def _class_for(exc: errors.OpenGradientError) -> type[OpenGradientError]:
    if isinstance(exc, errors.ConnectionLostError) and exc.timed_out:
        return ConnectionTimedOutError
    if type(exc) is errors.GatewayError:
        return _gateway_class(exc)
    if type(exc) is errors.StreamFailedError:
        return _stream_class(exc)
    # A class of somebody else's is taken for the nearest one that has a double.
    nearest = next(DOUBLES[kind] for kind in type(exc).__mro__ if kind in DOUBLES)
    return UnclassifiedError if nearest is OpenGradientError else nearest


def _stream_class(exc: errors.StreamFailedError) -> type[GatewayError]:
    if exc.provider_status == 429 and exc.is_retryable:
        return StreamRateLimitError
    if exc.is_retryable:
        return StreamFailedError
    return StreamRefusedError if exc.provider_status in _ABOUT_THE_REQUEST else StreamGivenUpError


def _gateway_class(exc: errors.GatewayError) -> type[GatewayError]:
    text, status = str(exc).lower(), exc.provider_status or exc.status
    if status < 500 and any(words in text for words in _CONTEXT_WORDS):
        return ContextLengthError
    if exc.code == "model_not_served_upstream" or (exc.status == 400 and "model" in text and "not supported" in text):
        return UnknownModelError
    if exc.provider_status is not None and exc.provider_status not in _ABOUT_THE_REQUEST:
        # What a provider says of the gateway's own account is no hint about the caller's key.
        return (RateLimitError if status == 429 else ServerError) if exc.is_retryable else UnexpectedStatusError
    if exc.is_retryable:
        return RateLimitError if status == 429 else ServerError
    if status in _STATUS_CLASSES and status != 429:
        return _STATUS_CLASSES[status]
    return BadRequestError if 400 <= status < 500 else UnexpectedStatusError

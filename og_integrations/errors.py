"""
Everything that can go wrong, as one tree.

```text
OpenGradientError
    ConfigurationError
        BudgetBusyError
        LedgerBusyError
    InvalidRequestError
    DiscoveryError
        EnclaveRejectedError
            AttestationError
    ConnectionFailedError
        CertificateMismatchError
    ConnectionLostError
    PaymentError
        MalformedOfferError
        OfferRefusedError
            SchemeRefusedError
            NetworkRefusedError
            AssetRefusedError
            PayeeRefusedError
            HostRefusedError
            BudgetExceededError
            SpendingStoppedError
        SigningError
        PaymentRefusedError
        PaymentInDoubtError
            ReadTimeoutError
            StreamCutError
        ApprovalError
    GatewayError
        MalformedReplyError
        StreamFailedError
        ContentRefusedError
        RequestTooLargeError
        AttachmentRefusedError
    TransactionError
        TransactionRefusedError
            GasBudgetExceededError
        TransactionRevertedError
        TransactionInDoubtError
    OnchainError
        StaleWorkflowError
    VerificationError
    SealedChannelError
    HubError
        LoginRefusedError
        FileMismatchError
    TwinsError
    ToolChoiceNotHonoredError
```

`ConfigurationError` to `SigningError` are raised before anything was paid; up to
`CertificateMismatchError` not a byte of the prompt has left. `PaymentInDoubtError` means a signed
authorization (or a session that stands for one) left this machine and no complete answer came back:
it may have been charged, and is not repeated. `ApprovalError` is not about a call but about the wallet's
one transaction. A `VerificationError` means that an answer came and is not what the enclave signed, a
`SealedChannelError` that nothing came through a relay which the enclave sealed for this request.

None of these is a `ValueError` or `TypeError`: LlamaIndex swallows those and answers
"Empty Response". No message holds a private key, a payment header, a session id or a prompt.
"""

from typing import Any


class OpenGradientError(Exception):
    """
    Base of all errors of this package.

    `receipt` is the receipt of the failed call as a plain dict where one could be made (its
    `status` is then `"unverified"`), else None. `blames_enclave` says whether this is the doing of the
    enclave that was asked, and not of the request, the wallet or its owner: the next calls then go to
    another one, if there is any. `is_retryable` says whether the call was not charged and may succeed if it is
    made again; never of a payment that left, a proof that failed, or a paid answer that disobeyed.
    """

    receipt: dict[str, Any] | None = None
    blames_enclave: bool = False
    is_retryable: bool = False


class ConfigurationError(OpenGradientError):
    """A setting is missing or wrong; the message names it and where it can be set."""


class BudgetBusyError(ConfigurationError):
    """
    The store of the budget is held by others, or away, for too long. Nothing was signed or sent: ask again.

    What cannot be counted is not spent, so that a call waits for its store, and ends if that does not answer.
    """

    is_retryable = True


class LedgerBusyError(ConfigurationError):
    """
    The ledger that receipts are written to is held by others, or away, for too long. Nothing was sent: ask again.

    A call that cannot leave its receipt is not made; an answer that came is never lost to it.
    """

    is_retryable = True


class InvalidRequestError(OpenGradientError):
    """The gateway, or a model on chain, would refuse this request or drop part of it silently; nothing was sent."""


class DiscoveryError(OpenGradientError):
    """
    The registry could not be read, or lists no usable enclave.

    `answered` is False if no node answered at all: asked again, it may.
    """

    answered: bool = True
    is_retryable = True


class EnclaveRejectedError(DiscoveryError):
    """Enclaves were found, but the `EnclavePolicy` accepts none of them."""

    is_retryable = False


class AttestationError(EnclaveRejectedError):
    """
    An attestation document is missing, or does not prove what it has to; its enclave is sent nothing.

    `step` names the check that failed (see `protocol.proof._attestation`), `checks` are the verdicts of all
    steps (`protocol.proof._verification.Check`).
    """

    blames_enclave = True
    step: str = ""
    checks: tuple[Any, ...] = ()

    def __init__(self, message: str = "", *, step: str = "") -> None:
        super().__init__(message)
        self.step = step


class ConnectionFailedError(OpenGradientError):
    """
    No connection to the enclave: no byte of the request was sent, nothing was paid.

    One that found no free connection does not `blames_enclave`: our own calls have them all. `timed_out` says that the
    time to connect was over.
    """

    blames_enclave = True
    is_retryable = True
    timed_out: bool = False


class CertificateMismatchError(ConnectionFailedError):
    """The peer showed another certificate than the pinned one; the handshake was aborted."""

    is_retryable = False


class ConnectionLostError(OpenGradientError):
    """
    The connection broke, or no answer came in time, before anything was paid for this request.

    `timed_out` tells the two apart. After a payment left it is a `PaymentInDoubtError` instead.
    """

    blames_enclave = True
    is_retryable = True
    timed_out: bool = False


class PaymentError(OpenGradientError):
    """Base of what goes wrong around paying."""


class MalformedOfferError(PaymentError):
    """A 402 answer that does not hold exactly one readable x402 v2 offer; nothing was signed."""

    blames_enclave = True


class OfferRefusedError(PaymentError):
    """The `SpendPolicy` does not allow what the gateway asks for; nothing was signed."""

    blames_enclave = True


class SchemeRefusedError(OfferRefusedError):
    """The offer uses a payment scheme that the policy does not allow."""


class NetworkRefusedError(OfferRefusedError):
    """The offer is for another chain than the policy allows."""


class AssetRefusedError(OfferRefusedError):
    """The offer is for another token than the policy allows."""


class PayeeRefusedError(OfferRefusedError):
    """The offer pays someone, or goes through a facilitator, whom the policy does not allow."""


class HostRefusedError(OfferRefusedError):
    """The offer comes from a host that the policy does not allow."""


class BudgetExceededError(OfferRefusedError):
    """
    The amount is over the cap per authorization, or over what is left of a sum.

    `limit` names that sum in `SpendPolicy` (`"total"`, `"per_hour"`, `"per_day"`); it is empty for the cap.
    Only the cap `blames_enclave`: any other enclave would find the sum as small.
    """

    limit: str = ""
    blames_enclave = False


class SpendingStoppedError(OfferRefusedError):
    """The owner's kill switch (`stop_spending`): nothing is authorized or sent until it is released."""

    blames_enclave = False


class SigningError(PaymentError):
    """The signer gave no usable signature, or the owner refused; nothing was paid."""


class PaymentRefusedError(PaymentError):
    """
    The gateway did not take the signed payment. `reason` is its own word, empty if it quotes the call.

    Signing again for the same request is never tried. The refused authorization counts against the
    budget until its deadline: who holds it could still settle it.
    """

    reason: str = ""


class PaymentInDoubtError(PaymentError):
    """Payment left, no complete answer came: it may have been charged. Never repeated by us."""

    blames_enclave = True
    partial_text: str = ""


class ReadTimeoutError(PaymentInDoubtError):
    """The answer did not come in time, after the payment had left."""


class StreamCutError(PaymentInDoubtError):
    """
    The connection ended before the signed final event. `partial_text` is what had come.

    What was shown so far is not signed by the enclave and must not be treated as an answer.
    """


class ApprovalError(PaymentError):
    """
    Permit2 could not be allowed to take OPG, so calls cannot be paid.

    `transaction_hash` (0x-hex) is None if no transaction was sent; otherwise it may still be mined.
    """

    transaction_hash: str | None = None


class GatewayError(OpenGradientError):
    """
    The gateway answered with an HTTP error. `status` is its code; only 2xx answers are charged.

    `provider_status` is the code of the provider behind the gateway, None unless a newer gateway tells it; `code` is
    the gateway's own word for what happened, mostly "". Where the gateway says whether to try again, `is_retryable` is
    what it says. Errors about the request, and those of the provider behind the gateway, do not `blames_enclave`,
    unless that provider refuses the gateway itself.
    """

    provider_status: int | None = None
    code: str = ""

    def __init__(self, message: str = "", *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        if status == 429 or status >= 500:
            self.is_retryable = True


class MalformedReplyError(GatewayError):
    """
    The gateway broke the protocol: not JSON, missing fields, too large, wrong content type.

    Unlike other `GatewayError`s it may have been charged: the answer was there, only not readable.
    """

    blames_enclave = True


class StreamFailedError(GatewayError):
    """The gateway reported a failure inside a stream; failed streams are not charged."""

    is_retryable = True
    partial_text: str = ""


class ContentRefusedError(GatewayError):
    """
    The gateway's moderation refused the request. `categories` are its words for why, as far as it says.

    It was not charged, and no other gateway takes it either.
    """

    categories: tuple[str, ...] = ()


class RequestTooLargeError(GatewayError):
    """The gateway does not take a request of this size; it was not charged."""


class AttachmentRefusedError(GatewayError):
    """The model does not take the picture or file that was sent; it was not charged."""


class TransactionError(OpenGradientError):
    """
    A transaction of the wallet did not succeed.

    `transaction_hash` (0x-hex) is None if none was sent.
    """

    transaction_hash: str | None = None


class TransactionRefusedError(TransactionError):
    """The transaction would fail or cost too much, no node took it, or none can any more: nothing was paid for it."""


class GasBudgetExceededError(TransactionRefusedError):
    """The transaction may cost more than is left of the budget of gas: nothing was signed or sent."""


class TransactionRevertedError(TransactionError):
    """The transaction was mined and reverted: its gas is spent, and nothing else happened."""


class TransactionInDoubtError(TransactionError):
    """The transaction left and was not seen mined: it may still be. Never repeated by us; look its hash up."""


class OnchainError(OpenGradientError):
    """
    A model or workflow on chain gave no usable result.

    What the chain, a contract or a node's API answered is not of the form that OpenGradient's contracts have, or is
    not the answer to our request. Whether gas was spent stands in the message.
    """


class StaleWorkflowError(OnchainError):
    """The newest result of a workflow is older than is allowed; nothing was spent."""


class VerificationError(OpenGradientError):
    """
    The proof is missing or wrong. `step` names the check that failed (see `protocol.proof._verification`).

    `checks` are the verdicts of all steps (`protocol.proof._verification.Check`); `partial_text` is the text
    already shown when a stream failed its proof at the end.
    """

    blames_enclave = True
    step: str = ""
    partial_text: str = ""
    checks: tuple[Any, ...] = ()

    def __init__(self, message: str = "", *, step: str = "") -> None:
        super().__init__(message)
        self.step = step


class SealedChannelError(OpenGradientError):
    """
    A sealed request could not be made, or its answer not opened (OHTTP, through a relay).

    Raised for a key config that is malformed or not signed by the enclave, before anything is sent; for an answer
    that is not the enclave's answer to this request, or was cut; and for any reply in clear, which anybody on the
    way can write: such a reply is never paid, quoted, or a reason to send the request again.

    `nothing_sent` says that the request did not leave; `partial_text` is what of a stream had opened before; `status`
    is the HTTP status of a reply in clear, else None.
    """

    blames_enclave = True
    nothing_sent: bool = False
    partial_text: str = ""
    status: int | None = None


class HubError(OpenGradientError):
    """
    The model hub refused a call, or answered something else than it should; nothing is ever paid there.

    `status` is the HTTP status, None if there was no answer. The message says whether a change may have been made.
    """

    status: int | None = None


class LoginRefusedError(HubError):
    """The identity service of the model hub refused a login, or the hub what came of it."""


class FileMismatchError(HubError):
    """A file is not the one that its id or its size names: do not use it."""


class TwinsError(OpenGradientError):
    """
    A twin did not answer, or not in the form that is known; nothing is paid there.

    `status` is the HTTP status, None if there was no answer.
    """

    status: int | None = None


class ToolChoiceNotHonoredError(OpenGradientError):
    """A tool was required by `tool_choice`, and the (verified) answer did not call it."""

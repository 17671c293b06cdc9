"""
What may be asked again.

LlamaIndex's own retries (of workflow steps, of `BatchEvalRunner`, of extractors) repeat whatever is an
`Exception`: calls that were paid, and answers that were not proven. Where they take a predicate, this is it.
"""

from og_integrations.errors import (
    CertificateMismatchError,
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    EnclaveRejectedError,
    GatewayError,
    MalformedReplyError,
    StreamFailedError,
)

_PASSING = (ConnectionFailedError, ConnectionLostError, DiscoveryError, StreamFailedError)
_LASTING = (CertificateMismatchError, EnclaveRejectedError, MalformedReplyError)


def is_retryable(error: BaseException) -> bool:
    """
    Return whether the call that ended in `error` was not charged, and may succeed if it is made again.

    False for all errors of others: what was paid before them is not known.
    """
    if isinstance(error, _LASTING):
        return False
    if isinstance(error, GatewayError) and (error.status == 429 or error.status >= 500):
        return True
    return isinstance(error, _PASSING)

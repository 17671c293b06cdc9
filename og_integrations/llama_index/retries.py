"""
What may be asked again.

LlamaIndex's own retries (of workflow steps, of `BatchEvalRunner`, of extractors) repeat whatever is an
`Exception`: calls that were paid, and answers that were not proven. Where they take a predicate, this is it.
"""

from og_integrations.errors import OpenGradientError


def is_retryable(error: BaseException) -> bool:
    """
    Return whether the call that ended in `error` was not charged, and may succeed if it is made again.

    False for all errors of others: what was paid before them is not known.
    """
    return isinstance(error, OpenGradientError) and error.is_retryable

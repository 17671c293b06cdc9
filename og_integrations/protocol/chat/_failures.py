"""
This module reads what a gateway says of an answer that failed, in a body or in a stream (docs/protocol.md §2.4).

Five versions of that object are known. The first says nothing; the later ones name the provider's status and whether
to try again, which is then believed: only the gateway knows. Nothing is repeated here in any case.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from og_integrations.errors import (
    AttachmentRefusedError,
    ContentRefusedError,
    GatewayError,
    MalformedReplyError,
    RequestTooLargeError,
    StreamFailedError,
)
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject, parse_json_object

_HINTS = {
    400: "Check the model name and the parameters.",
    401: "The gateway wants an Authorization header.",
    404: "This gateway does not have the endpoint.",
    413: "The request is too large.",
    429: "Wait and try again.",
}
_OPERATORS_TROUBLE = frozenset({401, 402, 403, 407})
"""Statuses of a provider that are about the gateway's own account there."""
_MODERATED = frozenset({"moderation_blocked", "content_policy_violation"})
_NOT_SERVED = "model_not_served_upstream"
_CATEGORY_HEADERS = ("x-moderation-categories", "x-og-moderation-categories")
_MOST_CATEGORIES, _LONGEST_CATEGORY = 20, 60
Quote = Callable[[object], str]
"""Returns what of a gateway's words may stand in a message: nothing of the call's secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """
    A failure is what a gateway says of one, with wrong types left out.

    `status` is the HTTP status of the gateway's own answer (200 of a stream), `provider_status` that of the provider
    behind it, `retryable` whether the gateway says that the call may be made again, None if it does not say.
    """

    status: int
    body: Mapping[str, object]
    provider_status: int | None = None
    retryable: bool | None = None
    code: str = ""
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, status: int, body: JsonObject, categories: tuple[str, ...] = ()) -> "Failure":
        """Return what `body`, an error object of whatever version, says; `categories` are those of the headers."""
        provider, retryable, code = body.get("provider_status"), body.get("retryable"), body.get("code")
        # A bool is an int in Python, and a number that is no status would choose the wrong error and advice.
        known = provider if type(provider) is int and 100 <= provider < 600 else None
        # Nobody serves this model: taken for an outage that passes, it would be asked for again and again.
        if code == _NOT_SERVED and retryable is None:
            retryable = False
        return cls(
            status=status,
            body=body,
            provider_status=known,
            retryable=retryable if isinstance(retryable, bool) else None,
            code=code if isinstance(code, str) else "",
            categories=_categories(body) or categories,
        )

    @property
    def meant(self) -> int:
        """Return the status that says what happened: the provider's, where it is known."""
        return self.provider_status or self.status

    def reason(self, quote: Quote) -> str:
        """Return the gateway's own reason as far as it may be quoted."""
        # The handlers say `error`, problem+json says `detail` and
        # `title` (docs/protocol.md §2); some codes are explained in `message`.
        names = ("message", "error") if self.body.get("message") else ("error", "detail", "title")
        return next((said for name in names if (said := quote(self.body.get(name)))), "")

    def hint(self) -> str:
        """Return what to do about it, "" if nobody knows."""
        if self.provider_status in _OPERATORS_TROUBLE:
            return "The provider refused the gateway itself, which only its operator can mend; another may work."
        if 300 <= self.status < 400:
            return "Redirects are never followed: prompt and payment would go to another host."
        if self.retryable is True:
            return "The gateway says that it may be asked again."
        if self.meant == 400 and self.provider_status:
            return "The provider refuses the request; asked again, it would again."
        if self.meant >= 500:
            return "Try again later." if self.retryable is None else "The gateway says that asking again will not help."
        return _HINTS.get(self.meant, "")


def parse_failure(status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> Failure:
    """Return what an answer outside 2xx says; of a body that is no JSON object, nothing but the status."""
    try:
        said = parse_json_object(body, "The error")
    except MalformedReplyError:
        # A proxy's page of HTML, say. An error about its JSON would hide the status, which says what happened.
        said = {}
    named = [value for name, value in headers if name.lower() in _CATEGORY_HEADERS]
    listed = [part.strip() for value in named for part in value.split(",")]
    return Failure.of(status, said, _shown_categories(listed))


def error_of(failure: Failure, quote: Quote) -> GatewayError:
    """Return the error for an answer outside 2xx."""
    reason = failure.reason(quote)
    behind = f" (its provider {failure.provider_status})" if failure.provider_status else ""
    said = f": {reason}" if reason else ""
    message = f"The gateway answered HTTP {failure.status}{behind}{said}. It was not charged."
    told = str(failure.body.get("error"))
    # Gateways differ in where they say so. Taken for another failure, the text would be sent, and refused, again.
    if failure.status == 451 or failure.code in _MODERATED or told in _MODERATED:
        named = f" ({', '.join(failure.categories)})" if failure.categories else ""
        error: GatewayError = ContentRefusedError(
            f"The gateway's moderation does not let this request through{named}. It was not charged. Asked again, here "
            "or elsewhere, it would be refused again.",
            status=failure.status,
        )
        error.categories = failure.categories  # type: ignore[attr-defined]
    elif failure.status == 413:
        error = RequestTooLargeError(f"{message} {failure.hint()}", status=413)
    elif failure.status == 400 and told == "Invalid attachment":
        error = AttachmentRefusedError(
            f"{message} This model does not take the picture or file here: choose another, or leave it out.", status=400
        )
    else:
        error = GatewayError(f"{message} {failure.hint()}".strip(), status=failure.status)
    return _completed(error, failure)


def stream_error(failure: Failure, quote: Quote, *, began: bool) -> StreamFailedError:
    """Return the error for the event that ends a stream without an answer; `began` says whether pieces came before."""
    reason = failure.reason(quote)
    behind = f" of its provider (HTTP {failure.provider_status})" if failure.provider_status else ""
    said = f" ({reason})" if reason else ""
    where = "in the middle of the stream" if began else "before the first piece of the answer"
    advice = "Ask again." if failure.retryable is None else failure.hint()
    error = StreamFailedError(
        f"The gateway reported a failure{behind} {where}{said}. What came so far is not an answer and was not charged. "
        f"{advice}"
    )
    _completed(error, failure)
    return error


def _completed(error: GatewayError, failure: Failure) -> GatewayError:
    error.provider_status, error.code = failure.provider_status, failure.code
    # An attachment or a text that was refused is refused again, whatever is said beside it.
    if failure.retryable is not None and type(error) in (GatewayError, StreamFailedError):
        error.is_retryable = failure.retryable
    # The account of this gateway at the provider is in trouble: the next calls would fail there, so they go elsewhere.
    if failure.provider_status in _OPERATORS_TROUBLE:
        error.blames_enclave = True
    return error


def _categories(body: JsonObject) -> tuple[str, ...]:
    block = body.get("moderation")
    listed = block.get("categories") if isinstance(block, dict) else None
    return _shown_categories(listed if isinstance(listed, list) else [])


def _shown_categories(listed: Sequence[object]) -> tuple[str, ...]:
    # The gateway chooses these words; without limits they would fill messages and logs.
    names = [shown(name, _LONGEST_CATEGORY) for name in listed[:_MOST_CATEGORIES] if isinstance(name, str) and name]
    return tuple(names)

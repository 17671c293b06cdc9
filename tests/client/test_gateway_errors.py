"""What gateways of each generation say of failures: believed, mapped, repeated by nobody, and told to LangChain."""

from typing import Any

import pytest
from langchain_core.exceptions import (
    ModelAPIError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelRefusalError,
)

from og_integrations import errors
from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.devnet._generations import GENERATIONS, Moderation
from og_integrations.langchain.errors import as_model_error
from og_integrations.protocol.chat._failures import Failure, error_of, parse_failure, stream_error
from tests.client.ways_to_ask import WAYS, user

SELF_DESCRIBING = [name for name, known in GENERATIONS.items() if known.errors.describes_itself]
OLDER = [name for name in GENERATIONS if name not in SELF_DESCRIBING]


def quoted(reason: object) -> str:
    return str(reason or "")


@pytest.mark.parametrize("way", ["chat", "astream"])
@pytest.mark.parametrize(
    ("status", "retryable", "whole", "streamed"),
    [
        (400, False, ModelInvalidRequestError, ModelInvalidRequestError),
        (404, False, ModelNotFoundError, ModelInvalidRequestError),
        (401, False, ModelAPIError, ModelAPIError),
        (429, True, ModelRateLimitError, ModelRateLimitError),
        (500, True, ModelAPIError, ModelAPIError),
        (501, False, ModelAPIError, ModelAPIError),
    ],
)
def test_newest_gateway_is_believed(status: int, retryable: bool, whole: type, streamed: type, way: str) -> None:
    with Devnet(generation="newest") as net:
        with pytest.raises(errors.GatewayError) as caught:
            WAYS[way](net, f"[[status={status}]]")
        assert (caught.value.provider_status, caught.value.is_retryable) == (status, retryable)
        assert "API key" not in str(caught.value)
        assert "Authorization" not in str(caught.value)
        assert len(net.journal.exchanges) == 2  # the price was asked, then the answer, and nothing again
        double: Any = as_model_error(caught.value)
        assert double.is_retryable is retryable
        assert isinstance(double, RuntimeError) is not retryable
        assert isinstance(double, whole if way == "chat" else streamed)


@pytest.mark.parametrize("generation", OLDER)
def test_older_gateways_do_not_say_so_the_old_rule_holds(generation: str) -> None:
    with Devnet(generation=generation) as net:
        for way in ("chat", "stream"):
            with pytest.raises(errors.GatewayError) as caught:
                WAYS[way](net, "[[status=400]]")
            assert (caught.value.provider_status, caught.value.is_retryable) == (None, True)


@pytest.mark.parametrize("way", WAYS)
def test_moderated_request_has_an_error_of_its_own(way: str) -> None:
    moderating = next(name for name, known in GENERATIONS.items() if known.moderation is Moderation.NEWEST_TURN)
    with Devnet(generation=moderating) as net:
        with pytest.raises(errors.ContentRefusedError, match=r"moderation .* \(sexual/minors\)") as caught:
            WAYS[way](net, "[[blocked]]")
        assert caught.value.categories == ("sexual/minors",)
        assert not caught.value.is_retryable
        assert isinstance(as_model_error(caught.value), ModelRefusalError)


def test_request_that_is_too_large_is_refused_before_it_is_paid() -> None:
    with Devnet() as net, Client(network=net.network, private_key=net.private_key) as client:
        with pytest.raises(errors.InvalidRequestError, match=r"has 2\d+ bytes; newer gateways take at most 20971520"):
            client.chat("openai/gpt-5.2", user("a" * 2**20 * 20))
        assert net.stats().payments == 0


FORMS: list[tuple[int, dict[str, Any], type[errors.GatewayError], bool, type[ModelError]]] = [
    (413, {"error": "request body too large"}, errors.RequestTooLargeError, False, ModelInvalidRequestError),
    (
        400,
        {"error": "Invalid attachment", "message": "Model grok-4 does not accept image input"},
        errors.AttachmentRefusedError,
        False,
        ModelInvalidRequestError,
    ),
    (403, {"error": "content_policy_violation", "message": "no"}, errors.ContentRefusedError, False, ModelRefusalError),
    (503, {"error": "moderation_unavailable", "message": "later"}, errors.GatewayError, True, ModelAPIError),
    (503, {"error": "Pricing unavailable: no feed"}, errors.GatewayError, True, ModelAPIError),
    (
        502,
        {"error": "no", "source": "provider", "provider_status": 400, "retryable": False},
        errors.GatewayError,
        False,
        ModelInvalidRequestError,
    ),
    (
        503,
        {"error": "slow down", "source": "provider", "provider_status": 429, "retryable": True},
        errors.GatewayError,
        True,
        ModelRateLimitError,
    ),
    (
        502,
        {"error": "gone", "code": "model_not_served_upstream", "model": "x"},
        errors.GatewayError,
        False,
        ModelNotFoundError,
    ),
    (500, {"error": "ours", "source": "gateway", "retryable": False}, errors.GatewayError, False, ModelAPIError),
    (500, {"error": "ours", "retryable": "yes", "provider_status": True}, errors.GatewayError, True, ModelAPIError),
]


@pytest.mark.parametrize(("status", "body", "kind", "retryable", "double"), FORMS)
def test_every_form_has_its_class(
    status: int, body: dict[str, Any], kind: type, retryable: bool, double: type[ModelError]
) -> None:
    error = error_of(Failure.of(status, body), quoted)
    assert (type(error), error.status, error.is_retryable) == (kind, status, retryable)
    raised = as_model_error(error)
    assert isinstance(raised, double)
    assert raised.is_retryable is retryable


def test_categories_may_stand_in_headers_alone() -> None:
    headers = (("X-OG-Moderation-Categories", "hate, violence\x1b[2J"),)
    failure = parse_failure(403, headers, b'{"error": "content_policy_violation", "message": "no"}')
    assert failure.categories == ("hate", "violence\N{REPLACEMENT CHARACTER}[2J")


def test_operators_trouble_sends_the_next_call_elsewhere_and_blames_nobodys_key() -> None:
    error = error_of(Failure.of(502, {"error": "x", "provider_status": 401, "retryable": False}), quoted)
    assert error.blames_enclave
    assert "only its operator can mend" in str(error)


def test_stream_tells_when_and_what() -> None:
    failure = Failure.of(200, {"error": "Bad", "provider_status": 400, "retryable": False})
    error = stream_error(failure, quoted, began=False)
    assert str(error) == (
        "The gateway reported a failure of its provider (HTTP 400) before the first piece of the answer (Bad). What "
        "came so far is not an answer and was not charged. The provider refuses the request; asked again, it would "
        "again."
    )

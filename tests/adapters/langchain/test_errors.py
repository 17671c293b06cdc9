"""Every error is both ours and LangChain's, and says truly whether repeating is safe."""

import asyncio
import contextlib
import pickle
from collections.abc import Callable
from typing import Any, cast

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from og_integrations import errors
from og_integrations.client import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.langchain import errors as model_errors
from og_integrations.langchain._messages import too_long
from og_integrations.langchain.errors import as_model_error
from tests.adapters.langchain.ways_to_ask import WAYS, get_weather

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")
MakeModel = Callable[..., ChatOpenGradient]
OURS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.OpenGradientError)]
RAISED_AS = {"OpenGradientError": "UnclassifiedError", "GatewayError": "UnexpectedStatusError"}
"""Bases of errors that may be repeated, as `with_retry` sees them: what is raised is a class below them."""
RETRYABLE = {
    "BudgetBusyError", "LedgerBusyError", "DiscoveryError", "ConnectionFailedError", "ConnectionLostError",
    "StreamFailedError",
}  # fmt: skip


@pytest.mark.parametrize("ours", OURS, ids=lambda cls: cls.__name__)
def test_double_is_ours_and_langchains(ours: type[errors.OpenGradientError]) -> None:
    original = ours("what happened")
    original.receipt = {"status": "unverified"}
    double = as_model_error(original)
    assert isinstance(double, ours)
    assert isinstance(double, ModelError)
    assert not isinstance(double, ValueError | TypeError)
    assert (str(double), double.receipt) == ("what happened", original.receipt)
    assert type(double).__name__ == RAISED_AS.get(ours.__name__, ours.__name__)
    assert isinstance(double, getattr(model_errors, ours.__name__))
    assert double.is_retryable is (ours.__name__ in RETRYABLE)
    assert isinstance(double, RuntimeError) is not double.is_retryable  # as LangGraph decides
    again = pickle.loads(pickle.dumps(double))
    assert (type(again), str(again), again.receipt) == (type(double), str(double), double.receipt)
    assert as_model_error(double) is double


def test_what_was_paid_or_not_proven_is_never_retryable() -> None:
    for ours in OURS:
        if issubclass(ours, errors.PaymentError | errors.VerificationError | errors.ToolChoiceNotHonoredError):
            assert not model_errors.DOUBLES[ours].is_retryable


@pytest.mark.parametrize(
    ("status", "text", "expected", "retryable"),
    [
        (400, "Model 'x' is not supported", ModelNotFoundError, False),
        (400, "This model's maximum context length is 8", ContextOverflowError, False),
        (401, "x", ModelAuthenticationError, False),
        (404, "x", ModelNotFoundError, False),
        (429, "x", ModelRateLimitError, True),
        (500, "x", ModelAPIError, True),
        (302, "x", ModelAPIError, False),
    ],
)
def test_status_of_gateway_has_its_class(status: int, text: str, expected: type, retryable: bool) -> None:
    original = errors.GatewayError(text, status=status)
    double: Any = as_model_error(original)
    assert (double.status, double.is_retryable) == (status, retryable)
    assert isinstance(double, RuntimeError) is not retryable
    assert isinstance(double, expected)
    assert isinstance(double, errors.GatewayError)


def test_timeout_before_payment_is_langchains_timeout() -> None:
    original = errors.ConnectionLostError("x")
    original.timed_out = True
    double: Any = as_model_error(original)
    assert isinstance(double, ModelTimeoutError)
    assert double.is_retryable


def test_server_failure_of_too_long_prompt_is_overflow() -> None:
    """The gateway hides its provider's reason, so length decides."""
    original = errors.GatewayError("The gateway answered HTTP 500.", status=500)
    messages = [HumanMessage("word " * 150_000)]
    double = as_model_error(original, too_long=lambda: too_long("openai/gpt-4o", messages))
    assert isinstance(double, ContextOverflowError)
    assert "context window of openai/gpt-4o has 128000" in str(double)
    assert too_long("openai/gpt-4o", [HumanMessage("word")]) is None
    assert not isinstance(as_model_error(original), ContextOverflowError)


FAULTS: dict[str, tuple[type[Exception], bool]] = {
    "wrong_certificate": (errors.CertificateMismatchError, False),
    "unknown_enclave": (errors.VerificationError, False),
    "altered_text": (errors.VerificationError, False),
    "other_asset": (errors.AssetRefusedError, False),
    "offer_over_cap": (errors.BudgetExceededError, False),
    "second_402": (errors.PaymentRefusedError, False),
    "dead_registry": (errors.DiscoveryError, True),
    "empty_registry": (errors.DiscoveryError, True),
}


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream", "stream_events v3"])
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_a_model_error_in_every_way(net: Devnet, model: ChatOpenGradient, fault: str, way: str) -> None:
    net.inject(fault)
    expected, retryable = FAULTS[fault]
    with pytest.raises(expected) as caught:
        WAYS[way](model, "hello there")
    assert isinstance(caught.value, ModelError)
    assert caught.value.is_retryable is retryable
    assert net.stats().signatures <= 1


@pytest.mark.parametrize(
    "fault", ["altered_tool_call", "smuggled_tool_call", "unknown_enclave", "second_402", "other_asset"]
)
def test_agent_stops_without_retry_or_tool(net: Devnet, model: ChatOpenGradient, fault: str) -> None:
    """LangChain's retry middleware repeats any exception that is no `ModelError`: it would pay again."""
    ran: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather."""
        ran.append(city)
        return "sunny"

    net.inject(fault)
    agent: Any = create_agent(
        model, [get_weather], middleware=[ModelRetryMiddleware(initial_delay=0, on_failure="error")]
    )
    with pytest.raises(errors.OpenGradientError):
        agent.invoke({"messages": [("user", 'weather in "Oslo"')]})
    assert ran == []
    assert net.stats().signatures <= 1
    assert net.stats().statuses.get(200, 0) <= 1


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [("altered_text", 1), ("cut_after_payment", 1), ("second_402", 1), ("other_asset", 1), ("dead_registry", 2)],
)
def test_node_with_retry_policy_repeats_only_what_is_safe(
    net: Devnet, model: ChatOpenGradient, fault: str, attempts: int
) -> None:
    """LangGraph's default repeats every exception but some built-in ones: an answer in doubt was paid twice."""
    tried: list[str] = []

    def ask(state: dict[str, str]) -> dict[str, str]:
        tried.append(state["text"])
        return {"text": model.invoke(state["text"]).text}

    graph: Any = cast("Any", StateGraph)(dict)
    graph.add_node("ask", ask, retry_policy=RetryPolicy(initial_interval=0.01, jitter=False))
    graph.add_edge(START, "ask")
    safe = attempts > 1
    # The client asks a registry once more by itself.
    net.inject(fault, times=2 if safe else 1)
    with contextlib.nullcontext() if safe else pytest.raises(errors.OpenGradientError):
        graph.compile().invoke({"text": "hello there"})
    assert (len(tried), net.stats().signatures <= 1, net.verdict().lines) == (attempts, True, ())


def test_unknown_model_is_not_found(model: ChatOpenGradient) -> None:
    with pytest.raises(ModelNotFoundError):
        model.invoke("hi", model="openai/gpt-none")


def test_failed_call_is_not_cached(net: Devnet, make_model: MakeModel) -> None:
    from langchain_core.caches import InMemoryCache

    model = make_model(cache=InMemoryCache())
    net.inject("altered_text", times=1)
    with pytest.raises(errors.VerificationError):
        model.invoke("hi")
    assert model.invoke("hi").response_metadata["opengradient"]["status"] == "verified"


def test_fallback_answers_when_the_first_fails(net: Devnet, make_model: MakeModel) -> None:
    chain = make_model(model="openai/gpt-none").with_fallbacks([make_model()])
    assert chain.invoke("hi").response_metadata["model_name"] == "openai/gpt-5-mini"


def test_fallbacks_are_bound_with_their_model(make_model: MakeModel) -> None:
    """LangChain evaluates the types of what it looks up there: a name imported for type checkers only broke it."""
    chain: Any = make_model(model="openai/gpt-none").with_fallbacks([make_model()])
    assert [call["name"] for call in chain.bind_tools([get_weather]).invoke("weather").tool_calls] == ["get_weather"]
    assert chain.with_structured_output({"title": "Any", "type": "object", "properties": {}}).invoke("hi") == {}


def test_partial_text_is_on_the_error(net: Devnet, model: ChatOpenGradient) -> None:
    net.inject("missing_final_event")
    with pytest.raises(errors.OpenGradientError) as caught:
        list(model.stream("[[tokens=4]]"))
    assert "tok0" in caught.value.partial_text  # type: ignore[attr-defined]


@pytest.mark.parametrize("bound", [False, True], ids=["model", "binding"])
@pytest.mark.parametrize("fault", ["altered_text", "second_402", "other_asset"])
def test_with_retry_repeats_nothing_paid_or_unproven(
    net: Devnet, model: ChatOpenGradient, fault: str, bound: bool
) -> None:
    """LangChain's own repeats any exception, which pays three times for three lies."""
    asked: Any = model.bind_tools([get_weather]) if bound else model
    net.inject(fault)
    with collect_receipts() as receipts, pytest.raises(errors.OpenGradientError):
        asked.with_retry(wait_exponential_jitter=False).invoke("hello there")
    assert len(receipts) == 1


def test_with_retry_repeats_what_is_safe_and_what_it_is_told_to(net: Devnet, model: ChatOpenGradient) -> None:
    for options, attempts in (({}, 3), ({"retry_if_exception_type": (KeyError,)}, 1)):
        with collect_receipts() as receipts, pytest.raises(ModelAPIError):
            model.with_retry(wait_exponential_jitter=False, **options).invoke("[[status=500]]")  # type: ignore[arg-type]
        assert len(receipts) == attempts
    net.inject("dead_registry", times=1)
    assert model.with_retry(wait_exponential_jitter=False).invoke("hi").text == "You said: hi"


def test_retryable_classes_are_those_that_say_so() -> None:
    assert all(getattr(cls, "is_retryable", False) for cls in model_errors.RETRYABLE)
    assert {cls.__name__ for cls in model_errors.RETRYABLE} >= RETRYABLE | {"RateLimitError", "ServerError"}


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_text_longer_than_the_window_is_overflow(net: Devnet, way: str) -> None:
    model = OpenGradientCompletion(model="openai/gpt-4o", private_key=net.private_key, network=net.network)
    with pytest.raises(ContextOverflowError, match="context window of openai/gpt-4o"):
        asyncio.run(model.ainvoke(LONG)) if way == "ainvoke" else model.invoke(LONG)
    model.close()


LONG = "[[status=400]] " + "word " * 150_000

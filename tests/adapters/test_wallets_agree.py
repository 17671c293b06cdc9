"""What the wallet's owner can do is the same in both adapters and in the clients, errors included."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.exceptions import ModelError

from og_integrations import AsyncClient, Client
from og_integrations.client import Approval
from og_integrations.client.chain._approval import ApprovalOptions
from og_integrations.devnet import DEFAULT_CAP, Devnet
from og_integrations.errors import ApprovalError, ConfigurationError, DiscoveryError, SpendingStoppedError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.networks import OPG

MODEL = "openai/gpt-5-mini"
MODELS = (ChatOpenGradient, OpenGradientCompletion, OpenGradientLLM)
SAME = ("ensure_opg_approval", "spent", "stop_spending", "resume_spending", "reconcile_spending")
AWAITED = ("ensure_opg_approval", "reconcile_spending")
WAITING = set(ApprovalOptions.__annotations__)

each_model = pytest.mark.parametrize("made_by", MODELS)


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def make(net: Devnet) -> Iterator[Callable[..., Any]]:
    """Make models of a wallet, closed at the end."""
    models: list[Any] = []

    def made(made_by: Any, **options: Any) -> Any:
        models.append(made_by(model=MODEL, **{"network": net.network, "private_key": net.private_key} | options))
        return models[-1]

    yield made
    for model in models:
        model.close()


def ask(model: Any) -> str:
    return str(model.complete("hi") if isinstance(model, OpenGradientLLM) else model.invoke("hi"))


def positional(method: Any) -> list[tuple[str, object]]:
    """Return name and default of what is not given by name only."""
    found = inspect.signature(method).parameters.values()
    return [(p.name, p.default) for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]


@each_model
def test_methods_are_those_of_the_clients(made_by: Any) -> None:
    for name in SAME:
        assert positional(getattr(made_by, name)) == positional(getattr(Client, name))
    for name in AWAITED:
        awaited = getattr(made_by, f"a{name}")
        assert positional(awaited) == positional(getattr(AsyncClient, name))
        assert inspect.iscoroutinefunction(awaited)
    by_name = inspect.signature(Client.ensure_opg_approval).parameters.values()
    assert {p.name for p in by_name if p.kind is p.KEYWORD_ONLY} == WAITING


@each_model
def test_spending_is_reported_and_stopped(make: Callable[..., Any], made_by: Any) -> None:
    """A report before and after; the switch ends even a session that is paid."""
    model = make(made_by, spend_policy={"total": "0.3"})
    assert model.spent().authorized == 0
    ask(model)
    assert model.spent().authorized == DEFAULT_CAP
    assert "0.1 OPG of 0.3, 0.2 left" in str(model.spent())
    model.stop_spending("lunch")
    assert "stopped: lunch" in str(model.spent())
    with pytest.raises(SpendingStoppedError, match="lunch"):
        ask(model)
    model.resume_spending()
    assert ask(model)


@each_model
def test_approval_that_is_not_needed_sends_nothing(make: Callable[..., Any], net: Devnet, made_by: Any) -> None:
    """The devnet's own node takes no transactions; a real one is in tests/money."""
    allowed = net.chain.allowance(net.wallet)
    model = make(made_by)
    expected = Approval(allowance_before=allowed, allowance_after=allowed, tx_hash=None)
    assert model.ensure_opg_approval("1", timeout=5, on_progress=print) == expected
    assert asyncio.run(model.aensure_opg_approval("1", "2", timeout=5)) == expected


@each_model
def test_errors_are_the_frameworks_too(make: Callable[..., Any], net: Devnet, made_by: Any) -> None:
    """An `except` for ours catches them; LangChain's are `ModelError`s as well, never to be repeated."""
    poor = make(made_by, private_key=net.new_wallet(opg=OPG // 2, allowance=0).private_key)
    with pytest.raises(ApprovalError, match=r"has 0\.5 OPG") as refused:
        poor.ensure_opg_approval("1")
    with pytest.raises(ConfigurationError, match="min_allowance is 0 OPG"):
        asyncio.run(poor.aensure_opg_approval(0))
    net.inject("dead_registry")
    with pytest.raises(DiscoveryError, match="503") as away:
        poor.reconcile_spending()
    with pytest.raises(DiscoveryError, match="503"):
        asyncio.run(poor.areconcile_spending())
    raised: list[Any] = [refused.value, away.value]
    in_langchain = made_by is not OpenGradientLLM
    assert [isinstance(error, ModelError) for error in raised] == [in_langchain] * 2
    if in_langchain:
        assert [error.is_retryable for error in raised] == [False, True]

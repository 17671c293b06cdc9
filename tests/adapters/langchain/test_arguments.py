"""Arguments at the wrong place, of the wrong form, or of no effect: each says so, at the user's line."""

import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langchain_core.rate_limiters import InMemoryRateLimiter

from og_integrations import _warnings
from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from tests.adapters.langchain.test_parameters import sent
from tests.adapters.langchain.ways_to_ask import WAYS

MakeModel = Callable[..., ChatOpenGradient]


@pytest.mark.parametrize("name", ["private_key", "api_key", "openai_api_key", "network", "gateway_url", "spread"])
def test_what_the_constructor_takes_is_refused_elsewhere(net: Devnet, model: ChatOpenGradient, name: str) -> None:
    """In model_kwargs a key would be sent to the gateway."""
    given: dict[str, Any] = {name: "0x" + "5a" * 32}
    with pytest.raises(InvalidRequestError, match="to the constructor") as caught:
        model.invoke("hi", **given)
    assert "model_kwargs" not in str(caught.value)
    assert "5a5a" not in str(caught.value)
    with pytest.raises(InvalidRequestError, match=f"model_kwargs holds {name}"):
        model.invoke("hi", model_kwargs=given)
    with pytest.raises(InvalidRequestError, match=f"model_kwargs holds {name}"):
        ChatOpenGradient(model="openai/gpt-5", model_kwargs=given)
    assert net.stats().requests == 0


def test_text_model_is_not_pointed_to_model_kwargs(net: Devnet) -> None:
    model = OpenGradientCompletion(model="openai/gpt-5", private_key=net.private_key, network=net.network)
    with pytest.raises(InvalidRequestError, match="'tols' is not a parameter") as caught:
        model.invoke("hi", tols=[])
    assert "model_kwargs" not in str(caught.value)


@pytest.mark.parametrize("name", ["openai/gpt-5-mini", "gpt-5", "openai/o4-mini"])
@pytest.mark.parametrize("where", ["constructor", "call"])
def test_temperature_that_the_gateway_drops_is_warned_of(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    monkeypatch.setattr(_warnings, "_warned", set())
    model = make_model(model=name, temperature=0 if where == "constructor" else None)
    options: dict[str, Any] = {"temperature": 0} if where == "call" else {}
    with pytest.warns(UserWarning, match=f"temperature is ignored by the gateway for {name}"):
        model.invoke("hi", **options)
    model.invoke("hi", **options)
    make_model(model="openai/gpt-4.1", temperature=0).invoke("hi")


def test_ignored_members_of_model_kwargs_are_warned_of(net: Devnet, make_model: MakeModel) -> None:
    with pytest.warns(UserWarning, match="seed is ignored by the gateway, though model_kwargs sends it"):
        model = make_model(model_kwargs={"seed": 1})
    with pytest.warns(UserWarning, match="top_p is ignored"):
        body = sent(net, lambda: model.invoke("hi", model_kwargs={"top_p": 0.5}))
    assert (body["seed"], body["top_p"]) == (1, 0.5)


def test_warning_points_at_the_users_line(model: ChatOpenGradient) -> None:
    """Not at pydantic, LangChain or us."""
    asks: dict[str, Callable[[], object]] = {
        "top_p": lambda: ChatOpenGradient(model="openai/gpt-5", top_p=0.5),  # type: ignore[call-arg]
        "seed": lambda: model.invoke("hi", seed=1),
        "user": lambda: list(model.bind(user="me").stream("hi")),
    }
    for name, ask in asks.items():
        with pytest.warns(UserWarning, match=name) as caught:
            ask()
        assert caught[0].filename == __file__


@pytest.mark.parametrize("timeout", [(1, 2), httpx.Timeout(3)], ids=["tuple", "httpx"])
def test_timeout_of_another_form_says_what_is_expected(model: ChatOpenGradient, timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout: Input should be a valid number"):
        ChatOpenGradient(model="openai/gpt-5", timeout=timeout)
    with pytest.raises(InvalidRequestError, match="expected seconds as one number"):
        model.invoke("hi", timeout=timeout)


def test_default_headers_are_sent(make_model: MakeModel) -> None:
    seen: list[str | None] = []

    def made(context: ssl.SSLContext | None) -> httpx.Client:
        hooks = {"request": [lambda request: seen.append(request.headers.get("x-team"))]}
        return httpx.Client(verify=context or True, event_hooks=hooks)

    make_model(http_client=made, default_headers={"X-Team": "blue"}).invoke("hi")
    assert "blue" in seen


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_rate_limiter_is_asked_before_each_call(make_model: MakeModel, way: str) -> None:
    class Counting(InMemoryRateLimiter):
        asked = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            self.asked += 1
            return True

        async def aacquire(self, *, blocking: bool = True) -> bool:
            return self.acquire()

    limiter = Counting()
    WAYS[way](make_model(rate_limiter=limiter), "hi")
    assert limiter.asked == 1

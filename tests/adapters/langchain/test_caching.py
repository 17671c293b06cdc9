"""A cached answer is for the place that it came from: it must not stand in for an attested one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache

from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.networks import BASE

KEY = "0x" + "4f" * 32
SECRET = "s3cr3t-api-key"


@pytest.fixture
def plain() -> Iterator[Devnet]:
    with Devnet(tls=False) as devnet:
        yield devnet


@pytest.mark.parametrize("cls", [ChatOpenGradient, OpenGradientCompletion])
def test_unattested_answer_is_not_served_to_an_attested_model(
    net: Devnet, plain: Devnet, monkeypatch: pytest.MonkeyPatch, cls: Any
) -> None:
    cache = InMemoryCache()
    monkeypatch.setenv("OG_GATEWAY_URL", plain.enclaves[0].endpoint)
    first = cls(model="openai/gpt-5-mini", cache=cache, private_key=plain.private_key)
    first.invoke("hi")
    monkeypatch.delenv("OG_GATEWAY_URL")
    for name, value in net.environment().items():
        monkeypatch.setenv(name, value)
    second = cls(model="openai/gpt-5-mini", cache=cache)
    second.invoke("hi")
    second.invoke("hi")
    assert (plain.stats().charges, net.stats().charges) == (1, 1)
    first.close()
    second.close()


def key_of_cache(cls: Any, **options: Any) -> str:
    model = cls(model="openai/gpt-5", private_key=KEY, **options)
    return model._get_llm_string() if cls is ChatOpenGradient else str(model.asdict())


@pytest.mark.parametrize("cls", [ChatOpenGradient, OpenGradientCompletion])
def test_each_place_has_its_own_key_and_no_secret_in_it(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key_of_cache(cls)]
    for name, value in {
        "OG_NETWORK": "devnet",
        "OG_GATEWAY_URL": f"https://user:{SECRET}@gateway.example/{SECRET}?key={SECRET}",
        "OG_REGISTRY_ADDRESS": "0x" + "ab" * 20,
        "OG_REGISTRY_RPC_URL": f"https://node.example/{SECRET}",
    }.items():
        monkeypatch.setenv(name, value)
        keys.append(key_of_cache(cls))
        monkeypatch.delenv(name)
    keys.append(key_of_cache(cls, network=replace(BASE, registry_rpc_url="https://other.example")))
    assert len(set(keys)) == len(keys)
    assert SECRET not in "".join(keys)
    assert "https://gateway.example" in keys[2]


def test_keys_are_made_without_the_wallet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keystore takes a second to open, and is opened for payments only."""
    monkeypatch.setenv("OG_KEYSTORE", "no such file")
    assert "base" in key_of_cache(ChatOpenGradient)


def test_wrong_setting_is_left_to_the_call() -> None:
    model = ChatOpenGradient(model="openai/gpt-5", private_key=KEY, network="bsae")
    assert model._identifying_params["network"] == "bsae"


@pytest.mark.parametrize("url", ["http://[", "nonsense"])
def test_url_that_is_none_has_a_key_too(url: str) -> None:
    assert key_of_cache(ChatOpenGradient, gateway_url=url)

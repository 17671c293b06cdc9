"""One model, one account: whatever a copy of it changes, what it spends is counted there."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
from langchain_core.runnables import ConfigurableField

from og_integrations.chat._model import ENGINE_OPTIONS
from og_integrations.client import LocalSigner
from og_integrations.devnet import Devnet
from og_integrations.errors import BudgetExceededError, ConfigurationError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion, register_with_langchain
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.proof._enclave import EnclavePolicy

MakeModel = Callable[..., ChatOpenGradient]
ONE = {"total": "0.1"}
"""What a single authorization takes."""


def changes(net: Devnet) -> dict[str, Any]:
    """Return another value for each option of an engine."""
    network = net.network
    return {
        "default_headers": {"X-A": "b"},
        "enclave_policy": EnclavePolicy(allowed_tee_ids=[net.enclaves[0].tee_id]),
        "gateway_generation": "next",
        "http_async_client": lambda context: httpx.AsyncClient(verify=context or True),
        "http_client": lambda context: httpx.Client(verify=context or True),
        "max_concurrency": 7,
        "max_retries": 1,
        "network": replace(network, name="another name"),
        "nonce": "off",
        "private_key": None,
        "registry_address": network.registry_address.upper().replace("X", "x", 1),
        "registry_rpc_url": network.registry_rpc_url + "/",
        "rpc_url": network.rpc_url + "/",
        "signer": LocalSigner(net.private_key),
        "spend_policy": SpendPolicy(total="0.1", max_validity_seconds=3599, schemes=["upto"]),
        "spread": True,
        "verification": "buffer",
    }


OF_CHANNELS = frozenset({"channel", "relay_url", "relay_token"})
"""Options that gateways of April do not know; the tests of sealed copies have them."""


@pytest.mark.parametrize("option", sorted({*ENGINE_OPTIONS} - OF_CHANNELS))
def test_copy_with_another_option_counts_on_the_same_account(
    net: Devnet, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("OG_PRIVATE_KEY", net.private_key)
    with Devnet(tls=False) as plain:
        change = {option: plain.enclaves[0].endpoint if option == "gateway_url" else changes(net)[option]}
        model = make_model(spend_policy=ONE)
        model.clients.sync.engine.budget.hold(10**17)
        copied = model.model_copy(update=change)
        with pytest.raises(BudgetExceededError):
            copied.invoke("hi")
        copied.close()
        assert net.stats().signatures + plain.stats().signatures == 0


@pytest.mark.parametrize("option", sorted({*ENGINE_OPTIONS} - OF_CHANNELS - {"gateway_url"}))
def test_copy_with_another_option_signs_nothing_more(
    net: Devnet, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """It goes on with the session, or, where that is not the same one, has nothing left."""
    monkeypatch.setenv("OG_PRIVATE_KEY", net.private_key)
    model = make_model(spend_policy=ONE)
    model.invoke("hi")
    copied = model.model_copy(update={option: changes(net)[option]})
    with suppress(BudgetExceededError):
        copied.invoke("hi")
    assert net.stats().signatures == 1
    copied.close()


@pytest.mark.parametrize("option", ["default_headers", "max_retries", "spread", "verification"])
def test_copy_with_another_option_goes_on_with_the_session(net: Devnet, make_model: MakeModel, option: str) -> None:
    model = make_model(spend_policy=ONE)
    model.invoke("hi")
    configurable: Any = model.configurable_fields(**{option: ConfigurableField(id="o")})
    configurable.invoke("hi", config={"configurable": {"o": changes(net)[option]}})
    model.model_copy(update={option: changes(net)[option]}).invoke("hi")
    assert net.stats().signatures == 1


@pytest.fixture
def newest() -> Iterator[Devnet]:
    """Gateways that take sealed requests, and ask for what a single authorization takes in the other tests."""
    with Devnet(generation="newest", cap=10**17) as devnet:
        yield devnet


@pytest.mark.parametrize("spends", [False, True], ids=["holds", "signs"])
def test_sealed_copy_counts_on_the_same_account(newest: Devnet, make_model: MakeModel, spends: bool) -> None:
    """It needs a session of its own, and nothing is left for one."""
    model = make_model(network=newest.network, private_key=newest.private_key, spend_policy=ONE)
    if spends:
        model.invoke("hi")
    else:
        model.clients.sync.engine.budget.hold(10**17)
    copied = model.model_copy(update={"channel": "ohttp"})
    with pytest.raises(BudgetExceededError):
        copied.invoke("hi")
    copied.close()
    assert newest.stats().signatures == spends


def test_copy_with_a_relay_signs_nothing_more(newest: Devnet, make_model: MakeModel) -> None:
    """The relay pays, so that it answers although nothing is left."""
    model = make_model(network=newest.network, private_key=newest.private_key, spend_policy=ONE)
    model.invoke("hi")
    relay = {"channel": "ohttp", "relay_url": newest.relay_url, "relay_token": newest.relay_token}
    copied = model.model_copy(update=relay)
    assert copied.invoke("hi").text == "You said: hi"
    copied.close()
    assert newest.stats().signatures == 1


def test_models_made_for_each_request_are_one_account(net: Devnet, make_model: MakeModel) -> None:
    """15 of them, with a total that one authorization takes: one signature, 15 answers."""
    for _ in range(15):
        make_model(spend_policy=ONE).invoke("hi")
    assert net.stats().signatures == 1


def test_accounts_of_other_names_and_other_wallets_are_apart(net: Devnet, make_model: MakeModel) -> None:
    first = make_model(spend_policy=ONE)
    first.invoke("hi")
    make_model(spend_policy={**ONE, "account": "second"}).invoke("hi")
    other = net.new_wallet()
    make_model(spend_policy=ONE, engines=first.engines, private_key=other.private_key).invoke("hi")
    assert net.stats().signatures == 3


def test_chat_and_text_share_an_account_by_engines(net: Devnet, make_model: MakeModel) -> None:
    model = make_model(spend_policy=ONE)
    model.invoke("hi")
    options: dict[str, Any] = {"private_key": net.private_key, "network": net.network, "spend_policy": ONE}
    text = OpenGradientCompletion(model="openai/gpt-5-mini", engines=model.engines, **options)
    with pytest.raises(BudgetExceededError):
        text.invoke("hi")


@pytest.fixture
def init_chat_model(monkeypatch: pytest.MonkeyPatch) -> Any:
    base: Any = pytest.importorskip("langchain.chat_models.base")
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", dict(base._BUILTIN_PROVIDERS))
    base._get_chat_model_creator.cache_clear()
    register_with_langchain()
    yield base.init_chat_model
    base._get_chat_model_creator.cache_clear()


def test_configurable_model_made_by_name_pays_once(net: Devnet, init_chat_model: Any) -> None:
    """LangChain makes a new model for each of its calls."""
    options: dict[str, Any] = {"private_key": net.private_key, "network": net.network, "spend_policy": ONE}
    model = init_chat_model("opengradient:openai/gpt-4.1", configurable_fields=("temperature",), **options)
    for temperature in (0.1, 0.2, 0.3):
        model.invoke("hi", config={"configurable": {"temperature": temperature}})
    assert net.stats().signatures == 1


def test_malformed_url_in_the_environment_is_nothing_to_a_model_with_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An argument wins, also where only the wallet is looked for."""
    monkeypatch.setenv("OG_GATEWAY_URL", "gateway.example")
    monkeypatch.setenv("OG_NETWORK", "base")
    options: dict[str, Any] = {"model": "openai/gpt-5-mini", "private_key": "0x" + "11" * 32}
    model = ChatOpenGradient(**options, gateway_url="http://127.0.0.1:1")
    assert model.clients.sync.engine.settings.gateway_url == "http://127.0.0.1:1"
    with pytest.raises(ConfigurationError, match="OG_GATEWAY_URL is no address of a server"):
        _ = ChatOpenGradient(**options).clients

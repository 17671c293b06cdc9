"""The constructor and the arguments of a call: what is known, what is warned of, what is refused."""

import copy
import json
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.tracers.context import collect_runs

from og_integrations.client import LocalSigner
from og_integrations.devnet import Devnet
from og_integrations.errors import BudgetExceededError, ConfigurationError, InvalidRequestError, OpenGradientError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.models import TEE_LLM
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.proof._enclave import EnclavePolicy
from tests.adapters.langchain.ways_to_ask import get_weather

MakeModel = Callable[..., ChatOpenGradient]
KEY = "0x" + "4f" * 32


class Published(str, Enum):  # noqa: UP042 - as the published client has it
    """Models, as another package names them."""

    GPT_4O = "openai/gpt-4o"


def sent(net: Devnet, ask: Callable[[], object]) -> dict[str, Any]:
    """Return the body that the gateway got."""
    from og_integrations.client import collect_receipts

    with collect_receipts(keep_exchanges=True) as receipts:
        ask()
    exchange = receipts.exchanges[-1]
    assert exchange is not None
    body: dict[str, Any] = json.loads(exchange["request"])
    return body


def test_nothing_is_sent_that_was_not_set(net: Devnet, make_model: MakeModel, model: ChatOpenGradient) -> None:
    """But for the nonce, unless that is switched off."""
    said = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
    assert sent(net, lambda: make_model(nonce="off").invoke("hi")) == said
    first, second = (sent(net, lambda: model.invoke("hi")) for _ in range(2))
    nonces = [body.pop("response_format").pop("og_nonce") for body in (first, second)]
    assert (first, second, len(set(nonces))) == (said, said, 2)


def test_parameters_are_sent_and_overridden(net: Devnet, make_model: MakeModel) -> None:
    model = make_model(temperature=0.5, max_completion_tokens=7, stop_sequences=["x"], model_kwargs={"web": 1})
    first = sent(net, lambda: model.invoke("hi"))
    assert (first["temperature"], first["max_tokens"], first["stop"], first["web"]) == (0.5, 7, ["x"], 1)
    second = sent(net, lambda: model.bind(temperature=0, max_tokens=9).invoke("hi", stop=["y"]))
    assert (second["temperature"], second["max_tokens"], second["stop"]) == (0, 9, ["y"])


@pytest.mark.parametrize("name", ["model", "model_name"])
def test_model_is_named_either_way(name: str) -> None:
    given: Any = {name: TEE_LLM.GPT_5}
    model = ChatOpenGradient(**given)
    assert (model.model, model.model_name) == ("openai/gpt-5", "openai/gpt-5")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("temprature", "temperature"),
        ("privat_key", "private_key"),
        ("base_url", "gateway_url"),
        ("openai_api_key", "private_key"),
        ("max_token", "max_tokens"),
        ("model_cid", "model"),
    ],
)
def test_unknown_argument_names_the_closest(given: str, meant: str) -> None:
    for cls in (ChatOpenGradient, OpenGradientCompletion):
        make: Any = cls
        with pytest.raises(ConfigurationError, match=rf"{cls.__name__} has no parameter '{given}'.*mean '{meant}'"):
            make(**{"model": "openai/gpt-5", given: "x"})


def test_unknown_argument_of_a_call_is_refused(model: ChatOpenGradient) -> None:
    with pytest.raises(InvalidRequestError, match=r"'temprature' is not a parameter.*'temperature'.*model_kwargs"):
        model.invoke("hi", temprature=1)
    make: Any = ChatOpenGradient
    for ask in (lambda: make(model="openai/gpt-5", extra_body={}), lambda: model.invoke("hi", extra_body={})):
        with pytest.raises(OpenGradientError, match=r"'extra_body'.*Did you mean 'model_kwargs'"):
            ask()


def test_same_parameter_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Both private_key and api_key"):
        ChatOpenGradient(model="openai/gpt-5", private_key=KEY, api_key=KEY)


def test_ignored_parameters_warn_once_by_name(net: Devnet, make_model: MakeModel) -> None:
    with pytest.warns(UserWarning, match="top_p is ignored by the gateway") as first:
        model = make_model(top_p=0.5)
    with pytest.warns(UserWarning, match="seed is ignored"):
        body = sent(net, lambda: model.invoke("hi", seed=1))
    assert len(first) == 1
    assert not {"top_p", "seed"} & body.keys()
    make_model(top_p=0.5).invoke("hi", seed=1, n=1, parallel_tool_calls=True, logprobs=None)


@pytest.mark.parametrize("key", ["test", "0x12", "zz" * 32])
def test_malformed_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="64 hex digits") as caught:
        ChatOpenGradient(model="openai/gpt-5", api_key=key)
    assert key not in str(caught.value)


def test_missing_key_says_what_to_do(net: Devnet) -> None:
    model = ChatOpenGradient(model="openai/gpt-5", network=net.network)
    with pytest.raises(ConfigurationError, match="OG_PRIVATE_KEY"):
        model.invoke("hi")


def test_environment_is_enough(net: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in net.environment().items():
        monkeypatch.setenv(name, value)
    model = ChatOpenGradient(model="openai/gpt-5")
    assert model.invoke("hi").response_metadata["opengradient"]["status"] == "verified"
    model.close()


def test_signer_wins_over_key_of_environment(net: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OG_PRIVATE_KEY", KEY)
    model = ChatOpenGradient(model="openai/gpt-5", network=net.network, signer=LocalSigner(net.private_key))
    assert model.invoke("hi").response_metadata["opengradient"]["payment"]["payer"] == net.wallet
    model.close()


def test_spend_policy_bounds_the_model(net: Devnet, make_model: MakeModel) -> None:
    for policy in ({"max_per_authorization": "0.05"}, SpendPolicy(total="0.05")):
        with pytest.raises(BudgetExceededError):
            make_model(spend_policy=policy).invoke("hi")
    assert net.stats().signatures == 0


def test_enclave_policy_may_be_a_dict() -> None:
    model = ChatOpenGradient(model="openai/gpt-5", enclave_policy={"allowed_tee_ids": []})
    assert isinstance(model.enclave_policy, EnclavePolicy)


@pytest.mark.parametrize("option", [{"spend_policy": {"totl": 1}}, {"settlement_mode": "privat"}])
def test_wrong_setting_fails_at_once(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ChatOpenGradient(model="openai/gpt-5", **option)


@pytest.fixture
def many(net: Devnet, model: ChatOpenGradient) -> list[ChatOpenGradient]:
    """Copies of a model, in each way that LangChain and Python make them."""
    from langchain_core.runnables import ConfigurableField

    configurable: Any = model.configurable_fields(temperature=ConfigurableField(id="t"))
    bound: Any = model.bind(max_tokens=5)
    configured: Any = configurable.with_config(configurable={"t": 0.5})
    return [model, configurable, configured, bound, copy.copy(model), copy.deepcopy(model), model.model_copy()]


def test_all_copies_pay_once_from_one_budget(net: Devnet, many: list[ChatOpenGradient]) -> None:
    """`configurable_fields` builds a model for each call; each must not pay anew."""
    for _ in range(2):
        for each in many:
            each.invoke("hi")
    assert net.stats().payments == 1
    assert net.stats().handshakes == 1


def test_copy_with_other_wallet_does_not_pay_from_the_first(net: Devnet, model: ChatOpenGradient) -> None:
    other = net.new_wallet()
    payer = model.invoke("hi").response_metadata["opengradient"]["payment"]["payer"]
    copied = ChatOpenGradient(
        model="openai/gpt-5", private_key=other.private_key, network=net.network, engines=model.engines
    )
    assert copied.invoke("hi").response_metadata["opengradient"]["payment"]["payer"] == other.address != payer


def test_profile_and_tokens_are_known_offline(model: ChatOpenGradient) -> None:
    from langchain_core.messages import HumanMessage, trim_messages

    assert model.profile is not None
    assert (model.profile["max_input_tokens"], model.profile["structured_output"]) == (400_000, True)
    assert model.get_num_tokens("four" * 10) == 10
    messages: list[Any] = [HumanMessage("hello " * 100), HumanMessage("hi")]
    assert trim_messages(messages, max_tokens=20, token_counter=model) == messages[1:]
    with_tools = model.get_num_tokens_from_messages(messages, tools=[get_weather])
    assert with_tools > model.get_num_tokens_from_messages(messages)


def test_traces_name_provider_model_and_stop(make_model: MakeModel) -> None:
    params = make_model(stop=["x"], temperature=0.5, max_tokens=3)._get_ls_params()
    assert (params["ls_provider"], params["ls_model_name"]) == ("opengradient", "openai/gpt-5-mini")
    assert (params["ls_temperature"], params["ls_max_tokens"], params["ls_stop"]) == (0.5, 3, ["x"])


def test_traces_hold_what_langchain_itself_would_put_there(make_model: MakeModel) -> None:
    asked: dict[str, Any] = {"stop": ["END"], "temperature": 0.5, "user": "u"}
    model = make_model(temperature=0.1, model_kwargs={"web_search": True})
    assert model._get_invocation_params(**asked) == BaseChatModel._get_invocation_params(model, **asked)


@pytest.mark.parametrize("name", ["model", "model_name"])
@pytest.mark.parametrize("other", ["openai/gpt-4o", Published.GPT_4O], ids=["text", "enum"])
def test_model_of_one_call_is_the_traced_one(model: ChatOpenGradient, name: str, other: Any) -> None:
    """Also the one whose window decides whether a failure is an overflow."""
    with pytest.raises(ContextOverflowError, match="window of openai/gpt-4o"):
        model.invoke("[[status=500]]" + "word " * 150_000, **{name: other})
    with collect_runs() as collected:
        model.invoke("hi", **{name: other}, max_completion_tokens=3, stop_sequences=["y"])
    traced: Any = collected.traced_runs[0].metadata
    assert (traced["ls_model_name"], traced["ls_max_tokens"], traced["ls_stop"]) == ("openai/gpt-4o", 3, ["y"])


@pytest.mark.parametrize("name", ["tools", "stop", "messages", "stream"])
def test_model_kwargs_cannot_go_past_the_client(model: ChatOpenGradient, name: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"model_kwargs holds {name}"):
        ChatOpenGradient(model="openai/gpt-5", model_kwargs={name: "x"})
    with pytest.raises(InvalidRequestError, match=f"model_kwargs holds {name}"):
        model.invoke("hi", model_kwargs={name: "x"})


def test_streaming_can_be_switched_on_and_off(make_model: MakeModel) -> None:
    class Tokens(BaseCallbackHandler):
        def __init__(self) -> None:
            self.tokens: list[str] = []

        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            self.tokens.append(token)

    seen = {}
    for name, options in {"on": {"streaming": True}, "off": {}, "no": {"disable_streaming": True}}.items():
        handler = Tokens()
        model = make_model(callbacks=[handler], **options)
        assert model.invoke("[[tokens=3]]").text == "tok0 tok1 tok2"
        list(model.stream("[[tokens=3]]")) if name == "no" else None
        seen[name] = "".join(handler.tokens)
    assert seen == {"on": "tok0 tok1 tok2", "off": "", "no": ""}

"""What must not leave: the key, payments and session ids, in dumps, pickles, errors and traces."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.load import dumpd, dumps, load
from langchain_core.tracers import LangChainTracer

from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError, OpenGradientError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.proof._enclave import EnclavePolicy
from tests.adapters.langchain.local_langsmith import langsmith
from tests.adapters.langchain.ways_to_ask import WAYS, get_weather

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")
MakeModel = Callable[..., ChatOpenGradient]
KEY = "0x" + "4f" * 32


def leaks(net: Devnet, text: str) -> list[str]:
    """Return the secrets of `net` that stand in `text`."""
    return [secret for secret in net.secrets() if secret in text]


def test_model_shows_no_secret(net: Devnet, make_model: MakeModel) -> None:
    model = make_model(default_headers={"X-Token": "s3cret"})
    model.invoke("hi")
    shown = [
        repr(model),
        str(model),
        dumps(model),
        json.dumps(dumpd(model)),
        str(pickle.dumps(model)),
        repr(model.model_dump()),
        str(model._identifying_params),
        model._get_llm_string(),
        repr(model.bind_tools([get_weather])),
        dumps(model.bind(temperature=1)),
        repr(model.engines),
        repr(model.clients),
    ]
    for text in shown:
        assert leaks(net, text) == []
    assert "s3cret" not in "".join([*shown[:4], *shown[6:]])


def test_messages_and_logs_show_no_secret(
    net: Devnet, model: ChatOpenGradient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    message = model.invoke("hi")
    assert leaks(net, dumps(message) + repr(message) + caplog.text) == []


@pytest.mark.parametrize("fault", ["altered_text", "second_402", "other_asset", "cut_after_payment"])
def test_errors_show_no_secret_and_no_prompt(net: Devnet, model: ChatOpenGradient, fault: str) -> None:
    net.inject(fault)
    with pytest.raises(OpenGradientError) as caught:
        model.invoke("my very private prompt")
    text = f"{caught.value!r} {caught.value} {caught.value.receipt} {pickle.dumps(caught.value)!r}"
    assert leaks(net, text) == []
    assert "private prompt" not in text


def test_pickle_takes_key_from_its_new_environment(
    net: Devnet, model: ChatOpenGradient, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(model)
    assert pickle.loads(data).private_key is None
    monkeypatch.setenv("OG_PRIVATE_KEY", net.private_key)
    again = pickle.loads(data)
    assert (again.model_name, again.network) == (model.model_name, model.network)
    assert again.invoke("hi").response_metadata["opengradient"]["status"] == "verified"
    again.close()


def test_deep_copy_works_with_clients_and_callbacks(net: Devnet, make_model: MakeModel) -> None:
    import httpx

    client = httpx.Client()
    model = make_model(http_client=client, gateway_url=net.enclaves[0].endpoint)
    copied = copy.deepcopy(model)
    assert copied.engines is model.engines
    assert copied.http_client is client
    client.close()


def test_loaded_model_is_the_same_without_its_key(
    net: Devnet, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(
        temperature=0.5,
        stop=["x"],
        settlement_mode="private",
        verification="buffer",
        spend_policy=SpendPolicy(max_per_authorization="0.25", total="3"),
        enclave_policy=EnclavePolicy(allowed_tee_ids=[net.enclaves[0].tee_id]),
    )
    monkeypatch.setenv("OG_PRIVATE_KEY", net.private_key)
    dumped = json.loads(dumps(model))
    loaded: Any = load(
        dumped, allowed_objects=[ChatOpenGradient], valid_namespaces=["og_integrations"], secrets_from_env=True
    )
    for name in ("model_name", "temperature", "stop", "settlement_mode", "verification", "spend_policy", "network"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert list(loaded.enclave_policy.allowed_tee_ids) == [net.enclaves[0].tee_id]
    assert loaded.invoke("hi").response_metadata["opengradient"]["status"] == "verified"
    loaded.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:.*compression")
@pytest.mark.parametrize("format_", ["batch", "multipart", "zstd"])
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke"])
def test_trace_holds_receipt_and_no_secret(net: Devnet, make_model: MakeModel, way: str, format_: Any) -> None:
    model = make_model(settlement_mode="individual", default_headers={"X-Token": "s3cret"})
    with langsmith(format_) as (client, capture):
        tracer = LangChainTracer(client=client, project_name="p")
        answer = WAYS[way](model.with_config(callbacks=[tracer]), "hi")
        tracer.wait_for_futures()
        client.flush()
    assert leaks(net, capture.text) == []
    assert "s3cret" not in capture.text
    outputs = capture.outputs()[-1]
    metadata = outputs["generations"][0][0]["message"]["kwargs"]["response_metadata"]
    assert metadata["opengradient"] == answer.response_metadata["opengradient"]
    assert metadata["opengradient"]["payment"]["transaction_hash"].startswith("0x")


@pytest.mark.parametrize("cls", [ChatOpenGradient, OpenGradientCompletion])
@pytest.mark.parametrize("name", ["private_key", "api_key"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": None},
        {"model": 5},
        {"temperature": "x"},
        {"max_tokens": []},
        {"verification": "off"},
        {"bogus": 1},
    ],
    ids=str,
)
def test_no_constructor_error_holds_the_key(cls: Any, name: str, options: dict[str, Any]) -> None:
    """Pydantic's own error quotes everything that was given."""
    made = {"model": "openai/gpt-5"} | options if options else {}
    for key in (KEY, KEY[2:], int(KEY, 16), bytes.fromhex(KEY[2:])):
        with pytest.raises(ConfigurationError) as caught:
            cls(**made, **{name: key})
        error: BaseException | None = caught.value
        while error is not None:
            shown = f"{error} {error!r} {vars(error)} {error.args}"
            assert not isinstance(error, ValueError)
            assert KEY[2:] not in shown
            assert str(int(KEY, 16)) not in shown
            assert str(bytes.fromhex(KEY[2:]))[2:20] not in shown
            error = error.__cause__ or error.__context__


def test_pydantics_error_itself_holds_no_key() -> None:
    """Whatever else calls it: what is given is wrapped before anything is judged."""
    with pytest.raises(ConfigurationError, match="model: Field required"):
        ChatOpenGradient.model_validate({"private_key": KEY})
    assert ChatOpenGradient.model_config["hide_input_in_errors"] is True


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:.*compression")
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_trace_of_a_failed_run_holds_its_receipt(net: Devnet, make_model: MakeModel, way: str) -> None:
    net.inject("altered_text")
    with langsmith("multipart") as (client, capture):
        tracer = LangChainTracer(client=client, project_name="p")
        with pytest.raises(OpenGradientError) as caught:
            WAYS[way](make_model().with_config(callbacks=[tracer]), "hello there")
        tracer.wait_for_futures()
        client.flush()
    assert leaks(net, capture.text) == []
    metadata = capture.outputs()[-1]["generations"][-1][0]["message"]["kwargs"]["response_metadata"]
    assert metadata["body"] == {"opengradient": caught.value.receipt}

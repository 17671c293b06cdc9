"""Making, copying and storing an LLM."""

import copy
import json
import pickle
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.types import PydanticProgramMode

from og_integrations import TEE_LLM, EnclavePolicy, LocalSigner, SpendPolicy
from og_integrations.errors import BudgetExceededError, ConfigurationError, EnclaveRejectedError, InvalidRequestError
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.networks import BASE_SEPOLIA, OPG
from og_integrations.protocol.proof._enclave import UnsafeAcceptAnyEnclave
from tests.adapters.llama_index.auditing import Account

KEY = "0x" + "1f" * 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spend_polcy": {}}, "no parameter 'spend_polcy'. Did you mean 'spend_policy'"),
        ({"temperature": "hot"}, "temperature: "),
        ({"max_retries": -1}, "max_retries: "),
        ({"settlement_mode": "privat"}, "Unknown settlement mode 'privat'"),
        ({"x402_settlement_mode": "privat"}, "Unknown settlement mode 'privat'"),
        ({"verification": "off"}, "Input should be 'end' or 'buffer'"),
        ({"gateway_generation": "2027"}, "Input should be 'auto', '2026-04' or 'next'"),
        ({"spend_policy": {"total": "half"}}, "spend_policy is not valid"),
        ({"enclave_policy": ["0x00"]}, "enclave_policy is a list"),
    ],
)
def test_wrong_options_fail_at_once(options: dict[str, Any], message: str) -> None:
    """A mistake is found where it is made, and never as a `ValueError`."""
    with pytest.raises(ConfigurationError, match=message):
        OpenGradientLLM("openai/gpt-5", **options)


def test_additional_kwargs_are_checked_at_once() -> None:
    """`additional_kwargs` are held to the same rules as a call's options."""
    with pytest.warns(UserWarning, match="seed is ignored"):
        OpenGradientLLM("openai/gpt-5", additional_kwargs={"seed": 1})
    with pytest.raises(InvalidRequestError, match="'sed' is not a parameter"):
        OpenGradientLLM("openai/gpt-5", additional_kwargs={"sed": 1})


@pytest.mark.parametrize("name", ["complete", "chat"])
def test_what_gateways_ignore_is_warned_of_or_dropped(account: Account, llm: OpenGradientLLM, name: str) -> None:
    """As in LangChain's adapter; ragas sends n=1 with every call."""
    neutral = {"n": 1, "top_p": 1.0, "presence_penalty": 0, "logit_bias": {}, "logprobs": False}
    asked: dict[str, Any] = {"complete": "hi", "chat": [ChatMessage(role="user", content="hi")]}
    getattr(llm, name)(asked[name], **neutral)
    with pytest.warns(UserWarning, match="top_p is ignored by the gateway"):
        getattr(llm, name)(asked[name], top_p=0.5)
    assert account.served() == 2


@pytest.mark.parametrize("headers", [{"anthropic-beta": "context-1m-2025-08-07"}, {"X-A": "b"}, {}])
def test_headers_of_a_call_are_refused(headers: dict[str, str]) -> None:
    """Nothing would come of them; a hint at a cache, which LlamaIndex gives by itself, asks for nothing."""
    with pytest.raises(InvalidRequestError, match="extra_headers"):
        OpenGradientLLM("openai/gpt-5").complete("hi", extra_headers=headers)


def test_model_of_a_call_is_pointed_to_a_copy(account: Account) -> None:
    """OpenAI's LLM takes another model per call; here a copy is one, on the same budget."""
    llm = account.llm()
    with pytest.raises(InvalidRequestError, match="model_copy"):
        llm.complete("hi", model="openai/gpt-5-mini")
    copied = llm.model_copy(update={"model": "openai/gpt-5-mini"})
    assert copied.complete("hi").raw["opengradient"]["model"] == "openai/gpt-5-mini"
    assert llm.spent().authorized == copied.spent().authorized > 0


def test_making_one_needs_no_wallet() -> None:
    """Without a wallet only calls fail, and say what is missing."""
    llm = OpenGradientLLM(TEE_LLM.GPT_5)
    assert llm.metadata.model_name == "openai/gpt-5"
    with pytest.raises(ConfigurationError, match="set OG_PRIVATE_KEY"):
        llm.complete("hi")


def test_metadata() -> None:
    """Metadata come from the catalogue, with overrides, and never fail."""
    known = OpenGradientLLM("anthropic/claude-sonnet-4-6", max_tokens=99).metadata
    assert (known.context_window, known.num_output) == (200_000, 99)
    assert (known.is_chat_model, known.is_function_calling_model) == (True, True)
    unknown = OpenGradientLLM("someone/new", is_function_calling_model=False).metadata
    assert (unknown.context_window, unknown.num_output) == (128_000, 4096)
    assert not unknown.is_function_calling_model
    assert OpenGradientLLM("someone/new", context_window=5).metadata.context_window == 5


def test_payload_has_what_instrumentation_reads() -> None:
    """Start events name model and temperature, and nothing secret."""
    payload = OpenGradientLLM("openai/gpt-5", private_key=KEY, default_headers={"x": "y"}).to_payload()
    assert payload["class_name"] == "opengradient_llm"
    assert (payload["model"], payload["temperature"]) == ("openai/gpt-5", 0.0)
    assert not {"private_key", "default_headers", "rpc_url"} & payload.keys()


def everything() -> OpenGradientLLM:
    return OpenGradientLLM(
        "openai/gpt-5",
        private_key=KEY,
        network=BASE_SEPOLIA,
        temperature=0.3,
        max_tokens=9,
        stop="END",
        gateway_generation="next",
        settlement_mode="SETTLE_METADATA",
        spend_policy=SpendPolicy.of({"max_per_authorization": "0.25", "total": "2", "pay_to": ["0xAB"]}),
        enclave_policy=EnclavePolicy(allowed_pcr_hashes={"0xcd"}),
        verification="buffer",
        system_prompt="be brief",
        pydantic_program_mode=PydanticProgramMode.FUNCTION,
        additional_kwargs={"stop": ["x"]},
    )


def test_subclass_with_a_field_of_its_own() -> None:
    """As with any LLM of LlamaIndex."""

    class Tenants(OpenGradientLLM):
        tenant: str = ""

    made: Any = Tenants
    assert made("openai/gpt-5", tenant="a").model_copy(update={"tenant": "b"}).tenant == "b"


@pytest.mark.parametrize("how", ["json", "pickle"])
def test_limits_survive_storing(how: str) -> None:
    """A stored LLM comes back with the same options; its limits are not read in another unit."""
    llm = everything()
    restored = OpenGradientLLM.from_json(llm.to_json()) if how == "json" else pickle.loads(pickle.dumps(llm))
    assert restored.to_dict() == llm.to_dict()
    assert restored.spend_policy is not None
    assert restored.spend_policy.cap_units == OPG // 4
    assert restored.spend_policy.total_units == 2 * OPG
    assert restored.spend_policy.pay_to == {"0xab"}
    assert restored.network == BASE_SEPOLIA
    assert restored.enclave_policy is not None
    assert set(restored.enclave_policy.allowed_pcr_hashes or ()) == {"0xcd"}
    assert restored.settlement_mode == "individual"


def test_limits_that_cannot_be_pickled_come_back_stricter(account: Account) -> None:
    """A callback or a local class stays here: its copy pays nobody and trusts nobody, and the LLM keeps its own."""

    class Ours(EnclavePolicy):
        """Not importable, so not picklable."""

    policy = SpendPolicy.of({"total": "5", "on_payment": lambda payment: True})
    llm = account.llm(spend_policy=policy, enclave_policy=Ours(), messages_to_prompt=lambda messages: "")
    for _ in range(2):
        restored = pickle.loads(pickle.dumps(llm))
        assert restored.spend_policy.cap_units == 0
        assert restored.spend_policy.total_units == 5 * OPG
        assert restored.enclave_policy == EnclavePolicy(allowed_tee_ids=[])
    assert (llm.spend_policy, type(llm.enclave_policy)) == (policy, Ours)
    assert llm.messages_to_prompt is not None
    assert llm.complete("hi").text == "You said: hi"


def test_dict_is_stable_json() -> None:
    """Ingestion caches are keyed by it."""
    assert json.dumps(everything().to_dict()) == json.dumps(everything().to_dict())


def test_unknown_policy_class_comes_back_closed(account: Account) -> None:
    """Rules that cannot be written are replaced by a rule that accepts nobody."""
    data = account.llm(enclave_policy=UnsafeAcceptAnyEnclave()).to_dict()
    restored = OpenGradientLLM.from_dict(data, private_key=account.wallet.private_key)
    with pytest.raises(EnclaveRejectedError):
        restored.complete("hi")


def test_engine_options_are_fixed() -> None:
    """What the engine was made with cannot be changed behind its back."""
    llm = OpenGradientLLM("openai/gpt-5")
    with pytest.raises(ConfigurationError, match="spend_policy is fixed"):
        llm.spend_policy = None
    with pytest.raises(ConfigurationError, match="spend_policy cannot differ"):
        llm.model_copy(update={"spend_policy": None})
    assert llm.model_copy(update={"temperature": 1.0}).temperature == 1.0


@pytest.mark.parametrize(
    ("name", "meant"), [("temprature", "temperature"), ("x402_settlement_mode", "settlement_mode")]
)
def test_copies_with_options_that_are_none(name: str, meant: str) -> None:
    """Pydantic would take them, and nothing would come of it: not privacy either."""
    with pytest.raises(ConfigurationError, match=f"has no parameter '{name}'. Did you mean '{meant}'"):
        OpenGradientLLM("openai/gpt-5").model_copy(update={name: "private"})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda llm: llm.model_copy(deep=True)])
def test_copies_share_the_budget(account: Account, duplicate: Any) -> None:
    """A copy pays from the same budget and session: copying does not multiply a limit."""
    llm = account.llm(spend_policy={"total": "0.15"})
    llm.complete("a")
    other = duplicate(llm)
    other.complete("b")
    assert len(account.authorizations()) == 1
    with pytest.raises(BudgetExceededError):
        other.complete("c", use_chat_completions=False)
    other.additional_kwargs["stop"] = ["x"]


def test_deepcopy_is_independent() -> None:
    """Changing a copy's options does not change the original's."""
    llm = everything()
    other = copy.deepcopy(llm)
    other.additional_kwargs["stop"].append("y")
    assert other.stop is not llm.stop
    other.temperature = 1.0
    assert (llm.additional_kwargs, llm.temperature) == ({"stop": ["x"]}, 0.3)


def test_pickle_takes_its_wallet_from_the_environment(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process pays from its own environment's wallet, or says that it has none."""
    restored = pickle.loads(pickle.dumps(account.llm()))
    with pytest.raises(ConfigurationError, match="OG_PRIVATE_KEY"):
        restored.complete("hi")
    monkeypatch.setenv("OG_PRIVATE_KEY", account.wallet.private_key)
    again = pickle.loads(pickle.dumps(account.llm()))
    assert again.complete("hi").text == "You said: hi"


def test_pickle_that_cannot_be_read() -> None:
    """No LLM that is only half made comes of it."""
    llm = OpenGradientLLM("openai/gpt-5")
    llm.settlement_mode = "privat"
    with pytest.raises(ConfigurationError, match="Unknown settlement mode"):
        pickle.loads(pickle.dumps(llm))


def test_signer_instead_of_key(account: Account) -> None:
    """A wallet object pays, and an LLM that holds one can still be pickled."""
    llm = OpenGradientLLM("openai/gpt-5", signer=LocalSigner(account.wallet.private_key), network=account.net.network)
    assert llm.complete("hi").text == "You said: hi"
    assert pickle.loads(pickle.dumps(llm)).model == "openai/gpt-5"


def test_repr_tells_what_was_set() -> None:
    """The repr is for people: the options that differ from the defaults, no URLs, no key."""
    shown = repr(OpenGradientLLM("openai/gpt-5", private_key=KEY, rpc_url="https://node/secret", max_tokens=5))
    assert shown == "OpenGradientLLM(model='openai/gpt-5', max_tokens=5)"
    assert repr(OpenGradientLLM("openai/gpt-5", network=BASE_SEPOLIA)) == (
        "OpenGradientLLM(model='openai/gpt-5', network='base-sepolia')"
    )


def test_stop_is_a_list(account: Account) -> None:
    """One sequence or several; the call's own wins."""
    llm = account.llm(stop="tok2")
    assert llm.stop == ["tok2"]
    assert llm.complete("[[tokens=5]]").text == "tok0 tok1 "
    assert llm.complete("[[tokens=5]]", stop=["tok1"]).text == "tok0 "


def test_everything_but_the_model_is_given_by_name() -> None:
    """As the key would be, by those who come from other clients; the error names the way, and no key."""
    given: Any = ("openai/gpt-5.2", "0x" + "4f" * 32)
    with pytest.raises(ConfigurationError, match=r"write OpenGradientLLM\(model, private_key=…\)") as caught:
        OpenGradientLLM(*given)
    assert "4f4f" not in str(caught.value)

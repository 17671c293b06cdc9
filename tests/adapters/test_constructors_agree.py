"""Both adapters are made with the same arguments; where they are not, the reason stands here."""

import inspect
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from llama_index.core.llms.function_calling import FunctionCallingLLM

from og_integrations.client import ClientOptions, Engine
from og_integrations.langchain import ChatOpenGradient
from og_integrations.langchain._chat_model import ChatModelOptions
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.llama_index._llm import LLMOptions
from og_integrations.networks import BASE_SEPOLIA

OF_CALLS = {"model", "temperature", "max_tokens", "stop"}
ONLY_LANGCHAIN = {
    "model_kwargs": "ChatOpenAI's name for what is sent as it is",
    "model_name": "ChatOpenAI's name",
    "stream_usage": "LangChain's switch for token counts in streams",
    "streaming": "LangChain's switch for `invoke`",
}
ONLY_LLAMA_INDEX = {
    "additional_kwargs": "LlamaIndex's name for options of every call",
    "async_http_client": "the name that LlamaIndex's OpenAI has for http_async_client",
    "context_window": "LlamaIndex packs prompts by it; LangChain has `profile`",
    "is_function_calling_model": "chooses LlamaIndex's agents",
    "should_use_structured_outputs": "LangChain has `with_structured_output(method=…)`",
    "strict": "LangChain has `bind_tools(strict=…)`",
    "use_chat_completions": "LangChain has a class for texts, OpenGradientCompletion",
}
OTHER_DEFAULTS = {
    "temperature": (None, 0.0, "LlamaIndex's own parsers read answers, and expect the likeliest"),
}


def names_of_langchain() -> set[str]:
    return set(ChatModelOptions.__annotations__) - set(BaseChatModel.model_fields)


def names_of_llama_index() -> set[str]:
    arguments = set(inspect.signature(OpenGradientLLM.__init__).parameters) - {"self", "others", "options"}
    return (arguments | set(LLMOptions.__annotations__)) - set(FunctionCallingLLM.model_fields)


def default(cls: Any, name: str) -> Any:
    """Return the default of a constructor's argument; both take some that are no fields."""
    fields = {info.alias or field: info for field, info in cls.model_fields.items()}
    return fields[name].get_default(call_default_factory=True) if name in fields else None


def test_constructors_take_the_same_names() -> None:
    """One set of names, and the frameworks' own words for what only they have."""
    ours, theirs = names_of_langchain(), names_of_llama_index()
    assert ours - theirs == ONLY_LANGCHAIN.keys()
    assert theirs - ours == ONLY_LLAMA_INDEX.keys()
    assert ours & theirs >= set(ClientOptions.__annotations__) | OF_CALLS


@pytest.mark.parametrize("name", sorted(names_of_langchain() & names_of_llama_index() - {"model", "engines"}))
def test_constructors_have_the_same_default(name: str) -> None:
    """The same default, or a reason."""
    ours, theirs = default(ChatOpenGradient, name), default(OpenGradientLLM, name)
    if name in OTHER_DEFAULTS:
        assert (ours, theirs) == OTHER_DEFAULTS[name][:2]
    else:
        assert ours == theirs


EVERYTHING: dict[str, Any] = {
    "private_key": "0x" + "1f" * 32,
    "network": BASE_SEPOLIA,
    "verification": "buffer",
    "max_retries": 5,
    "default_headers": {"x": "y"},
    "gateway_generation": "next",
    "spend_policy": {"total": "2"},
    "enclave_policy": {"allowed_pcr_hashes": ["0xcd"]},
}
NAMED: dict[str, Any] = {
    "network": "devnet",
    "rpc_url": "http://a",
    "registry_rpc_url": "http://b",
    "registry_address": "0x" + "ab" * 20,
    "gateway_url": "http://127.0.0.1:1",
}


def told(engine: Engine) -> dict[str, Any]:
    """Return what an engine was made with."""
    settings = engine.settings
    return {
        "network": settings.network,
        "gateway_url": settings.gateway_url,
        "payer": settings.signer.address if settings.signer else None,
        "settlement_mode": engine.settlement_mode,
        "buffered": engine.buffered,
        "timeout": engine.timeout,
        "max_retries": engine.max_retries,
        "default_headers": engine.default_headers,
        "takes_images": engine.takes_images,
        # LangChain's copies of a model share the store of its account.
        "policy": engine.budget.policy.model_copy(update={"store": None}),
        "enclaves": vars(engine.directory)["_policy"],
    }


@pytest.mark.parametrize("options", [{}, EVERYTHING, NAMED], ids=["nothing", "values", "names"])
def test_options_mean_the_same(options: dict[str, Any]) -> None:
    """Whatever is given reaches the engine alike."""
    ours = ChatOpenGradient(model="openai/gpt-5", **options).clients.sync.engine
    theirs = OpenGradientLLM("openai/gpt-5", **options).clients.sync.engine
    assert told(ours) == told(theirs)

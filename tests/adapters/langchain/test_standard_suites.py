"""LangChain's own suites for chat models: in full, over TLS, for each way of structured output."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from og_integrations.devnet import Answer, Devnet, ModelRequest, Script
from og_integrations.langchain import ChatOpenGradient

MODEL = "openai/gpt-5-mini"
KEY = "0x" + "4f" * 32
LANGCHAIN_WARNS = [
    pytest.mark.filterwarnings("ignore:The function `dict` was deprecated"),
    pytest.mark.filterwarnings("ignore:The method `BaseChatModel.dict`"),
    pytest.mark.filterwarnings("ignore:.*is in beta"),
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"),
]


class Eager(Script):
    """
    Answers every question by calling a tool, if it has one. The suite demands calls by `tool_choice`,
    which the gateway does not pass on: only a model that wants to call can pass.
    """

    async def answer(self, request: ModelRequest) -> Answer:
        """Answer as the script does, except that the first tool is called where it calls none."""
        answer = await super().answer(request)
        if not request.tools or answer.calls or request.messages[-1]["role"] != "user":
            return answer
        order = f'use tool {request.tools[0]["function"]["name"]} {{"input": 3, "a": 3, "b": 4}}'
        return await super().answer(replace(request, messages=[{"role": "user", "content": order}]))


@pytest.fixture(autouse=True, scope="module")
def shared_network() -> Iterator[None]:
    """One devnet for all of these; the suites take parameters from properties, not from fixtures."""
    with Devnet(model=Eager()) as Integration.network:
        yield


class TestUnit(ChatModelUnitTests):
    pytestmark: ClassVar = LANGCHAIN_WARNS

    @pytest.fixture(autouse=True)
    def loadable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """LangChain loads only classes that it lists; a user adds ours by `allowed_objects`."""
        loader: Any = sys.modules["langchain_core.load.load"]
        name = tuple(ChatOpenGradient.lc_id())
        monkeypatch.setitem(loader.ALL_SERIALIZABLE_MAPPINGS, name, name)
        loader._default_class_paths_cache.clear()

    @property
    def chat_model_class(self) -> type[ChatOpenGradient]:
        return ChatOpenGradient

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "api_key": KEY}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"OG_PRIVATE_KEY": KEY}, {"model": MODEL}, {"private_key": KEY}


class Integration(ChatModelIntegrationTests):
    pytestmark: ClassVar = LANGCHAIN_WARNS
    model_name: ClassVar[str] = MODEL
    method: ClassVar[str] = "json_schema"
    network: ClassVar[Devnet]

    @pytest.fixture
    def record_mode(self) -> str:
        """Record always: a replayed answer is refused, as its signature was seen before."""
        return "all"

    @pytest.fixture
    def vcr_cassette_dir(self, tmp_path: Path) -> str:
        return str(tmp_path)

    @property
    def chat_model_class(self) -> type[ChatOpenGradient]:
        return ChatOpenGradient

    @property
    def chat_model_params(self) -> dict[str, Any]:
        net = self.network
        return {"model": self.model_name, "api_key": net.private_key, "network": net.network}

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": self.method}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "openai/gpt-4.1-mini"

    @property
    def enable_vcr_tests(self) -> bool:
        return True


class TestJsonSchema(Integration):
    pass


class TestFunctionCalling(Integration):
    method = "function_calling"


class TestAnthropicModel(Integration):
    model_name = "anthropic/claude-haiku-4-5"

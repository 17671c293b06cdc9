"""
LangChain's own suites for chat models: in full, over TLS, for each way of structured output.

The suites skip what a model says that it cannot do. Here nothing is skipped: `LACKS` names the tests
of what no gateway, or no model of that provider, can do, and `conftest.py` deselects exactly these.
That such input is refused before anything is paid, `test_messages.py` shows.
"""

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
    pytest.mark.filterwarnings("ignore:OpenAI may require a filename"),
]
AUDIO = {"test_audio_inputs": "nothing that is known of gateways says that they hand audio on"}
TOOL_MEDIA = dict.fromkeys(
    ("test_image_tool_message", "test_pdf_tool_message"), "OpenAI takes nothing but text in results of tools"
)


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
    with Devnet(model=Eager(), generation="next") as Integration.network:
        yield


class Library:
    """In place of the sites that the suite loads its picture and its document from."""

    content = b"not looked into"

    @classmethod
    def get(cls, url: str, **_: Any) -> type["Library"]:
        """Return a response that has `content`."""
        assert url.startswith("https://")
        return cls


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
    LACKS: ClassVar[dict[str, str]] = AUDIO | TOOL_MEDIA
    network: ClassVar[Devnet]

    @pytest.fixture(autouse=True)
    def library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("langchain_tests.integration_tests.chat_models.httpx", Library)

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
        wallet = {"api_key": net.private_key, "network": net.network}
        return {"model": self.model_name, "gateway_generation": "next", **wallet}

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
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return "test_image_tool_message" not in self.LACKS

    @property
    def supports_pdf_tool_message(self) -> bool:
        return "test_pdf_tool_message" not in self.LACKS

    def test_flags_are_those_of_the_profile(self) -> None:
        """What is deselected is what the model itself says that it cannot do."""
        profile = ChatOpenGradient(**self.chat_model_params).profile or {}
        assert profile["audio_inputs"] is self.supports_audio_inputs is False
        assert profile["image_inputs"] is self.supports_image_inputs
        assert profile["image_url_inputs"] is self.supports_image_urls
        assert profile["pdf_inputs"] is self.supports_pdf_inputs
        assert profile["image_tool_message"] is self.supports_image_tool_message
        assert profile["pdf_tool_message"] is self.supports_pdf_tool_message

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
    LACKS: ClassVar = AUDIO

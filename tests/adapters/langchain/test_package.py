"""The package as a whole: what it exports, what it costs, how it is found and missed."""

import subprocess
import sys
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError
from og_integrations.langchain import ChatOpenGradient, register_with_langchain


def run(code: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_missing_langchain_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['langchain_core'] = None; import og_integrations.langchain"
    said = run(code).stderr
    assert 'pip install "og-integrations[langchain]"' in said
    # Of this kind for both frameworks: programs that work without one catch it.
    assert "\nModuleNotFoundError: LangChain is not installed" in said


def test_import_loads_no_client_and_no_cryptography() -> None:
    heavy = {
        "httpcore",
        "httpx",
        "web3",
        "eth_account",
        "eth_abi",
        "cryptography",
        "og_integrations.client._clients",
        "llama_index",
    }
    code = f"import sys, og_integrations.langchain; print(*sorted({heavy} & sys.modules.keys()))"
    done = run(code)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_making_a_model_loads_no_client() -> None:
    code = (
        "import sys; from og_integrations.langchain import ChatOpenGradient\n"
        "ChatOpenGradient(model='openai/gpt-5', private_key='11' * 32)\n"
        "print(*sorted({'httpcore', 'httpx', 'eth_account', 'og_integrations.client._clients'} & sys.modules.keys()))"
    )
    done = run(code)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_cold_call_loads_nothing_that_it_does_not_use(net: Devnet) -> None:
    never = {
        "langchain_core.language_models.llms",  # which brings PyYAML
        "langchain_core.tools.structured",
        "og_integrations.langchain._callbacks",
        "og_integrations.langchain._completion_model",
        "og_integrations.langchain._search",
        "og_integrations.langchain._structured",
        "og_integrations.langchain.errors",
        "og_integrations.protocol.chat._schemas",
    }
    code = (
        "import sys; from og_integrations.langchain import ChatOpenGradient\n"
        "answer = ChatOpenGradient(model='openai/gpt-5').invoke('hi')\n"
        "assert answer.response_metadata['opengradient']['status'] == 'verified'\n"
        f"print(*sorted({never} & sys.modules.keys()))"
    )
    done = run(code, net.environment())
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_classes_that_nobody_makes_build_no_validators() -> None:
    code = (
        "from og_integrations.chat._model import OpenGradientModel; import og_integrations.langchain as ours\n"
        "from og_integrations.langchain._chat_model import LangChainModel\n"
        "from og_integrations.protocol.payment._policy import SpendPolicy; SpendPolicy.of(SpendPolicy.of(None))\n"
        "print([cls.__pydantic_complete__ for cls in (OpenGradientModel, LangChainModel, SpendPolicy)])\n"
        "print([cls.__pydantic_complete__ for cls in (ours.ChatOpenGradient, ours.OpenGradientCompletion)])"
    )
    done = run(code)
    assert done.stdout.splitlines() == ["[False, False, False]", "[True, True]"], done.stderr


def test_registered_provider_is_found_by_name(net: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    base: Any = pytest.importorskip("langchain.chat_models.base")
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", dict(base._BUILTIN_PROVIDERS))
    base._get_chat_model_creator.cache_clear()
    register_with_langchain()
    from langchain.chat_models import init_chat_model

    model = init_chat_model("opengradient:openai/gpt-5", private_key=net.private_key, network=net.network)
    assert isinstance(model, ChatOpenGradient)
    assert model.invoke("hi").text == "You said: hi"
    model.close()
    base._get_chat_model_creator.cache_clear()


def test_registration_without_langchain_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain.chat_models.base", None)
    with pytest.raises(ConfigurationError, match="Use ChatOpenGradient"):
        register_with_langchain()

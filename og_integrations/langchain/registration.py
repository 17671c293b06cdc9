"""Opt-in: `init_chat_model("opengradient:openai/gpt-5")`."""

from importlib import import_module
from typing import Any

from og_integrations.errors import ConfigurationError
from og_integrations.langchain.engines import Engines


def register_with_langchain() -> None:
    """
    Make `langchain.chat_models.init_chat_model` know the provider `opengradient`.

    LangChain has no public way to add a provider, so this writes into its private table; it is done
    only on request. With `configurable_fields` it makes a new model for each call; so all models of
    one wallet that are made by name share their sessions, and one account counts what they spend.

    Raises `ConfigurationError` if `langchain` is missing or its table moved.
    """
    try:
        module = import_module("langchain.chat_models.base")
        providers = module._BUILTIN_PROVIDERS  # noqa: SLF001 - see the docstring
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(
            f"init_chat_model cannot be told about this provider: {exc}. Use ChatOpenGradient(model=…) directly."
        ) from exc
    engines = Engines()

    def make(cls: Any, **options: Any) -> Any:
        return cls(**{"engines": engines, **options})

    providers["opengradient"] = ("og_integrations.langchain", "ChatOpenGradient", make)

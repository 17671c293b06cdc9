"""Opt-in: `init_chat_model("opengradient:openai/gpt-5")`."""

from importlib import import_module

from og_integrations.errors import ConfigurationError


def register_with_langchain() -> None:
    """
    Make `langchain.chat_models.init_chat_model` know the provider `opengradient`.

    LangChain has no public way to add a provider, so this writes into its private table; it is done
    only on request. Raises `ConfigurationError` if `langchain` is missing or its table moved.
    """
    try:
        module = import_module("langchain.chat_models.base")
        providers, creator = module._BUILTIN_PROVIDERS, module._call  # noqa: SLF001 - see the docstring
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(
            f"init_chat_model cannot be told about this provider: {exc}. Use ChatOpenGradient(model=…) directly."
        ) from exc
    providers["opengradient"] = ("og_integrations.langchain", "ChatOpenGradient", creator)

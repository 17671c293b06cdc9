"""This module has our adapters by the names of the published package: `langchain_adapter` and `openai_adapter`."""

from typing import TYPE_CHECKING, Any

from og_integrations.sdk._errors import OldErrors, WrongArgumentError, hidden
from og_integrations.sdk._llm import Mode
from og_integrations.sdk.types import x402SettlementMode

if TYPE_CHECKING:
    from enum import Enum

    from pydantic import SecretStr

    from og_integrations.langchain import ChatOpenGradient

__all__ = ["langchain_adapter", "openai_adapter"]


def langchain_adapter(
    private_key: "str | SecretStr | None" = None,
    model_cid: "str | Enum | None" = None,
    max_tokens: int = 300,
    x402_settlement_mode: Mode = x402SettlementMode.BATCH_HASHED,
    *,
    model: "str | Enum | None" = None,
    temperature: float = 0.0,
    rpc_url: str | None = None,
    tee_registry_address: str | None = None,
    llm_server_url: str | None = None,
    **options: Any,
) -> "ChatOpenGradient":
    """
    Return a LangChain model; `model_cid` and `model` are the same thing.

    Its `bind_tools` leaves it as it is, and each answer has its receipt.
    """
    from og_integrations.langchain import ChatOpenGradient

    private_key = hidden(private_key)
    name = model or model_cid
    if name is None:
        raise WrongArgumentError("No model is named, expected model='provider/name'.")
    given = {
        "private_key": private_key,
        "registry_rpc_url": rpc_url,
        "registry_address": tee_registry_address,
        "gateway_url": llm_server_url,
        "settlement_mode": x402_settlement_mode,
    }
    places: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    with OldErrors():
        return ChatOpenGradient(model=name, max_tokens=max_tokens, temperature=temperature, **places, **options)


def openai_adapter(private_key: "str | SecretStr | None" = None, **options: Any) -> Any:
    """Return a client of the openai package (extra `openai`), for `.chat.completions.create`."""
    from og_integrations.openai import openai_client

    private_key = hidden(private_key)
    given: dict[str, Any] = {} if private_key is None else {"private_key": private_key}
    with OldErrors():
        return openai_client(**given, **options)

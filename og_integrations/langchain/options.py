"""What the constructors take, for type checkers and editors; `params` says what each means."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pydantic import SecretStr

if TYPE_CHECKING:
    from langchain_core.caches import BaseCache
    from langchain_core.callbacks import Callbacks
    from langchain_core.language_models.model_profile import ModelProfile
    from langchain_core.rate_limiters import BaseRateLimiter

    from og_integrations.client._clients import AsyncHttpClient, SyncHttpClient
    from og_integrations.client.signer import Signer
    from og_integrations.langchain.engines import Engines
    from og_integrations.networks import Network
    from og_integrations.protocol.payment.policy import SpendPolicy
    from og_integrations.protocol.proof.enclave import EnclavePolicy


class OwnOptions(TypedDict, total=False):
    """What both models take besides LangChain's own."""

    model: str | Enum
    model_name: str | Enum
    temperature: float | None
    max_tokens: int | None
    max_completion_tokens: int | None
    stop: str | Sequence[str] | None
    stop_sequences: str | Sequence[str] | None
    timeout: float | None
    request_timeout: float | None
    max_retries: int | None
    spread: bool
    default_headers: dict[str, str] | None
    http_client: "SyncHttpClient | None"
    http_async_client: "AsyncHttpClient | None"
    private_key: str | SecretStr | None
    api_key: str | SecretStr | None
    signer: "Signer | None"
    network: "str | Network | None"
    rpc_url: str | None
    registry_rpc_url: str | None
    registry_address: str | None
    gateway_url: str | None
    settlement_mode: str | Enum | None
    x402_settlement_mode: str | Enum | None
    spend_policy: "SpendPolicy | dict[str, Any] | None"
    enclave_policy: "EnclavePolicy | dict[str, Any] | None"
    verification: Literal["end", "buffer"]
    gateway_generation: Literal["2026-04", "next"]
    engines: "Engines"


class ModelOptions(OwnOptions, total=False):
    """What both models take."""

    cache: "BaseCache | bool | None"
    callbacks: "Callbacks"
    custom_get_token_ids: Callable[[str], list[int]] | None
    metadata: dict[str, Any] | None
    name: str | None
    tags: list[str] | None
    verbose: bool


class ChatModelOptions(ModelOptions, total=False):
    """What the chat model takes besides."""

    streaming: bool
    stream_usage: bool
    model_kwargs: dict[str, Any]

    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None
    profile: "ModelProfile | None"
    rate_limiter: "BaseRateLimiter | None"

"""
This is the surface of the published `opengradient` package, on verified calls: its programs run as they are.

```python
import og_integrations.sdk as og

llm = og.LLM(private_key=key)
result = await llm.chat(og.TEE_LLM.CLAUDE_SONNET_4_6, [{"role": "user", "content": "hi"}])
print(result.chat_output["content"], result.payment_hash, result.receipt["status"])
```

Each result has our receipt beside the old fields. What was documented as a `ValueError` or `RuntimeError` is one here,
and an error of this package, too; nowhere else is that so.

| file | what it holds |
| --- | --- |
| `types` | enums, results and chunks under their old names |
| `_llm` | `LLM` (asynchronous, 0.8 on), and the chat of `Client` (synchronous, before) |
| `_alpha` | `Alpha`: models and workflows on chain, with float32 arrays as results |
| `_services` | `ModelHub` and `Twins` |
| `_client` | `init`, `Client` and `global_client` of the versions before 0.8 |
| `_errors` | errors that are a `ValueError` or `RuntimeError` as well |
| `_confidential` | `ConfidentialLLM`, its relay client and registry, over the sealed channel |
| `_chat_auth` | `login_chat_account`, the login in the browser whose token relays take |
| `agents` | `langchain_adapter`, `openai_adapter` |
| `alphasense` | `create_run_model_tool`, `create_read_workflow_tool`, `ToolType` |
| `workflow_models` | the published workflows, as functions |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.errors import VerificationError
    from og_integrations.sdk import agents, alphasense, types, workflow_models
    from og_integrations.sdk._alpha import Alpha
    from og_integrations.sdk._chat_auth import ChatAccountAuth, login_chat_account
    from og_integrations.sdk._client import Client, init
    from og_integrations.sdk._confidential import (
        ConfidentialLLM,
        OhttpRelayClient,
        RelayError,
        TEEEndpoint,
        TeeProof,
        TEERegistry,
        VerifiedChatResponse,
        build_inner_request,
        verify_response,
    )
    from og_integrations.sdk._llm import LLM
    from og_integrations.sdk._services import ModelHub, Twins
    from og_integrations.sdk.types import (
        TEE_LLM,
        CandleOrder,
        CandleType,
        FileUploadResult,
        HistoricalInputQuery,
        InferenceMode,
        InferenceResult,
        ModelOutput,
        ModelRepository,
        Permit2ApprovalResult,
        ResponseFormat,
        SchedulerParams,
        StreamChoice,
        StreamChunk,
        StreamDelta,
        StreamUsage,
        TextGenerationOutput,
        TextGenerationStream,
        x402SettlementMode,
    )

    global_client: Client | None

_TYPES = (
    "CandleOrder",
    "CandleType",
    "FileUploadResult",
    "HistoricalInputQuery",
    "InferenceMode",
    "InferenceResult",
    "ModelOutput",
    "ModelRepository",
    "Permit2ApprovalResult",
    "ResponseFormat",
    "SchedulerParams",
    "StreamChoice",
    "StreamChunk",
    "StreamDelta",
    "StreamUsage",
    "TEE_LLM",
    "TextGenerationOutput",
    "TextGenerationStream",
    "x402SettlementMode",
)
_CONFIDENTIAL = (
    "ConfidentialLLM",
    "OhttpRelayClient",
    "RelayError",
    "TEEEndpoint",
    "TEERegistry",
    "TeeProof",
    "VerifiedChatResponse",
    "build_inner_request",
    "verify_response",
)
_HOMES = (
    {
        "Alpha": "og_integrations.sdk._alpha",
        "ChatAccountAuth": "og_integrations.sdk._chat_auth",
        "Client": "og_integrations.sdk._client",
        "LLM": "og_integrations.sdk._llm",
        "ModelHub": "og_integrations.sdk._services",
        "Twins": "og_integrations.sdk._services",
        "VerificationError": "og_integrations.errors",
        "init": "og_integrations.sdk._client",
        "login_chat_account": "og_integrations.sdk._chat_auth",
    }
    | dict.fromkeys(_CONFIDENTIAL, "og_integrations.sdk._confidential")
    | dict.fromkeys(_TYPES, "og_integrations.sdk.types")
)
_MODULES = ("agents", "alphasense", "types", "workflow_models")

__all__ = [
    "Alpha",
    "CandleOrder",
    "CandleType",
    "ChatAccountAuth",
    "Client",
    "ConfidentialLLM",
    "FileUploadResult",
    "HistoricalInputQuery",
    "InferenceMode",
    "InferenceResult",
    "LLM",
    "ModelHub",
    "ModelOutput",
    "ModelRepository",
    "OhttpRelayClient",
    "Permit2ApprovalResult",
    "RelayError",
    "ResponseFormat",
    "SchedulerParams",
    "StreamChoice",
    "StreamChunk",
    "StreamDelta",
    "StreamUsage",
    "TEEEndpoint",
    "TEERegistry",
    "TEE_LLM",
    "TeeProof",
    "TextGenerationOutput",
    "TextGenerationStream",
    "Twins",
    "VerificationError",
    "VerifiedChatResponse",
    "agents",
    "alphasense",
    "build_inner_request",
    "global_client",
    "init",
    "login_chat_account",
    "types",
    "verify_response",
    "workflow_models",
    "x402SettlementMode",
]


if not TYPE_CHECKING:  # which would take any name for one of ours
    _load, __dir__ = lazy_names(__name__, _HOMES)

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "global_client":
            # Rebound by each `init`: a name of the module would stay what it was.
            return import_module("og_integrations.sdk._client").current_client()
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        return _load(name)

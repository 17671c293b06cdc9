"""
OpenGradient's verifiable inference for LangChain and LlamaIndex.

Every answer comes from an attested enclave, is paid from a wallet within limits that the code
enforces, and leaves a receipt that a stranger can check later:

```python
from og_integrations import collect_receipts
from og_integrations.langchain import ChatOpenGradient

model = ChatOpenGradient(model="anthropic/claude-sonnet-4-6")  # OG_PRIVATE_KEY from the environment
with collect_receipts() as receipts:
    answer = model.invoke("Say hello.")
print(answer.content, receipts[0]["status"])
```

The adapters are `og_integrations.langchain` and `og_integrations.llama_index`. The names below are
loaded on first use, so that importing this package costs next to nothing.
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.client import AsyncClient, Client, LocalSigner, collect_receipts
    from og_integrations.errors import OpenGradientError
    from og_integrations.models import TEE_LLM
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.protocol.payment._x402 import SettlementMode
    from og_integrations.protocol.proof._enclave import EnclavePolicy
    from og_integrations.receipt import Receipt

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "EnclavePolicy",
    "LocalSigner",
    "OpenGradientError",
    "Receipt",
    "SettlementMode",
    "SpendPolicy",
    "TEE_LLM",
    "__version__",
    "collect_receipts",
]

_HOMES = {
    "AsyncClient": "og_integrations.client",
    "Client": "og_integrations.client",
    "EnclavePolicy": "og_integrations.protocol.proof._enclave",
    "LocalSigner": "og_integrations.client",
    "OpenGradientError": "og_integrations.errors",
    "Receipt": "og_integrations.receipt",
    "SettlementMode": "og_integrations.protocol.payment._x402",
    "SpendPolicy": "og_integrations.protocol.payment._policy",
    "TEE_LLM": "og_integrations.models",
    "collect_receipts": "og_integrations.client",
}


if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(
        __name__,
        _HOMES,
        dict.fromkeys(
            ("Alpha", "LLM", "ModelHub", "agents", "alphasense", "init", "x402SettlementMode"),
            "names of the published opengradient package are in og_integrations.sdk",
        ),
    )

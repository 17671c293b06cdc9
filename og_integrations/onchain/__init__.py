"""
Models and workflows on the OpenGradient chain, with proof.

```python
from og_integrations.onchain import OnchainClient

with OnchainClient() as chain:  # OG_ONCHAIN_PRIVATE_KEY, else OG_PRIVATE_KEY
    result = chain.infer(model_cid, {"open_high_low_close": candles})
print(result.values["Y"], result.receipt["onchain"]["transaction_hash"])
```

Values are exact: `int`, or `Decimal` where there are decimals. A result comes only from the events that the hub
and the precompile wrote for this very request. Reading workflows needs no key.

| file | what it holds |
| --- | --- |
| `_clients` | the two clients, the same methods awaited or not |
| `_inference` | one inference from its request to its proven result, as a generator of effects |
| `_workflows` | deployment, schedules, runs and results of workflows; the known workflows as data |
| `_setup` | where, who pays, and what may be spent: limits, the budget of gas |
| `_receipts` | receipts of kind `onchain` |
| `_tools` | models and workflows as tools of agents, for the frameworks' packages to map |
| `_judging` | the verdict on a saved receipt, for `verify` |
| `_web3` | a user's Web3 as the node; contracts, their ABIs and events (extra `onchain`) |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.client.chain._transactions import SentTransaction
    from og_integrations.onchain._clients import AsyncOnchainClient, OnchainClient
    from og_integrations.onchain._inference import Inference, TransactionStatus
    from og_integrations.onchain._judging import ReceiptJudge
    from og_integrations.onchain._setup import GasBudget
    from og_integrations.onchain._tools import OnchainTool, ToolResult, model_tool, workflow_tool
    from og_integrations.onchain._web3 import Contracts, PastInference, contracts, past_inferences
    from og_integrations.onchain._workflows import WORKFLOW_MODELS, WorkflowModel, WorkflowResult
    from og_integrations.protocol.chain._execution import ModelFile, TensorSpec
    from og_integrations.protocol.chain._inference import InferenceMode, ModelOutput
    from og_integrations.protocol.chain._tensors import DecimalsPolicy
    from og_integrations.protocol.chain._workflow import CandleOrder, CandleType, Query, Task

__all__ = [
    "AsyncOnchainClient",
    "CandleOrder",
    "CandleType",
    "Contracts",
    "DecimalsPolicy",
    "GasBudget",
    "Inference",
    "InferenceMode",
    "ModelFile",
    "ModelOutput",
    "OnchainClient",
    "OnchainTool",
    "PastInference",
    "Query",
    "ReceiptJudge",
    "SentTransaction",
    "Task",
    "TensorSpec",
    "ToolResult",
    "TransactionStatus",
    "WORKFLOW_MODELS",
    "WorkflowModel",
    "WorkflowResult",
    "contracts",
    "model_tool",
    "past_inferences",
    "workflow_tool",
]

_HOMES = {
    "AsyncOnchainClient": "og_integrations.onchain._clients",
    "CandleOrder": "og_integrations.protocol.chain._workflow",
    "CandleType": "og_integrations.protocol.chain._workflow",
    "Contracts": "og_integrations.onchain._web3",
    "DecimalsPolicy": "og_integrations.protocol.chain._tensors",
    "GasBudget": "og_integrations.onchain._setup",
    "Inference": "og_integrations.onchain._inference",
    "InferenceMode": "og_integrations.protocol.chain._inference",
    "ModelFile": "og_integrations.protocol.chain._execution",
    "ModelOutput": "og_integrations.protocol.chain._inference",
    "OnchainClient": "og_integrations.onchain._clients",
    "OnchainTool": "og_integrations.onchain._tools",
    "PastInference": "og_integrations.onchain._web3",
    "Query": "og_integrations.protocol.chain._workflow",
    "ReceiptJudge": "og_integrations.onchain._judging",
    "SentTransaction": "og_integrations.client.chain._transactions",
    "Task": "og_integrations.protocol.chain._workflow",
    "TensorSpec": "og_integrations.protocol.chain._execution",
    "ToolResult": "og_integrations.onchain._tools",
    "TransactionStatus": "og_integrations.onchain._inference",
    "WORKFLOW_MODELS": "og_integrations.onchain._workflows",
    "WorkflowModel": "og_integrations.onchain._workflows",
    "WorkflowResult": "og_integrations.onchain._workflows",
    "contracts": "og_integrations.onchain._web3",
    "model_tool": "og_integrations.onchain._tools",
    "past_inferences": "og_integrations.onchain._web3",
    "workflow_tool": "og_integrations.onchain._tools",
}


if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)

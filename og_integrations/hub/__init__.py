"""
This package has clients of OpenGradient's services beside the network: the model hub, and digital twins.

```python
from og_integrations.hub import ModelHub

with ModelHub() as hub:  # OG_MODEL_HUB_EMAIL, OG_MODEL_HUB_PASSWORD, OG_MODEL_HUB_API_KEY
    made = hub.create_model("volatility", "ETH's volatility in the next hour")
    sent = hub.upload("volatility.onnx", made.model, made.version)
print(sent.file_id, sent.check)
```

Neither is paid, and neither proves anything: a file is compared with its id where that says something of its bytes,
and what twins say has a receipt that is `unverified`.

| file | what it holds |
| --- | --- |
| `_clients` | the two clients of the hub, the same methods awaited or not |
| `_calls` | what is asked of the hub, and what its answers mean |
| `_login` | the login: renewed before it expires, and once where it is refused |
| `_files` | files on their way, hashed as they pass |
| `_twins` | chats with twins, and their receipts |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.hub._calls import HubFile, ModelVersion, Transfer
    from og_integrations.hub._clients import AsyncModelHub, ModelHub
    from og_integrations.hub._twins import AsyncTwins, TwinAnswer, Twins
    from og_integrations.protocol._file_ids import FileCheck, FileHash

__all__ = [
    "AsyncModelHub",
    "AsyncTwins",
    "FileCheck",
    "FileHash",
    "HubFile",
    "ModelHub",
    "ModelVersion",
    "Transfer",
    "TwinAnswer",
    "Twins",
]

_HOMES = {
    "AsyncModelHub": "og_integrations.hub._clients",
    "AsyncTwins": "og_integrations.hub._twins",
    "FileCheck": "og_integrations.protocol._file_ids",
    "FileHash": "og_integrations.protocol._file_ids",
    "HubFile": "og_integrations.hub._calls",
    "ModelHub": "og_integrations.hub._clients",
    "ModelVersion": "og_integrations.hub._calls",
    "Transfer": "og_integrations.hub._calls",
    "TwinAnswer": "og_integrations.hub._twins",
    "Twins": "og_integrations.hub._twins",
}


if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)

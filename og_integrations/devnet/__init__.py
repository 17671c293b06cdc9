"""
The whole network on one machine: the other side of each file of `protocol`.

```python
with Devnet() as net:
    ...  # net.network, net.private_key, net.stats(), net.inject("bad_signature", times=1)
    assert net.verdict().clean  # or its lines: what the client did wrong
```

A chain with OPG, Permit2 and the TEERegistry; gateways with TLS, a paywall and a signing enclave; a
scripted model. Everything that is signed is really signed, and every check of the real gateway is made
(PROTOCOL.md); what it charges moves balances that nobody owns.
"""

from og_integrations.devnet.catalogue import CATALOGUE
from og_integrations.devnet.enclave import LocalEnclave
from og_integrations.devnet.fault import Fault
from og_integrations.devnet.journal import Journal, Stats
from og_integrations.devnet.local_network import DEFAULT_CAP, Devnet
from og_integrations.devnet.model import Answer, Model, ModelCall, ModelRequest
from og_integrations.devnet.script import Script
from og_integrations.devnet.serving import serve
from og_integrations.devnet.upstream import Upstream
from og_integrations.devnet.verdict import MISBEHAVIOURS, Finding, Verdict
from og_integrations.devnet.wallet import Wallet

__all__ = [
    "Answer",
    "CATALOGUE",
    "DEFAULT_CAP",
    "Devnet",
    "Fault",
    "Finding",
    "Journal",
    "LocalEnclave",
    "MISBEHAVIOURS",
    "Model",
    "ModelCall",
    "ModelRequest",
    "Script",
    "Stats",
    "Upstream",
    "Verdict",
    "Wallet",
    "serve",
]

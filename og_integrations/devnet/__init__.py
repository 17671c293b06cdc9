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

| room or file | what it holds |
| --- | --- |
| `local_network` | `Devnet`, and a devnet as a program |
| `gateway` | the gateway, from the socket to the signed answer |
| `paywall` | the 402, sessions, the facilitator |
| `model` | the scripted model, or any OpenAI-compatible server |
| `chain` | the chain in Python or as a real EVM |
| `faults` | every lie and breakdown, by name |
| `verdict` | what the devnet thinks of its client |
"""

from og_integrations.devnet.chain.chain import Wallet
from og_integrations.devnet.faults.catalogue import CATALOGUE
from og_integrations.devnet.faults.fault import Fault
from og_integrations.devnet.gateway.enclave import LocalEnclave
from og_integrations.devnet.local_network import DEFAULT_CAP, Devnet, serve
from og_integrations.devnet.model.model import Answer, Model, ModelCall, ModelRequest
from og_integrations.devnet.model.script import Script
from og_integrations.devnet.model.upstream import Upstream
from og_integrations.devnet.verdict.journal import Journal, Stats
from og_integrations.devnet.verdict.judge import Mark
from og_integrations.devnet.verdict.verdict import MISBEHAVIOURS, Finding, Verdict

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
    "Mark",
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

"""
The devnet is the whole network on one machine: the other side of each room of `protocol`.

```python
with Devnet() as net:
    ...  # net.network, net.private_key, net.stats(), net.inject("bad_signature", times=1)
    assert net.verdict().clean  # or its lines: what the client did wrong
```

It has a chain with OPG, Permit2 and the TEERegistry, gateways with TLS, a paywall and a signing enclave, and a
scripted model. Everything that is signed is really signed, and every check of the real gateway is made
(docs/protocol.md). What it charges moves balances that nobody owns.

| room or file | what it holds |
| --- | --- |
| `_local_network` | `Devnet`, and a devnet as a program |
| `gateway` | one gateway: routes, answers, request schema, what is published |
| `paywall` | the 402, sessions, the facilitator |
| `model` | the scripted model, or any OpenAI-compatible server |
| `chain` | the chain in Python or as a real EVM, and its node |
| `services` | the model hub, its login, twins, and a proxy for fixed hosts |
| `faults` | every lie and breakdown, by name |
| `verdict` | the judgement on the client |
| `_fault` | what a fault is, where it acts, and the faults of one request |
| `_journal` | everything that was seen and done |
| `_sealing` | how sealed requests are opened, and answers sealed |
| `_enclave` | an enclave's keys, outputs, proofs |
| `_attestation` | the devnet's AWS: its root, and the documents that enclaves show |
| `_generations` | how the gateways of each time behave; which models they list, at what price |
| `_http`, `_clock` | the HTTP server with its requests and replies; the devnet's time |

Imports go one way: `_local_network` -> `faults`, `verdict` -> `gateway`, `services` -> `paywall` -> `chain` ->
`_fault` -> `_generations`, `_enclave`, `_journal` -> `_attestation`, `_sealing`, `model`, `_http`, `_clock`.
"""

from og_integrations.devnet._enclave import LocalEnclave
from og_integrations.devnet._fault import Fault
from og_integrations.devnet._journal import Journal, Stats
from og_integrations.devnet._local_network import DEFAULT_CAP, Devnet, serve
from og_integrations.devnet.chain._chain import Wallet
from og_integrations.devnet.faults import CATALOGUE
from og_integrations.devnet.model._model import Answer, Model, ModelCall, ModelRequest
from og_integrations.devnet.model._script import Script
from og_integrations.devnet.model._upstream import Upstream
from og_integrations.devnet.services import SERVICE_FAULTS, ServiceFault, Services
from og_integrations.devnet.verdict._judge import Mark
from og_integrations.devnet.verdict._judgement import MISBEHAVIOURS, Finding, Judgement
from og_integrations.protocol.chat._wire import Usage

__all__ = [
    "Answer",
    "CATALOGUE",
    "DEFAULT_CAP",
    "Devnet",
    "Fault",
    "Finding",
    "Journal",
    "Judgement",
    "LocalEnclave",
    "MISBEHAVIOURS",
    "Mark",
    "Model",
    "ModelCall",
    "ModelRequest",
    "SERVICE_FAULTS",
    "Script",
    "ServiceFault",
    "Services",
    "Stats",
    "Upstream",
    "Usage",
    "Wallet",
    "serve",
]
